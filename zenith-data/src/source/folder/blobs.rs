//! The bytes of a folder's files: opened relative to the root, checked to be ordinary files, read whole. It does not
//! look into them.
#![expect(unsafe_code, reason = "openat has no safe wrapper in the standard library")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::FolderIndex;
use crate::source::blobs::{BlobReader, Blobs};
use crate::{Error, Result};

/// Files larger than this are refused rather than read into memory.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Files opened ahead of their reading, per reader.
const AHEAD: usize = 16;

/// The files of a [`FolderIndex`]. One descriptor for the root, however many readers there are, and at most sixteen
/// more per reader.
#[derive(Clone, Debug)]
pub struct FolderBlobs {
    index: Arc<FolderIndex>,
    root: Arc<OwnedFd>,
}

impl FolderBlobs {
    /// The files of `index`.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub fn new(index: FolderIndex) -> Result<Self> {
        let root = File::open(index.root()).map_err(|source| Error::io(index.root(), source))?;
        Ok(Self {
            index: Arc::new(index),
            root: Arc::new(root.into()),
        })
    }

    /// The index of the files.
    #[must_use]
    pub fn index(&self) -> &FolderIndex {
        &self.index
    }
}

impl Blobs for FolderBlobs {
    fn len(&self) -> u64 {
        self.index.len()
    }

    fn reader(&self) -> Result<Box<dyn BlobReader>> {
        Ok(Box::new(FolderReader {
            blobs: self.clone(),
            path: Vec::new(),
            ahead: VecDeque::with_capacity(AHEAD),
        }))
    }

    fn path(&self, id: u64) -> Option<PathBuf> {
        self.index.path(id)
    }

    fn label(&self, id: u64) -> Option<i64> {
        self.index.class(id).map(i64::from)
    }

    fn labelled(&self) -> bool {
        !self.index.class_names().is_empty()
    }

    fn classes(&self) -> Option<&[String]> {
        self.labelled().then(|| self.index.class_names())
    }

    fn fingerprint(&self) -> u64 {
        self.index.fingerprint()
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.index.facts().to_vec()
    }
}

/// Reads files with ordinary system calls, and asks the kernel to bring those that come next.
struct FolderReader {
    blobs: FolderBlobs,
    path: Vec<u8>,
    ahead: VecDeque<(u64, File, u64)>,
}

impl FolderReader {
    /// Opens file `id` and says how long it is.
    fn open(&mut self, id: u64) -> io::Result<(File, u64)> {
        self.blobs.index.relative(id, &mut self.path);
        debug_assert_eq!(self.path.last(), Some(&0));
        // Without O_NONBLOCK the opening of a FIFO would wait for a writer for ever.
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        let fd = loop {
            // SAFETY: `path` ends with a NUL (the index keeps names so), and lives until the call returns.
            let fd = unsafe { libc::openat(self.blobs.root.as_raw_fd(), self.path.as_ptr().cast(), flags) };
            if fd >= 0 {
                break fd;
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::NotFound => {
                    return Err(io::Error::new(
                        io::ErrorKind::NotFound,
                        "the file is gone, or is a link to nothing",
                    ));
                }
                _ => return Err(error),
            }
        };
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        let file = unsafe { File::from_raw_fd(fd) };
        let about = file.metadata()?;
        let kind = about.file_type();
        let refuse = |what: &str| {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("this is {what}, not a file"),
            ))
        };
        if kind.is_file() {
            Ok((file, about.len()))
        } else if kind.is_dir() {
            refuse("a directory")
        } else if kind.is_fifo() {
            refuse("a FIFO")
        } else if kind.is_socket() {
            refuse("a socket")
        } else {
            refuse("a device")
        }
    }
}

impl BlobReader for FolderReader {
    fn read<'a>(&'a mut self, id: u64, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        let opened = self.ahead.iter().position(|(ahead, ..)| *ahead == id);
        let (file, length) = match opened.and_then(|at| self.ahead.remove(at)) {
            Some((_, file, length)) => (file, length),
            None => self.open(id)?,
        };
        if length > MAX_FILE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the file has {length} bytes, more than the limit of {MAX_FILE_BYTES}"),
            ));
        }
        scratch.clear();
        scratch.reserve(usize::try_from(length).unwrap_or(0));
        // Bounded by the length, the reading ends without one more call that only finds the end.
        let got = (&file).take(length).read_to_end(scratch)? as u64;
        if got < length {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file shrank while it was read: {got} of {length} bytes are left"),
            ));
        }
        Ok(scratch)
    }

    fn read_ahead(&mut self, ids: &[u64]) {
        let ids = &ids[..ids.len().min(AHEAD)];
        self.ahead.retain(|(ahead, ..)| ids.contains(ahead));
        for &id in ids {
            if self.ahead.iter().any(|(ahead, ..)| *ahead == id) {
                continue;
            }
            // Trouble shows again, and is reported, when the file is read.
            if let Ok((file, length)) = self.open(id) {
                // SAFETY: the descriptor is open; the call only gives the kernel a hint.
                unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_WILLNEED) };
                self.ahead.push_back((id, file, length));
            }
        }
    }
}
