//! Encoded bytes in memory, in front of where they lie. What has come in stays: with every blob wanted once an epoch,
//! in another order each time, replacing one by another would only lose hits.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Limit;
use crate::source::blobs::{BlobReader, Blobs};
use crate::{DType, Result};

/// Parts of the table, each with its own lock.
const SHARDS: usize = 64;

/// Bytes that a kept blob takes beside its own and its place in the table: reference counts, the allocator's head.
const OVERHEAD: u64 = 32;

/// Blobs with a memory.
pub struct CachedBlobs {
    inner: Arc<dyn Blobs>,
    kept: Arc<Kept>,
}

/// The bytes of every `SHARDS`-th blob, where they are kept.
type Shard = Vec<Option<Arc<[u8]>>>;

/// What is remembered.
struct Kept {
    shards: [RwLock<Shard>; SHARDS],
    /// Whether there is room for anything.
    has_table: bool,
    limit: Limit,
    bytes: AtomicU64,
    count: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Kept {
    fn get(&self, id: u64) -> Option<Arc<[u8]>> {
        let shard = self.shards[id as usize % SHARDS].read().unwrap_or_else(PoisonError::into_inner);
        shard.get(id as usize / SHARDS)?.clone()
    }

    fn holds(&self, id: u64) -> bool {
        let shard = self.shards[id as usize % SHARDS].read().unwrap_or_else(PoisonError::into_inner);
        shard.get(id as usize / SHARDS).is_some_and(Option::is_some)
    }

    /// Keeps `bytes` if there is room for them.
    fn put(&self, id: u64, bytes: &[u8]) {
        if !self.has_table {
            return;
        }
        let size = bytes.len() as u64 + OVERHEAD;
        let room = |taken: u64| taken.checked_add(size).filter(|&taken| taken <= self.limit.bytes);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return;
        }
        let copy: Arc<[u8]> = Arc::from(bytes);
        let mut shard = self.shards[id as usize % SHARDS].write().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(id as usize / SHARDS) {
            Some(place @ None) => {
                *place = Some(copy);
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            // Another reader was faster.
            _ => {
                self.bytes.fetch_sub(size, Ordering::Relaxed);
            }
        }
    }
}

impl CachedBlobs {
    /// The blobs of `inner`, of which up to `limit` bytes are kept as they come in.
    #[must_use]
    pub fn new(inner: Arc<dyn Blobs>, limit: Limit) -> Self {
        // The table counts, too; where not even that fits, there is none.
        let table =
            inner.len().next_multiple_of(SHARDS as u64).saturating_mul(size_of::<Option<Arc<[u8]>>>() as u64);
        let fits = table <= limit.bytes;
        let places = if fits { inner.len().div_ceil(SHARDS as u64) as usize } else { 0 };
        Self {
            inner,
            kept: Arc::new(Kept {
                shards: std::array::from_fn(|_| RwLock::new(vec![None; places])),
                has_table: fits,
                limit,
                bytes: AtomicU64::new(if fits { table } else { 0 }),
                count: AtomicU64::new(0),
                hits: AtomicU64::new(0),
                misses: AtomicU64::new(0),
            }),
        }
    }
}

impl Blobs for CachedBlobs {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn reader(&self) -> Result<Box<dyn BlobReader>> {
        Ok(Box::new(CachedReader {
            inner: self.inner.reader()?,
            kept: Arc::clone(&self.kept),
            current: None,
            missing: Vec::new(),
        }))
    }

    fn path(&self, id: u64) -> Option<PathBuf> {
        self.inner.path(id)
    }

    fn label_dtype(&self) -> Option<DType> {
        self.inner.label_dtype()
    }

    fn write_label(&self, id: u64, into: &mut [u8]) {
        self.inner.write_label(id, into);
    }

    fn blocks(&self) -> Option<(&[u64], u64)> {
        self.inner.blocks()
    }

    fn classes(&self) -> Option<&[String]> {
        self.inner.classes()
    }

    fn fingerprint(&self) -> u64 {
        self.inner.fingerprint()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = self.inner.facts();
        let kept = &*self.kept;
        let number = |value: &AtomicU64| value.load(Ordering::Relaxed).to_string();
        facts.extend([
            ("cache".to_owned(), "memory".to_owned()),
            ("cache hits".to_owned(), number(&kept.hits)),
            ("cache misses".to_owned(), number(&kept.misses)),
            ("cache bytes".to_owned(), number(&kept.bytes)),
            ("cache limit in bytes".to_owned(), kept.limit.describe()),
            ("cache files".to_owned(), number(&kept.count)),
        ]);
        facts
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }
}

/// Reads what is kept, and keeps what it had to read.
struct CachedReader {
    inner: Box<dyn BlobReader>,
    kept: Arc<Kept>,
    /// What was found last; it is lent from here.
    current: Option<Arc<[u8]>>,
    missing: Vec<u64>,
}

impl BlobReader for CachedReader {
    fn read<'a>(&'a mut self, id: u64, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        self.current = self.kept.get(id);
        if let Some(bytes) = &self.current {
            self.kept.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(bytes);
        }
        self.kept.misses.fetch_add(1, Ordering::Relaxed);
        let bytes = self.inner.read(id, scratch)?;
        self.kept.put(id, bytes);
        Ok(bytes)
    }

    fn read_ahead(&mut self, ids: &[u64]) {
        self.missing.clear();
        let kept = &*self.kept;
        self.missing.extend(ids.iter().copied().filter(|&id| !kept.holds(id)));
        // Also when nothing is missing: what was requested before may be wanted no more.
        self.inner.read_ahead(&self.missing);
    }

    fn announce(&mut self, ids: &[u64]) {
        self.inner.announce(ids);
    }
}
