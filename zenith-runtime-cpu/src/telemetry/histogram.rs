//! How long things took: counts in buckets whose width grows with the value, as an HDR histogram has them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Padded, lane};

/// Sub-buckets per power of two: a bucket is at most 1/16 of its value wide.
const FINE_BITS: u32 = 4;
const FINE: usize = 1 << FINE_BITS;

/// Values of 2^40 ns (18 minutes) and more share the last bucket.
const TOP_BIT: u32 = 40;
const BUCKETS: usize = (TOP_BIT - FINE_BITS + 1) as usize * FINE + 1;

/// Fewer lanes than counters have: a lane is 5 KB.
const LANES: usize = 8;

/// Latencies in nanoseconds, recorded by any number of threads without locks, each value kept to within 1/16 (6.25 %)
/// of itself; exact below 32 ns.
#[derive(Debug)]
pub struct Histogram {
    lanes: Box<[Padded<Lane>]>,
}

#[derive(Debug)]
struct Lane {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
}

/// The bucket of a value.
#[inline]
fn bucket(value: u64) -> usize {
    if value >= 1 << TOP_BIT {
        return BUCKETS - 1;
    }
    let bits = 63 - (value | (FINE as u64 - 1)).leading_zeros();
    let shift = (bits + 1).saturating_sub(FINE_BITS + 1);
    shift as usize * FINE + (value >> shift) as usize
}

/// The least value that is beyond bucket `index`, or `None` for the last.
fn end(index: usize) -> Option<u64> {
    if index + 1 >= BUCKETS {
        return None;
    }
    let shift = (index / FINE).saturating_sub(1);
    Some(((index - shift * FINE) as u64 + 1) << shift)
}

impl Histogram {
    /// An empty histogram; takes 40 KB.
    #[must_use]
    pub fn new() -> Self {
        let lane =
            || Padded(Lane { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum: AtomicU64::new(0) });
        Histogram { lanes: (0..LANES).map(|_| lane()).collect() }
    }

    /// Records a latency in nanoseconds.
    #[inline]
    pub fn record(&self, nanoseconds: u64) {
        let lane = &self.lanes[lane() % LANES].0;
        lane.buckets[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        lane.sum.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Records a latency.
    #[inline]
    pub fn record_duration(&self, latency: Duration) {
        self.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// All lanes together. Records that happen meanwhile may be in part of it.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut buckets = vec![0; BUCKETS];
        let mut sum = 0_u64;
        for Padded(lane) in &self.lanes {
            for (total, bucket) in buckets.iter_mut().zip(&lane.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
            sum = sum.wrapping_add(lane.sum.load(Ordering::Relaxed));
        }
        let count = buckets.iter().sum();
        Summary { buckets, count, sum }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl Summary {
    /// How many values were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values in nanoseconds, exact.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The value in nanoseconds below or at which the fraction `quantile` (0 to 1) of all values lies, rounded up to
    /// the end of its bucket; `None` without values.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let rank = ((quantile.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        let mut below = 0;
        let index = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(end(index).map_or(u64::MAX, |end| end - 1))
    }

    /// How many values were less than `2^exponent` nanoseconds, for `exponent` from 4 to 40.
    pub(super) fn below(&self, exponent: u32) -> u64 {
        let limit = 1_u64 << exponent;
        let covered = |index: usize| end(index).is_some_and(|end| end <= limit);
        self.buckets.iter().enumerate().take_while(|(index, _)| covered(*index)).map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps() {
        for index in 0..BUCKETS - 1 {
            let end = end(index).unwrap();
            assert_eq!((bucket(end - 1), bucket(end)), (index, index + 1));
        }
        assert_eq!(end(BUCKETS - 1), None);
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_a_sixteenth(mut values in prop::collection::vec(0..1_u64 << TOP_BIT, 1..300), q in 0.0..=1.0_f64) {
            let histogram = Histogram::new();
            values.iter().for_each(|&value| histogram.record(value));
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let exact = values[rank - 1];
            let told = histogram.summary().quantile(q).unwrap();
            prop_assert!(told >= exact && told - exact <= exact / 16, "{} for {}", told, exact);
        }
    }

    #[test]
    fn threads_record_together() {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for thread in 0..12 {
                let histogram = &histogram;
                scope.spawn(move || (0..500).for_each(|n| histogram.record(thread * 1000 + n)));
            }
        });
        let summary = histogram.summary();
        assert_eq!(summary.count(), 6000);
        assert_eq!(summary.sum(), (0..12).map(|thread| thread * 1000 * 500 + 499 * 250).sum::<u64>());
    }

    #[test]
    fn an_empty_histogram_has_no_quantiles_and_a_full_one_an_open_end() {
        let histogram = Histogram::new();
        assert_eq!(histogram.summary().quantile(0.5), None);
        histogram.record(u64::MAX);
        assert_eq!(histogram.summary().quantile(0.5), Some(u64::MAX));
        assert_eq!(histogram.summary().below(40), 0);
    }
}
