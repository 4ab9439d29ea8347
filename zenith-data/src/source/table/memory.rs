//! Where the bytes of a table live: blocks of our own, or memory that belongs to the caller and is kept alive by an
//! owner. Files are read, never mapped: a mapped file that is cut off meanwhile ends the process by a signal, where a read
//! gives an error. Who wants a mapping makes it himself (`np.load(path, mmap_mode="r")`) and hands its memory over. Knows
//! no rows and no dtypes.
#![expect(unsafe_code, reason = "memory owned by the caller is raw by nature")]

use std::any::Any;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use zenith_runtime_cpu::allocator::{Block, HostMemory, MemoryError, PagesWanted, SystemMemory};

use crate::{Error, Result};

/// `len` zeroed bytes on pages as large as there are: random row reads are otherwise bound by TLB misses.
pub(crate) fn zeroed(len: usize) -> Result<Block, MemoryError> {
    SystemMemory { pages: PagesWanted::Auto, node: None }.allocate(len)
}

/// `len` zeroed bytes of which only what is touched takes memory.
pub(crate) fn sparse(len: usize) -> Result<Block, MemoryError> {
    SystemMemory { pages: PagesWanted::Heap, node: None }.allocate(len)
}

/// A whole file, as it is now.
pub(crate) fn read_file(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let len = file.metadata().map_err(|error| Error::io(path, error))?.len();
    if len == 0 {
        return Err(Error::source(path, "the file is empty"));
    }
    let mut block = usize::try_from(len)
        .map_err(|_| MemoryError::TooLarge { bytes: usize::MAX })
        .and_then(zeroed)
        .map_err(|error| Error::source(path, format!("the file is read into memory: {error}")))?;
    file.read_exact_at(block.as_mut_slice(), 0).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => {
            Error::source(path, format!("the file shrank while it was read; it had {len} bytes"))
        }
        _ => Error::io(path, error),
    })?;
    Ok(Bytes::of(block))
}

/// A read-only range of bytes and whoever keeps it alive.
#[derive(Clone)]
pub(crate) struct Bytes {
    start: NonNull<u8>,
    len: usize,
    owner: Arc<dyn Any + Send + Sync>,
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
        Self { start, len, owner }
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

    /// The part `from..from + len`.
    ///
    /// # Panics
    /// When the part is not inside.
    pub(crate) fn slice(&self, from: usize, len: usize) -> Self {
        assert!(from.checked_add(len).is_some_and(|end| end <= self.len), "slice outside of the bytes");
        // SAFETY: checked to be inside, and the owner is the same.
        unsafe { Self::new(self.start.as_ptr().add(from), len, Arc::clone(&self.owner)) }
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
    fn a_slice_keeps_its_owner() {
        let whole = Bytes::of(vec![1u8, 2, 3, 4]);
        let part = whole.slice(1, 2);
        drop(whole);
        assert_eq!(part.as_slice(), [2, 3]);
    }

    #[test]
    fn a_file_that_changes_after_it_was_read_changes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let contents: Vec<u8> = (0..300_000).map(|at| (at % 251) as u8).collect();
        std::fs::write(file.path(), &contents).unwrap();
        let bytes = read_file(file.path()).unwrap();
        file.as_file().set_len(0).unwrap();
        assert_eq!(bytes.as_slice(), contents);
    }

    #[test]
    fn an_empty_file_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(read_file(file.path()).unwrap_err().to_string().contains("empty"));
    }
}
