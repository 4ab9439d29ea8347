//! Work that was never recorded, in the shapes that published traces of GPU clusters have: heavy tails, days and nights,
//! bursts, few users that submit most. Loads are of the cluster that a scenario names.

use zenith_scheduler::core::{Span, Time};
use zenith_scheduler::simulate::{Trace, TraceJob};

use crate::draw::Draw;

/// A kind of work: how much of it, how large, how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) jobs: usize,
    /// GPUs and how often.
    pub(crate) sizes: &'static [(u32, f64)],
    pub(crate) runs: Runs,
    /// How much longer a job with twice the GPUs runs.
    pub(crate) growth: f64,
    pub(crate) users: usize,
    /// How much users differ, in the logarithm of their median.
    pub(crate) differ: f64,
    /// Jobs that come together, on average.
    pub(crate) burst: f64,
    /// What the cluster is asked for against what it has.
    pub(crate) load: f64,
    pub(crate) named: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Runs {
    LogNormal {
        median: f64,
        sigma: f64,
    },
    /// Short ones, and with this probability long ones; means in seconds.
    Two {
        short: f64,
        long: f64,
        share: f64,
    },
}

/// The longest run.
const LONGEST: f64 = 40.0 * 86_400.0;
const DAY: f64 = 86_400.0;

pub(crate) const POWERS: &[(u32, f64)] =
    &[(1, 0.60), (2, 0.12), (4, 0.10), (8, 0.12), (16, 0.035), (32, 0.02), (64, 0.005)];
pub(crate) const ODD: &[(u32, f64)] =
    &[(1, 0.4), (2, 0.1), (3, 0.15), (5, 0.1), (6, 0.1), (7, 0.05), (12, 0.05), (20, 0.05)];
pub(crate) const GANGS: &[(u32, f64)] = &[(8, 0.6), (16, 0.2), (32, 0.15), (64, 0.05)];
pub(crate) const SINGLE: &[(u32, f64)] = &[(1, 1.0)];

pub(crate) const PLAIN: Shape = Shape {
    jobs: 20_000,
    sizes: POWERS,
    runs: Runs::LogNormal { median: 900.0, sigma: 2.0 },
    growth: 1.0,
    users: 100,
    differ: 1.0,
    burst: 1.0,
    load: 0.85,
    named: true,
};

/// Makes work of a shape for a cluster of so many GPUs.
pub(crate) fn invent(shape: &Shape, gpus: u64, seed: u64) -> Trace {
    let mut draw = Draw::new(seed);
    let weights: Vec<f64> = shape.sizes.iter().map(|(_, weight)| *weight).collect();
    // A few users submit most: the second half as often as the first, and so on.
    let users: Vec<f64> = (0..shape.users).map(|user| 1.0 / (user + 1) as f64).collect();
    let habits: Vec<f64> = (0..shape.users).map(|_| (shape.differ * draw.normal()).exp()).collect();
    let mut jobs = Vec::with_capacity(shape.jobs);
    let mut burst = 0.0;
    let (mut user, mut size) = (0, 1);
    let mut dates = Vec::with_capacity(shape.jobs);
    let mut date = 0.0;
    for _ in 0..shape.jobs {
        if burst < 1.0 {
            burst = draw.exponential(shape.burst).max(1.0);
            user = draw.weighted(&users);
            size = shape.sizes[draw.weighted(&weights)].0;
            // Half as much at night as by day.
            let hour = 1.0 + 0.5 * (date / DAY * std::f64::consts::TAU).sin();
            date += draw.exponential(burst * DAY / 1000.0) / hour;
        }
        burst -= 1.0;
        let run = match shape.runs {
            Runs::LogNormal { median, sigma } => draw.log_normal(median, sigma),
            Runs::Two { short, long, share } => {
                let mean = if draw.unit() <= share { long } else { short };
                draw.exponential(mean)
            }
        };
        let run = run * habits[user] * f64::from(size).powf(shape.growth.log2());
        dates.push(date);
        jobs.push(TraceJob {
            submitted: Time(0),
            runtime: Span::from_secs_f64(run.clamp(5.0, LONGEST)),
            gpus: size,
            queue: if shape.named { format!("q{}", user % 8) } else { String::new() },
            user: if shape.named { format!("u{user}") } else { String::new() },
        });
    }
    // The dates are spread so that the work is as much as was asked for.
    let work: f64 = jobs.iter().map(|job| job.runtime.as_secs_f64() * f64::from(job.gpus)).sum();
    let scale = work / (gpus as f64 * shape.load) / date.max(1.0);
    for (job, date) in jobs.iter_mut().zip(dates) {
        job.submitted = Time((date * scale * 1000.0) as u64);
    }
    Trace::from_jobs(jobs)
}
