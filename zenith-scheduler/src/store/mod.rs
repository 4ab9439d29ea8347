//! What outlives the process: a journal of events in a redb database, and a snapshot of the ledger beside it. Knows no time and no
//! thread; who calls decides when something is written, and may rely on it once the call has returned.
//!
//! An entry of the journal is what one call of [`Store::append`] was given, in MessagePack with the names of fields, so that
//! fields may be added later. A snapshot is a file of its own; what it makes superfluous leaves the journal with later entries.

mod error;
mod snapshot;

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError};

pub use self::error::StoreError;
pub use self::snapshot::Snapshotter;
pub(crate) use self::snapshot::room;

use self::snapshot::{file_of, partial_of};
use crate::core::{Core, Event, Ledger};
use crate::policy::Policy;

/// The first event of an entry, counted from 0 over the life of the store, and the entry.
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Parts of a snapshot in the first layout, by the number of events in it and their place in it.
const PARTS: TableDefinition<'_, (u64, u32), &[u8]> = TableDefinition::new("snapshot_parts");
/// `LAYOUT`, `SNAPSHOT` and `DROPPED`.
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");

/// How tables and entries are laid out. A program refuses a store with a layout that it does not know.
/// Since 2 the snapshot is a file, and gangs have their place to meet in the journal.
const LAYOUT: (&str, u64) = ("layout", 2);
/// The oldest layout that is read; it is made the present one then.
const OLDEST: u64 = 1;
/// The number of events in the snapshot of the first layout.
const SNAPSHOT: &str = "snapshot";
/// Events before this one are in the snapshot, and perhaps not in the journal.
const DROPPED: &str = "dropped";
/// Entries that leave the journal with a new one at most: it is to be no slower for it.
const DROPPED_AT_ONCE: usize = 32;

/// Memory for pages of the database. The journal is written and not read, so little is of use.
const CACHE_BYTES: usize = 2 << 20;

/// What opens the database: a file, or something a test made.
pub type Opener = Box<dyn Fn() -> Result<Database, redb::Error> + Send>;

/// A journal with a snapshot.
pub struct Store {
    opener: Opener,
    /// None only while it is being opened again.
    db: Option<Database>,
    path: PathBuf,
    next: u64,
    snapshot: u64,
    /// The journal may have entries that the snapshot makes superfluous.
    has_old: bool,
}

impl Store {
    /// Opens the store at `path`, or makes one, and brings a core to the state that it holds.
    ///
    /// # Errors
    /// A file that cannot be opened, is in use by another process, is damaged, lacks its snapshot, or was written by a newer
    /// program.
    pub fn open(path: &Path, policy: Policy) -> Result<(Self, Core), StoreError> {
        let file = path.to_owned();
        let opener = move || {
            let file = private(&file).map_err(redb::Error::Io)?;
            Ok(Database::builder()
                .set_cache_size(CACHE_BYTES)
                .create_with_backend(FileBackend::new(file)?)?)
        };
        Self::open_with(Box::new(opener), path, policy)
    }

    /// The same over whatever `opener` opens; `path` is its name.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_with(opener: Opener, path: &Path, policy: Policy) -> Result<(Self, Core), StoreError> {
        let mut store = Self { opener, db: None, path: path.to_owned(), next: 0, snapshot: 0, has_old: true };
        let core = store.reopen(policy)?;
        Ok((store, core))
    }

    /// Closes the database, opens it again, and brings a core to the state that it holds. To be called after
    /// [`Store::append`] has failed.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn reopen(&mut self, policy: Policy) -> Result<Core, StoreError> {
        self.db = None;
        let failed = |source| StoreError::new(&self.path, source);
        let db = (self.opener)().map_err(failed)?;
        let layout = layout(&db).map_err(failed)?;
        if let Some(found) = layout.filter(|found| !(OLDEST..=LAYOUT.1).contains(found)) {
            return Err(StoreError::Layout { path: self.path.clone(), found, known: LAYOUT.1 });
        }
        if layout.is_none() && file_of(&self.path).exists() {
            return Err(StoreError::Alone { path: self.path.clone(), snapshot: file_of(&self.path) });
        }
        if layout != Some(LAYOUT.1) {
            prepare(&db).map_err(failed)?;
        }
        let (core, snapshot, next) = recover(&db, policy, &self.path)?;
        (self.db, self.next, self.snapshot, self.has_old) = (Some(db), next, snapshot, true);
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
        let old = if self.has_old { self.snapshot } else { 0 };
        let written = self.db().and_then(|db| write(db, self.next, &entry, old));
        self.has_old &= written.map_err(|source| StoreError::new(&self.path, source))?;
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

    /// What writes a snapshot of the present state, on whatever thread; one at a time.
    ///
    /// `ledger` has to be the state after the last event that was appended.
    pub fn snapshotter(&self, ledger: Ledger) -> Snapshotter {
        Snapshotter::new(self.path.clone(), ledger, self.next)
    }

    /// Takes note of a snapshot that was written.
    pub fn snapshot_written(&mut self, events: u64) {
        self.snapshot = self.snapshot.max(events);
        self.has_old = true;
    }

    /// Where the store is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn db(&self) -> Result<&Database, redb::Error> {
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

