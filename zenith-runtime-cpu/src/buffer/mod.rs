//! Where batches live between the stages and how they are handed on: the pool of slabs, and rings between two threads.
//! It holds bytes and values, and knows nothing of what they mean.

mod pool;
pub mod ring;

pub use pool::{Lease, PoolStats, SlabPool, SlabPoolConfig};
