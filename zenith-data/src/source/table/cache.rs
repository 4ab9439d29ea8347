//! A bounded window of decoded blocks: least recently used ones leave when another must come in, a block is decoded
//! once however many threads ask for it, and one thread decodes ahead of the need. Knows no format.
//!
//! A block that a reader holds does not leave, and room is taken before a block is decoded: what is decoded and what is
//! being decoded never exceed the budget together. Only readers that hold no block wait for room, so those that hold some
//! always go on and give them back.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
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
    /// Processes that share the budget.
    readers: AtomicU64,
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
    Here { value: std::result::Result<Arc<V>, Reason>, readers: usize, used: u64 },
}

/// A block in the hands of a reader. As long as there is one, the block stays in the window.
pub(crate) struct Held<V> {
    value: Arc<V>,
    /// Behind the value: a reader that is no longer counted has let go of it.
    _reader: Reader<V>,
}

impl<V> std::ops::Deref for Held<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.value
    }
}

/// Counted in the entry of the block.
struct Reader<V> {
    block: usize,
    window: Arc<Shared<V>>,
}

impl<V> Drop for Reader<V> {
    fn drop(&mut self) {
        let mut state = self.window.lock();
        if let Some(Entry::Here { readers, .. }) = state.entries.get_mut(&self.block) {
            *readers -= 1;
            if *readers == 0 {
                drop(state);
                self.window.changed.notify_all();
            }
        }
    }
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
            readers: AtomicU64::new(1),
            state: Mutex::new(state),
            changed: Condvar::new(),
            hinted: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let ahead = Thread::spawn(ThreadConfig::named("zenith-blocks"), move || worker.decode_ahead())
            .map_err(|error| Error::Machine(error.to_string()))?;
        Ok(Self { shared, ahead })
    }

    /// The block, decoded now if it is not in the window. Waits for room; the caller must hold no other block.
    pub(crate) fn get(&self, block: usize) -> std::result::Result<Held<V>, Reason> {
        self.shared.get(block)
    }

    /// The block, decoded now if it is not in the window; `None` where there is no room for it just now.
    pub(crate) fn get_if_room(&self, block: usize) -> Option<std::result::Result<Held<V>, Reason>> {
        self.shared.find(block, false)
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

    /// How many processes can share the budget so that each of them has room for its largest block, and for the
    /// `mixed` bytes whose blocks the order goes through at a time.
    pub(crate) fn readers(&self, mixed: u64) -> u64 {
        let largest = self.shared.sizes.iter().copied().max().unwrap_or(0);
        (self.shared.budget / mixed.max(largest).max(1)).max(1)
    }

    /// From here on this process takes its part of a budget that `readers` share.
    pub(crate) fn share(&self, readers: u64) {
        self.shared.readers.store(readers.max(1), Ordering::Relaxed);
    }

    /// Bytes the window may hold, over all processes that share it.
    pub(crate) fn budget(&self) -> u64 {
        self.shared.budget
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
    fn decode_ahead(self: &Arc<Self>) {
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
            // What it yields is in the window now; the reader that needs it gets the error too. Without room, the reader
            // will have to decode it.
            drop(self.find(block, false));
        }
    }

    fn get(self: &Arc<Self>, block: usize) -> std::result::Result<Held<V>, Reason> {
        match self.find(block, true) {
            Some(value) => value,
            None => unreachable!("waited for room"),
        }
    }

    /// The block; `None` where there is no room for it and `wait` is false.
    fn find(self: &Arc<Self>, block: usize, wait: bool) -> Option<std::result::Result<Held<V>, Reason>> {
        let size = self.sizes[block];
        let budget = self.budget / self.readers.load(Ordering::Relaxed);
        let mut state = self.lock();
        loop {
            state.clock += 1;
            let now = state.clock;
            // Alone, a block may be larger than the budget.
            let fits = state.bytes == 0 || state.bytes.saturating_add(size) <= budget;
            match state.entries.get_mut(&block) {
                Some(Entry::Here { value, readers, used }) => {
                    *used = now;
                    let value = value.clone();
                    *readers += usize::from(value.is_ok());
                    state.hits += 1;
                    return Some(value.map(|value| self.held(block, value)));
                }
                Some(Entry::Coming) => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                None if fits => break,
                None => {
                    let over = state.bytes.saturating_add(size).saturating_sub(budget);
                    let (leaving, freed) = state.leave(&self.sizes, over);
                    if !leaving.is_empty() {
                        // Large memory is given back without the lock, and before anybody may take as much.
                        drop(state);
                        drop(leaving);
                        state = self.lock();
                        state.bytes -= freed;
                        self.changed.notify_all();
                    } else if wait {
                        state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                    } else {
                        return None;
                    }
                }
            }
        }
        state.bytes += size;
        state.decoded += 1;
        state.entries.insert(block, Entry::Coming);
        drop(state);
        let coming = Coming { shared: self, block };
        let value = (self.decode)(block).map(Arc::new);
        std::mem::forget(coming);
        let mut state = self.lock();
        state.clock += 1;
        let used = state.clock;
        if value.is_err() {
            state.bytes -= size;
        }
        let readers = usize::from(value.is_ok());
        state.entries.insert(block, Entry::Here { value: value.clone(), readers, used });
        drop(state);
        self.changed.notify_all();
        Some(value.map(|value| self.held(block, value)))
    }

    /// The block for one of its counted readers.
    fn held(self: &Arc<Self>, block: usize, value: Arc<V>) -> Held<V> {
        Held { value, _reader: Reader { block, window: Arc::clone(self) } }
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
    /// Takes out of the window what was not used for longest and nobody holds, until that makes `bytes`; and how many it
    /// makes, which count until they are dropped.
    fn leave(&mut self, sizes: &[u64], bytes: u64) -> (Vec<Arc<V>>, u64) {
        let (mut leaving, mut freed) = (Vec::new(), 0);
        while freed < bytes {
            let idle = self.entries.iter().filter_map(|(block, entry)| match entry {
                Entry::Here { value: Ok(_), readers: 0, used } => Some((*used, *block)),
                Entry::Here { .. } | Entry::Coming => None,
            });
            let Some((_, block)) = idle.min() else { break };
            if let Some(Entry::Here { value: Ok(value), .. }) = self.entries.remove(&block) {
                freed += sizes[block];
                leaving.push(value);
            }
        }
        (leaving, freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

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
    fn processes_that_share_the_budget_have_a_part_of_it_each() {
        let cache = |sizes| BlockCache::<usize>::new(sizes, Some(40), Box::new(Ok)).unwrap();
        assert_eq!(cache(vec![10, 30]).readers(20), 1);
        let cache = cache(vec![10; 8]);
        assert_eq!((cache.readers(20), cache.readers(10), cache.readers(0)), (2, 4, 4));
        cache.share(2);
        for block in [0, 1, 2, 3, 4] {
            assert_eq!(*cache.get(block).unwrap(), block);
            assert!(cache.shared.lock().bytes <= 20);
        }
        assert_eq!(cache.budget(), 40, "which decides the order");
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
    fn what_readers_hold_counts_and_only_readers_that_hold_nothing_wait() {
        let decode: Decode<usize> = Box::new(Ok);
        let cache = BlockCache::new(vec![10; 5], Some(20), decode).unwrap();
        let held = [cache.get(0).unwrap(), cache.get(1).unwrap()];
        assert!(cache.get_if_room(2).is_none(), "both are held");
        assert_eq!(cache.counts().0, 2, "and nothing was thrown out or decoded for it");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| *cache.get(2).unwrap());
            let [first, second] = held;
            assert_eq!(*cache.get_if_room(1).unwrap().unwrap(), 1, "still there");
            drop(first);
            assert_eq!(waiting.join().unwrap(), 2);
            assert_eq!(cache.shared.lock().bytes, 20);
            drop(second);
        });
        assert_eq!(*cache.get_if_room(3).unwrap().unwrap(), 3);
        assert_eq!(cache.shared.lock().bytes, 20);
    }

    #[test]
    fn many_readers_never_exceed_the_budget_nor_wait_for_each_other_for_ever() {
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        /// Counts the blocks that exist.
        struct Block(usize, Arc<AtomicUsize>);
        impl Drop for Block {
            fn drop(&mut self) {
                self.1.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let (count, peak) = (Arc::clone(&now), Arc::clone(&most));
        let decode: Decode<Block> = Box::new(move |block| {
            peak.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            Ok(Block(block, Arc::clone(&count)))
        });
        let cache = BlockCache::new(vec![1; 12], Some(3), decode).unwrap();
        std::thread::scope(|scope| {
            for reader in 0..4usize {
                let cache = &cache;
                scope.spawn(move || {
                    for round in 0..300 {
                        let wanted = |nth: usize| (round * 7 + reader * 5 + nth * 3) % 12;
                        let mut held = vec![cache.get(wanted(0)).unwrap()];
                        held.extend(
                            (1..3).map_while(|nth| cache.get_if_room(wanted(nth)).transpose().unwrap()),
                        );
                        for (nth, block) in held.iter().enumerate() {
                            assert_eq!(block.0, wanted(nth));
                        }
                        cache.hint(std::iter::once(wanted(3)));
                    }
                });
            }
        });
        drop(cache);
        assert!(most.load(Ordering::SeqCst) <= 3, "{most:?} blocks at once");
        assert_eq!(now.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_block_that_cannot_be_had_takes_no_room() {
        let decode: Decode<usize> = Box::new(|_| Err(Arc::new(Error::Config("torn".into()))));
        let cache = BlockCache::new(vec![10; 3], Some(10), decode).unwrap();
        assert!((0..3).all(|block| cache.get_if_room(block).unwrap().is_err()));
        assert_eq!(cache.shared.lock().bytes, 0);
    }

    #[test]
    fn an_error_is_kept_for_every_reader() {
        let decode: Decode<usize> = Box::new(|_| Err(Arc::new(Error::Config("torn".into()))));
        let cache = BlockCache::new(vec![1], None, decode).unwrap();
        assert_eq!(cache.get(0).err().unwrap().to_string(), "torn");
        assert_eq!(cache.get(0).err().unwrap().to_string(), "torn");
    }
}
