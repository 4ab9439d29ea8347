//! Watches a simulation and sums up.

use super::cluster::ClusterShape;
use super::outcome::{Band, Fairness, Outcome, Predictions, Sample, Summary};
use super::trace::Trace;
use crate::core::time::{Span, Time};
use crate::policy::outlook::Outlook;

/// Sizes that waits are reported for.
const BANDS: [(&str, u32, u32); 7] = [
    ("1", 1, 1),
    ("2-4", 2, 4),
    ("5-7", 5, 7),
    ("8", 8, 8),
    ("9-31", 9, 31),
    ("32+", 32, u32::MAX),
    (">= 8", 8, u32::MAX),
];
/// Points of a plot.
const POINTS: usize = 400;
/// Runs count as at least this long for slowdowns.
const SHORTEST: f64 = 600.0 / 3600.0;

/// What is noted while a simulation runs.
#[derive(Debug)]
pub(super) struct Meter {
    gpus: u64,
    last: Time,
    busy: u32,
    queued: usize,
    /// GPUs that are idle though the first job would fit by number.
    stranded: u32,
    /// GPUs that are idle though some job would fit by number.
    idle: u32,
    total: Sums,
    window: Sums,
    window_end: Time,
    samples: Vec<Sample>,
    interval: Span,
    next_sample: Time,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    busy: f64,
    stranded: f64,
    idle: f64,
}

impl Sums {
    fn add(&mut self, busy: u32, stranded: u32, idle: u32, seconds: f64) {
        self.busy += f64::from(busy) * seconds;
        self.stranded += f64::from(stranded) * seconds;
        self.idle += f64::from(idle) * seconds;
    }
}

/// What is known of each job of the trace.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Life {
    pub(super) started: Option<Time>,
    pub(super) ended: Option<Time>,
    pub(super) predicted: Option<Outlook>,
}

impl Meter {
    pub(super) fn new(trace: &Trace, gpus: u64) -> Self {
        let window_end = trace.jobs.last().map_or(Time(0), |job| job.submitted);
        Self {
            gpus,
            last: Time(0),
            busy: 0,
            queued: 0,
            stranded: 0,
            idle: 0,
            total: Sums::default(),
            window: Sums::default(),
            window_end,
            samples: Vec::new(),
            interval: Span((window_end.0 / POINTS as u64).max(1)),
            next_sample: Time(0),
        }
    }

    /// What held since the last call held until now; from now on this holds.
    pub(super) fn note(&mut self, now: Time, busy: u32, queued: usize, stranded: u32, idle: u32) {
        self.total.add(self.busy, self.stranded, self.idle, now.since(self.last).as_secs_f64());
        let inside = now.min(self.window_end).since(self.last).as_secs_f64();
        self.window.add(self.busy, self.stranded, self.idle, inside);
        (self.last, self.busy, self.queued, self.stranded, self.idle) = (now, busy, queued, stranded, idle);
        if now >= self.next_sample {
            self.samples.push(Sample { at: hours(now.since(Time(0))), queued, busy });
            self.next_sample = now + self.interval;
            // A makespan far beyond the submissions needs no more points than the submissions.
            if self.samples.len() > 2 * POINTS {
                let mut odd = false;
                self.samples.retain(|_| {
                    odd = !odd;
                    odd
                });
                self.interval = Span(self.interval.0 * 2);
            }
        }
    }

