//! What happens to a picture between the decoder and the batch: torchvision's operations, compiled to a plan that
//! asks the decoder only for the pixels it needs and writes straight into the sample's slot.
//!
//! A sample's way: [`Plan::view`] draws its parameters and says which [`View::region`] of the picture is needed, the
//! caller decodes just that, and [`Plan::render`] writes the result. Geometry is folded: a resize and the crop after
//! it are one resample of the crop alone, a flip is part of the writing, the conversion to floats and the
//! normalisation are part of the last pass. Nothing here knows files or formats.

pub mod chain;
mod color;
mod compile;
pub mod custom;
mod emit;
mod filter;
mod geometry;
mod kernels;
mod ops;
mod plan;
mod resample;
pub mod tensor;
mod view;

pub use emit::Order;
pub use ops::{Interpolation, Mode, Op, TransformError};
pub use plan::{Output, Plan, Scratch};
pub use view::View;

#[cfg(test)]
mod tests;
