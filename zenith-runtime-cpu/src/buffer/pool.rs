//! The pool of slabs: equal blocks of memory that are lent, come back by `Drop`, and are lent again.
//!
//! Mapping and faulting in fresh memory costs a batch several milliseconds; reuse costs nothing. The pool does not
//! bound how many slabs are lent: whoever leases decides how many batches are under way.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::Serialize;

use crate::allocator::{Block, HostMemory, MemoryError, Pages, PagesWanted, Refused, SystemMemory};

/// What the slabs of a pool are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlabPoolConfig {
    /// Bytes of every slab.
    pub slab_bytes: usize,
    /// How many free slabs are kept for reuse; more are given back to the system.
    pub keep: usize,
    /// The pages to ask for.
    pub pages: PagesWanted,
    /// The memory node; `None`: that of the thread that first touches a page.
    pub node: Option<u32>,
}

/// A pool of equal slabs. Clones are handles of the same pool.
#[derive(Clone, Debug)]
pub struct SlabPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    memory: Box<dyn HostMemory>,
    slab_bytes: usize,
    keep: usize,
    /// Last in, first out: the slab used last is the one the caches still hold.
    free: Mutex<Vec<Block>>,
    leased: AtomicUsize,
    mapped_total: AtomicUsize,
    reused: AtomicUsize,
    /// What the first slab got; all of them ask for the same.
    got: Got,
}

#[derive(Clone, Debug)]
struct Got {
    pages: Pages,
    node: Option<u32>,
    refused: Vec<Refused>,
}

/// Figures of a pool at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStats {
    /// Bytes of one slab.
    pub slab_bytes: usize,
    /// Slabs that exist now, leased or free.
    pub mapped: usize,
    /// Slabs lent out now.
    pub leased: usize,
    /// Slabs waiting for reuse now.
    pub free: usize,
    /// Leases that needed no new memory.
    pub reused: usize,
    /// Slabs obtained from the system so far.
    pub mapped_total: usize,
    /// The pages the first slab got.
    pub pages: Pages,
    /// The node it was placed on.
    pub node: Option<u32>,
    /// What it was meant to have and could not get.
    pub refused: Vec<Refused>,
}

impl PoolStats {
    /// What was refused, a sentence each, for a report.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.refused.iter().map(|refused| format!("batches lie in {}; {refused}", self.pages)).collect()
    }
}

impl fmt::Display for PoolStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slab_bytes, mapped, leased, free, reused, pages, node, .. } = self;
        write!(f, "{mapped} of {slab_bytes} bytes in {pages}")?;
        if let Some(node) = node {
            write!(f, " on node {node}")?;
        }
        write!(f, ", {leased} in use and {free} free; used again {reused} times")
    }
}

impl SlabPool {
    /// A pool of the system's memory. Obtains the first slab, so that what cannot be had is known at once.
    ///
    /// # Errors
    /// [`MemoryError`] when not even one slab can be had as asked for.
    pub fn new(config: SlabPoolConfig) -> Result<Self, MemoryError> {
        let memory = SystemMemory { pages: config.pages, node: config.node };
        Self::with_memory(Box::new(memory), config.slab_bytes, config.keep)
    }

