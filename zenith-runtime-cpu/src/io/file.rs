//! An open file or directory that requests can refer to. Not for reading from directly.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::IoError;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A file or directory held open; clones share the descriptor, which is closed with the last of them. A request in
/// flight holds a clone.
#[derive(Clone, Debug)]
pub struct OpenFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    path: PathBuf,
    direct: bool,
    id: u64,
}

impl OpenFile {
    /// Opens a file for reading through the page cache, or a directory for [`super::FileRef::Within`].
    ///
    /// # Errors
    /// [`IoError::Open`].
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, IoError> {
        Self::with_flags(path.into(), false)
    }

    /// Opens a file for reads that bypass the page cache (`O_DIRECT`). Ranges need no alignment: the reader widens
    /// them to whole blocks and hands out what was asked for.
    ///
    /// # Errors
    /// [`IoError::Open`], with `EINVAL` where the file system has no direct reads.
    pub fn open_direct(path: impl Into<PathBuf>) -> Result<Self, IoError> {
        Self::with_flags(path.into(), true)
    }

    fn with_flags(path: PathBuf, direct: bool) -> Result<Self, IoError> {
        let flags =
            libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY | if direct { libc::O_DIRECT } else { 0 };
        match OpenOptions::new().read(true).custom_flags(flags).open(&path) {
            Ok(file) => {
                let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
                Ok(OpenFile { inner: Arc::new(Inner { file, path, direct, id }) })
            }
            Err(source) => Err(IoError::Open { path, source }),
        }
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Whether reads bypass the page cache.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        self.inner.direct
    }

    pub(super) fn id(&self) -> u64 {
        self.inner.id
    }

    pub(super) fn fd(&self) -> RawFd {
        self.inner.file.as_raw_fd()
    }
}
