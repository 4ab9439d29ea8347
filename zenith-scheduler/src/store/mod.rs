//! What outlives the process: a journal of events and a snapshot of the ledger, in one redb database. Knows no time and no
//! thread; who calls decides when something is written, and may rely on it once the call has returned.
//!
//! An entry of the journal is what one call of [`Store::append`] was given, in MessagePack with the names of fields, so that
//! fields may be added later. A snapshot is written in parts beside the journal's growth, and counts from the moment at which
//! one transaction names it.

mod error;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

pub use self::error::StoreError;
pub use self::snapshot::Snapshotter;

use crate::core::{Core, Event, Ledger};
use crate::policy::Policy;

/// The first event of an entry, counted from 0 over the life of the store, and the entry.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Parts of snapshots, by the number of events in the snapshot and their place in it.
const PARTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("snapshot_parts");
/// `LAYOUT` and `SNAPSHOT`.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");

/// How tables and entries are laid out. A program refuses a store with a layout that it does not know.
const LAYOUT: (&str, u64) = ("layout", 1);
/// The number of events in the snapshot that counts.
const SNAPSHOT: &str = "snapshot";

/// Memory for pages of the database. The journal is written and not read, so little is of use.
const CACHE_BYTES: usize = 2 << 20;

/// What opens the database: a file, or something a test made.
pub type Opener = Box<dyn Fn() -> Result<Database, redb::Error> + Send>;

/// A journal with a snapshot.
pub struct Store {
    opener: Opener,
    /// None only while it is being opened again.
    db: Option<Arc<Database>>,
    path: PathBuf,
    next: u64,
    snapshot: u64,
}

impl Store {
    /// Opens the store at `path`, or makes one, and brings a core to the state that it holds.
    ///
    /// # Errors
    /// A file that cannot be opened, is in use by another process, is damaged, or was written by a newer program.
    pub fn open(path: &Path, policy: Policy) -> Result<(Self, Core), StoreError> {
        let file = path.to_owned();
        let opener = move || Ok(Database::builder().set_cache_size(CACHE_BYTES).create(&file)?);
        Self::open_with(Box::new(opener), path, policy)
    }

    /// The same over whatever `opener` opens; `path` is its name.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(opener: Opener, path: &Path, policy: Policy) -> Result<(Self, Core), StoreError> {
        let mut store = Self { opener, db: None, path: path.to_owned(), next: 0, snapshot: 0 };
        let core = store.reopen(policy)?;
        Ok((store, core))
    }

    /// Closes the database, opens it again, and brings a core to the state that it holds. To be called after
    /// [`Store::append`] has failed, with no snapshot under way.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn reopen(&mut self, policy: Policy) -> Result<Core, StoreError> {
        self.db = None;
        let failed = |source| StoreError::new(&self.path, source);
        let db = (self.opener)().map_err(failed)?;
        prepare(&db).map_err(failed)?;
        let (layout, snapshot) = facts(&db).map_err(failed)?;
        if layout != LAYOUT.1 {
            return Err(StoreError::Layout { path: self.path.clone(), found: layout, known: LAYOUT.1 });
        }
        let (core, next) = recover(&db, snapshot, policy, &self.path)?;
        (self.db, self.next, self.snapshot) = (Some(Arc::new(db)), next, snapshot);
        Ok(core)
    }

    /// Writes events down, all of them or none. They are on disk when this returns.
    ///
    /// # Errors
    /// What the disk says. All of the events were written then or none: [`Store::reopen`] finds out which, and has to come next.
    pub fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let entry = rmp_serde::to_vec_named(events).map_err(|source| self.unwritable(source))?;
        let written = self.db().and_then(|db| write(db, self.next, &entry));
        written.map_err(|source| StoreError::new(&self.path, source))?;
        self.next += events.len() as u64;
        Ok(())
    }

    /// Events that were ever written.
    pub fn events(&self) -> u64 {
        self.next
    }

    /// Events that are in the journal and not in a snapshot.
    pub fn since_snapshot(&self) -> u64 {
        self.next - self.snapshot
    }

    /// What writes a snapshot of the present state, on whatever thread.
    ///
    /// `ledger` has to be the state after the last event that was appended.
    ///
    /// # Errors
    /// A store that is not open.
    pub fn snapshotter(&self, ledger: Ledger) -> Result<Snapshotter, StoreError> {
        let db = self.db().map_err(|source| StoreError::new(&self.path, source))?;
        Ok(Snapshotter::new(Arc::clone(db), self.path.clone(), ledger, self.next))
    }

    /// Takes note of a snapshot that was written.
    pub fn snapshot_written(&mut self, events: u64) {
        self.snapshot = self.snapshot.max(events);
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn db(&self) -> Result<&Arc<Database>, redb::Error> {
        self.db.as_ref().ok_or(redb::Error::DatabaseClosed)
    }

    fn unwritable(&self, source: rmp_serde::encode::Error) -> StoreError {
        StoreError::Unwritable { path: self.path.clone(), source }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, next, snapshot, .. } = self;
        f.debug_struct("Store").field("path", path).field("next", next).field("snapshot", snapshot).finish()
    }
}

fn write(db: &Database, first: u64, entry: &[u8]) -> Result<(), redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    {
        write.open_table(EVENTS)?.insert(first, entry)?;
    }
    write.commit()?;
    Ok(())
}

/// Makes the tables of a new store.
fn prepare(db: &Database) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        write.open_table(EVENTS)?;
        write.open_table(PARTS)?;
        let mut facts = write.open_table(FACTS)?;
        let is_new = facts.get(LAYOUT.0)?.is_none();
        if is_new {
            facts.insert(LAYOUT.0, LAYOUT.1)?;
            facts.insert(SNAPSHOT, 0)?;
        }
    }
    write.commit()?;
    Ok(())
}

fn facts(db: &Database) -> Result<(u64, u64), redb::Error> {
    let facts = db.begin_read()?.open_table(FACTS)?;
    let fact = |name: &str| Ok::<_, redb::Error>(facts.get(name)?.map_or(0, |fact| fact.value()));
    Ok((fact(LAYOUT.0)?, fact(SNAPSHOT)?))
}

/// The core as snapshot and journal have it, and the number of the next event.
fn recover(db: &Database, snapshot: u64, policy: Policy, path: &Path) -> Result<(Core, u64), StoreError> {
    let failed = |source| StoreError::new(path, source);
    let contradicts = |source| StoreError::Contradiction { path: path.to_owned(), source };
    let mut core = match snapshot::read(db, snapshot, path)? {
        Some(ledger) => Core::restore(ledger, policy).map_err(contradicts)?,
        None => Core::new(policy),
    };
    let read = db.begin_read().map_err(|e| failed(e.into()))?;
    let table = read.open_table(EVENTS).map_err(|e| failed(e.into()))?;
    let mut next = snapshot;
    for entry in table.range(snapshot..).map_err(|e| failed(e.into()))? {
        let (first, entry) = entry.map_err(|e| failed(e.into()))?;
        let unreadable =
            |source| StoreError::Unreadable { path: path.to_owned(), event: first.value(), source };
        let events: Vec<Event> = rmp_serde::from_slice(entry.value()).map_err(unreadable)?;
        core.replay(&events).map_err(contradicts)?;
        next = first.value() + events.len() as u64;
    }
    Ok((core, next))
}
