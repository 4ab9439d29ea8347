//! The CUDA driver, loaded at run time: devices, contexts, streams, events, memory and copies between them.
//!
//! A binding of our own of the few entry points that are used, since the ready-made one panics where the driver or one of
//! its functions is absent. Here both are typed errors, and all functions are looked up before the first is called. It
//! launches no kernel. Copies own both their ends until they are done, so that no memory goes while a copy runs; in
//! which order batches are copied is [`transfer`](crate::transfer)'s.

mod context;
mod copy;
mod driver;
mod error;
mod memory;
mod stream;
mod symbols;

pub use context::Context;
pub use copy::{HostBytes, Upload};
pub use driver::{CUDA_VARIABLE, Device, Driver};
pub use error::{Code, Error};
pub use memory::{DeviceMemory, LockedMemory, PinnedMemory};
pub use stream::{Event, Stream};
