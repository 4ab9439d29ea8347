//! The GPU runtime: which implementation of an operation is the fastest, the same choice on every rank, and where the time of a training step went.
//!
//! Every part works on a machine without a GPU, with the processor in its place. It knows no Python and no framework: what they
//! bring is behind [`kernel`]'s traits. Libraries of vendors are loaded at run time, and their absence is a reason, not a panic.

pub mod collective;
pub mod cuda;
pub mod kernel;
pub mod telemetry;
pub mod transfer;
