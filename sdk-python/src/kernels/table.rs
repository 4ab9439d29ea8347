//! What is remembered of earlier calls: from a signature to an entry, bounded, without a list to walk.

use super::signature::Signature;

/// Sets of entries; a power of two.
const SETS: usize = 256;
/// Entries of a set; one more drives the oldest out.
const WAYS: usize = 4;

struct Slot<T> {
    words: Box<[u64]>,
    entry: T,
}

/// A cache of at most `SETS * WAYS` entries.
pub(crate) struct Table<T> {
    slots: Vec<[Option<Slot<T>>; WAYS]>,
    /// Of each set, the way that is overwritten next.
    next: Vec<u8>,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), next: Vec::new() }
    }

    #[inline]
    pub(crate) fn get(&self, signature: &Signature) -> Option<&T> {
        let words = signature.words()?;
        let ways = self.slots.get(signature.hash() as usize % SETS)?;
        ways.iter().flatten().find(|slot| *slot.words == *words).map(|slot| &slot.entry)
    }

    /// Remembers `entry`, and gives back what it drives out.
    pub(crate) fn put(&mut self, signature: &Signature, entry: T) -> Option<T> {
        let Some(words) = signature.words() else { return Some(entry) };
        if self.slots.is_empty() {
            self.slots.resize_with(SETS, || [const { None }; WAYS]);
            self.next.resize(SETS, 0);
        }
        let set = signature.hash() as usize % SETS;
        let known = self.slots[set].iter().position(|slot| slot.as_ref().is_some_and(|s| *s.words == *words));
        let way = known.unwrap_or_else(|| {
            let way = usize::from(self.next[set]);
            self.next[set] = ((way + 1) % WAYS) as u8;
            way
        });
        let slot = Slot { words: words.into(), entry };
        self.slots[set][way].replace(slot).map(|old| old.entry)
    }

    /// Forgets everything, and gives it back.
    pub(crate) fn take(&mut self) -> Vec<T> {
        self.next.clear();
        self.slots.drain(..).flatten().flatten().map(|slot| slot.entry).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten().flatten().map(|slot| &slot.entry)
    }
}
