//! Laws that hold whatever happens: random calls against a small cluster, all of them checked after each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses its part of it")]
mod world;

#[path = "said/laws.rs"]
mod general;

use proptest::prelude::*;
use world::World;
use zenith_scheduler::core::job::Exit;
use zenith_scheduler::core::node::NodeSpec;
use zenith_scheduler::core::on_job::{on_cancel, on_hold, on_release, on_requeue};
use zenith_scheduler::core::on_node::{
    on_drain, on_gpu_healthy, on_gpu_unhealthy, on_node_lost, on_node_returned, on_node_silent,
    on_orphan_gone,
};
use zenith_scheduler::core::on_rank::{on_rank_exited, on_rank_started};
use zenith_scheduler::core::on_settings::on_queue_set;
use zenith_scheduler::core::request::{Level, NodeCount, Request, Topology};
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{Core, Job, JobId, NodeId, Span, Submission};
use zenith_scheduler::policy::Policy;
use zenith_scheduler::policy::quota::QueueSettings;

const NODES: u32 = 4;
/// No multiple of what elastic gangs have on a node.
const LIMIT: u32 = 7;

#[derive(Clone, Debug)]
enum Call {
    Submit { gpus: u32, elastic: bool, priority: i32, preemptible: bool, count: u32, limited: bool },
    Round,
    Later(u64),
    RankStarted { job: u64, rank: usize },
    RankExited { job: u64, rank: usize, exit: u8 },
    Cancel(u64),
    Hold(u64),
    Release(u64),
    Requeue(u64),
    Silent(u32),
    Lost(u32),
    Returned(u32, bool),
    Drain(u32, bool),
    Gpu(u32, u8, bool),
}

fn call() -> impl Strategy<Value = Call> {
    let submit = (1u32..20, any::<bool>(), -2i32..3, any::<bool>(), 1u32..4, any::<bool>()).prop_map(
        |(gpus, elastic, priority, preemptible, count, limited)| Call::Submit {
            gpus,
            elastic,
            priority,
            preemptible,
            count,
            limited,
        },
    );
    prop_oneof![
        6 => submit,
        6 => Just(Call::Round),
        3 => (0u64..100).prop_map(Call::Later),
        8 => (0u64..30, 0usize..20).prop_map(|(job, rank)| Call::RankStarted { job, rank }),
        8 => (0u64..30, 0usize..20, 0u8..4).prop_map(|(job, rank, exit)| Call::RankExited { job, rank, exit }),
        1 => (0u64..30).prop_map(Call::Cancel),
        1 => (0u64..30).prop_map(Call::Hold),
        1 => (0u64..30).prop_map(Call::Release),
        1 => (0u64..30).prop_map(Call::Requeue),
        1 => (0..NODES).prop_map(Call::Silent),
        1 => (0..NODES).prop_map(Call::Lost),
        2 => (0..NODES, any::<bool>()).prop_map(|(node, kept)| Call::Returned(node, kept)),
        1 => (0..NODES, any::<bool>()).prop_map(|(node, drained)| Call::Drain(node, drained)),
        1 => (0..NODES, 0u8..4, any::<bool>()).prop_map(|(node, gpu, well)| Call::Gpu(node, gpu, well)),
    ]
}