/// A file that is this user's alone: whoever reads it knows what jobs were given as their environment.
fn private(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Writes an entry, and drops some of those before `old`. True where there may be more of them.
fn write(db: &Database, first: u64, entry: &[u8], old: u64) -> Result<bool, redb::Error> {
    let mut write = db.begin_write()?;
    write.set_durability(Durability::Immediate)?;
    let mut has_more = false;
    {
        let mut events = write.open_table(EVENTS)?;
        events.insert(first, entry)?;
        if old > 0 {
            let keys =
                events.range(..old)?.take(DROPPED_AT_ONCE).map(|entry| entry.map(|(key, _)| key.value()));
            for key in keys.collect::<Result<Vec<_>, _>>()? {
                events.remove(key)?;
                has_more = true;
            }
            let mut parts = write.open_table(PARTS)?;
            let part = parts.first()?.map(|(key, _)| key.value());
            if let Some(key) = part.filter(|(events, _)| *events <= old) {
                parts.remove(key)?;
                has_more = true;
            }
            if has_more {
                write.open_table(FACTS)?.insert(DROPPED, old)?;
            }
        }
    }
    write.commit()?;
    Ok(has_more)
}

/// Makes the tables of a new store, or an old one a store of the present layout.
fn prepare(db: &Database) -> Result<(), redb::Error> {
    let write = db.begin_write()?;
    {
        write.open_table(EVENTS)?;
        write.open_table(PARTS)?;
        write.open_table(FACTS)?.insert(LAYOUT.0, LAYOUT.1)?;
    }
    write.commit()?;
    Ok(())
}

/// The layout of a store; none where it is new.
fn layout(db: &Database) -> Result<Option<u64>, redb::Error> {
    match db.begin_read()?.open_table(FACTS) {
        Ok(facts) => Ok(facts.get(LAYOUT.0)?.map(|layout| layout.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The core as snapshot and journal have it, the number of events in the snapshot, and that of the next event.
fn recover(db: &Database, policy: Policy, path: &Path) -> Result<(Core, u64, u64), StoreError> {
    let failed = |source| StoreError::new(path, source);
    let contradicts = |source| StoreError::Contradiction { path: path.to_owned(), source };
    let missing =
        |found, needed| StoreError::Missing { path: path.to_owned(), snapshot: file_of(path), found, needed };
    snapshot::remove(&partial_of(path))?;
    let (named, dropped) = facts(db).map_err(failed)?;
    let known = match snapshot::read(path)? {
        Some(known) => Some(known),
        None => joined(db, named, path)?.map(|ledger| (ledger, named)),
    };
    let (mut core, snapshot) = match known {
        Some((ledger, events)) => (Core::restore(ledger, policy).map_err(contradicts)?, events),
        None => (Core::new(policy), 0),
    };
    if snapshot < dropped {
        return Err(missing(snapshot, dropped));
    }
    let read = db.begin_read().map_err(|e| failed(e.into()))?;
    let table = read.open_table(EVENTS).map_err(|e| failed(e.into()))?;
    let mut next = snapshot;
    for entry in table.range(snapshot..).map_err(|e| failed(e.into()))? {
        let (first, entry) = entry.map_err(|e| failed(e.into()))?;
        if first.value() != next {
            return Err(missing(next, first.value()));
        }
        let unreadable =
            |source| StoreError::Unreadable { path: path.to_owned(), event: first.value(), source };
        let events: Vec<Event> = rmp_serde::from_slice(entry.value()).map_err(unreadable)?;
        core.replay(&events).map_err(contradicts)?;
        next = first.value() + events.len() as u64;
    }
    Ok((core, snapshot, next))
}

/// The events in the snapshot of the first layout, and those that the journal need not have.
fn facts(db: &Database) -> Result<(u64, u64), redb::Error> {
    let facts = db.begin_read()?.open_table(FACTS)?;
    let fact = |name: &str| Ok::<_, redb::Error>(facts.get(name)?.map_or(0, |fact| fact.value()));
    Ok((fact(SNAPSHOT)?, fact(DROPPED)?))
}

/// The snapshot of the first layout; none where there are no parts of it.
fn joined(db: &Database, events: u64, path: &Path) -> Result<Option<Ledger>, StoreError> {
    let read = || {
        let table = db.begin_read()?.open_table(PARTS)?;
        let mut bytes = Vec::new();
        for part in table.range((events, 0)..=(events, u32::MAX))? {
            bytes.extend_from_slice(part?.1.value());
        }
        Ok(bytes)
    };
    let bytes: Vec<u8> = read().map_err(|source| StoreError::new(path, source))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let unreadable = |source| StoreError::Unreadable { path: path.to_owned(), event: events, source };
    rmp_serde::from_slice(&bytes).map(Some).map_err(unreadable)
}
