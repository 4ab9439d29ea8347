//! Logs that stay small while programs write to them as they please: the oldest part of the file is given back to the file
//! system, and offsets stay what they were. Nothing runs while nobody writes, and a writer notices nothing.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::fs::{FallocateFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

/// How often a log is looked at that grows, and one that does not. What a program writes between two looks comes on top of
/// the limit.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(2);

/// Parts begin at multiples of this, so that whole blocks of every file system are given back.
const GRAIN: u64 = 64 * 1024;

/// A log and how much of it is gone.
#[derive(Debug)]
pub(super) struct Log {
    file: File,
    size: u64,
    dropped: u64,
    /// Bytes that it takes on disk, when it was looked at last.
    kept: u64,
}

/// The logs of an attempt.
#[derive(Debug)]
pub(super) struct Rotation {
    logs: Vec<Log>,
    part: u64,
    pause: Duration,
}

impl Rotation {
    pub(super) fn new(part: u64) -> Self {
        Self { logs: Vec::new(), part: part.max(GRAIN), pause: SOON }
    }

    pub(super) fn add(&mut self, file: File) {
        self.logs.push(Log { file, size: 0, dropped: 0, kept: 0 });
    }

    /// Looks at every log once and says when to look again.
    pub(super) fn turn(&mut self) -> Duration {
        let mut grows = false;
        for log in &mut self.logs {
            // A log that cannot be cut goes on to grow; the agent has said so before it started anything.
            grows |= log.turn(self.part).unwrap_or(false);
        }
        self.pause = if grows { SOON } else { (self.pause * 2).min(LATE) };
        self.pause
    }

    /// Bytes that all logs took on disk in the last turn.
    pub(super) fn kept(&self) -> u64 {
        self.logs.iter().map(|log| log.kept).sum()
    }
}

impl Log {
    fn turn(&mut self, part: u64) -> io::Result<bool> {
        let is = self.file.metadata()?;
        let size = is.len();
        let grows = size != self.size;
        (self.size, self.kept) = (size, on_disk(&is));
        if size - self.dropped.min(size) > 2 * part {
            let upto = (size - part) / GRAIN * GRAIN;
            give_back(&self.file, upto)?;
            self.dropped = upto;
            self.kept = on_disk(&self.file.metadata()?);
        }
        Ok(grows)
    }
}

fn on_disk(is: &Metadata) -> u64 {
    is.blocks() * 512
}

fn give_back(file: &File, upto: u64) -> rustix::io::Result<()> {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, upto)
}

/// Bytes at the beginning of a log that were given back.
pub(crate) fn dropped(file: &File) -> u64 {
    match seek(file, SeekFrom::Data(0)) {
        Ok(first) => first,
        // Nothing but holes, or nothing at all: the beginning is where the end is.
        Err(Errno::NXIO) => file.metadata().map_or(0, |data| data.len()),
        Err(_) => 0,
    }
}

/// Whether the file system that a file is on can give back the beginning of one.
pub(crate) fn check(file: &File) -> io::Result<()> {
    Ok(give_back(file, GRAIN)?)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_log_keeps_its_end_and_its_offsets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = File::options().create(true).append(true).open(&path).unwrap();
        let mut rotation = Rotation::new(GRAIN);
        rotation.add(writer.try_clone().unwrap());
        let line = |number: u64| format!("{number:>15}\n");
        for number in 0..50_000 {
            writer.write_all(line(number).as_bytes()).unwrap();
            if number % 1_000 == 0 {
                rotation.turn();
            }
        }
        rotation.turn();
        let reader = File::open(&path).unwrap();
        let size = reader.metadata().unwrap().len();
        assert_eq!(size, 50_000 * 16);
        let first = dropped(&reader);
        assert!(first > 0 && first.is_multiple_of(GRAIN) && size - first <= 2 * GRAIN, "{first} of {size}");
        assert_eq!(rotation.kept(), reader.metadata().unwrap().blocks() * 512);
        assert!(reader.metadata().unwrap().blocks() * 512 <= 2 * GRAIN + 64 * 1024);
        let mut kept = vec![0; (size - first) as usize];
        reader.read_exact_at(&mut kept, first).unwrap();
        let expected: String = (first / 16..50_000).map(line).collect();
        assert_eq!(kept, expected.as_bytes());
    }

    #[test]
    fn a_log_that_nobody_writes_is_looked_at_less_and_less() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut rotation = Rotation::new(GRAIN);
        rotation.add(file.try_clone().unwrap());
        let pauses: Vec<Duration> = (0..8).map(|_| rotation.turn()).collect();
        assert_eq!(pauses[7], LATE);
        assert!(pauses.is_sorted());
        file.write_all(b"x").unwrap();
        assert_eq!(rotation.turn(), SOON);
    }
}
