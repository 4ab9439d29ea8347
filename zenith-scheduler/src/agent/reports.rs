//! What is to be said to the controller about processes, in order, until it is acknowledged. Numbers count within a session;
//! in a new one everything is said again.

use std::collections::VecDeque;

use zenith_proto::v1;
use zenith_proto::v1::report::What;

use super::layout::Key;

#[derive(Debug)]
struct Entry {
    key: Key,
    rank: u32,
    what: What,
}

/// The reports that are not acknowledged. There are a few for each process of an attempt that is not forgotten yet, so what
/// bounds those bounds these.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: VecDeque<Entry>,
    /// The number of the first one in the queue.
    first: u64,
    /// How many of them this session has heard.
    said: usize,
}

impl Reports {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new(), first: 1, said: 0 }
    }

    pub(crate) fn push(&mut self, key: Key, rank: u32, what: What) {
        self.queue.push_back(Entry { key, rank, what });
    }

    pub(crate) fn is_all_said(&self) -> bool {
        self.said == self.queue.len()
    }

    /// The next one to say, which counts as said.
    pub(crate) fn say(&mut self) -> Option<v1::Report> {
        let Entry { key, rank, what } = self.queue.get(self.said)?;
        let number = self.first + self.said as u64;
        self.said += 1;
        Some(v1::Report { number, job: key.job, attempt: key.attempt, rank: *rank, what: Some(what.clone()) })
    }

    /// A new session has heard nothing.
    pub(crate) fn begin_again(&mut self) {
        (self.first, self.said) = (1, 0);
    }

    /// Everything up to a number is on the controller's disk. The attempts whose end is among it.
    pub(crate) fn acknowledge(&mut self, number: u64) -> Vec<Key> {
        let mut ended = Vec::new();
        while self.said > 0
            && self.first <= number
            && let Some(entry) = self.queue.pop_front()
        {
            self.first += 1;
            self.said -= 1;
            if matches!(entry.what, What::Gone(_)) {
                ended.push(entry.key);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Reports {
        let mut reports = Reports::new();
        for job in 1..=3 {
            let key = Key { job, attempt: 1 };
            reports.push(key, 0, What::Started(v1::RankStarted::default()));
            reports.push(key, 0, What::Gone(v1::AttemptGone {}));
        }
        reports
    }

    fn said(reports: &mut Reports) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| reports.say()).map(|report| (report.number, report.job)).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_said_again_with_new_numbers() {
        let mut reports = filled();
        assert_eq!(said(&mut reports), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3)]);
        assert_eq!(reports.acknowledge(3), [Key { job: 1, attempt: 1 }]);
        assert_eq!(reports.acknowledge(3), []);
        reports.begin_again();
        assert_eq!(said(&mut reports), [(1, 2), (2, 3), (3, 3)]);
        assert!(reports.is_all_said());
    }

    #[test]
    fn what_was_not_said_cannot_be_acknowledged() {
        let mut reports = filled();
        reports.say();
        assert_eq!(reports.acknowledge(u64::MAX), []);
        assert_eq!(said(&mut reports)[0], (2, 1));
    }
}
