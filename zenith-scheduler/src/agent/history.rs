//! Which attempts that are over are kept, with their logs: the newest so many, of so many bytes, for so long. Touches no disk.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use super::config::Keep;
use super::layout::Key;

/// An attempt that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ended {
    /// When.
    pub(crate) at: SystemTime,
    pub(crate) key: Key,
    /// Its supervisor saw it through, so that none of its processes can be left.
    pub(crate) is_whole: bool,
    /// What its logs take on disk.
    pub(crate) bytes: u64,
}

/// Attempts that are over, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    ended: VecDeque<Ended>,
    /// What all of their logs take.
    bytes: u64,
}

impl History {
    /// Takes over what earlier agents have left.
    pub(crate) fn new(mut found: Vec<Ended>) -> Self {
        found.sort_unstable();
        Self { bytes: found.iter().map(|ended| ended.bytes).sum(), ended: found.into() }
    }

    pub(crate) fn add(&mut self, ended: Ended) {
        self.bytes += ended.bytes;
        self.ended.push_back(ended);
    }

    /// The attempts that are to be forgotten now.
    pub(crate) fn outdated(&mut self, now: SystemTime, keep: Keep) -> Vec<Ended> {
        let mut outdated = Vec::new();
        while let Some(ended) = self.ended.front() {
            // A clock that was set back makes nothing old.
            let age = now.duration_since(ended.at).unwrap_or(Duration::ZERO);
            if self.ended.len() <= keep.attempts && self.bytes <= keep.bytes && age <= keep.age {
                break;
            }
            self.bytes -= ended.bytes;
            outdated.push(*ended);
            self.ended.pop_front();
        }
        outdated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_by_number_and_by_age() {
        let second = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let ended = |s, job| Ended { at: second(s), key: Key { job, attempt: 1 }, is_whole: true, bytes: 0 };
        let mut history = History::new(vec![ended(2, 2), ended(1, 1)]);
        history.add(ended(50, 3));
        let keep = Keep { attempts: 2, bytes: 0, age: Duration::from_secs(60) };
        assert_eq!(history.outdated(second(0), keep), [ended(1, 1)]);
        assert_eq!(history.outdated(second(62), keep), []);
        assert_eq!(history.outdated(second(63), keep), [ended(2, 2)]);
        assert_eq!(history.outdated(second(1_000), keep), [ended(50, 3)]);
        assert_eq!(history.outdated(second(1_000), keep), []);
    }

    #[test]
    fn the_oldest_go_where_all_take_too_much() {
        let at = SystemTime::UNIX_EPOCH;
        let ended = |job, bytes| Ended { at, key: Key { job, attempt: 1 }, is_whole: true, bytes };
        let mut history = History::new(vec![ended(1, 10), ended(2, 10)]);
        let keep = Keep { bytes: 25, ..Keep::default() };
        assert_eq!(history.outdated(at, keep), []);
        history.add(ended(3, 6));
        assert_eq!(history.outdated(at, keep), [ended(1, 10)]);
        history.add(ended(4, 30));
        assert_eq!(history.outdated(at, keep), [ended(2, 10), ended(3, 6), ended(4, 30)], "even the newest");
        assert_eq!(history.bytes, 0);
    }
}
