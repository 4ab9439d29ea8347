//! A stand-in for the CUDA driver, for tests alone: the entry points that Zenith uses, on devices that a script describes.
//!
//! As a shared library it is loaded in the place of `libcuda.so.1` and reads the script beside it, under its own name with
//! `.json` behind. As a crate it is how tests write such a script, put the library where they want it ([`install`]) and
//! ask what is left in it ([`census`]). Every copy is a library of its own, so tests do not meet.
//!
//! Its time is virtual: a copy takes as long as its bandwidth says, and takes effect only when that time has come, so that
//! memory which is used again too early shows in the bytes that arrive. Kernels it has none.

mod entry;
mod install;
mod memory;
mod script;
mod state;
mod timeline;

pub use install::{census, install, install_without};
pub use script::{Census, Device, Fault, Script};
