//! Snapshots: the ledger as a file beside the database, which counts from the moment at which it has its name. A disk that is
//! full while one is written harms neither the journal nor the snapshot before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::StoreError;
use crate::core::Ledger;

/// What a snapshot begins with; then the number of events in it, the ledger, and the sum over all of that.
const MAGIC: &[u8; 8] = b"zsnap\0\0\x02";
const EVENTS: usize = size_of::<u64>();
const SUM: usize = 32;

/// After so many bytes a disk is asked what it has left.
const ASKED_AFTER: usize = 256 << 10;

/// The snapshot that belongs to a database.
pub(super) fn file_of(database: &Path) -> PathBuf {
    beside(database, ".snapshot")
}

/// A snapshot that is not finished.
pub(super) fn partial_of(database: &Path) -> PathBuf {
    beside(database, ".snapshot-partial")
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A snapshot that is about to be written.
#[derive(Debug)]
pub struct Snapshotter {
    database: PathBuf,
    ledger: Ledger,
    events: u64,
}

impl Snapshotter {
    pub(super) fn new(database: PathBuf, ledger: Ledger, events: u64) -> Self {
        Self { database, ledger, events }
    }

    /// Writes it, and leaves `spare` bytes of the disk alone. Returns the number of events it stands for.
    ///
    /// # Errors
    /// What the disk says, or that it has no room for one as large as the last; the snapshot before counts on then, and
    /// nothing is left of this one.
    pub fn write(self, spare: u64) -> Result<u64, StoreError> {
        let partial = partial_of(&self.database);
        let written = self.fits(spare).and_then(|()| self.write_to(&partial, spare));
        if written.is_err() {
            remove(&partial)?;
        }
        written.map(|()| self.events)
    }

    fn fits(&self, spare: u64) -> Result<(), StoreError> {
        let last = fs::metadata(file_of(&self.database)).map_or(0, |last| last.len());
        match room(&self.database) {
            Some(room) if room < last.saturating_add(spare) => {
                Err(StoreError::file(&file_of(&self.database), io::ErrorKind::StorageFull.into()))
            }
            _ => Ok(()),
        }
    }

    fn write_to(&self, partial: &Path, spare: u64) -> Result<(), StoreError> {
        let failed = |source| StoreError::file(partial, source);
        remove(partial)?;
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).map_err(failed)?;
        let inner = BufWriter::new(Sparing { file, spare, unasked: 0 });
        let mut out = Summed { inner, sum: Sha256::new(), failed: None };
        out.write_all(MAGIC).and_then(|()| out.write_all(&self.events.to_le_bytes())).map_err(failed)?;
        if let Err(source) = rmp_serde::encode::write_named(&mut out, &self.ledger) {
            return Err(match out.failed {
                Some(kind) => failed(kind.into()),
                None => StoreError::Unwritable { path: partial.to_owned(), source },
            });
        }
        let Summed { mut inner, sum, .. } = out;
        inner.write_all(&sum.finalize()).map_err(failed)?;
        let Sparing { file, .. } = inner.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        let named = file_of(&self.database);
        fs::rename(partial, &named).map_err(failed)?;
        let folder = named.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// Removes what is left of a snapshot that was not finished.
pub(super) fn remove(partial: &Path) -> Result<(), StoreError> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(partial, error)),
        _ => Ok(()),
    }
}

/// The snapshot of a database, and the number of events in it; none where there is none.
pub(super) fn read(database: &Path) -> Result<Option<(Ledger, u64)>, StoreError> {
    let path = file_of(database);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file(&path, error)),
    };
    let damaged = || StoreError::Damaged { path: path.clone() };
    let (content, sum) = bytes.split_last_chunk::<SUM>().ok_or_else(damaged)?;
    if Sha256::digest(content).as_slice() != sum.as_slice() {
        return Err(damaged());
    }
    let (events, ledger) = content
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.split_first_chunk::<EVENTS>())
        .ok_or_else(damaged)?;
    let event = u64::from_le_bytes(*events);
    let unreadable = |source| StoreError::Unreadable { path: path.clone(), event, source };
    Ok(Some((rmp_serde::from_slice(ledger).map_err(unreadable)?, event)))
}

/// Bytes that are left on the disk that holds `path`; none where the system does not say.
pub(crate) fn room(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A file that does not take the last of its disk: the journal would miss it.
struct Sparing {
    file: File,
    spare: u64,
    /// Bytes written since the disk was asked.
    unasked: usize,
}

impl Write for Sparing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unasked >= ASKED_AFTER {
            let stat = rustix::fs::fstatvfs(&self.file)?;
            if stat.f_bavail.saturating_mul(stat.f_frsize) < self.spare {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.unasked = 0;
        }
        let written = self.file.write(bytes)?;
        self.unasked += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Sums up what it writes, and remembers what the disk said: the encoder keeps that to itself.
struct Summed<W> {
    inner: W,
    sum: Sha256,
    failed: Option<io::ErrorKind>,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.inner.write(bytes) {
            Ok(written) => {
                self.sum.update(&bytes[..written]);
                Ok(written)
            }
            Err(error) => {
                self.failed = Some(error.kind());
                Err(error)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
