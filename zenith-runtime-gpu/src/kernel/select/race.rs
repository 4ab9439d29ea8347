//! Candidates measured against each other: a sample of each in turn, so that what disturbs the machine disturbs all alike, and
//! who is certainly slower is measured no more. It knows no store; who has won is decided by the samples, elsewhere.

use std::time::Duration;

use super::decide::{Estimate, could_be_chance, estimate, pooled};
use crate::kernel::candidate::{Prepared, Rejection};
use crate::kernel::store::MAX_SAMPLES;
use crate::kernel::timer::{Pace, Sample, Timer, TimerError};

/// Rounds before anybody is out for being somewhat slower.
const MIN_ROUNDS: usize = 5;
/// The most rounds. With disturbances of 5 % a median of so many is within 1 % of the truth.
const MAX_ROUNDS: usize = 64;
/// Who takes this many times as long as the fastest even in its best sample is out after so many rounds.
const HOPELESS: [(usize, f64); 2] = [(1, 10.0), (2, 2.0)];
/// The part of `delta` that the errors of those that are left may be for the race to end.
const SHARP: f64 = 0.25;
/// Samples that everybody gets even where time is up, and what one may last for that; of longer ones, a single one.
const LATE_SAMPLES: usize = 3;
const LATE_NS: f64 = 5e6;

/// A candidate in the race.
pub(super) struct Lane {
    /// Its place among the operation's candidates.
    pub(super) index: usize,
    prepared: Option<Box<dyn Prepared>>,
    pace: Pace,
    samples: Vec<Sample>,
    rejection: Option<Rejection>,
}

/// What a race is held under.
pub(super) struct Rules {
    /// The part of a time by which candidates have to differ to matter.
    pub(super) delta: f64,
    /// When time is up, by the timer's clock.
    pub(super) end: Duration,
}

impl Lane {
    /// A candidate at the start.
    pub(super) fn new(index: usize, prepared: Box<dyn Prepared>) -> Self {
        let pace = Pace { calls: 1, ns: f64::INFINITY, busy: 0.0 };
        Self { index, prepared: Some(prepared), pace, samples: Vec::new(), rejection: None }
    }

    /// What came of it: its samples, at least one, or why it is rejected.
    pub(super) fn outcome(self) -> Result<Vec<Sample>, Rejection> {
        match self.rejection {
            Some(rejection) => Err(rejection),
            None => Ok(self.samples),
        }
    }

    fn is_running(&self) -> bool {
        self.prepared.is_some()
    }

    /// Its best time so far, in nanoseconds.
    fn best(&self) -> f64 {
        self.samples.iter().map(|sample| sample.ns).fold(self.pace.ns, f64::min)
    }

    /// Whether it has the samples that it gets even where time is up, or needs no more.
    fn has_enough(&self) -> bool {
        let long = self.pace.ns * self.pace.calls as f64 > LATE_NS;
        !self.is_running() || self.samples.len() >= if long { 1 } else { LATE_SAMPLES }
    }

    /// Out of the race; its memory is given back.
    fn leave(&mut self) {
        self.prepared = None;
    }

    /// Does something with what runs the candidate; if that fails by the candidate's fault, it is rejected.
    fn try_run<T>(
        &mut self,
        act: impl FnOnce(&mut dyn Prepared, &mut Pace) -> Result<T, TimerError>,
    ) -> Result<Option<T>, TimerError> {
        let Some(prepared) = &mut self.prepared else { return Ok(None) };
        let pace = &mut self.pace;
        let mut broken = None;
        let done = super::gate::guarded(|| match act(&mut **prepared, pace) {
            Ok(done) => Ok(Some(done)),
            Err(TimerError::Candidate(failure)) => Err(failure),
            Err(error) => {
                broken = Some(error);
                Ok(None)
            }
        });
        match (done, broken) {
            (_, Some(error)) => Err(error),
            (Ok(done), None) => Ok(done),
            (Err(failure), None) => {
                self.rejection = Some(Rejection::Failed { detail: failure.0 });
                self.leave();
                Ok(None)
            }
        }
    }
}

