//! What the controller counts of its own work. Written by its thread, read by anybody, in step with nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::Event;
use crate::core::event::Change;
use crate::core::state::Trigger;

/// Upper ends of the buckets, in seconds.
const BOUNDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// Counters and histograms.
#[derive(Debug, Default)]
pub struct Metrics {
    submitted: Counter,
    launched: Counter,
    completed: Counter,
    failed: Counter,
    cancelled: Counter,
    requeued: Counter,
    calls: Counter,
    refused_writes: Counter,
    /// Times of scheduling rounds.
    pub rounds: Histogram,
    /// Times of writes to the journal.
    pub commits: Histogram,
}

#[derive(Debug, Default)]
struct Counter(AtomicU64);

impl Counter {
    fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    beyond: AtomicU64,
    nanos: AtomicU64,
}

impl Histogram {
    /// It took so long once more.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = BOUNDS.iter().position(|bound| seconds <= *bound);
        at.map_or(&self.beyond, |at| &self.buckets[at]).fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How many took up to how many seconds each; how many there were; seconds in all.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut count = 0;
        let up_to = BOUNDS.iter().zip(&self.buckets).map(|(bound, bucket)| {
            count += bucket.load(Ordering::Relaxed);
            (*bound, count)
        });
        let buckets = up_to.collect();
        let seconds = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        (buckets, count + self.beyond.load(Ordering::Relaxed), seconds)
    }
}

impl Metrics {
    /// So many calls were taken.
    pub(super) fn called(&self, calls: usize) {
        self.calls.add(calls as u64);
    }

    /// Changes could not be written.
    pub(super) fn not_written(&self) {
        self.refused_writes.add(1);
    }

    /// Changes are on disk.
    pub(super) fn written(&self, records: &[Event]) {
        for record in records {
            match &record.change {
                Change::Submitted { submission, .. } => self.submitted.add(submission.count.into()),
                Change::Placed { .. } => self.launched.add(1),
                Change::Moved { trigger, .. } => match trigger {
                    Trigger::Finish => self.completed.add(1),
                    Trigger::Fail => self.failed.add(1),
                    Trigger::Cancel => self.cancelled.add(1),
                    Trigger::Requeue | Trigger::Retry => self.requeued.add(1),
                    _ => {}
                },
                _ => {}
            }
        }
    }

    /// Names, meanings and values of the counters.
    pub fn counters(&self) -> [(&'static str, &'static str, u64); 8] {
        [
            ("zenith_jobs_submitted_total", "Jobs that were taken in.", self.submitted.read()),
            ("zenith_launches_total", "Gangs that were given a place.", self.launched.read()),
            ("zenith_jobs_completed_total", "Jobs that ended well.", self.completed.read()),
            ("zenith_jobs_failed_total", "Jobs that ended badly.", self.failed.read()),
            ("zenith_jobs_cancelled_total", "Jobs that somebody ended.", self.cancelled.read()),
            ("zenith_requeues_total", "Attempts after which a job was queued again.", self.requeued.read()),
            ("zenith_calls_total", "Calls that the controller took.", self.calls.read()),
            ("zenith_refused_writes_total", "Writes that the disk refused.", self.refused_writes.read()),
        ]
    }

    /// Names, meanings and values of the histograms.
    pub fn histograms(&self) -> [(&'static str, &'static str, &Histogram); 2] {
        [
            ("zenith_round_seconds", "Times of scheduling rounds.", &self.rounds),
            ("zenith_commit_seconds", "Times of writes to the journal.", &self.commits),
        ]
    }
}
