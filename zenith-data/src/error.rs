//! The errors of the data plane. One enum by cause; each carries the path and the place it belongs to.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::transform::custom::Cause;

/// What can go wrong in the data plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source cannot be read as data: missing, empty, of an unknown kind, or contradictory.
    #[error("{}: {reason}", path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what would work.
        reason: String,
    },
    /// A transform that somebody else brought does not work with this source.
    #[error("{transform}: {reason}")]
    Transform {
        /// The transform.
        transform: Blamed,
        /// What is wrong, as a lower-case fragment.
        reason: String,
    },
    /// One sample cannot be turned into a row of a batch.
    #[error(transparent)]
    Sample(#[from] SampleError),
    /// An argument or a combination of arguments makes no sense.
    #[error("{0}")]
    Config(String),
    /// A saved state cannot be used with this loader.
    #[error("cannot resume: {0}")]
    Resume(String),
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The machine layer refused (memory, threads).
    #[error("{0}")]
    Machine(String),
    /// The consumer stopped waiting; the batch is still to come.
    #[error("interrupted while waiting for a batch")]
    Interrupted,
    /// A worker thread panicked; the message is the panic's.
    #[error("a worker panicked: {0}")]
    Panic(String),
}

impl Error {
    /// The path the error belongs to, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Error::Source { path, .. } | Error::Io { path, .. } => Some(path),
            Error::Sample(error) => error.path.as_deref(),
            _ => None,
        }
    }

    /// A source error at `path`.
    pub fn source(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Error::Source { path: path.into(), reason: reason.into() }
    }

    /// A system error at `path`.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }
}

/// Why one sample could not be delivered. With `on_error="skip"` these are counted and listed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct SampleError {
    /// Index of the sample in the source.
    pub sample: u64,
    /// The file it comes from, where there is one.
    pub path: Option<PathBuf>,
    /// Byte offset (or row) inside that file at which the trouble was found, where known.
    pub offset: Option<u64>,
    /// The reason, as a lower-case fragment.
    pub reason: String,
    /// The transform brought by somebody else that is to blame, where one is.
    pub transform: Option<Box<Blamed>>,
}

/// A transform that somebody else brought, and why it is to blame. Shown as its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// Its name.
    pub name: String,
    /// What programs are told of the cause.
    pub cause: Cause,
}

impl fmt::Display for Blamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl SampleError {
    fn text(&self) -> String {
        let mut text = match &self.path {
            Some(path) => format!("{}: ", path.display()),
            None => String::new(),
        };
        if let Some(transform) = &self.transform {
            text.push_str(&transform.name);
            text.push_str(": ");
        }
        text.push_str(&self.reason);
        if let Some(offset) = self.offset {
            text.push_str(&format!(" at offset {offset}"));
        }
        text.push_str(&format!(" (sample {})", self.sample));
        text
    }
}

/// Result of the data plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;