/// Carries a call out. Refusals are fine; what they leave behind is checked like everything else.
fn carry_out(w: &mut World, call: &Call) {
    let pick = |w: &World, at: u64| {
        let count = w.core.len() as u64;
        (count > 0).then(|| JobId(1 + at % count))
    };
    let World { core, journal, now } = w;
    match call {
        Call::Submit { gpus, elastic, priority, preemptible, count, limited } => {
            let nodes = elastic.then_some(NodeCount { min: 1, max: 3 });
            let request = match nodes {
                Some(_) => Request { nodes, gpus_per_node: Some(gpus % 4 + 1), ..Request::default() },
                None => Request::gpus(*gpus),
            };
            let queue = if *limited { "limited" } else { "default" }.to_owned();
            let (priority, preemptible, count) = (*priority, *preemptible, *count);
            w.submit(Submission { request, priority, preemptible, count, queue, ..Submission::default() });
        }
        Call::Round => {
            w.round();
        }
        Call::Later(seconds) => w.later(Span::from_secs(*seconds)),
        Call::RankStarted { job, rank } => {
            let Some(job) = pick(w, *job) else { return };
            let processes = w.processes(job);
            if let Some(process) = processes.get(rank % processes.len().max(1)) {
                on_rank_started(&mut w.core, &mut w.journal, w.now, *process).unwrap();
            }
        }
        Call::RankExited { job, rank, exit } => {
            let Some(job) = pick(w, *job) else { return };
            let exit = [Exit::Code(0), Exit::Code(0), Exit::Code(1), Exit::Signal(9)][usize::from(*exit)];
            let processes = w.processes(job);
            if let Some(process) = processes.get(rank % processes.len().max(1)) {
                on_rank_exited(&mut w.core, &mut w.journal, w.now, *process, exit).unwrap();
            }
        }
        Call::Cancel(job) => {
            drop(pick(w, *job).map(|job| on_cancel(&mut w.core, &mut w.journal, w.now, job)));
        }
        Call::Hold(job) => {
            drop(pick(w, *job).map(|job| on_hold(&mut w.core, &mut w.journal, w.now, job)));
        }
        Call::Release(job) => {
            drop(pick(w, *job).map(|job| on_release(&mut w.core, &mut w.journal, w.now, job)));
        }
        Call::Requeue(job) => {
            drop(pick(w, *job).map(|job| on_requeue(&mut w.core, &mut w.journal, w.now, job)));
        }
        Call::Silent(node) => on_node_silent(core, journal, *now, NodeId(*node)).unwrap(),
        Call::Lost(node) => on_node_lost(core, journal, *now, NodeId(*node)).unwrap(),
        Call::Returned(node, kept) => {
            let holdings = core.cluster().node(NodeId(*node)).unwrap().holdings.clone();
            let running: Vec<(JobId, u32)> = holdings.iter().map(|h| (h.job, h.attempt)).collect();
            let running = if *kept { running } else { Vec::new() };
            on_node_returned(core, journal, *now, NodeId(*node), &running).unwrap();
            for holding in holdings.iter().filter(|holding| *kept && holding.orphan) {
                on_orphan_gone(core, journal, *now, NodeId(*node), holding.job, holding.attempt).unwrap();
            }
        }
        Call::Drain(node, drained) => on_drain(core, journal, *now, NodeId(*node), *drained).unwrap(),
        Call::Gpu(node, gpu, well) => match well {
            true => on_gpu_healthy(core, journal, *now, NodeId(*node), *gpu).unwrap(),
            false => on_gpu_unhealthy(core, journal, *now, NodeId(*node), *gpu, "Xid 79").unwrap(),
        },
    }
}

fn check(w: &World, ends: &mut general::Ends) {
    general::hold(&w.core, ends);
    let held: u32 = w.core.cluster().nodes().iter().map(|node| node.used().len()).sum();
    assert!(held <= NODES * 4);
    let gpus = |job: &Job| {
        let is_limited = w.core.batch(job).unwrap().submission.queue == "limited";
        job.gang.as_ref().filter(|_| is_limited).map_or(0, |gang| gang.placement.gpus())
    };
    let limited: u32 = w.core.jobs().map(gpus).sum();
    assert!(limited <= LIMIT, "a queue has {limited} GPUs of at most {LIMIT}");
}

fn snapshot(core: &Core) -> String {
    serde_json::to_string(core.ledger()).unwrap()
}

