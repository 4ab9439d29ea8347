//! Why the store could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

use crate::core;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk is full.
    #[error("{}: the disk is full", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// Another process has it open.
    #[error("{}: another scheduler uses this state; stop it, or name another folder with --state", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The database could not be read or written.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What the database says.
        source: Box<redb::Error>,
    },
    /// It was laid out by another program.
    #[error("{}: layout {found}; this program knows {known}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The layout of the file.
        found: u64,
        /// The layout of this program.
        known: u64,
    },
    /// An entry of the journal or a snapshot makes no sense.
    #[error("{}: event {event} cannot be read, perhaps because a newer program wrote it: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The first event of the entry, or the number of events in the snapshot.
        event: u64,
        /// What is wrong with it.
        source: rmp_serde::decode::Error,
    },
    /// An entry could not be put into bytes.
    #[error("{}: {source}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rmp_serde::encode::Error,
    },
    /// A snapshot is not what was written.
    #[error("{}: the snapshot is damaged; put a copy of it back, with the database as it was then", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// There is a snapshot and no database.
    #[error(
        "{}: a snapshot without its database, {}; put that back from the same copy, or remove the snapshot to begin anew",
        snapshot.display(), path.display()
    )]
    Alone {
        /// The database.
        path: PathBuf,
        /// The snapshot.
        snapshot: PathBuf,
    },
    /// The journal does not begin where the snapshot ends.
    #[error(
        "{}: the events from {found} to {needed} are missing; the database and the snapshot beside it ({}) belong together: \
         put both back from the same copy",
        path.display(), snapshot.display()
    )]
    Missing {
        /// The database.
        path: PathBuf,
        /// The snapshot.
        snapshot: PathBuf,
        /// Events that are known from the snapshot, or from the journal so far.
        found: u64,
        /// The first event after those that are missing.
        needed: u64,
    },
    /// There is no thread for it.
    #[error("{}: no thread: {source}", path.display())]
    Thread {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The journal says what cannot have happened.
    #[error("{}: {source}", path.display())]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// What.
        source: core::Error,
    },
}

impl StoreError {
    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        Self::new(path, redb::Error::Io(source))
    }

    pub(super) fn new(path: &Path, source: redb::Error) -> Self {
        let path = path.to_owned();
        let is_full = |kind: io::ErrorKind| {
            matches!(
                kind,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            )
        };
        match &source {
            redb::Error::DatabaseAlreadyOpen => Self::InUse { path },
            redb::Error::Io(error) if is_full(error.kind()) => Self::Full { path, source: Box::new(source) },
            _ => Self::Database { path, source: Box::new(source) },
        }
    }
}
