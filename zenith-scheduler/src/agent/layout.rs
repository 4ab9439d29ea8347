//! Where an agent keeps what: the names of files below its state folder, and of attempts in them. Touches no disk.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zenith_proto::v1;

/// An attempt of a job: it names one placement for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) job: u64,
    pub(crate) attempt: u32,
}

impl Key {
    /// A number that attempts which one supervisor sees through one after the other do not share. Never 0.
    pub(crate) fn tag(self) -> u32 {
        1 << 31 | (self.job as u32) << 8 >> 1 | self.attempt & 0x7f
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.job, self.attempt)
    }
}

/// A name that is none of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoKey;

impl FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (job, attempt) = text.split_once('.').ok_or(NoKey)?;
        let key = Self { job: job.parse().map_err(|_| NoKey)?, attempt: attempt.parse().map_err(|_| NoKey)? };
        // "+1.01" would be read as the name of another attempt's file.
        if key.to_string() == text { Ok(key) } else { Err(NoKey) }
    }
}

/// The files of one agent.
///
/// `status/` has a file for each attempt that the controller may still want to hear of, all in one folder so that one watch
/// notices every change. It moves into the attempt's folder `runs/<job>.<attempt>/` once its end is acknowledged; that folder
/// has the logs. `spares/` has what is left of forgotten attempts.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn agent_lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    pub(crate) fn nursery_lock(&self) -> PathBuf {
        self.root.join("nursery.lock")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("identity")
    }

    pub(crate) fn statuses(&self) -> PathBuf {
        self.root.join("status")
    }

    pub(crate) fn status(&self, key: Key) -> PathBuf {
        self.root.join(format!("status/{key}"))
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(crate) fn run(&self, key: Key) -> PathBuf {
        self.root.join(format!("runs/{key}"))
    }

    /// Where the status of an attempt lies once its end is acknowledged.
    pub(crate) fn kept_status(&self, key: Key) -> PathBuf {
        self.root.join(format!("runs/{key}/status"))
    }

    pub(crate) fn log(&self, key: Key, rank: u32, stream: v1::Stream) -> PathBuf {
        let ending = if stream == v1::Stream::Stderr { "err" } else { "out" };
        self.root.join(format!("runs/{key}/rank-{rank}.{ending}"))
    }

    /// Files of attempts that are forgotten, for others.
    pub(crate) fn spares(&self) -> PathBuf {
        self.root.join("spares")
    }

    pub(crate) fn spare(&self, number: u64) -> PathBuf {
        self.root.join(format!("spares/{number}"))
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(crate) fn checkpoint(&self, job: u64) -> PathBuf {
        self.root.join(format!("checkpoints/{job}"))
    }

    /// The folder for checkpoints that an attempt has left with nothing in it.
    pub(crate) fn spare_checkpoint(&self, key: Key) -> PathBuf {
        self.root.join(format!("checkpoints/{SPARE}{key}"))
    }
}

/// What the names of folders begin with that are no job's.
const SPARE: &str = "spare-";

/// The attempt that has left a folder of this name.
pub(crate) fn spare_of(name: &str) -> Option<Key> {
    name.strip_prefix(SPARE)?.parse().ok()
}

/// The rank and stream whose log a file of this name is.
pub(crate) fn log_of(name: &str) -> Option<(u32, v1::Stream)> {
    let (rank, ending) = name.strip_prefix("rank-")?.split_once('.')?;
    let stream = match ending {
        "out" => v1::Stream::Stdout,
        "err" => v1::Stream::Stderr,
        _ => return None,
    };
    Some((rank.parse().ok()?, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_nothing_else_is() {
        let key = Key { job: 12, attempt: 3 };
        assert_eq!(key.to_string().parse(), Ok(key));
        for other in ["12", "12.", ".3", "12.3.4", "+12.3", "012.3", "12.-3", "a.b", "12.4294967296"] {
            assert_eq!(other.parse::<Key>(), Err(NoKey), "{other}");
        }
    }

    #[test]
    fn logs_are_known_by_their_names() {
        let layout = Layout::new(Path::new("/s"));
        for stream in [v1::Stream::Stdout, v1::Stream::Stderr] {
            let path = layout.log(Key { job: 1, attempt: 2 }, 7, stream);
            assert_eq!(log_of(path.file_name().unwrap().to_str().unwrap()), Some((7, stream)));
        }
        assert_eq!(log_of("status"), None);
        assert_eq!(log_of("rank-x.out"), None);
    }

    #[test]
    fn a_folder_that_was_left_is_known_by_its_name() {
        let key = Key { job: 1, attempt: 2 };
        let path = Layout::new(Path::new("/s")).spare_checkpoint(key);
        assert_eq!(spare_of(path.file_name().unwrap().to_str().unwrap()), Some(key));
        assert_eq!((spare_of("12"), spare_of("spare-x")), (None, None));
    }
}
