//! Where the bytes of a table live: an exact-size anonymous mapping advised to use huge pages, or memory that belongs to
//! the caller and is kept alive by an owner. Files are never mapped: one that shrank would end the process. Knows no
//! rows and no dtypes.
#![expect(unsafe_code, reason = "mappings, and memory owned by the caller, are raw by nature")]

use std::any::Any;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::{Error, Result};

/// Size of a transparent huge page on x86-64 and AArch64 with 4 KiB pages.
const HUGE_PAGE: usize = 2 << 20;

/// A private mapping that is unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain memory owned by this value; nothing about it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: shared access only reads (`as_slice`, `start` hands out a pointer whose writers must have exclusive claims).
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` zeroed bytes. From 2 MiB on the mapping starts on a huge-page boundary and asks for huge pages: random
    /// row reads are otherwise bound by TLB misses.
    pub(crate) fn zeroed(len: usize) -> Result<Self> {
        let huge = len >= HUGE_PAGE;
        let slack = if huge { HUGE_PAGE } else { 0 };
        let want = len.max(1).next_multiple_of(4096);
        let raw = map(
            want + slack,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
        )
        .map_err(|error| Error::Machine(format!("cannot map {len} bytes for a table: {error}")))?;
        let address = raw.as_ptr() as usize;
        let head = if huge { address.next_multiple_of(HUGE_PAGE) - address } else { 0 };
        let tail = slack - head;
        // SAFETY: `raw` is a fresh mapping of want + slack bytes; head + want + tail is exactly that, so both trims stay
        // inside it and outside the kept part; the advice only concerns the kept part.
        unsafe {
            let kept = raw.add(head);
            if head > 0 {
                libc::munmap(raw.as_ptr().cast(), head);
            }
            if tail > 0 {
                libc::munmap(kept.add(want).as_ptr().cast(), tail);
            }
            if huge {
                libc::madvise(kept.as_ptr().cast(), want, libc::MADV_HUGEPAGE);
            }
            Ok(Self { start: kept, len: want })
        }
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// All bytes.
    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: the mapping is readable and initialised (with zeroes at first) for `len` bytes while `self` lives.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// All bytes, to be written.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the mapping is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped and kept; nobody uses it behind the owner's end.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}

fn map(len: usize, protection: i32, flags: i32, fd: i32) -> std::io::Result<NonNull<u8>> {
    // SAFETY: asks for a fresh range chosen by the kernel; no existing memory is touched.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(std::io::Error::last_os_error)
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

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
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
    fn a_large_mapping_is_aligned_zeroed_and_exact() {
        let mapping = Mapping::zeroed(3 * HUGE_PAGE + 5).unwrap();
        assert_eq!(mapping.start().as_ptr() as usize % HUGE_PAGE, 0);
        assert_eq!(mapping.len, 3 * HUGE_PAGE + 4096);
        assert!(mapping.as_slice().iter().all(|b| *b == 0));
    }

    #[test]
    fn bytes_keep_their_owner() {
        let first = Bytes::of(vec![1u8, 2, 3, 4]);
        let second = first.clone();
        drop(first);
        assert_eq!(second.as_slice(), [1, 2, 3, 4]);
    }
}
