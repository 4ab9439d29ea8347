//! The data plane of Zenith: it turns a source of samples into ordered batches, ahead of the consumer.
//!
//! The walk of a batch: [`sampler`] says which sample comes when, a [`source`] finds its bytes, a [`format`]
//! decodes them, [`transform`] writes the result into the sample's slot of the batch slab, and [`pipeline`]
//! hands finished batches out in order. Nothing here knows Python.

pub mod dtype;
pub mod error;
pub mod format;
pub mod pipeline;
pub mod pixels;
pub mod sampler;
pub mod schema;
pub mod source;
mod table;
pub mod transform;

pub use dtype::DType;
pub use error::{Blamed, Error, Result, SampleError};
pub use schema::{Field, Schema};