    /// A pool of memory from elsewhere.
    ///
    /// # Errors
    /// [`MemoryError`] when not even one slab can be had.
    pub fn with_memory(
        memory: Box<dyn HostMemory>,
        slab_bytes: usize,
        keep: usize,
    ) -> Result<Self, MemoryError> {
        let first = memory.allocate(slab_bytes)?;
        let got = Got { pages: first.pages(), node: first.node(), refused: first.refused().to_vec() };
        for refusal in &got.refused {
            tracing::debug!(slab_bytes, "{refusal}");
        }
        let shared = Shared {
            memory,
            slab_bytes,
            keep,
            free: Mutex::new(vec![first]),
            leased: AtomicUsize::new(0),
            mapped_total: AtomicUsize::new(1),
            reused: AtomicUsize::new(0),
            got,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Lends a slab: one that came back, else a new one. Its bytes are initialised, but not cleared.
    ///
    /// # Errors
    /// [`MemoryError`] when a new slab is needed and cannot be had.
    pub fn lease(&self) -> Result<Lease, MemoryError> {
        let shared = &*self.shared;
        let reused = shared.free().pop();
        let block = if let Some(block) = reused {
            shared.reused.fetch_add(1, Ordering::Relaxed);
            block
        } else {
            let block = shared.memory.allocate(shared.slab_bytes)?;
            shared.mapped_total.fetch_add(1, Ordering::Relaxed);
            block
        };
        shared.leased.fetch_add(1, Ordering::Relaxed);
        Ok(Lease { block: Some(block), pool: Arc::downgrade(&self.shared) })
    }

    /// Bytes of every slab.
    #[must_use]
    pub fn slab_bytes(&self) -> usize {
        self.shared.slab_bytes
    }

    /// The pool's figures.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let shared = &*self.shared;
        let free = shared.free().len();
        let leased = shared.leased.load(Ordering::Relaxed);
        PoolStats {
            slab_bytes: shared.slab_bytes,
            mapped: leased + free,
            leased,
            free,
            reused: shared.reused.load(Ordering::Relaxed),
            mapped_total: shared.mapped_total.load(Ordering::Relaxed),
            pages: shared.got.pages,
            node: shared.got.node,
            refused: shared.got.refused.clone(),
        }
    }
}

impl Shared {
    fn free(&self) -> MutexGuard<'_, Vec<Block>> {
        // A push or pop that panicked halfway leaves a list that is still right.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_back(&self, block: Block) {
        self.leased.fetch_sub(1, Ordering::Relaxed);
        let mut free = self.free();
        if free.len() < self.keep {
            free.push(block);
        } else {
            // Unmapping takes long; not under the lock.
            drop(free);
            drop(block);
        }
    }
}

/// A slab on loan. Dropping it gives it back; when the pool is gone, the memory is freed.
///
/// It can be shared by threads that write disjoint parts through [`as_mut_ptr`](Self::as_mut_ptr).
#[derive(Debug)]
pub struct Lease {
    /// `None` only while it is being dropped.
    block: Option<Block>,
    pool: Weak<Shared>,
}

impl Lease {
    fn block(&self) -> &Block {
        self.block.as_ref().expect("a live lease has a block")
    }

