//! Noticing that supervisors have written something down, or have died: one watch on the folder of status files. A supervisor
//! needs to tell nobody, so nobody has to be there to hear it.
#![expect(unsafe_code, reason = "tokio wants a promise that a registered descriptor stays what it is")]

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};

use super::layout::Key;

/// Bytes of events that are read in one go.
const READ: usize = 8 * 1024;

/// Where events come one upon the other they are read this far apart: an attempt that begins and ends within has one event. Nothing
/// that comes after a while of silence waits.
const DISTANCE: Duration = Duration::from_millis(2);

/// Events that were read at once, or within [`DISTANCE`] of each other, and count as many.
const MANY: usize = 16;

/// What was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// There is news of an attempt.
    News(Key),
    /// Whoever wrote its status has closed it: its supervisor is dead, or is about to be.
    Closed(Key),
    /// So much has happened that some of it was not noticed.
    Lost,
}

/// The watch on a folder.
#[derive(Debug)]
pub(crate) struct Watch {
    source: AsyncFd<OwnedFd>,
    buffer: Box<[MaybeUninit<u8>]>,
    /// When events were read last, how many in a row without a pause, and from when on they are read again.
    last: Instant,
    row: usize,
    from: Instant,
}

impl Watch {
    pub(crate) fn on(folder: &Path) -> io::Result<Self> {
        let source = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ONLYDIR;
        inotify::add_watch(&source, folder, flags)?;
        // SAFETY: the descriptor is open, and stays in the registration, which lends it only for reading.
        let source = unsafe { AsyncFd::register(source) }.map_err(io::Error::from)?;
        let now = Instant::now();
        Ok(Self { source, buffer: vec![MaybeUninit::uninit(); READ].into(), last: now, row: 0, from: now })
    }

    /// What has happened since the last time, each thing once and sorted; waits until something has. Dropping it on the way loses nothing.
    pub(crate) async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let mut ready = self.source.readable().await?;
            if self.from > Instant::now() {
                sleep_until(self.from).await;
            }
            let mut events = Vec::new();
            let mut reader = Reader::new(ready.get_inner(), &mut self.buffer);
            let outcome = loop {
                match reader.next() {
                    Ok(event) => events.extend(read(event.events(), event.file_name())),
                    Err(error) => break error,
                }
                if reader.is_buffer_empty() {
                    break Errno::INTR;
                }
            };
            match outcome {
                Errno::WOULDBLOCK => ready.clear_ready(),
                Errno::INTR => {}
                error => return Err(error.into()),
            }
            if !events.is_empty() {
                let now = Instant::now();
                let in_a_row = if now - self.last <= 2 * DISTANCE { self.row } else { 0 };
                (self.last, self.row) = (now, in_a_row.min(MANY) + events.len());
                self.from = if self.row > MANY { now + DISTANCE } else { now };
                events.sort_unstable();
                events.dedup();
                return Ok(events);
            }
        }
    }
}

fn read(flags: ReadFlags, name: Option<&CStr>) -> Option<Event> {
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Event::Lost);
    }
    let key = name?.to_str().ok()?.parse().ok()?;
    Some(if flags.contains(ReadFlags::CLOSE_WRITE) { Event::Closed(key) } else { Event::News(key) })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_is_written_and_closed_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::on(folder.path()).unwrap();
        let key = Key { job: 3, attempt: 1 };
        let mut file = File::create(folder.path().join("3.1")).unwrap();
        File::create(folder.path().join("other")).unwrap();
        file.write_all(b"a").unwrap();
        file.write_all(b"b").unwrap();
        assert_eq!(watch.next().await.unwrap(), [Event::News(key)]);
        drop(file);
        assert_eq!(watch.next().await.unwrap(), [Event::Closed(key)]);
    }
}