    pub(super) fn outcome(
        self,
        trace: &Trace,
        lives: &[Life],
        cluster: &[ClusterShape],
        policy: &str,
        rounds: u64,
    ) -> Outcome {
        let ran = || {
            let both = trace.jobs.iter().zip(lives);
            both.filter_map(|(job, life)| Some((job, life, life.started?, life.ended?)))
        };
        let wait_of =
            |(job, _, started, _): (&super::TraceJob, &Life, Time, Time)| hours(started.since(job.submitted));
        let completion: Vec<f64> =
            ran().map(|(job, _, _, ended)| hours(ended.since(job.submitted))).collect();
        let band = |(name, from, to): &(&str, u32, u32)| {
            let waits: Vec<f64> =
                ran().filter(|(job, ..)| (*from..=*to).contains(&job.gpus)).map(wait_of).collect();
            Band {
                name: (*name).to_owned(),
                from: *from,
                to: *to,
                jobs: waits.len(),
                wait: Summary::of(waits),
            }
        };
        let share = |sum: f64, span: Span| sum / (self.gpus as f64 * span.as_secs_f64()).max(1.0);
        let (makespan, window) = (self.last.since(Time(0)), self.window_end.since(Time(0)));
        Outcome {
            policy: policy.to_owned(),
            cluster: cluster.to_vec(),
            jobs: completion.len(),
            too_large: trace.jobs.len() - completion.len(),
            completion: Summary::of(completion.clone()),
            wait: Summary::of(ran().map(wait_of).collect()),
            wait_by_gpus: BANDS.iter().map(band).filter(|band| band.jobs > 0).collect(),
            makespan: hours(makespan),
            utilisation: share(self.total.busy, makespan),
            utilisation_while_submitting: share(self.window.busy, window),
            fragmentation: share(self.total.stranded, makespan),
            fragmentation_while_submitting: share(self.window.stranded, window),
            idle_beside_queue: share(self.total.idle, makespan),
            fairness: fairness(ran()),
            predictions: predictions(ran()),
            rounds,
            timeline: self.samples,
            completion_curve: curve(completion),
        }
    }
}

type Ran<'a> = (&'a super::TraceJob, &'a Life, Time, Time);

fn fairness<'a>(ran: impl Iterator<Item = Ran<'a>>) -> Fairness {
    let mut queues: std::collections::BTreeMap<&str, (f64, f64, f64)> = std::collections::BTreeMap::new();
    let mut slowdowns = Vec::new();
    for (job, _, started, ended) in ran {
        let (wait, whole) = (hours(started.since(job.submitted)), hours(ended.since(job.submitted)));
        let sums = queues.entry(job.queue.as_str()).or_default();
        *sums = (sums.0 + wait, sums.1 + whole, sums.2 + 1.0);
        slowdowns.push((whole / hours(job.runtime).max(SHORTEST)).max(1.0));
    }
    // The part of its completion that a queue's work did not wait, so that being served at once is 1 for everyone.
    let served: Vec<f64> = queues.values().map(|(wait, whole, _)| 1.0 - wait / whole.max(1e-9)).collect();
    let (sum, squares) = served.iter().fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
    let worst = queues.values().map(|(wait, _, jobs)| wait / jobs).fold(0.0, f64::max);
    let slowdowns = Summary::of(slowdowns);
    Fairness {
        jain: if squares > 0.0 { sum * sum / (served.len() as f64 * squares) } else { 1.0 },
        worst_queue_wait: worst,
        median_slowdown: slowdowns.median,
        p95_slowdown: slowdowns.p95,
    }
}

fn predictions<'a>(ran: impl Iterator<Item = Ran<'a>>) -> Predictions {
    let mut errors = Vec::new();
    let (mut near, mut inside) = (0_usize, 0_usize);
    for (job, life, started, _) in ran {
        let Some(predicted) = life.predicted else { continue };
        let (wait, said) =
            (hours(started.since(job.submitted)), hours(predicted.likely.since(job.submitted)));
        inside += usize::from(predicted.early <= started && started <= predicted.late);
        let error = (wait - said).abs();
        errors.push(error);
        near += usize::from(error <= SHORTEST || (said <= 2.0 * wait && wait <= 2.0 * said));
    }
    let jobs = errors.len();
    let summary = Summary::of(errors);
    Predictions {
        jobs,
        mean_error: summary.mean,
        median_error: summary.median,
        within_factor_two: near as f64 / jobs.max(1) as f64,
        within_range: inside as f64 / jobs.max(1) as f64,
    }
}

fn curve(mut completion: Vec<f64>) -> Vec<(f64, f64)> {
    completion.sort_unstable_by(f64::total_cmp);
    let count = completion.len();
    let points = POINTS.min(count);
    let point = |at: usize| {
        let rank = (at + 1) * count / points;
        (completion[rank - 1], rank as f64 / count as f64)
    };
    (0..points).map(point).collect()
}

fn hours(span: Span) -> f64 {
    span.as_secs_f64() / 3600.0
}
