//! Recorded work made into other work: parts of it, other names, other dates, other run times. What it takes away is what a
//! policy must not have leant on.

use std::collections::{BTreeMap, HashMap};

use zenith_scheduler::core::{Span, Time};
use zenith_scheduler::simulate::{Trace, TraceJob};

use crate::draw::Draw;

const WEEK: u64 = 7 * 24 * 3_600_000;

/// The part of a trace between two quarters of its jobs, in order of submission.
pub(crate) fn part(trace: &Trace, from: usize, to: usize, of: usize) -> Trace {
    let count = trace.jobs.len();
    Trace::from_jobs(trace.jobs[count * from / of..count * to / of].to_vec())
}

fn renamed(trace: &Trace, mut name: impl FnMut(&TraceJob) -> (String, String)) -> Trace {
    let jobs = trace.jobs.iter().map(|job| {
        let (queue, user) = name(job);
        TraceJob { queue, user, ..job.clone() }
    });
    Trace::from_jobs(jobs.collect())
}

/// Everything in one queue, by nobody.
pub(crate) fn nameless(trace: &Trace) -> Trace {
    renamed(trace, |_| (String::new(), String::new()))
}

/// The queues' names dealt out anew, so that they say nothing of the work.
pub(crate) fn queues_dealt(trace: &Trace) -> Trace {
    let mut names: Vec<String> = trace.jobs.iter().map(|job| job.queue.clone()).collect();
    Draw::new(1).shuffle(&mut names);
    let mut names = names.into_iter();
    renamed(trace, |_| (names.next().unwrap_or_default(), String::new()))
}

/// Pairs of queues made one.
pub(crate) fn queues_merged(trace: &Trace) -> Trace {
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    trace.jobs.iter().for_each(|job| {
        let next = ids.len();
        ids.entry(job.queue.clone()).or_insert(next);
    });
    renamed(trace, |job| (format!("q{}", ids[&job.queue] % 3), String::new()))
}

/// Queues as users of one queue, each as forty of them whose names say nothing more.
pub(crate) fn many_users(trace: &Trace) -> Trace {
    let mut draw = Draw::new(2);
    renamed(trace, |job| ("default".to_owned(), format!("{}-{}", job.queue, draw.below(40))))
}

/// Dates of submission dealt out anew within each week.
pub(crate) fn dates_shuffled(trace: &Trace) -> Trace {
    let mut draw = Draw::new(3);
    let mut jobs = trace.jobs.clone();
    for week in jobs.chunk_by_mut(|a, b| a.submitted.0 / WEEK == b.submitted.0 / WEEK) {
        let mut dates: Vec<Time> = week.iter().map(|job| job.submitted).collect();
        draw.shuffle(&mut dates);
        week.iter_mut().zip(dates).for_each(|(job, date)| job.submitted = date);
    }
    Trace::from_jobs(jobs)
}

/// Run times drawn, with replacement, from those of jobs with as many GPUs.
pub(crate) fn runs_resampled(trace: &Trace, seed: u64) -> Trace {
    let mut draw = Draw::new(seed);
    let mut by_size: HashMap<u32, Vec<Span>> = HashMap::new();
    trace.jobs.iter().for_each(|job| by_size.entry(job.gpus).or_default().push(job.runtime));
    let jobs = trace.jobs.iter().map(|job| {
        let runs = &by_size[&job.gpus];
        TraceJob { runtime: runs[draw.below(runs.len())], ..job.clone() }
    });
    Trace::from_jobs(jobs.collect())
}

/// The same work, coming so much faster.
pub(crate) fn pressed(trace: &Trace, by: f64) -> Trace {
    let date = |time: Time| Time((time.0 as f64 / by) as u64);
    let jobs = trace.jobs.iter().map(|job| TraceJob { submitted: date(job.submitted), ..job.clone() });
    Trace::from_jobs(jobs.collect())
}
