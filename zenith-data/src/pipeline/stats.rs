//! What the pipeline spent and on what: counters that workers add to and the report reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::SampleError;
use crate::source::Spent;

/// Skipped samples that are kept with their reason; beyond that they are only counted.
const SKIPPED_KEPT: usize = 10_000;

/// Counters of one pipeline, from its start.
#[derive(Debug, Default)]
pub(super) struct Stats {
    read_ns: AtomicU64,
    decode_ns: AtomicU64,
    transform_ns: AtomicU64,
    bytes: AtomicU64,
    filled: AtomicU64,
    worker_wait_ns: AtomicU64,
    /// A running mean of what making a batch costs one thread.
    batch_ns: AtomicU64,
    skipped_count: AtomicU64,
    skipped: Mutex<Vec<SampleError>>,
}

impl Stats {
    pub(super) fn add(&self, spent: &Spent, samples: usize) {
        for (counter, value) in [
            (&self.read_ns, spent.read_ns),
            (&self.decode_ns, spent.decode_ns),
            (&self.transform_ns, spent.transform_ns),
            (&self.bytes, spent.bytes),
            (&self.filled, samples as u64),
        ] {
            if value > 0 {
                counter.fetch_add(value, Ordering::Relaxed);
            }
        }
    }

    pub(super) fn worker_waited(&self, time: Duration) {
        self.worker_wait_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Learns what a whole batch cost, told from a part of `samples` of `batch` samples.
    pub(super) fn batch_cost(&self, part: Duration, samples: usize, batch: usize) {
        let cost = nanos(part) * batch as u64 / samples.max(1) as u64;
        let old = self.batch_ns.load(Ordering::Relaxed);
        // Losing an update to another thread costs nothing: this is a mean.
        self.batch_ns.store(if old == 0 { cost } else { old - old / 8 + cost / 8 }, Ordering::Relaxed);
    }

    pub(super) fn batch_ns(&self) -> u64 {
        self.batch_ns.load(Ordering::Relaxed)
    }

    pub(super) fn skip(&self, error: SampleError) {
        self.skipped_count.fetch_add(1, Ordering::Relaxed);
        let mut skipped = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if skipped.len() < SKIPPED_KEPT {
            skipped.push(error);
        }
    }

    pub(super) fn snapshot(&self, consumer: &ConsumerStats) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            read_ns: load(&self.read_ns),
            decode_ns: load(&self.decode_ns),
            transform_ns: load(&self.transform_ns),
            bytes: load(&self.bytes),
            filled: load(&self.filled),
            worker_wait_ns: load(&self.worker_wait_ns),
            skipped: load(&self.skipped_count),
            consumer: *consumer,
        }
    }

    pub(super) fn skipped(&self) -> Vec<SampleError> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the consumer saw. Owned by the one consumer, hence plain numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsumerStats {
    /// Batches taken.
    pub batches: u64,
    /// Samples in them.
    pub samples: u64,
    /// Nanoseconds inside `next`, waiting or helping.
    pub wait_ns: u64,
    /// The part of `wait_ns` in which the consumer itself made batches.
    pub help_ns: u64,
    /// Nanoseconds between calls of `next` inside an epoch: the user's step.
    pub step_ns: u64,
    /// Nanoseconds from the start of the first epoch to its first batch.
    pub first_batch_ns: u64,
}

/// The counters of a pipeline at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// Thread-nanoseconds spent reading.
    pub read_ns: u64,
    /// Thread-nanoseconds spent decoding.
    pub decode_ns: u64,
    /// Thread-nanoseconds spent transforming.
    pub transform_ns: u64,
    /// Bytes read from the source.
    pub bytes: u64,
    /// Samples filled by anyone (the consumer may not have taken all of them yet).
    pub filled: u64,
    /// Thread-nanoseconds workers waited because every queue slot was full.
    pub worker_wait_ns: u64,
    /// Samples skipped.
    pub skipped: u64,
    /// The consumer's side.
    pub consumer: ConsumerStats,
}

pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
