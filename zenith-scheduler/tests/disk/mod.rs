//! A disk for tests that can be full.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use redb::{Database, StorageBackend};
use zenith_scheduler::store::Opener;

/// A disk that can be full, and that tears what is written when it becomes so.
#[derive(Debug)]
struct Disk {
    file: redb::backends::FileBackend,
    /// Bytes that may still be written.
    budget: Arc<AtomicI64>,
    closed: AtomicBool,
}

impl Disk {
    fn spend(&self, bytes: usize) -> Result<(), Error> {
        let bytes = i64::try_from(bytes).unwrap();
        if self.budget.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        if len > self.file.len()? {
            self.spend(0)?;
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        if let Err(error) = self.spend(data.len()) {
            self.file.write(offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), Error> {
        assert!(!self.closed.swap(true, Ordering::Relaxed));
        self.file.close()
    }
}

/// Opens a store on a disk with so much room.
pub(crate) fn limited(path: &Path, budget: &Arc<AtomicI64>) -> Opener {
    let (path, budget) = (path.to_owned(), Arc::clone(budget));
    Box::new(move || {
        let file =
            std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = redb::backends::FileBackend::new(file?)?;
        let disk = Disk { file, budget: Arc::clone(&budget), closed: AtomicBool::new(false) };
        Ok(Database::builder().create_with_backend(disk)?)
    })
}
