//! The status file of an attempt: whose it is, whether its supervisor lives, and what happened. One lock answers the first
//! two: whoever holds it and finds the file empty may claim the attempt by the first record; while it is held the supervisor
//! is alive, whatever has become of process numbers.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::record::{Record, records};

/// Bytes of news that are read in one go.
const READ: usize = 64 * 1024;

/// How long a lock may be held by somebody who only looks, in parts of which each is one try.
const GLANCE: Duration = Duration::from_millis(1);
const GLANCES: u32 = 20;

/// A status file that is ours to write.
#[derive(Debug)]
pub(crate) struct Status {
    file: File,
    torn: bool,
}

/// What became of an attempt to claim.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is ours.
    Ours(Status),
    /// Somebody has it, or had it.
    Taken,
}

impl Status {
    /// Takes an attempt that nobody has begun. Whoever gets it writes [`Record::Begun`] or [`Record::Gone`] before anything else.
    pub(crate) fn claim(path: &Path) -> io::Result<Claim> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        for _ in 0..GLANCES {
            let is_locked = try_lock(&file)?;
            if file.metadata()?.len() > 0 {
                break;
            }
            if is_locked {
                return Ok(Claim::Ours(Self { file, torn: false }));
            }
            // Whoever has it may have wanted no more than to know whether somebody had it.
            std::thread::sleep(GLANCE);
        }
        Ok(Claim::Taken)
    }

    /// Takes over an attempt whose supervisor is dead. None while it lives.
    pub(crate) fn inherit(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        // It may have died within a record.
        Ok(try_lock(&file)?.then_some(Self { file, torn: true }))
    }

    /// Writes records down. After an error some of them may have been written: writing all of them again is harmless.
    pub(crate) fn append(&mut self, news: &[Record]) -> io::Result<()> {
        let mut text = String::with_capacity(64 * news.len());
        if self.torn {
            text.push('\n');
        }
        for record in news {
            use std::fmt::Write;
            // A String takes everything.
            let _ = writeln!(text, "{record}");
        }
        self.torn = true;
        self.file.write_all(text.as_bytes())?;
        self.torn = false;
        Ok(())
    }
}

/// Whether nobody holds the lock of a status file.
pub(crate) fn is_orphaned(path: &Path) -> io::Result<bool> {
    try_lock(&File::open(path)?)
}

/// The records from `offset` on, and where the next ones will be.
pub(crate) fn news(path: &Path, offset: u64) -> io::Result<(Vec<Record>, u64)> {
    let file = File::open(path)?;
    let mut text = Vec::new();
    loop {
        let have = text.len();
        text.resize(have + READ.min(512 + 4 * have), 0);
        let got = file.read_at(&mut text[have..], offset + have as u64)?;
        text.truncate(have + got);
        if got == 0 {
            break;
        }
    }
    let (found, taken) = records(&text);
    Ok((found, offset + taken as u64))
}

/// Takes a lock that lives as long as the file is open; false where another one holds it.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_claimed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.1");
        let Claim::Ours(mut first) = Status::claim(&path).unwrap() else { panic!("nobody else is here") };
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Taken), "the lock is held");
        first.append(&[Record::Gone]).unwrap();
        assert!(!is_orphaned(&path).unwrap());
        drop(first);
        assert!(is_orphaned(&path).unwrap());
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Taken), "it was begun");
    }

    #[test]
    fn one_who_claimed_and_wrote_nothing_has_begun_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.1");
        drop(Status::claim(&path).unwrap());
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Ours(_)));
    }

    #[test]
    fn news_go_on_where_they_ended_and_an_heir_mends_the_tear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.1");
        let started = |rank| Record::Started { rank, pid: 9 };
        let Claim::Ours(mut status) = Status::claim(&path).unwrap() else { panic!("nobody else is here") };
        status.append(&[started(0)]).unwrap();
        let (first, offset) = news(&path, 0).unwrap();
        assert_eq!(first, [started(0)]);
        status.file.write_all(b"started 1").unwrap();
        assert_eq!(news(&path, offset).unwrap(), (vec![], offset));
        assert!(Status::inherit(&path).unwrap().is_none());
        drop(status);
        let mut heir = Status::inherit(&path).unwrap().unwrap();
        heir.append(&[started(2), Record::Gone]).unwrap();
        let (second, end) = news(&path, offset).unwrap();
        assert_eq!(second, [started(2), Record::Gone]);
        assert_eq!(news(&path, end).unwrap().0, []);
    }
}
