//! What is kept of attempts that are over: their logs, the newest so many for so long.

use std::collections::VecDeque;
use std::fs;
use std::time::{Duration, SystemTime};

use super::config::Keep;
use super::layout::{Key, Layout};

/// Attempts that are over, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    ended: VecDeque<(SystemTime, Key)>,
}

impl History {
    /// Takes over what earlier agents have left, with the time at which each ended.
    pub(crate) fn new(mut found: Vec<(SystemTime, Key)>) -> Self {
        found.sort_unstable();
        Self { ended: found.into() }
    }

    pub(crate) fn add(&mut self, now: SystemTime, key: Key) {
        self.ended.push_back((now, key));
    }

    /// The attempts that are to be forgotten now.
    pub(crate) fn outdated(&mut self, now: SystemTime, keep: Keep) -> Vec<Key> {
        let mut outdated = Vec::new();
        while let Some((ended, key)) = self.ended.front() {
            // A clock that was set back makes nothing old.
            let age = now.duration_since(*ended).unwrap_or(Duration::ZERO);
            if self.ended.len() <= keep.attempts && age <= keep.age {
                break;
            }
            outdated.push(*key);
            self.ended.pop_front();
        }
        outdated
    }
}

/// Removes what was kept of attempts.
pub(crate) fn forget(layout: &Layout, keys: &[Key]) {
    for key in keys {
        if let Err(error) = fs::remove_dir_all(layout.run(*key)) {
            tracing::warn!(%key, %error, "the logs of an old attempt cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_first_by_number_and_by_age() {
        let second = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let key = |job| Key { job, attempt: 1 };
        let mut history = History::new(vec![(second(2), key(2)), (second(1), key(1))]);
        history.add(second(50), key(3));
        let keep = Keep { attempts: 2, age: Duration::from_secs(60) };
        assert_eq!(history.outdated(second(0), keep), [key(1)]);
        assert_eq!(history.outdated(second(62), keep), []);
        assert_eq!(history.outdated(second(63), keep), [key(2)]);
        assert_eq!(history.outdated(second(1_000), keep), [key(3)]);
        assert_eq!(history.outdated(second(1_000), keep), []);
    }
}
