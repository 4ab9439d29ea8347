//! A file without a disk: a parser that takes a path gets one below `/proc/self/fd`.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};

/// A file in memory whose contents are replaced for every input.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
    path: PathBuf,
}

impl MemoryFile {
    /// An empty file.
    ///
    /// # Errors
    /// The system's.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the name is a C string that outlives the call; no other memory is involved.
        let descriptor = unsafe { libc::memfd_create(c"input".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let file = unsafe { File::from_raw_fd(descriptor) };
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        Ok(Self { file, path })
    }

    /// Replaces the contents. Nothing may still have the old ones mapped.
    ///
    /// # Errors
    /// The system's.
    pub fn set(&mut self, bytes: &[u8]) -> io::Result<&Path> {
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(bytes)?;
        Ok(&self.path)
    }
}
