//! A bounded window of decoded blocks: least recently used ones leave when another must come in, a block is decoded
//! once however many threads ask for it, and one thread decodes ahead of the need. Knows no format.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use crate::{Error, Result};

/// Requests to decode ahead that may wait; more are dropped, they were only hints.
const AHEAD: usize = 64;

/// Decodes a block; the error is the reason its rows cannot be had.
pub(crate) type Decode<V> = Box<dyn Fn(usize) -> std::result::Result<V, Reason> + Send + Sync>;

/// Why a block cannot be had; kept, so that every row of it can be reported.
pub(crate) type Reason = Arc<Error>;

/// The window.
pub(crate) struct BlockCache<V> {
    shared: Arc<Shared<V>>,
    /// Decodes what is hinted at.
    ahead: Thread<()>,
}

struct Shared<V> {
    decode: Decode<V>,
    /// Decoded bytes of every block.
    sizes: Vec<u64>,
    budget: u64,
    state: Mutex<State<V>>,
    changed: Condvar,
    /// The thread that decodes ahead waits here for hints.
    hinted: Condvar,
}

struct State<V> {
    /// Blocks to decode ahead, each once.
    wanted: VecDeque<usize>,
    closing: bool,
    entries: HashMap<usize, Entry<V>>,
    bytes: u64,
    clock: u64,
    decoded: u64,
    hits: u64,
}

enum Entry<V> {
    Coming,
    Here { value: std::result::Result<Arc<V>, Reason>, used: u64 },
}

impl<V: Send + Sync + 'static> BlockCache<V> {
    /// A window of at most `budget` bytes over blocks of `sizes` bytes. `None` is no bound.
    ///
    /// # Errors
    /// When the system refuses the thread that decodes ahead.
    pub(crate) fn new(sizes: Vec<u64>, budget: Option<u64>, decode: Decode<V>) -> Result<Self> {
        let state = State {
            wanted: VecDeque::new(),
            closing: false,
            entries: HashMap::new(),
            bytes: 0,
            clock: 0,
            decoded: 0,
            hits: 0,
        };
        let shared = Arc::new(Shared {
            decode,
            sizes,
            budget: budget.unwrap_or(u64::MAX),
            state: Mutex::new(state),
            changed: Condvar::new(),
            hinted: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let ahead = Thread::spawn(ThreadConfig::named("zenith-blocks"), move || worker.decode_ahead())
            .map_err(|error| Error::Machine(error.to_string()))?;
        Ok(Self { shared, ahead })
    }

    /// The block, decoded now if it is not in the window.
    pub(crate) fn get(&self, block: usize) -> std::result::Result<Arc<V>, Reason> {
        self.shared.get(block)
    }

    /// Asks for blocks to be decoded by the time they are needed.
    pub(crate) fn hint(&self, blocks: impl Iterator<Item = usize>) {
        let mut state = self.shared.lock();
        let before = state.wanted.len();
        for block in blocks {
            if state.wanted.len() < AHEAD
                && !state.entries.contains_key(&block)
                && !state.wanted.contains(&block)
            {
                state.wanted.push_back(block);
            }
        }
        let any = state.wanted.len() > before;
        drop(state);
        if any {
            self.shared.hinted.notify_one();
        }
    }

    /// Decoded bytes of all blocks.
    pub(crate) fn total(&self) -> u64 {
        self.shared.sizes.iter().sum()
    }

    /// Bytes the window may hold.
    pub(crate) fn budget(&self) -> u64 {
        self.shared.budget
    }

    /// Decoded bytes of a block.
    pub(crate) fn size(&self, block: usize) -> u64 {
        self.shared.sizes[block]
    }

    /// Blocks decoded, and reads that found theirs in the window.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.shared.lock();
        (state.decoded, state.hits)
    }
}

impl<V> Drop for BlockCache<V> {
    fn drop(&mut self) {
        // A forked child has no such thread, and the lock may have been another thread's at the fork.
        if self.ahead.is_of_this_process() {
            self.shared.lock().closing = true;
            self.shared.hinted.notify_all();
        }
    }
}

impl<V> std::fmt::Debug for BlockCache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockCache").field("budget", &self.shared.budget).finish_non_exhaustive()
    }
}

