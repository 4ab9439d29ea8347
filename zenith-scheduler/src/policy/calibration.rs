//! How predicted starts have turned out: ratios of the waits that came to the waits that were said. Later predictions are
//! corrected by them and given a range. Only ever a guess, so it is not kept beyond the process; whose turn it is does not
//! depend on it.

use std::collections::BTreeMap;

use crate::core::id::JobId;
use crate::core::time::{Span, Time};

/// Predictions that are watched at a time.
const MAX_PENDING: usize = 512;
/// Half octaves of the ratio on each side of one.
const SIDE: usize = 24;
/// A ratio counts half after so many later ones of its cell.
const HALF_LIFE: f32 = 128.0;
/// How many ratios what was assumed beforehand counts as.
const PRIOR: f32 = 2.0;
/// It is assumed that waits are up to so many half octaves off.
const DOUBT: usize = 6;
/// Differences below this are none.
const GRACE: f64 = 60.0;
/// The shares of starts that are before and after the range.
const OUTSIDE: f32 = 0.1;

/// Experience with predictions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calibration {
    pending: BTreeMap<JobId, Said>,
    cells: BTreeMap<Cell, Ratios>,
}

/// Predictions that err alike: by the octave of what was said, and whether whole nodes are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) whole_nodes: bool,
    octave: u8,
}

/// A prediction that has not been decided.
#[derive(Clone, Copy, Debug)]
struct Said {
    cell: Cell,
    wait: f64,
    at: Time,
}

#[derive(Clone, Debug)]
struct Ratios {
    counts: [f32; 2 * SIDE + 1],
    weight: f32,
}

/// A wait: probably not shorter, the middle, probably not longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    pub(crate) early: Span,
    pub(crate) likely: Span,
    pub(crate) late: Span,
}

impl Cell {
    pub(crate) fn of(whole_nodes: bool, wait: Span) -> Self {
        Self { whole_nodes, octave: (wait.as_secs_f64() + GRACE).log2() as u8 }
    }
}

impl Default for Ratios {
    fn default() -> Self {
        let mut counts = [0.0; 2 * SIDE + 1];
        let doubt = SIDE - DOUBT..=SIDE + DOUBT;
        counts[doubt].fill(PRIOR / (2 * DOUBT + 1) as f32);
        Self { counts, weight: PRIOR }
    }
}

impl Ratios {
    fn learn(&mut self, ratio: f64) {
        let fade = 0.5_f32.powf(1.0 / HALF_LIFE);
        self.counts.iter_mut().for_each(|count| *count *= fade);
        let half_octaves = (ratio.log2() * 2.0).round().clamp(-(SIDE as f64), SIDE as f64);
        self.counts[(half_octaves + SIDE as f64) as usize] += 1.0;
        self.weight = self.weight * fade + 1.0;
    }

    fn quantile(&self, share: f32) -> f64 {
        let mut left = share * self.weight;
        for (at, count) in self.counts.iter().enumerate() {
            if *count > 0.0 && left <= *count {
                let half_octaves = at as f64 - SIDE as f64 - 0.5 + f64::from((left / count).max(0.0));
                return (half_octaves / 2.0).exp2();
            }
            left -= count;
        }
        (SIDE as f64 / 2.0).exp2()
    }
}

impl Calibration {
    /// What was said of a job is watched from now on, if there is room and nothing was said of it before.
    pub(crate) fn said(&mut self, job: JobId, cell: Cell, wait: Span, at: Time) {
        if self.pending.len() < MAX_PENDING {
            self.pending.entry(job).or_insert(Said { cell, wait: wait.as_secs_f64(), at });
        }
    }

    /// A job has started.
    pub(crate) fn started(&mut self, job: JobId, now: Time) {
        if let Some(said) = self.pending.remove(&job) {
            let waited = now.since(said.at).as_secs_f64();
            self.cells.entry(said.cell).or_default().learn((waited + GRACE) / (said.wait + GRACE));
        }
    }

    /// A job will not start as things are.
    pub(crate) fn gone(&mut self, job: JobId) {
        self.pending.remove(&job);
    }

    /// What a wait that was reckoned means by experience.
    pub(crate) fn range(&self, cell: Cell, wait: Span) -> Range {
        let new = Ratios::default();
        let ratios = self.cells.get(&cell).unwrap_or(&new);
        let at = |share| {
            let wait = (wait.as_secs_f64() + GRACE) * ratios.quantile(share) - GRACE;
            Span::from_secs_f64(wait.max(0.0))
        };
        Range { early: at(OUTSIDE), likely: at(0.5), late: at(1.0 - OUTSIDE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Span = Span::from_secs(3600);

    fn after(waits: impl IntoIterator<Item = u64>) -> Range {
        let mut calibration = Calibration::default();
        let cell = Cell::of(true, HOUR);
        for (job, wait) in waits.into_iter().enumerate() {
            calibration.said(JobId(job as u64), cell, HOUR, Time(0));
            calibration.started(JobId(job as u64), Time(0) + Span::from_secs(wait));
        }
        calibration.range(cell, HOUR)
    }

    #[test]
    fn without_experience_the_reckoned_wait_stands_and_the_range_is_wide() {
        let range = after([]);
        assert!((range.likely.as_secs_f64() / 3600.0 - 1.0).abs() < 0.05, "{range:?}");
        assert!(range.early < Span::from_secs(1200) && range.late > Span::from_secs(3 * 3600), "{range:?}");
    }

    #[test]
    fn what_is_always_said_too_soon_is_said_later() {
        let range = after(vec![4 * 3600; 200]);
        assert!((range.likely.as_secs_f64() / 3600.0 - 4.0).abs() < 0.5, "{range:?}");
        assert!(range.late < Span::from_secs(5 * 3600), "{range:?}");
    }

    #[test]
    fn four_of_five_starts_are_within_the_range() {
        let waits = || (0..400).map(|at| 600 + at * 7919 % 400 * 60);
        let range = after(waits());
        let inside =
            waits().filter(|wait| (range.early..=range.late).contains(&Span::from_secs(*wait))).count();
        assert!((300..=345).contains(&inside), "{inside} of 400 in {range:?}");
    }

    #[test]
    fn what_is_watched_is_bounded_and_forgotten_with_its_job() {
        let mut calibration = Calibration::default();
        for job in 0..2 * MAX_PENDING as u64 {
            calibration.said(JobId(job), Cell::of(false, HOUR), HOUR, Time(0));
        }
        assert_eq!(calibration.pending.len(), MAX_PENDING);
        (0..2 * MAX_PENDING as u64).for_each(|job| calibration.gone(JobId(job)));
        assert!(calibration.pending.is_empty() && calibration.cells.is_empty());
    }
}
