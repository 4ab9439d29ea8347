//! What a scheduling round costs with 100,000 queued jobs and 1,000 nodes: on an empty cluster, on a full one when a few GPUs
//! become free, and when one more job comes. Prints microseconds, the median and the longest of many rounds.

use std::hint::black_box;
use std::time::{Duration, Instant};

use zenith_scheduler::core::comm::{Comm, Start};
use zenith_scheduler::core::event::Event;
use zenith_scheduler::core::job::{Exit, Placement};
use zenith_scheduler::core::node::NodeSpec;
use zenith_scheduler::core::on_job::on_submit;
use zenith_scheduler::core::on_node::on_node_joined;
use zenith_scheduler::core::on_rank::{Process, on_rank_exited, on_rank_started};
use zenith_scheduler::core::on_round::on_round;
use zenith_scheduler::core::request::{RanksPer, Request};
use zenith_scheduler::core::{Core, Error, JobId, Submission, Time};
use zenith_scheduler::policy::Policy;

const NODES: u32 = 1_000;
const JOBS: u64 = 100_000;
const USERS: u64 = 500;
const ROUNDS: usize = 200;
const SIZES: [u32; 10] = [1, 1, 1, 1, 2, 2, 4, 8, 8, 32];

#[derive(Default)]
struct Started(Vec<(JobId, u32)>);

impl Comm for Started {
    fn record(&mut self, event: &Event) {
        black_box(event);
    }

    fn start(&mut self, start: Start<'_>) {
        self.0.push((start.job, start.attempt));
    }

    fn signal(&mut self, _: JobId, _: u32, _: &Placement) {}

    fn kill(&mut self, _: JobId, _: u32, _: &Placement) {}
}

fn main() -> Result<(), Error> {
    let mut core = Core::new(Policy::default());
    let mut comm = Started::default();
    for node in 0..NODES {
        on_node_joined(&mut core, &mut comm, Time(0), NodeSpec::with_gpus(&format!("node-{node:04}"), 8))?;
    }
    for job in 0..JOBS {
        on_submit(&mut core, &mut comm, Time(job), submission(job))?;
    }
    let mut now = Time(JOBS);
    report("empty cluster, 100,000 queued", &[timed(&mut core, &mut comm, now)?]);

    let mut running = up(&mut core, &mut comm, now)?;
    let (mut few, mut more) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        now = Time(now.0 + 60_000);
        // Spread over the cluster, so that the holes are where a gang cannot use them.
        let gone = running.swap_remove(round * 7919 % running.len());
        each(&core, gone).into_iter().try_for_each(|process| {
            on_rank_exited(&mut core, &mut comm, now, process, Exit::Code(0)).map(|_| ())
        })?;
        few.push(timed(&mut core, &mut comm, now)?);
        running.extend(up(&mut core, &mut comm, now)?);

        on_submit(&mut core, &mut comm, now, submission(JOBS + round as u64))?;
        more.push(timed(&mut core, &mut comm, now)?);
        running.extend(up(&mut core, &mut comm, now)?);
    }
    report("full cluster, one job ended", &few);
    report("full cluster, one job submitted", &more);
    Ok(())
}

fn submission(job: u64) -> Submission {
    let size = SIZES[(job % SIZES.len() as u64) as usize];
    let request = Request { ranks: RanksPer::Node, ..Request::gpus(size) };
    Submission { user: format!("user-{}", job * 31 % USERS), request, ..Submission::default() }
}

fn timed(core: &mut Core, comm: &mut Started, now: Time) -> Result<Duration, Error> {
    let begin = Instant::now();
    black_box(on_round(core, comm, now)?);
    Ok(begin.elapsed())
}

/// Reports every rank of what was started as running.
fn up(core: &mut Core, comm: &mut Started, now: Time) -> Result<Vec<(JobId, u32)>, Error> {
    let started = std::mem::take(&mut comm.0);
    for gang in &started {
        for process in each(core, *gang) {
            on_rank_started(core, comm, now, process)?;
        }
    }
    Ok(started)
}

fn each(core: &Core, (job, attempt): (JobId, u32)) -> Vec<Process> {
    let gang = core.job(job).and_then(|job| job.gang.as_ref());
    let slices = gang.into_iter().flat_map(|gang| &gang.placement.slices).enumerate();
    slices.map(|(rank, slice)| Process { node: slice.node, job, attempt, rank: rank as u32 }).collect()
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn report(name: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort_unstable();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{name}: median {:.0} us, longest {:.0} us",
        micros(times[times.len() / 2]),
        micros(times[times.len() - 1])
    );
}
