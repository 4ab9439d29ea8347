//! The GPU runtime: which implementation of an operation is the fastest, agreement between ranks, and where the time of a training step
//! went.
//!
//! It builds everywhere. [`kernel`], [`collective`] and [`telemetry`] work on a machine without a GPU; [`cuda`] and [`transfer`] say there why
//! they do not. It knows no Python and no framework: what they bring is behind [`kernel`]'s traits. Libraries of vendors are loaded
//! at run time, and their absence is a reason, not a panic.

pub mod collective;
pub mod cuda;
pub mod kernel;
pub mod telemetry;
pub mod transfer;
