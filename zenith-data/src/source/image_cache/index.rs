//! Entropy indexes of a set's pictures, packed into one arena for all workers. Reading one takes a shared lock of one
//! shard for the time it is unpacked. How an index is made and used is for [`crate::format::jpeg`], how the arena is
//! kept between runs for [`super::sidecar`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use super::{Limit, sidecar};
use crate::format::image::{Entropy, ImageDecoder, ImageError, Indexed, Picture};
use crate::format::jpeg::EntropyIndex;
use crate::pixels::{PixelBuf, Region};
use crate::source::cache_dir::CacheDir;

/// MCUs between entry points where there is room: crops are then decoded a third faster than without an index.
const CLOSE: u16 = 8;
/// About what a packed index of that kind takes of a picture of 0.19 megapixels, in bytes.
const CLOSE_BYTES: u64 = 2100;
/// Bytes that indexes of that kind may take together.
const CLOSE_LIMIT: u64 = 256 << 20;
/// For larger sets: more MCUs than a row has, so that each row gets one entry point; a seventh of the bytes, and half of
/// the gain. `examples/picture_epochs.rs` measures both.
const FAR: u16 = u16::MAX;

/// Parts of the arena, each with its own lock.
const SHARDS: usize = 64;
/// Bytes that a shard grows by.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 14;
/// The place of what is not there.
const NOWHERE: u32 = u32::MAX;
/// Bytes in front of a packed index: its length.
const PREFIX: usize = 4;
/// New indexes that are worth a file.
const WORTH: u64 = 4096;

/// The indexes of the pictures of one set.
pub struct IndexCache {
    arena: Arc<Arena>,
    writer: Mutex<Option<Thread<()>>>,
    /// The process whose file it is.
    process: u32,
}

/// What the workers and the writer share.
pub(super) struct Arena {
    shards: [RwLock<Shard>; SHARDS],
    limit: Limit,
    /// MCUs between the entry points of new indexes.
    spacing: u16,
    /// Pictures of the set.
    pub(super) pictures: u64,
    bytes: AtomicU64,
    count: AtomicU64,
    /// Set when something found no room; nothing more is made then.
    full: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
    restored: u64,
    /// Changes since the last file.
    unsaved: AtomicU64,
    writing: AtomicBool,
    dir: CacheDir,
    pub(super) subject: Vec<u8>,
}

/// Places by picture, and what lies there: a length and as many bytes, never across chunks.
struct Shard {
    places: Vec<u32>,
    chunks: Vec<Vec<u8>>,
}

impl Shard {
    fn find(&self, slot: usize) -> Option<&[u8]> {
        let place = *self.places.get(slot)?;
        if place == NOWHERE {
            return None;
        }
        let chunk = self.chunks.get((place >> CHUNK_BITS) as usize)?;
        let (length, rest) = chunk.get(place as usize & (CHUNK - 1)..)?.split_first_chunk::<PREFIX>()?;
        rest.get(..u32::from_le_bytes(*length) as usize)
    }
}

impl Arena {
    fn shard(&self, id: u64) -> (&RwLock<Shard>, usize) {
        let id = id as usize;
        (&self.shards[id % SHARDS], id / SHARDS)
    }

    /// Passes the packed index of picture `id` on, if there is one.
    pub(super) fn with<T>(&self, id: u64, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let (shard, slot) = self.shard(id);
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        shard.find(slot).map(read)
    }

    /// Keeps a packed index in place of an earlier one; `false` where there is no room.
    pub(super) fn put(&self, id: u64, packed: &[u8]) -> bool {
        let kept = self.try_put(id, packed).is_some();
        if !kept {
            self.full.store(true, Ordering::Relaxed);
        }
        kept
    }