impl<V> Shared<V> {
    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of the thread that decodes ahead. It ends before the next block, not behind the last one hinted at.
    fn decode_ahead(&self) {
        loop {
            let mut state = self.lock();
            let block = loop {
                if state.closing {
                    return;
                }
                match state.wanted.pop_front() {
                    Some(block) if state.entries.contains_key(&block) => {}
                    Some(block) => break block,
                    None => state = self.hinted.wait(state).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(state);
            // What it yields is in the window now; the reader that needs it gets the error too.
            drop(self.get(block));
        }
    }

    fn get(&self, block: usize) -> std::result::Result<Arc<V>, Reason> {
        let mut state = self.lock();
        loop {
            state.clock += 1;
            let now = state.clock;
            match state.entries.get_mut(&block) {
                Some(Entry::Here { value, used }) => {
                    *used = now;
                    let value = value.clone();
                    state.hits += 1;
                    return value;
                }
                Some(Entry::Coming) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                None => break,
            }
        }
        state.make_room(&self.sizes, self.sizes[block], self.budget);
        state.bytes += self.sizes[block];
        state.decoded += 1;
        state.entries.insert(block, Entry::Coming);
        drop(state);
        let coming = Coming { shared: self, block };
        let value = (self.decode)(block).map(Arc::new);
        std::mem::forget(coming);
        let mut state = self.lock();
        state.clock += 1;
        let used = state.clock;
        state.entries.insert(block, Entry::Here { value: value.clone(), used });
        drop(state);
        self.changed.notify_all();
        value
    }
}

/// Takes the mark of a block back when its decoder panics, so that nobody waits for it for ever.
struct Coming<'a, V> {
    shared: &'a Shared<V>,
    block: usize,
}

impl<V> Drop for Coming<'_, V> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.entries.remove(&self.block);
        state.bytes -= self.shared.sizes[self.block];
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl<V> State<V> {
    fn make_room(&mut self, sizes: &[u64], size: u64, budget: u64) {
        while self.bytes.saturating_add(size) > budget {
            let oldest = self
                .entries
                .iter()
                .filter_map(|(block, entry)| match entry {
                    Entry::Here { used, .. } => Some((*used, *block)),
                    Entry::Coming => None,
                })
                .min();
            let Some((_, block)) = oldest else { return };
            self.entries.remove(&block);
            self.bytes -= sizes[block];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_window_stays_within_its_budget_and_keeps_the_most_recent() {
        let decoded = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&decoded);
        let decode: Decode<usize> = Box::new(move |block| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(block)
        });
        let cache = BlockCache::new(vec![10; 5], Some(20), decode).unwrap();
        for block in [0, 1, 0, 2, 0, 1] {
            assert_eq!(*cache.get(block).unwrap(), block);
            assert!(cache.shared.lock().bytes <= 20);
        }
        // 0 and 1 come, 2 displaces 1, 1 displaces 2.
        assert_eq!(decoded.load(Ordering::Relaxed), 4);
        assert_eq!(cache.counts(), (4, 2));
    }

    #[test]
    fn a_block_is_decoded_once_however_many_ask() {
        let decoded = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&decoded);
        let decode: Decode<usize> = Box::new(move |block| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            count.fetch_add(1, Ordering::Relaxed);
            Ok(block)
        });
        let cache = BlockCache::new(vec![1; 2], None, decode).unwrap();
        cache.hint([1, 1].into_iter());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(*cache.get(1).unwrap(), 1));
            }
        });
        assert_eq!(decoded.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn closing_waits_for_the_block_in_hand_and_no_other() {
        let (enter, entered) = std::sync::mpsc::channel();
        let (leave, left) = std::sync::mpsc::channel::<()>();
        let (enter, left) = (Mutex::new(enter), Mutex::new(left));
        let decode: Decode<usize> = Box::new(move |block| {
            enter.lock().unwrap().send(block).unwrap();
            left.lock().unwrap().recv().unwrap();
            Ok(block)
        });
        let cache = BlockCache::new(vec![1; 40], None, decode).unwrap();
        cache.hint(0..40);
        assert_eq!(entered.recv().unwrap(), 0);
        cache.hint((0..40).rev());
        let shared = Arc::clone(&cache.shared);
        assert_eq!(shared.lock().wanted, (1..40).collect::<Vec<_>>(), "each block once");
        let closer = std::thread::spawn(move || drop(cache));
        while !shared.lock().closing {
            std::thread::yield_now();
        }
        leave.send(()).unwrap();
        closer.join().unwrap();
        assert_eq!(entered.try_iter().count(), 0, "blocks were decoded for nobody");
        assert_eq!(shared.lock().decoded, 1);
    }

    #[test]
    fn an_error_is_kept_for_every_reader() {
        let decode: Decode<usize> = Box::new(|_| Err(Arc::new(Error::Config("torn".into()))));
        let cache = BlockCache::new(vec![1], None, decode).unwrap();
        assert_eq!(cache.get(0).unwrap_err().to_string(), "torn");
        assert_eq!(cache.get(0).unwrap_err().to_string(), "torn");
    }
}
