//! The agent's side of the nursery: starts it, passes starts on without ever waiting for it, notices when it is dead.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use prost::Message;
use tokio::io::Interest;
use tokio::net::UnixStream;
use zenith_proto::v1;

use super::config::TOKEN_VARIABLE;
use super::error::Error;
use super::nursery::{Settings, frame};

/// A nursery that runs.
#[derive(Debug)]
pub(crate) struct Launcher {
    child: Child,
    /// Gone once we are leaving.
    stream: Option<UnixStream>,
    /// What it has not taken yet. What bounds the attempts that are not begun bounds this.
    backlog: VecDeque<u8>,
}

impl Launcher {
    pub(crate) fn start(program: &[OsString], settings: &Settings) -> Result<Self, Error> {
        let failed = |source| {
            let words: Vec<_> = program.iter().map(|word| word.to_string_lossy()).collect();
            Error::Nursery { program: words.join(" "), source }
        };
        let start = || -> io::Result<Self> {
            let (name, arguments) =
                program.split_first().ok_or_else(|| io::Error::other("no program is configured"))?;
            let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
            ours.set_nonblocking(true)?;
            let stream = UnixStream::from_std(ours)?;
            let child = Command::new(name)
                .args(arguments)
                .env_remove(TOKEN_VARIABLE)
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null())
                .spawn()?;
            let mut launcher = Self { child, stream: Some(stream), backlog: VecDeque::new() };
            let settings = serde_json::to_vec(settings).map_err(io::Error::other)?;
            launcher.say(&settings);
            Ok(launcher)
        };
        start().map_err(failed)
    }

    /// Has an attempt started. What comes of it is in its status file.
    pub(crate) fn launch(&mut self, start: &v1::Start) {
        self.say(&start.encode_to_vec());
    }

    fn say(&mut self, content: &[u8]) {
        self.backlog.extend(frame(content));
        // One that is dead is noticed by `ended`.
        let _ = self.flush();
    }

    /// Passes on what there is room for.
    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        while !self.backlog.is_empty() {
            match stream.try_write(self.backlog.as_slices().0) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the nursery is dead, and passes on meanwhile what it had no room for. May be dropped and called again.
    pub(crate) async fn ended(&mut self) {
        loop {
            let Some(stream) = &self.stream else { return };
            let interest = if self.backlog.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            let Ok(ready) = stream.ready(interest).await else { return };
            if ready.is_readable() {
                // It never says anything: there is something to read when it is over.
                match stream.try_read(&mut [0; 1]) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    _ => return,
                }
            }
            // A dead one may be found out by writing before there is word of its end, which would not come while we try again.
            if ready.is_writable() && self.flush().is_err() {
                return;
            }
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // It starts what it was told to, and ends when it sees that we are gone.
        drop(self.stream.take());
        if let Err(error) = self.child.wait() {
            tracing::warn!(%error, "the nursery could not be waited for");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nursery::plan::Machine;
    use super::*;

    #[tokio::test]
    async fn a_nursery_that_is_found_dead_by_writing_has_ended() {
        let settings = Settings {
            state: "/nowhere".into(),
            machine: Machine::default(),
            log_part: 1,
            groups: Err(String::new()),
            notes: Vec::new(),
        };
        let mut launcher = Launcher::start(&["true".into()], &settings).unwrap();
        // Nothing has turned the runtime over meanwhile, so there is no word of its end yet.
        launcher.child.wait().unwrap();
        launcher.launch(&v1::Start::default());
        launcher.ended().await;
    }
}
