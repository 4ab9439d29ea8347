//! Block shuffle: for data that is read in runs (row groups), an order that needs only a window of runs at a time.
//!
//! The runs are put in random order, consecutive runs form windows of a bounded number of samples, and the samples
//! of a window are permuted exactly. Two samples of one window are as shuffled as in a global shuffle; samples of
//! different windows are only as shuffled as their runs.

use super::permutation::Permutation;
use super::rng::{SampleRng, mix};

/// One epoch's block-shuffled order.
#[derive(Clone, Debug)]
pub struct BlockOrder {
    /// Runs in reading order: (position at which the run's samples begin inside their window, first sample).
    runs: Vec<Run>,
    windows: Vec<Window>,
    len: u64,
}

#[derive(Clone, Debug)]
struct Run {
    start_in_window: u64,
    first_sample: u64,
}

#[derive(Clone, Debug)]
struct Window {
    start: u64,
    first_run: usize,
    permutation: Permutation,
}

impl BlockOrder {
    /// The order of an epoch over runs that end at `ends`, in windows of at most `window` samples (at least one run).
    #[must_use]
    pub fn new(ends: &[u64], window: u64, key: u64) -> Self {
        let mut order: Vec<usize> = (0..ends.len()).collect();
        let mut rng = SampleRng::new(key, 0, u64::MAX);
        for i in (1..order.len()).rev() {
            let j = rng.below(i as u64 + 1) as usize;
            order.swap(i, j);
        }
        let mut this = Self { runs: Vec::with_capacity(order.len()), windows: Vec::new(), len: 0 };
        let (mut filled, mut first_run, mut start) = (0u64, 0usize, 0u64);
        for block in order {
            let first_sample = if block == 0 { 0 } else { ends[block - 1] };
            let len = ends[block] - first_sample;
            if len == 0 {
                continue;
            }
            if filled > 0 && filled + len > window {
                this.close(start, first_run, filled, key);
                start += filled;
                filled = 0;
                first_run = this.runs.len();
            }
            this.runs.push(Run { start_in_window: filled, first_sample });
            filled += len;
        }
        if filled > 0 {
            this.close(start, first_run, filled, key);
            start += filled;
        }
        this.len = start;
        this
    }

    fn close(&mut self, start: u64, first_run: usize, len: u64, key: u64) {
        let window_key = mix(key ^ mix(self.windows.len() as u64 + 1));
        self.windows.push(Window { start, first_run, permutation: Permutation::new(len, window_key) });
    }

    /// Number of samples.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sample at `position`.
    ///
    /// # Panics
    /// When `position` is not below `len`.
    #[must_use]
    pub fn at(&self, position: u64) -> u64 {
        assert!(position < self.len, "position {position} of {}", self.len);
        let index = self.windows.partition_point(|w| w.start <= position) - 1;
        let window = &self.windows[index];
        let place = window.permutation.at(position - window.start);
        let end = self.windows.get(index + 1).map_or(self.runs.len(), |w| w.first_run);
        let runs = &self.runs[window.first_run..end];
        let run = &runs[runs.partition_point(|r| r.start_in_window <= place) - 1];
        run.first_sample + (place - run.start_in_window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn visits_every_sample_once_and_keeps_windows(
            lens in proptest::collection::vec(0u64..50, 1..30), window in 1u64..200, key: u64,
        ) {
            let ends: Vec<u64> = lens.iter().scan(0, |end, len| { *end += len; Some(*end) }).collect();
            let total = *ends.last().unwrap();
            let order = BlockOrder::new(&ends, window, key);
            prop_assert_eq!(order.len(), total);
            let samples: Vec<u64> = (0..total).map(|p| order.at(p)).collect();
            let mut sorted = samples;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..total).collect::<Vec<_>>());
            let limit = window.max(*lens.iter().max().unwrap());
            for w in &order.windows {
                prop_assert!(w.permutation.len() <= limit);
            }
        }
    }
}
