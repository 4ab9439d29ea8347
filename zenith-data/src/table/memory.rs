//! Where the bytes of a table live: blocks of our own, or memory that belongs to the caller and is kept alive by an
//! owner. Files are read, never mapped: a mapped file that is cut off meanwhile ends the process by a signal, where a read
//! gives an error. Who wants a mapping makes it himself (`np.load(path, mmap_mode="r")`) and hands its memory over. Knows
//! no rows and no dtypes.
#![expect(unsafe_code, reason = "memory owned by the caller is raw by nature")]

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use zenith_runtime_cpu::allocator::{Block, HostMemory, MemoryError, PagesWanted, SystemMemory};

/// `len` zeroed bytes on pages as large as there are: random row reads are otherwise bound by TLB misses.
pub(crate) fn zeroed(len: usize) -> Result<Block, MemoryError> {
    SystemMemory { pages: PagesWanted::Auto, node: None }.allocate(len)
}

/// A read-only range of bytes and whoever keeps it alive.
#[derive(Clone)]
pub(crate) struct Bytes {
    start: NonNull<u8>,
    len: usize,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the bytes are only read, and the owner that keeps them alive is Send + Sync.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// `len` bytes from `start`, kept alive by `owner`.
    ///
    /// # Safety
    /// The range is readable and not written for as long as `owner` lives.
    pub(crate) unsafe fn new(start: *const u8, len: usize, owner: Arc<dyn Any + Send + Sync>) -> Self {
        let start = NonNull::new(start.cast_mut()).unwrap_or(NonNull::dangling());
        Self { start, len, _owner: owner }
    }

    /// The bytes of something that owns them and neither moves nor changes them.
    pub(crate) fn of<T: AsRef<[u8]> + Send + Sync + 'static>(owner: T) -> Self {
        let owner = Arc::new(owner);
        let (start, len) = {
            let bytes: &[u8] = (*owner).as_ref();
            (bytes.as_ptr(), bytes.len())
        };
        // SAFETY: the slice lies in (or behind) the value in the Arc, which is not handed out mutably.
        unsafe { Self::new(start, len, owner) }
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: by the contract of `new` the range is readable while the owner, held here, lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bytes").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_owner() {
        let first = Bytes::of(vec![1u8, 2, 3, 4]);
        let second = first.clone();
        drop(first);
        assert_eq!(second.as_slice(), [1, 2, 3, 4]);
    }
}
