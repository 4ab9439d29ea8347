//! The memory a read lands in: page-aligned, grown without zeroing, owned by the reader while the read is in flight.
//! Not the slab pool of batches; those are lent per batch, these are recycled per file.
#![expect(unsafe_code, reason = "page-aligned memory that the kernel fills before it is ever read")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::ptr::NonNull;

/// Alignment in bytes of every buffer, and of offset and length of a direct (`O_DIRECT`) read.
pub const ALIGNMENT: usize = 4096;

/// Which entry of which ring's table of registered buffers a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    pub(super) ring: u64,
    pub(super) index: u16,
}

/// The bytes of one completed read, in memory aligned to [`ALIGNMENT`]. Dereferences to what was read.
///
/// Hand it back to the next request to reuse the memory.
pub struct ReadBuffer {
    memory: NonNull<u8>,
    capacity: usize,
    head: usize,
    len: usize,
    registered: Option<Registered>,
}

// SAFETY: the buffer owns its allocation exclusively; no thread-local state is tied to it.
unsafe impl Send for ReadBuffer {}
// SAFETY: shared access only reads bytes that were filled before the reader handed the buffer out.
unsafe impl Sync for ReadBuffer {}

impl ReadBuffer {
    /// An empty buffer that takes no memory until a read needs some.
    #[must_use]
    pub const fn new() -> Self {
        ReadBuffer { memory: NonNull::dangling(), capacity: 0, head: 0, len: 0, registered: None }
    }

    /// A buffer that can take at least `bytes` bytes without growing.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Self::new();
        buffer.reserve(bytes);
        buffer
    }

    /// Bytes it can take without growing.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// What was read.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `fill` promised that `head..head + len` lies in the allocation and is initialised; with `len` 0 the
        // pointer is dangling or in bounds, and aligned for bytes either way.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().wrapping_add(self.head), self.len) }
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.head = 0;
        self.len = 0;
    }

    /// Makes room for `bytes` bytes in all, forgetting what was read.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.clear();
        if bytes > self.capacity {
            *self = Self::allocated(bytes);
        }
    }

    /// Where byte `at` of the memory is; `at` up to the capacity.
    pub(super) fn pointer(&mut self, at: usize) -> *mut u8 {
        assert!(at <= self.capacity, "a read past its buffer");
        self.memory.as_ptr().wrapping_add(at)
    }

    /// States that bytes `head..head + len` hold data.
    ///
    /// # Safety
    /// Those bytes were written, by the kernel or through [`ReadBuffer::pointer`].
    pub(super) unsafe fn fill(&mut self, head: usize, len: usize) {
        assert!(head + len <= self.capacity, "filled past the buffer");
        self.head = head;
        self.len = len;
    }

    /// Holds a copy of `bytes`.
    pub(super) fn copy_from(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        // SAFETY: `reserve` made room for `bytes.len()` bytes in memory that is not part of `bytes`.
        unsafe {
            self.memory.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            self.fill(0, bytes.len());
        }
    }

    pub(super) fn registered(&self) -> Option<Registered> {
        self.registered
    }

    pub(super) fn set_registered(&mut self, registered: Registered) {
        self.registered = Some(registered);
    }

    fn allocated(bytes: usize) -> Self {
        let capacity = rounded(bytes);
        let layout = layout(capacity);
        // SAFETY: `rounded` never gives zero, so the layout has a size.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else {
            handle_alloc_error(layout);
        };
        ReadBuffer { memory, capacity, head: 0, len: 0, registered: None }
    }
}

/// Steps of a quarter of the size's power of two, so that files of similar sizes stop growing a recycled buffer soon
/// and at most a fifth of it is idle.
fn rounded(bytes: usize) -> usize {
    let step = (bytes.max(1).next_power_of_two() / 8).max(4 * ALIGNMENT);
    bytes.max(1).next_multiple_of(step)
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGNMENT).expect("a buffer smaller than half the address space")
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if self.capacity > 0 {
            // SAFETY: `memory` was allocated with this very layout and is freed once.
            unsafe { dealloc(self.memory.as_ptr(), layout(self.capacity)) };
        }
    }
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for ReadBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for ReadBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadBuffer").field("len", &self.len).field("capacity", &self.capacity).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_large_enough() {
        for bytes in [1, 4096, 94_000, 100 * 1024, 1 << 20, 3_000_001] {
            let mut buffer = ReadBuffer::with_capacity(bytes);
            assert_eq!(buffer.pointer(0).addr() % ALIGNMENT, 0);
            assert!(buffer.capacity() >= bytes && buffer.capacity() <= bytes + bytes / 4 + 4 * ALIGNMENT);
        }
    }

    #[test]
    fn an_empty_buffer_is_an_empty_slice() {
        assert_eq!(ReadBuffer::new().as_slice(), b"");
        assert_eq!(ReadBuffer::new().capacity(), 0);
    }

    #[test]
    fn reserving_less_keeps_the_memory_and_forgets_the_bytes() {
        let mut buffer = ReadBuffer::with_capacity(100_000);
        let before = buffer.pointer(0);
        // SAFETY: the first three bytes are written right here.
        unsafe {
            before.copy_from(b"abc".as_ptr(), 3);
            buffer.fill(1, 2);
        }
        assert_eq!(&*buffer, b"bc");
        buffer.reserve(10);
        assert_eq!((buffer.pointer(0), buffer.len()), (before, 0));
    }
}
