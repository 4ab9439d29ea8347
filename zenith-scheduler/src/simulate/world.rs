//! The world of a simulation: processes that start at once and end when the record says so. The scheduler does not know that
//! it is not real.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cluster::ClusterShape;
use super::measure::{Life, Meter};
use super::outcome::Outcome;
use super::trace::{Trace, TraceJob};
use super::{Named, SimulateError};
use crate::core::comm::{Comm, Start};
use crate::core::event::Event;
use crate::core::id::JobId;
use crate::core::job::{Exit, Placement, Submission};
use crate::core::on_job::on_submit;
use crate::core::on_node::on_node_joined;
use crate::core::on_rank::{Process, on_rank_exited, on_rank_started};
use crate::core::on_round::{on_round, on_tick};
use crate::core::on_settings::on_queue_set;
use crate::core::request::{RanksPer, Request};
use crate::core::state::State;
use crate::core::time::Time;
use crate::core::{Core, Error};
use crate::policy::quota::QueueSettings;

/// What the scheduler told the world to do.
#[derive(Debug, Default)]
struct Orders {
    starts: Vec<(JobId, u32)>,
}

impl Comm for Orders {
    fn record(&mut self, _: &Event) {}

    fn start(&mut self, start: Start<'_>) {
        self.starts.push((start.job, start.attempt));
    }

    fn signal(&mut self, _: JobId, _: u32, _: &Placement) {}

    fn kill(&mut self, _: JobId, _: u32, _: &Placement) {}
}

pub(super) fn run(trace: &Trace, cluster: &[ClusterShape], policy: &Named) -> Result<Outcome, SimulateError> {
    let mut core = Core::new(policy.policy);
    let mut orders = Orders::default();
    let gpus: u64 = cluster.iter().map(ClusterShape::gpus).sum();
    for spec in ClusterShape::specs(cluster)? {
        on_node_joined(&mut core, &mut orders, Time(0), spec)?;
    }
    let queues: std::collections::BTreeSet<&str> = trace.jobs.iter().map(|job| job.queue.as_str()).collect();
    for queue in queues {
        on_queue_set(&mut core, &mut orders, Time(0), queue, QueueSettings::default())?;
    }

    let mut lives = vec![Life::default(); trace.jobs.len()];
    // Jobs are numbered as they are submitted; those that are left out have no number.
    let mut numbers: Vec<usize> = Vec::with_capacity(trace.jobs.len());
    let mut ends: BinaryHeap<Reverse<(Time, JobId, u32)>> = BinaryHeap::new();
    let mut meter = Meter::new(trace, gpus);
    let mut rounds = 0;
    let mut head = None;
    let mut next = 0;
    let mut fresh = Vec::new();
    loop {
        let submitted = trace.jobs.get(next).map(|job| job.submitted);
        let ended = ends.peek().map(|Reverse((at, ..))| *at);
        let times = [submitted, ended, core.next_timer()];
        let Some(now) = times.into_iter().flatten().min() else { break };

        while let Some(Reverse((_, job, attempt))) =
            ends.peek().copied().filter(|Reverse((at, ..))| *at <= now)
        {
            ends.pop();
            exit(&mut core, &mut orders, now, job, attempt)?;
            lives[numbers[job.0 as usize - 1]].ended = Some(now);
        }
        on_tick(&mut core, &mut orders, now)?;
        fresh.clear();
        while let Some(job) = trace.jobs.get(next).filter(|job| job.submitted <= now) {
            if u64::from(job.gpus) <= gpus {
                fresh.push(on_submit(&mut core, &mut orders, now, submission(job))?);
                numbers.push(next);
            }
            next += 1;
        }
        while core.wants_round() {
            rounds += 1;
            head = on_round(&mut core, &mut orders, now)?.head;
            for (job, attempt) in std::mem::take(&mut orders.starts) {
                start(&mut core, &mut orders, now, job, attempt)?;
                let record = &trace.jobs[numbers[job.0 as usize - 1]];
                lives[numbers[job.0 as usize - 1]].started = Some(now);
                ends.push(Reverse((now + record.runtime, job, attempt)));
            }
        }

        for id in &fresh {
            if core.job(*id).is_some_and(|job| job.state == State::Queued) {
                lives[numbers[id.0 as usize - 1]].predicted = core.outlook(*id, now);
            }
        }

        let free = core.cluster().free_gpus();
        let fits = head.is_some_and(|job: JobId| trace.jobs[numbers[job.0 as usize - 1]].gpus <= free);
        let busy = core.cluster().usable_gpus() - free;
        let smallest = core.backlog.sizes().next().unwrap_or(u32::MAX);
        meter.note(
            now,
            busy,
            core.queued(),
            if fits { free } else { 0 },
            if smallest <= free { free } else { 0 },
        );
    }
    Ok(meter.outcome(trace, &lives, cluster, &policy.name, rounds))
}

fn submission(job: &TraceJob) -> Submission {
    let request = Request { ranks: RanksPer::Node, ..Request::gpus(job.gpus) };
    Submission {
        user: if job.user.is_empty() { job.queue.clone() } else { job.user.clone() },
        queue: job.queue.clone(),
        request,
        runtime: Some(job.runtime),
        ..Submission::default()
    }
}

/// Every process of a gang, as the scheduler knows them.
fn processes(core: &Core, job: JobId, attempt: u32) -> Vec<Process> {
    let gang = core.job(job).and_then(|job| job.gang.as_ref());
    let slices = gang.into_iter().flat_map(|gang| &gang.placement.slices);
    let process = |(rank, slice): (usize, &crate::core::node::Slice)| Process {
        node: slice.node,
        job,
        attempt,
        rank: rank as u32,
    };
    slices.enumerate().map(process).collect()
}

fn start(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId, attempt: u32) -> Result<(), Error> {
    for process in processes(core, job, attempt) {
        on_rank_started(core, comm, now, process)?;
    }
    Ok(())
}

fn exit(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId, attempt: u32) -> Result<(), Error> {
    for process in processes(core, job, attempt) {
        on_rank_exited(core, comm, now, process, Exit::Code(0))?;
    }
    Ok(())
}