/// Holds the race. `known` are estimates of candidates that were measured before and are not measured now.
pub(super) fn race(
    lanes: &mut [Lane],
    known: &[Estimate],
    timer: &mut dyn Timer,
    rules: &Rules,
) -> Result<(), TimerError> {
    start(lanes, timer, rules)?;
    for round in 0..MAX_ROUNDS.min(MAX_SAMPLES - 1) {
        let late = timer.now() >= rules.end;
        let done = if late {
            lanes.iter().all(Lane::has_enough)
        } else {
            round >= MIN_ROUNDS && is_over(lanes, known, rules.delta)
        };
        if done {
            return Ok(());
        }
        // Who comes first changes, so that nobody always runs behind the same other one.
        let count = lanes.len();
        for turn in 0..count {
            let lane = &mut lanes[(round + turn) % count];
            if lane.has_enough() && timer.now() >= rules.end {
                continue;
            }
            if let Some(sample) = lane.try_run(|prepared, pace| timer.sample(prepared, pace))? {
                lane.samples.push(sample);
            }
        }
        if let Some((_, factor)) = HOPELESS.iter().rfind(|(rounds, _)| round + 1 >= *rounds) {
            drop_the_hopeless(lanes, known, *factor);
        }
        if round + 1 >= MIN_ROUNDS {
            drop_the_slower(lanes, known, rules.delta);
        }
    }
    Ok(())
}

/// Finds everybody's pace.
fn start(lanes: &mut [Lane], timer: &mut dyn Timer, rules: &Rules) -> Result<(), TimerError> {
    // Warming up may take a tenth of what is left, shared by all.
    let left = rules.end.saturating_sub(timer.now());
    let each = left / u32::try_from(10 * lanes.len().max(1)).unwrap_or(u32::MAX);
    for lane in lanes {
        if let Some(pace) = lane.try_run(|prepared, _| timer.pace(prepared, each))? {
            lane.pace = pace;
            if pace.calls == 1 {
                // A call that long is a sample, though the first one may be slower than others.
                lane.samples.push(Sample { ns: pace.ns, quiet: false });
            }
        }
    }
    Ok(())
}

fn drop_the_hopeless(lanes: &mut [Lane], known: &[Estimate], factor: f64) {
    let running = lanes.iter().filter(|lane| lane.is_running()).map(Lane::best);
    let best = running.chain(known.iter().map(|estimate| estimate.ns)).fold(f64::INFINITY, f64::min);
    for lane in lanes.iter_mut().filter(|lane| lane.is_running() && lane.best() > factor * best) {
        lane.leave();
    }
}

/// What is known of each lane and of those that were measured before, lanes first, and the fastest of those that are in question.
fn standing(lanes: &[Lane], known: &[Estimate]) -> Option<(Vec<Option<Estimate>>, Estimate)> {
    let own = lanes.iter().map(|lane| estimate(&lane.samples));
    let all = pooled(&own.chain(known.iter().copied().map(Some)).collect::<Vec<_>>());
    let (own, known) = all.split_at(lanes.len());
    let running =
        lanes.iter().zip(own).filter(|(lane, _)| lane.is_running()).filter_map(|(_, own)| own.as_ref());
    let fastest = running.chain(known.iter().flatten()).min_by(|a, b| a.ns.total_cmp(&b.ns)).copied()?;
    Some((all, fastest))
}

fn drop_the_slower(lanes: &mut [Lane], known: &[Estimate], delta: f64) {
    let Some((all, fastest)) = standing(lanes, known) else { return };
    for (lane, own) in lanes.iter_mut().zip(&all) {
        let slower =
            own.is_some_and(|own| own.ns > fastest.ns * (1.0 + delta) && !could_be_chance(&own, &fastest));
        if slower {
            lane.leave();
        }
    }
}

/// Whether more samples would tell nothing that matters: one is left, or all that are left are known sharply.
fn is_over(lanes: &[Lane], known: &[Estimate], delta: f64) -> bool {
    let Some((all, fastest)) = standing(lanes, known) else { return true };
    let running = || lanes.iter().zip(&all).filter(|(lane, _)| lane.is_running());
    let rivals = running().count() + usize::from(known.iter().any(|estimate| estimate.ns <= fastest.ns));
    let sharp = |own: &Option<Estimate>| own.is_some_and(|own| own.error_ns <= SHARP * delta * fastest.ns);
    rivals <= 1 || running().all(|(_, own)| sharp(own))
}
