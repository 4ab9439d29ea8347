//! Ranks that speak to each other: sums and copies across processes, and decisions that all of them take alike.
//!
//! [`Communicator`] is the contract; [`shared`] (one machine, through memory) and [`tcp`] (many, in a ring) carry it out
//! between processes, [`Solo`] for one rank alone, and all three pass the same suite. Every call has a deadline, and what
//! ends it early names the ranks at fault. After a fault a communicator is broken for good: nobody can know how far the
//! others came, so every later call says [`CollectiveError::Broken`] and its cause.
//!
//! [`agree`] builds on it: choices of kernels, shard maps and checkpoints that are the same everywhere or nowhere.
//! [`nccl`] binds NVIDIA's library for tensors on GPUs. Framework tensors and process launching are none of its business.

pub mod agree;
mod call;
mod communicator;
#[cfg(test)]
mod contract;
mod env;
mod error;
pub mod nccl;
mod reduce;
pub mod shared;
mod solo;
pub mod tcp;

pub use call::{Call, Kind, ReduceOp};
pub use communicator::{Communicator, share};
pub use env::{Launch, PORT_OFFSET, connect};
pub use error::{CollectiveError, Peer};
pub use reduce::Dtype;
pub use solo::Solo;

/// Results of collectives.
pub type Result<T> = std::result::Result<T, CollectiveError>;
