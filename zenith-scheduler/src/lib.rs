//! Gang scheduling of GPUs.
//!
//! [`core`] holds jobs and nodes and decides; it is pure: time is an argument, effects leave through
//! [`Comm`](core::comm::Comm), and every change is an event from which the state can be rebuilt. [`policy`] says whose turn it
//! is. [`simulate`] runs both on a virtual clock over recorded work. None of the three knows a network, a disk, a thread or a
//! clock.
//!
//! [`store`] keeps what the core records. [`controller`] owns a core and a store, and acts.

pub mod client;
pub mod controller;
pub mod core;
pub mod policy;
pub mod refusal;
pub mod simulate;
pub mod store;
