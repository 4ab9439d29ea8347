//! What can go wrong in a read, with the file and the place. Not the reaction to it: retries live in `task`.

use std::io;
use std::path::{Path, PathBuf};

/// Why a read did not give its bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The file could not be opened.
    #[error("{}: cannot open: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused to say what the file is.
    #[error("{}: cannot stat: {source}", path.display())]
    Stat {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Reading failed.
    #[error("{}: cannot read at offset {offset}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Offset in bytes at which the failed read began.
        offset: u64,
        /// The system's error.
        source: io::Error,
    },
    /// The file ended before the bytes that were asked for, or that it had when it was opened.
    #[error("{}: the file ends at byte {found}, {expected} were expected", path.display())]
    Ended {
        /// The file.
        path: PathBuf,
        /// Where it ends now, in bytes.
        found: u64,
        /// Where the read was to end, in bytes.
        expected: u64,
    },
    /// The file is larger than the reader may load whole.
    #[error("{}: {size} bytes, more than the limit of {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The path names something other than a regular file.
    #[error("{}: {found}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is, such as "a directory".
        found: &'static str,
    },
    /// The request was cancelled before its bytes arrived.
    #[error("{}: the read was cancelled", path.display())]
    Cancelled {
        /// The file.
        path: PathBuf,
    },
    /// No request with this tag is waiting.
    #[error("no read with tag {tag} was requested")]
    NotRequested {
        /// The tag.
        tag: u64,
    },
    /// The reader belongs to the process that made it; a forked child must make its own.
    #[error("this reader was made before the process forked; make a new one in the child")]
    Forked,
    /// A facility of the kernel could not be had.
    #[error("{what}: {source}")]
    Setup {
        /// The facility.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

impl IoError {
    /// The file, where the error has one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            IoError::Open { path, .. }
            | IoError::Stat { path, .. }
            | IoError::Read { path, .. }
            | IoError::Ended { path, .. }
            | IoError::TooLarge { path, .. }
            | IoError::NotAFile { path, .. }
            | IoError::Cancelled { path } => Some(path),
            IoError::NotRequested { .. } | IoError::Forked | IoError::Setup { .. } => None,
        }
    }

    /// The byte offset in the file at which it happened, where there is one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            IoError::Read { offset, .. } => Some(*offset),
            IoError::Ended { found, .. } => Some(*found),
            _ => None,
        }
    }

    /// The system's error, where it is the cause.
    #[must_use]
    pub fn system(&self) -> Option<&io::Error> {
        match self {
            IoError::Open { source, .. }
            | IoError::Stat { source, .. }
            | IoError::Read { source, .. }
            | IoError::Setup { source, .. } => Some(source),
            _ => None,
        }
    }
}
