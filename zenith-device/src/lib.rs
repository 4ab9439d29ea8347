//! The GPUs of a machine: what there are, how they are joined, whether they are well.
//!
//! It works the same with and without GPUs: [`discover`] always answers, and says of every source it asked what came of
//! it. A value that a machine does not tell is `None`, never a number that looks real. NVIDIA's GPUs are asked through
//! NVML, which is loaded at run time; AMD's through sysfs; what no driver knows is still seen on the PCI bus.
//!
//! It runs nothing on a GPU: no context is made, no memory is taken. That is the GPU runtime's, as is the CUDA driver,
//! which would tell nothing here that NVML does not.

pub mod activity;
mod amd;
mod discovery;
pub mod doctor;
mod finding;
mod gpu;
pub mod health;
mod interconnect;
mod nvml;

pub use discovery::{Discovery, NVML_VARIABLE, Settings, discover};
pub use finding::{Finding, Kind, Source};
pub use gpu::{Clocks, ComputeCapability, Driver, Ecc, Gpu, Memory, Mig, MigInstance, RemappedRows, Vendor};
pub use interconnect::{Ancestor, Interconnect, Join, Pair};