    /// The first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.block().as_ptr()
    }

    /// The first byte, for writing. Who writes through it makes sure that nobody else uses the same bytes meanwhile.
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.block().as_ptr()
    }

    /// Number of bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "the length is fixed; emptiness means nothing")]
    pub fn len(&self) -> usize {
        self.block().len()
    }

    /// The bytes. Nobody may be writing through [`as_mut_ptr`](Self::as_mut_ptr) meanwhile.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.block().as_slice()
    }

    /// The bytes, to write.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.block.as_mut().expect("a live lease has a block").as_mut_slice()
    }

    /// The memory behind it: its pages, its node.
    #[must_use]
    pub fn memory(&self) -> &Block {
        self.block()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(block), Some(pool)) = (self.block.take(), self.pool.upgrade()) {
            pool.take_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::allocator::Wanted;

    fn pool(slab_bytes: usize, keep: usize) -> SlabPool {
        SlabPool::new(SlabPoolConfig { slab_bytes, keep, pages: PagesWanted::Auto, node: None }).unwrap()
    }

    /// Memory that has only so many blocks.
    #[derive(Debug)]
    struct Scarce(AtomicUsize);

    impl HostMemory for Scarce {
        fn allocate(&self, bytes: usize) -> Result<Block, MemoryError> {
            let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            match left {
                Ok(_) => SystemMemory::default().allocate(bytes),
                Err(_) => {
                    Err(MemoryError::Exhausted { bytes, source: io::Error::from(io::ErrorKind::OutOfMemory) })
                }
            }
        }

        fn describe(&self) -> String {
            "a few blocks".to_owned()
        }
    }

    #[test]
    fn a_slab_comes_back_with_its_bytes_and_is_lent_again() {
        let pool = pool(1000, 2);
        let mut lease = pool.lease().unwrap();
        assert_eq!(lease.as_slice(), &[0; 1000]);
        lease.as_mut_slice()[999] = 7;
        let address = lease.as_ptr();
        drop(lease);
        let again = pool.lease().unwrap();
        assert_eq!((again.as_ptr(), again.as_slice()[999]), (address, 7));
        let stats = pool.stats();
        assert_eq!(
            (stats.mapped, stats.leased, stats.free, stats.reused, stats.mapped_total),
            (1, 1, 0, 2, 1)
        );
    }

    #[test]
    fn what_was_got_and_what_was_refused_is_said_in_words() {
        let refused = |wanted, reason: &str| Refused { wanted, reason: reason.to_owned() };
        let stats = PoolStats {
            slab_bytes: 4096,
            mapped: 3,
            leased: 1,
            free: 2,
            reused: 7,
            mapped_total: 5,
            pages: Pages::Thp,
            node: Some(1),
            refused: vec![
                refused(Wanted::Pages(Pages::Huge2M), "not enough of them are free (raise vm.nr_hugepages)"),
                refused(Wanted::Node(0), "mbind: not permitted"),
            ],
        };
        assert_eq!(
            stats.to_string(),
            "3 of 4096 bytes in transparent hugepages on node 1, 1 in use and 2 free; used again 7 times"
        );
        assert_eq!(
            stats.notes(),
            [
                "batches lie in transparent hugepages; no 2 MiB hugepages: not enough of them are free (raise \
                 vm.nr_hugepages)",
                "batches lie in transparent hugepages; not placed on node 0: mbind: not permitted",
            ]
        );
        assert_eq!(PoolStats { node: None, refused: Vec::new(), ..stats }.notes(), [""; 0]);
    }

    #[test]
    fn only_so_many_free_slabs_are_kept() {
        let pool = pool(4 << 20, 2);
        let leases: Vec<_> = (0..5).map(|_| pool.lease().unwrap()).collect();
        assert_eq!((pool.stats().mapped, pool.stats().leased), (5, 5));
        drop(leases);
        assert_eq!((pool.stats().mapped, pool.stats().leased, pool.stats().free), (2, 0, 2));
        assert_eq!((pool.lease().unwrap().len(), pool.stats().mapped_total), (4 << 20, 5));
    }

    #[test]
    fn room_for_free_slabs_is_taken_as_they_come() {
        let pool = pool(1000, usize::MAX);
        drop((pool.lease().unwrap(), pool.lease().unwrap()));
        assert_eq!(pool.stats().free, 2);
    }

    #[test]
    fn a_lease_outlives_its_pool() {
        let pool = pool(5000, 4);
        let mut lease = pool.lease().unwrap();
        drop(pool);
        lease.as_mut_slice().fill(3);
        assert!(lease.as_slice().iter().all(|&byte| byte == 3));
    }

    #[test]
    fn lack_of_memory_is_an_error_and_passes() {
        let pool = SlabPool::with_memory(Box::new(Scarce(AtomicUsize::new(2))), 100, 2).unwrap();
        let first = pool.lease().unwrap();
        let _second = pool.lease().unwrap();
        assert!(matches!(pool.lease(), Err(MemoryError::Exhausted { bytes: 100, .. })));
        drop(first);
        assert_eq!(pool.lease().unwrap().len(), 100);
        assert!(SlabPool::with_memory(Box::new(Scarce(AtomicUsize::new(0))), 100, 2).is_err());
    }

    #[test]
    fn threads_lease_and_return_at_once() {
        let pool = pool(64 << 10, 4);
        std::thread::scope(|scope| {
            for id in 0..4_u8 {
                let pool = pool.clone();
                scope.spawn(move || {
                    for _ in 0..2000 {
                        let mut lease = pool.lease().unwrap();
                        lease.as_mut_slice()[..64].fill(id);
                        std::thread::yield_now();
                        assert!(lease.as_slice()[..64].iter().all(|&byte| byte == id), "lent to two at once");
                    }
                });
            }
        });
        let stats = pool.stats();
        assert_eq!(stats.leased, 0);
        assert!(stats.mapped <= 4, "{stats:?}");
    }
}
