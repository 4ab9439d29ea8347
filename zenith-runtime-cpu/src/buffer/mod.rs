//! Where batches live between the stages: the pool of slabs. It holds bytes, and knows nothing of what they mean.

mod pool;

pub use pool::{Lease, PoolStats, SlabPool, SlabPoolConfig};
