//! Snapshots: the ledger in parts of a bounded size, each in a transaction of its own, so that the journal is held up by none
//! for long.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable};

use super::error::StoreError;
use super::{EVENTS, FACTS, PARTS, SNAPSHOT};
use crate::core::Ledger;

/// Bytes of a part.
const PART: usize = 256 << 10;

/// Entries of the journal that are dropped in one transaction.
const DROPPED: usize = 512;

/// A snapshot that is about to be written.
#[derive(Debug)]
pub struct Snapshotter {
    db: Arc<Database>,
    path: PathBuf,
    ledger: Ledger,
    events: u64,
}

impl Snapshotter {
    pub(super) fn new(db: Arc<Database>, path: PathBuf, ledger: Ledger, events: u64) -> Self {
        Self { db, path, ledger, events }
    }

    /// Writes it, and drops what it makes superfluous. Returns the number of events it stands for.
    ///
    /// # Errors
    /// What the disk says; the snapshot before counts on then.
    pub fn write(self) -> Result<u64, StoreError> {
        let bytes = rmp_serde::to_vec_named(&self.ledger)
            .map_err(|source| StoreError::Unwritable { path: self.path.clone(), source })?;
        self.parts(&bytes).map_err(|source| StoreError::new(&self.path, source))?;
        Ok(self.events)
    }

    fn parts(&self, bytes: &[u8]) -> Result<(), redb::Error> {
        for (index, part) in (0..).zip(bytes.chunks(PART)) {
            let mut write = self.db.begin_write()?;
            write.set_durability(Durability::None)?;
            write.open_table(PARTS)?.insert((self.events, index), part)?;
            write.commit()?;
        }
        let write = self.db.begin_write()?;
        write.open_table(FACTS)?.insert(SNAPSHOT, self.events)?;
        write.commit()?;
        self.drop_old()
    }

    fn drop_old(&self) -> Result<(), redb::Error> {
        let mut left = true;
        while left {
            let mut write = self.db.begin_write()?;
            write.set_durability(Durability::None)?;
            left = false;
            {
                let mut events = write.open_table(EVENTS)?;
                let old =
                    events.range(..self.events)?.take(DROPPED).map(|entry| entry.map(|(key, _)| key.value()));
                for key in old.collect::<Result<Vec<_>, _>>()? {
                    events.remove(key)?;
                    left = true;
                }
                let mut parts = write.open_table(PARTS)?;
                let of_others = parts.range(..(self.events, 0))?;
                let old = of_others.take(DROPPED).map(|entry| entry.map(|(key, _)| key.value()));
                for key in old.collect::<Result<Vec<_>, _>>()? {
                    parts.remove(key)?;
                    left = true;
                }
            }
            write.commit()?;
        }
        Ok(())
    }
}

/// The snapshot of so many events; none where there are no parts of it.
pub(super) fn read(db: &Database, events: u64, path: &Path) -> Result<Option<Ledger>, StoreError> {
    let bytes = joined(db, events).map_err(|source| StoreError::new(path, source))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let unreadable = |source| StoreError::Unreadable { path: path.to_owned(), event: events, source };
    rmp_serde::from_slice(&bytes).map(Some).map_err(unreadable)
}

fn joined(db: &Database, events: u64) -> Result<Vec<u8>, redb::Error> {
    let table = db.begin_read()?.open_table(PARTS)?;
    let mut bytes = Vec::new();
    for part in table.range((events, 0)..=(events, u32::MAX))? {
        bytes.extend_from_slice(part?.1.value());
    }
    Ok(bytes)
}