fn small(policy: Policy) -> World {
    let mut w = World::new(NODES, 4, policy);
    let settings = QueueSettings { limit: Some(LIMIT), ..QueueSettings::default() };
    on_queue_set(&mut w.core, &mut w.journal, w.now, "limited", settings).unwrap();
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold(calls in prop::collection::vec(call(), 1..120), which in 0usize..4) {
        let policy = [Policy::default(), Policy::fifo(), Policy::easy(), Policy::shortest()][which];
        let mut w = small(policy);
        let mut ends = general::Ends::new();
        for call in &calls {
            carry_out(&mut w, call);
            check(&w, &mut ends);
        }
        let submitted: usize = calls.iter().map(|call| match call {
            Call::Submit { count, .. } => *count as usize,
            _ => 0,
        }).sum();
        prop_assert_eq!(w.core.len(), submitted, "a job was lost");

        let mut again = Core::new(policy);
        again.replay(&w.journal.events).unwrap();
        prop_assert!(snapshot(&again) == snapshot(&w.core), "replaying gave another state");

        let read = serde_json::from_str(&snapshot(&w.core)).unwrap();
        let restored = Core::restore(read, policy).unwrap();
        prop_assert!(snapshot(&restored) == snapshot(&w.core), "the snapshot is another state");
        prop_assert_eq!(restored.queued(), w.core.queued());
        prop_assert_eq!(restored.cluster().free_gpus(), w.core.cluster().free_gpus());
    }

    #[test]
    fn everything_ends_when_nothing_goes_wrong(sizes in prop::collection::vec(1u32..17, 1..40)) {
        let mut w = small(Policy::default());
        let jobs: Vec<JobId> = sizes.iter().map(|gpus| w.gpus(*gpus)).collect();
        for _ in 0..sizes.len() {
            w.settle();
            let running: Vec<JobId> = jobs.iter().copied().filter(|job| w.state(*job) == State::Running).collect();
            w.later(Span::from_secs(60));
            running.into_iter().for_each(|job| w.exit(job, Exit::Code(0)));
        }
        for job in jobs {
            prop_assert_eq!(w.state(job), State::Completed);
        }
    }

    #[test]
    fn of_two_that_are_alike_the_more_important_starts_no_later(
        gpus in 1u32..9, low in -5i32..5, more in 1i32..5, busy in 0u32..16, first in any::<bool>(),
    ) {
        let mut w = small(Policy::default());
        let blockers: Vec<JobId> = (0..busy).map(|_| w.gpus(1)).collect();
        w.settle();
        let of = |priority| Submission { request: Request::gpus(gpus), priority, ..Submission::default() };
        let (a, b) = if first { (low + more, low) } else { (low, low + more) };
        let (a, b) = (w.submit(of(a)), w.submit(of(b)));
        let (high, low) = if first { (a, b) } else { (b, a) };
        for step in 0..=blockers.len() {
            w.settle();
            let has = |job| w.core.job(job).unwrap().placed.is_some();
            prop_assert!(has(high) || !has(low));
            w.later(Span::from_secs(1));
            if let Some(blocker) = blockers.get(step) {
                w.exit(*blocker, Exit::Code(0));
            }
        }
        w.settle();
        prop_assert_eq!(w.state(high), State::Running);
    }

    #[test]
    fn a_reserved_gang_is_not_passed_by_what_comes_later(stream in prop::collection::vec(1u32..4, 20..60)) {
        let mut w = small(Policy::default());
        let fill: Vec<JobId> = (0..16).map(|_| w.gpus(1)).collect();
        w.settle();
        // Older than all that comes, so that it is first in the queue and has the reservation.
        let gang = w.submit(Submission { priority: 100, ..Submission { request: Request::gpus(16), ..Submission::default() } });
        w.settle();
        let later: Vec<JobId> = stream.iter().map(|gpus| w.gpus(*gpus)).collect();
        for job in &fill {
            w.later(Span::from_secs(600));
            w.exit(*job, Exit::Code(0));
            w.settle();
        }
        prop_assert_eq!(w.state(gang), State::Running);
        for job in later {
            prop_assert_eq!(w.state(job), State::Queued);
        }
    }

    #[test]
    fn whoever_work_was_ended_for_has_its_place_when_that_is_gone(
        sizes in prop::collection::vec(1u32..5, 8..40), which in 0usize..4, gpus in 1u32..5, pauses in prop::collection::vec(0u64..50, 40),
    ) {
        let mut w = World::new(0, 8, Policy::default());
        for (name, rack) in [("a1", "a"), ("b1", "b"), ("a2", "a"), ("b2", "b")] {
            w.join(NodeSpec { rack: rack.to_owned(), ..NodeSpec::with_gpus(name, 8) });
        }
        for (size, pause) in sizes.iter().zip(&pauses) {
            w.submit(Submission { request: Request::gpus(*size), preemptible: true, ..Submission::default() });
            w.settle();
            w.later(Span::from_secs(*pause));
        }
        let near = |gpus, level| Request { topology: Topology { level, required: true }, ..Request::gpus(gpus) };
        let request = [
            near(gpus, Level::Numa),
            near(gpus, Level::NvLink),
            near(16, Level::Rack),
            Request { nodes: Some(NodeCount { min: 2, max: 2 }), ..near(2 * gpus, Level::Numa) },
        ][which].clone();
        let urgent = w.submit(Submission { request, priority: 10, ..Submission::default() });
        w.round();
        for victim in std::mem::take(&mut w.journal.signalled) {
            w.exit(victim, Exit::Signal(15));
        }
        w.settle();
        prop_assert_eq!(w.state(urgent), State::Running);
    }
}

#[test]
fn what_needs_processors_is_not_passed_by_small_work_for_ever() {
    let asks = |gpus, cpus| Request { gpus, cpus, ..Request::default() };
    // A node has 96 processors and 8 GPUs, and 4 processors are kept for each free GPU.
    let cases = [
        ("all GPUs and processors", asks(Some(8), 12), asks(None, 1)),
        ("most processors and no GPU", asks(None, 64), asks(None, 1)),
        ("one GPU and all processors", asks(Some(1), 96), asks(Some(1), 1)),
        ("most processors beside GPUs", asks(None, 64), asks(Some(1), 9)),
    ];
    for (name, large, small) in cases {
        let mut w = World::new(1, 8, Policy::default());
        let small = |w: &mut World| w.submit(Submission { request: small.clone(), ..Submission::default() });
        let mut stream: std::collections::VecDeque<JobId> = (0..100).map(|_| small(&mut w)).collect();
        w.settle();
        // More important than all that comes, so that it is first in the queue and has the reservation.
        let large = w.submit(Submission { request: large, priority: 100, ..Submission::default() });
        for _ in 0..400 {
            w.settle();
            if w.state(large) == State::Running {
                break;
            }
            w.later(Span::from_secs(60));
            let oldest = stream.iter().position(|job| w.state(*job) == State::Running);
            let ended = oldest.and_then(|at| stream.remove(at));
            let ended = ended.unwrap_or_else(|| panic!("{name}: nothing runs, and it waits"));
            w.exit(ended, Exit::Code(0));
            stream.push_back(small(&mut w));
        }
        assert_eq!(w.state(large), State::Running, "{name}");
    }
}
