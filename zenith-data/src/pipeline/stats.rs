//! What the pipeline spent and on what: counters that workers and the consumer add to, and the meter that reads them
//! without the pipeline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use zenith_runtime_cpu::buffer::PoolStats;

use super::shared::Shared;
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
    consumer: Consumer,
    /// The slabs at the pipeline's end.
    last_pool: OnceLock<PoolStats>,
}

/// The consumer's side. Only the one consumer adds.
#[derive(Debug, Default)]
struct Consumer {
    batches: AtomicU64,
    samples: AtomicU64,
    wait_ns: AtomicU64,
    help_ns: AtomicU64,
    step_ns: AtomicU64,
    first_batch_ns: AtomicU64,
    /// The part of the present step that was no step, but the batch on its way to the user.
    handing_ns: AtomicU64,
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

    /// A call of `next` that took `waited`, with the time since the one before it.
    pub(super) fn waited(&self, waited: Duration, since_last: Option<Duration>) {
        let consumer = &self.consumer;
        consumer.wait_ns.fetch_add(nanos(waited), Ordering::Relaxed);
        let handing = consumer.handing_ns.swap(0, Ordering::Relaxed);
        if let Some(since) = since_last {
            consumer.step_ns.fetch_add(nanos(since).saturating_sub(handing), Ordering::Relaxed);
        }
    }

    pub(super) fn helped(&self, time: Duration) {
        self.consumer.help_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// A batch was taken, so long after the first beginning.
    pub(super) fn took(&self, samples: usize, since_begun: Duration) {
        let consumer = &self.consumer;
        if consumer.batches.fetch_add(1, Ordering::Relaxed) == 0 {
            consumer.first_batch_ns.store(nanos(since_begun), Ordering::Relaxed);
        }
        consumer.samples.fetch_add(samples as u64, Ordering::Relaxed);
    }

    /// Keeps what is known of the slabs beyond their end.
    pub(super) fn ended(&self, pool: PoolStats) {
        // A second end would have nothing else to say.
        self.last_pool.get_or_init(|| pool);
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let consumer = &self.consumer;
        Snapshot {
            read_ns: load(&self.read_ns),
            decode_ns: load(&self.decode_ns),
            transform_ns: load(&self.transform_ns),
            bytes: load(&self.bytes),
            filled: load(&self.filled),
            worker_wait_ns: load(&self.worker_wait_ns),
            skipped: load(&self.skipped_count),
            consumer: ConsumerStats {
                batches: load(&consumer.batches),
                samples: load(&consumer.samples),
                wait_ns: load(&consumer.wait_ns),
                help_ns: load(&consumer.help_ns),
                step_ns: load(&consumer.step_ns),
                first_batch_ns: load(&consumer.first_batch_ns),
            },
        }
    }

    pub(super) fn skipped(&self) -> Vec<SampleError> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A reader of a pipeline's counters. It needs no access to the pipeline, keeps none of its memory, and outlives it.
#[derive(Clone, Debug)]
pub struct Meter {
    stats: Arc<Stats>,
    shared: Weak<Shared>,
}

impl Meter {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { stats: Arc::clone(&shared.stats), shared: Arc::downgrade(shared) }
    }

    /// What has been spent so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.stats.snapshot()
    }

    /// The samples skipped so far, in the order of the stream (the first 10,000 of them).
    #[must_use]
    pub fn skipped(&self) -> Vec<SampleError> {
        self.stats.skipped()
    }

    /// How the slabs are being used, or were at the pipeline's end.
    #[must_use]
    pub fn pool(&self) -> Option<PoolStats> {
        let live = self.shared.upgrade().map(|shared| shared.pool.stats());
        live.or_else(|| self.stats.last_pool.get().cloned())
    }

    /// Says that the batch last taken spent `time` on its way to the user. It counts as waiting, not as the user's step.
    pub fn handed_over(&self, time: Duration) {
        let consumer = &self.stats.consumer;
        consumer.wait_ns.fetch_add(nanos(time), Ordering::Relaxed);
        consumer.handing_ns.fetch_add(nanos(time), Ordering::Relaxed);
    }
}

/// What the consumer saw.
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
