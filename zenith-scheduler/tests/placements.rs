//! Where gangs go, as text that people can read: `golden/*.txt`. `ZENITH_BLESS=1 cargo test -p zenith-scheduler --test placements`
//! writes what is seen as what is wanted; the difference is for review.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "each test uses its part of it")]
mod world;

use std::fmt::Write;
use std::path::Path;

use world::World;
use zenith_scheduler::core::job::Exit;
use zenith_scheduler::core::node::{Gpu, NodeSpec};
use zenith_scheduler::core::request::{Level, NodeCount, Request, Topology};
use zenith_scheduler::core::{JobId, Span, Submission};
use zenith_scheduler::policy::Policy;

fn compare(name: &str, seen: &str) {
    let path = Path::new("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("ZENITH_BLESS").is_some() {
        std::fs::write(&path, seen).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == seen, "{} differs; ZENITH_BLESS=1 accepts this:\n{seen}", path.display());
}

/// A line per job: what it asked for, and where it is.
fn picture(w: &World, jobs: &[(&str, JobId)]) -> String {
    let mut text = String::new();
    for (name, id) in jobs {
        let job = w.core.job(*id).unwrap();
        write!(text, "{name:<34} {:<9}", job.state.to_string()).unwrap();
        for slice in job.gang.iter().flat_map(|gang| &gang.placement.slices) {
            let node = w.core.cluster().node(slice.node).unwrap();
            write!(text, " {}[{}]", node.spec.name, slice.gpus).unwrap();
        }
        text = text.trim_end().to_owned();
        text.push('\n');
    }
    for node in w.core.cluster().nodes() {
        writeln!(text, "  {:<8} free {}", node.spec.name, node.free()).unwrap();
    }
    text
}

fn node(name: &str, rack: &str) -> NodeSpec {
    let gpu = |index: u8| Gpu { numa: index / 4, nvlink: index / 2 };
    NodeSpec { rack: rack.into(), gpus: (0..8).map(gpu).collect(), ..NodeSpec::with_gpus(name, 8) }
}

fn racks() -> World {
    let mut w = World::new(0, 8, Policy::default());
    for (name, rack) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b"), ("b3", "b")] {
        w.join(node(name, rack));
    }
    w
}

fn ask(w: &mut World, request: Request) -> JobId {
    w.submit(Submission { request, ..Submission::default() })
}

fn near(gpus: u32, level: Level, required: bool) -> Request {
    Request { topology: Topology { level, required }, ..Request::gpus(gpus) }
}

#[test]
fn small_jobs_share_a_node_and_gangs_stay_together() {
    let mut w = racks();
    let mut jobs = Vec::new();
    for (name, request) in [
        ("1 GPU", Request::gpus(1)),
        ("2 GPUs, one NVLink pair", near(2, Level::NvLink, true)),
        ("1 GPU, fills the pair", Request::gpus(1)),
        ("4 GPUs, one NUMA node", near(4, Level::Numa, true)),
        ("16 GPUs, one rack", near(16, Level::Rack, true)),
        ("12 GPUs, a node and a half", Request::gpus(12)),
        ("3 GPUs beside the half", Request::gpus(3)),
    ] {
        jobs.push((name, ask(&mut w, request)));
        w.settle();
    }
    compare("together", &picture(&w, &jobs));
}

#[test]
fn what_has_no_place_waits_or_takes_less() {
    let mut w = racks();
    let mut jobs =
        vec![("1 GPU each, 36 of them", w.submit(Submission { count: 36, ..Submission::default() }))];
    w.settle();
    for (name, request) in [
        ("4 GPUs anywhere", near(4, Level::Node, false)),
        ("2 GPUs, one NVLink pair", near(2, Level::NvLink, true)),
        ("4 GPUs on one node", Request::gpus(4)),
    ] {
        jobs.push((name, ask(&mut w, request)));
    }
    w.settle();
    // Every ninth of the small jobs ends, so that there is room but not in one piece.
    for at in (0..36).step_by(9) {
        w.exit(JobId(jobs[0].1.0 + at), Exit::Code(0));
    }
    w.later(Span::from_secs(60));
    let elastic =
        Request { nodes: Some(NodeCount { min: 1, max: 4 }), gpus_per_node: Some(1), ..Request::default() };
    jobs.push(("1 GPU on each of 1 to 4 nodes", ask(&mut w, elastic)));
    w.settle();
    compare("without_room", &picture(&w, &jobs));
}

#[test]
fn processors_and_memory_are_kept_for_free_gpus() {
    let mut w = World::new(1, 2, Policy::default());
    let mut jobs = Vec::new();
    // The node has 24 processors; 4 are kept for each free GPU.
    for (name, gpus, cpus) in
        [("17 processors", None, 17), ("16 processors", None, 16), ("4 for a GPU", Some(1), 4)]
    {
        jobs.push((name, ask(&mut w, Request { gpus, cpus, ..Request::default() })));
    }
    w.settle();
    compare("processors", &picture(&w, &jobs));
}

#[test]
fn whole_nodes_are_kept_for_gangs_that_wait() {
    let mut w = World::new(3, 8, Policy::default());
    let holds = w.gpus(8);
    let small = w.gpus(6);
    w.settle();
    let gang = w.gpus(24);
    w.later(Span::from_secs(60));
    let fills = w.submit(Submission { count: 2, ..Submission::default() });
    let stays_back = w.gpus(4);
    w.settle();
    let second = JobId(fills.0 + 1);
    let jobs = [
        ("8 GPUs", holds),
        ("6 GPUs", small),
        ("24 GPUs, waits", gang),
        ("1 GPU beside the 6", fills),
        ("1 GPU beside the 6", second),
        ("4 GPUs would break a node", stays_back),
    ];
    compare("kept_whole", &picture(&w, &jobs));
}

#[test]
fn of_two_nodes_as_full_the_one_that_stays_busy_is_filled() {
    let mut w = World::new(2, 8, Policy::default());
    // Half of such jobs take a minute, half a day: one that has run for an hour will run long.
    for seconds in [60, 86_400, 60, 86_400, 60, 86_400, 60, 86_400] {
        let job = w.gpus(5);
        w.settle();
        w.later(Span::from_secs(seconds));
        w.exit(job, Exit::Code(0));
    }
    let whole = w.gpus(8);
    w.settle();
    let old = w.gpus(5);
    w.settle();
    w.later(Span::from_secs(3600));
    w.exit(whole, Exit::Code(0));
    let young = w.gpus(5);
    w.settle();
    let fresh = w.gpus(1);
    w.settle();
    let jobs = [("5 GPUs for an hour so far", old), ("5 GPUs, just started", young), ("1 GPU", fresh)];
    compare("beside_old", &picture(&w, &jobs));
}
