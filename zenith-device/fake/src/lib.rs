//! A stand-in for NVIDIA's management library, for tests alone: the entry points that Zenith uses, telling what a script says.
//!
//! It is two things. As a shared library it is loaded in the place of `libnvidia-ml.so.1` and reads the script that lies
//! beside it, under its own name with `.json` behind. As a crate it is how tests write such a script and put the library
//! where they want it ([`install`], [`install_without`]). Every copy is a library of its own, so tests do not meet.

mod counters;
mod entry;
mod install;
mod script;
mod state;

pub use install::{install, install_without, rewrite};
pub use script::{Busy, Clocks, Code, Ecc, Event, Gpu, Instance, Link, Mig, Rows, Script};
