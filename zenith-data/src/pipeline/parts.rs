//! What became of the slots of a batch in which a filter drops samples or a splitter makes several of one: which slots
//! hold none or more than one, and the memory that the further ones lie in until they are packed into full batches.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that the further parts of split samples may take before nobody makes more of them except for the batch that
/// the consumer waits for.
pub(super) const SPILL_BYTES: usize = 256 << 20;
/// Buffers that are kept for reuse, and the largest that is.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 8 << 20;

/// The memory of split samples' further parts; one for each pipeline.
#[derive(Debug, Default)]
pub(super) struct Spill {
    used: AtomicUsize,
    free: Mutex<Vec<Vec<u8>>>,
}

impl Spill {
    /// Whether enough lies here already.
    pub(super) fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= SPILL_BYTES
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The further parts of one split sample. Their memory is counted, and goes back for reuse when they are dropped.
#[derive(Debug)]
struct More {
    bytes: Vec<u8>,
    spill: Arc<Spill>,
}

impl Drop for More {
    fn drop(&mut self) {
        self.spill.used.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        let mut bytes = std::mem::take(&mut self.bytes);
        if bytes.capacity() <= KEPT_BYTES && bytes.capacity() > 0 {
            bytes.clear();
            let mut free = self.spill.free();
            if free.len() < KEPT {
                free.push(bytes);
            }
        }
    }
}

/// A slot that does not hold exactly one sample.
#[derive(Debug)]
pub(super) struct Became {
    pub(super) slot: usize,
    /// Samples that became of it: 0, or more than one.
    pub(super) count: usize,
    /// The field that the further parts have of their own.
    pub(super) field: usize,
    more: Option<More>,
}

impl Became {
    /// The further parts' values of [`Became::field`], one behind the other.
    pub(super) fn more(&self) -> &[u8] {
        self.more.as_ref().map_or(&[], |more| &more.bytes)
    }
}

/// The slots of one batch that do not hold exactly one sample.
#[derive(Debug)]
pub(super) struct Parts {
    spill: Arc<Spill>,
    became: Mutex<Vec<Became>>,
}

impl Parts {
    pub(super) fn new(spill: &Arc<Spill>) -> Self {
        Self { spill: Arc::clone(spill), became: Mutex::new(Vec::new()) }
    }

    /// Notes what became of a slot; takes over the bytes in `more` and leaves an empty buffer.
    pub(super) fn note(&self, slot: usize, count: usize, field: usize, more: &mut Vec<u8>) {
        let more = (!more.is_empty()).then(|| {
            let empty = self.spill.free().pop().unwrap_or_default();
            let bytes = std::mem::replace(more, empty);
            self.spill.used.fetch_add(bytes.len(), Ordering::Relaxed);
            More { bytes, spill: Arc::clone(&self.spill) }
        });
        let mut became = self.became.lock().unwrap_or_else(PoisonError::into_inner);
        became.push(Became { slot, count, field, more });
    }

    /// Everything noted, in no order.
    pub(super) fn take(&self) -> Vec<Became> {
        std::mem::take(&mut *self.became.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_while_it_is_held_and_used_again_afterwards() {
        let spill = Arc::new(Spill::default());
        let parts = Parts::new(&spill);
        let mut more = vec![7; 1000];
        let address = more.as_ptr();
        parts.note(3, 2, 0, &mut more);
        assert!(more.is_empty());
        parts.note(4, 0, 0, &mut more);
        assert_eq!(spill.used.load(Ordering::Relaxed), 1000);
        let became = parts.take();
        assert_eq!((became[0].more(), became[1].more()), (&[7; 1000][..], &[][..]));
        drop(became);
        assert_eq!(spill.used.load(Ordering::Relaxed), 0);
        more = vec![1];
        parts.note(5, 2, 0, &mut more);
        assert_eq!(more.as_ptr(), address, "the buffer was not used again");
    }
}
