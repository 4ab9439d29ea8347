//! Gang scheduling of GPUs.
//!
//! [`core`] holds jobs and nodes and decides; it is pure: time is an argument, effects leave through
//! [`Comm`](core::comm::Comm), and every change is an event from which the state can be rebuilt. [`policy`] says whose turn it
//! is. [`simulate`] runs both on a virtual clock over recorded work.
//!
//! Those know no network, no disk, no thread and no clock. [`agent`] is what acts on a node: it starts the processes of gangs
//! and says what becomes of them.

pub mod agent;
pub mod core;
pub mod policy;
pub mod simulate;