    fn try_put(&self, id: u64, packed: &[u8]) -> Option<()> {
        let length = u32::try_from(packed.len()).ok()?;
        let size = PREFIX + packed.len();
        let (shard, slot) = self.shard(id);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let Shard { places, chunks } = &mut *shard;
        let place = places.get_mut(slot)?;
        let fits = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= size && chunk.len() < CHUNK;
        if !chunks.last().is_some_and(fits) {
            let bytes = size.max(CHUNK);
            let room =
                |taken: u64| taken.checked_add(bytes as u64).filter(|&taken| taken <= self.limit.bytes);
            if chunks.len() as u32 >= NOWHERE >> CHUNK_BITS {
                return None;
            }
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).ok()?;
            chunks.push(Vec::with_capacity(bytes));
        }
        let number = chunks.len() as u32 - 1;
        let chunk = chunks.last_mut()?;
        let was = std::mem::replace(place, (number << CHUNK_BITS) | chunk.len() as u32);
        chunk.extend_from_slice(&length.to_le_bytes());
        chunk.extend_from_slice(packed);
        if was == NOWHERE {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    fn forget(&self, id: u64) {
        let (shard, slot) = self.shard(id);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = shard.places.get_mut(slot)
            && *place != NOWHERE
        {
            *place = NOWHERE;
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Indexes that there are.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn save(&self) {
        self.unsaved.store(0, Ordering::Relaxed);
        sidecar::store(&self.dir, self);
    }
}

impl IndexCache {
    /// The indexes of `pictures` pictures of a set with this fingerprint, in at most `limit` bytes; those that an earlier
    /// run has left in `dir` are there at once.
    #[must_use]
    pub fn open(dir: &CacheDir, fingerprint: u64, pictures: u64, limit: Limit) -> Self {
        let table = pictures.next_multiple_of(SHARDS as u64).saturating_mul(size_of::<u32>() as u64);
        // The table counts, too; where not even that fits, there is none.
        let fits = table <= limit.bytes;
        let places = if fits { pictures.div_ceil(SHARDS as u64) as usize } else { 0 };
        let mut arena = Arena {
            shards: std::array::from_fn(|_| {
                RwLock::new(Shard { places: vec![NOWHERE; places], chunks: Vec::new() })
            }),
            limit,
            spacing: match pictures.saturating_mul(CLOSE_BYTES) <= limit.bytes.min(CLOSE_LIMIT) {
                true => CLOSE,
                false => FAR,
            },
            pictures,
            bytes: AtomicU64::new(if fits { table } else { 0 }),
            count: AtomicU64::new(0),
            full: AtomicBool::new(!fits),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            restored: 0,
            unsaved: AtomicU64::new(0),
            writing: AtomicBool::new(false),
            dir: dir.clone(),
            subject: format!("entropy indexes of {pictures} pictures, {fingerprint:016x}").into_bytes(),
        };
        if fits {
            sidecar::load(dir, &arena);
        }
        arena.restored = arena.count();
        Self { arena: Arc::new(arena), writer: Mutex::new(None), process: std::process::id() }
    }

    /// Facts for the report: (name, value).
    #[must_use]
    pub fn facts(&self) -> Vec<(String, String)> {
        let arena = &*self.arena;
        let number = |value: &AtomicU64| value.load(Ordering::Relaxed).to_string();
        let kept = match arena.dir.file(sidecar::KIND, &arena.subject) {
            Some(path) => path.display().to_string(),
            None => "nowhere: there is no cache directory".to_owned(),
        };
        let mut facts = vec![
            ("cache".to_owned(), "index".to_owned()),
            ("cache hits".to_owned(), number(&arena.hits)),
            ("cache misses".to_owned(), number(&arena.misses)),
            ("cache bytes".to_owned(), number(&arena.bytes)),
            ("cache limit in bytes".to_owned(), arena.limit.describe()),
            ("cache files".to_owned(), number(&arena.count)),
            ("cache files from an earlier run".to_owned(), arena.restored.to_string()),
            ("cache kept in".to_owned(), kept),
        ];
        if arena.stale.load(Ordering::Relaxed) > 0 {
            facts.push(("cache files that changed since".to_owned(), number(&arena.stale)));
        }
        facts
    }

    /// What is to be said where there was no room for every picture.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let full = self.arena.full.load(Ordering::Relaxed);
        full.then(|| {
            "cache=\"index\" is full, and has no room for further pictures; raise memory_budget".into()
        })
    }

    /// Keeps a new index, and the whole arena in a file when that is worth it.
    fn keep(&self, id: u64, packed: &[u8]) {
        let arena = &self.arena;
        if !arena.put(id, packed) {
            return;
        }
        let unsaved = arena.unsaved.fetch_add(1, Ordering::Relaxed) + 1;
        let count = arena.count();
        let worth = unsaved >= WORTH.max(count / 2) || count == arena.pictures;
        if !worth || arena.dir == CacheDir::none() || arena.writing.swap(true, Ordering::Acquire) {
            return;
        }
        let shared = Arc::clone(arena);
        let write = move || {
            shared.save();
            shared.writing.store(false, Ordering::Release);
        };
        match Thread::spawn(ThreadConfig::named("zenith-index"), write) {
            // The one before has ended, or it would still be writing.
            Ok(thread) => {
                drop(self.writer.lock().unwrap_or_else(PoisonError::into_inner).replace(thread));
            }
            // Dropping the cache saves it, too.
            Err(error) => {
                arena.writing.store(false, Ordering::Release);
                tracing::warn!(%error, "cannot start the thread that keeps entropy indexes");
            }
        }
    }
}

impl Drop for IndexCache {
    fn drop(&mut self) {
        // The file is the parent's to write, and the locks may have been another thread's at the fork.
        if self.process != std::process::id() {
            return;
        }
        drop(self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        if self.arena.unsaved.load(Ordering::Relaxed) > 0 {
            self.arena.save();
        }
    }
}

/// One worker's way to decode with the indexes.
pub struct Indexes {
    cache: Arc<IndexCache>,
    index: EntropyIndex,
    packed: Vec<u8>,
}

impl Indexes {
    /// With memory of its own for one index.
    #[must_use]
    pub fn new(cache: Arc<IndexCache>) -> Self {
        Self { cache, index: EntropyIndex::default(), packed: Vec::new() }
    }

    /// As [`ImageDecoder::decode`], of picture `id`: with its index if there is one, else making it on the way.
    ///
    /// # Errors
    /// As [`ImageDecoder::decode`].
    pub fn decode(
        &mut self,
        id: u64,
        decoder: &mut ImageDecoder,
        picture: &Picture<'_>,
        (region, denom): (Region, u8),
        out: &mut PixelBuf,
    ) -> Result<(), ImageError> {
        let arena = &self.cache.arena;
        let found = arena.with(id, |packed| self.index.unpack(packed)).flatten();
        let entropy = match found {
            Some(()) => Entropy::Use(&self.index),
            None if arena.full.load(Ordering::Relaxed) => Entropy::Plain,
            None => Entropy::Make(&mut self.index, arena.spacing),
        };
        let indexed = decoder.decode_with(picture, region, denom, entropy, out)?;
        let counter = match indexed {
            Indexed::Used => &arena.hits,
            _ => &arena.misses,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        match indexed {
            Indexed::Used | Indexed::No => {}
            Indexed::Made => {
                self.packed.clear();
                self.index.pack(&mut self.packed);
                self.cache.keep(id, &self.packed);
            }
            // It is made anew when the picture comes again.
            Indexed::Stale => {
                arena.stale.fetch_add(1, Ordering::Relaxed);
                arena.forget(id);
            }
        }
        Ok(())
    }
}
