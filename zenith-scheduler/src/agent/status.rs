//! The status file of an attempt: whose it is, whether its supervisor lives, and what happened. One lock answers the first
//! two: whoever holds it and finds the file empty may claim the attempt by the first record; while it is held the supervisor
//! is alive, whatever has become of process numbers.
//!
//! The agent makes the file, once, when it takes a start in. Who is to begin an attempt never makes it: where there is none the
//! attempt is over, however late the start comes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
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
    /// Somebody has it, or had it: it may be over and put away.
    Taken,
}

/// Makes the status file of an attempt that may be begun from now on. False where there is one already.
pub(crate) fn offer(path: &Path) -> io::Result<bool> {
    // Opened for reading, so that closing it is no news to the watch.
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match open(path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Status {
    /// Takes an attempt that was offered and that nobody has begun. Whoever gets it writes [`Record::Begun`] or [`Record::Gone`]
    /// before anything else.
    pub(crate) fn claim(path: &Path) -> io::Result<Claim> {
        for _ in 0..GLANCES {
            let file = match OpenOptions::new().read(true).append(true).open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Taken),
                Err(error) => return Err(error),
            };
            let is_locked = lock_at(&file, path)?;
            if file.metadata()?.len() > 0 {
                break;
            }
            if is_locked {
                return Ok(Claim::Ours(Self { file, torn: false }));
            }
            drop(file);
            // Whoever has it may have wanted no more than to know whether somebody had it.
            std::thread::sleep(GLANCE);
        }
        Ok(Claim::Taken)
    }

    /// Takes over an attempt whose supervisor is dead. None while it lives.
    pub(crate) fn inherit(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        // It may have died within a record.
        Ok(lock_at(&file, path)?.then_some(Self { file, torn: true }))
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
        let is_end = got < text.len() - have;
        text.truncate(have + got);
        if is_end {
            break;
        }
    }
    let (found, taken) = records(&text);
    Ok((found, offset + taken as u64))
}

/// Takes the lock of a file that was opened at a path. False where another one holds it, and where the path leads to another
/// file or to none by now: nobody would read what is written into this one.
fn lock_at(file: &File, path: &Path) -> io::Result<bool> {
    if !try_lock(file)? {
        return Ok(false);
    }
    let ours = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
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
        assert!(offer(&path).unwrap());
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
        assert!(offer(&path).unwrap());
        drop(Status::claim(&path).unwrap());
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Ours(_)));
    }

    #[test]
    fn what_was_put_away_is_not_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, kept) = (folder.path().join("1.1"), folder.path().join("kept"));
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Taken), "nobody offered it");
        assert!(offer(&path).unwrap());
        assert!(!offer(&path).unwrap(), "it is offered once");
        std::fs::rename(&path, kept).unwrap();
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Taken));
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_is_not_at_its_path_is_nobodys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.1");
        assert!(offer(&path).unwrap());
        let unlinked = File::open(&path).unwrap();
        assert!(lock_at(&unlinked, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!lock_at(&unlinked, &path).unwrap(), "there is none");
        assert!(offer(&path).unwrap());
        assert!(!lock_at(&unlinked, &path).unwrap(), "there is another");
        assert!(matches!(Status::claim(&path).unwrap(), Claim::Ours(_)));
    }

    #[test]
    fn news_go_on_where_they_ended_and_an_heir_mends_the_tear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.1");
        assert!(offer(&path).unwrap());
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
