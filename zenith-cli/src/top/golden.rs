//! Frames of `zenith top` as text that people can read: `tests/golden/top-*.txt`. `ZENITH_BLESS=1 cargo test -p zenith-cli top` writes
//! what is seen as what is wanted; the difference is for review.

use std::path::Path;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use zenith_proto::v1;

use super::draw::draw;
use super::screen::{Over, Screen};
use super::snapshot::Snapshot;
use super::text_of;

/// When everything here is looked at.
const NOW: u64 = 1_790_000_000_000;
const MINUTE: u64 = 60_000;

fn node(name: &str, gpus_used: &[u32], jobs: &[u64]) -> v1::Node {
    let gpu = |index: u32| v1::Gpu {
        numa: index / 4,
        nvlink: 0,
        model: "NVIDIA H100 80GB HBM3".to_owned(),
        memory_mib: Some(81_559),
    };
    v1::Node {
        spec: Some(v1::NodeSpec {
            name: name.to_owned(),
            cpus: 96,
            memory_mib: 1 << 20,
            gpus: (0..8).map(gpu).collect(),
            ..v1::NodeSpec::default()
        }),
        contact: v1::NodeContact::Up.into(),
        gpus_used: gpus_used.to_vec(),
        cpus_used: gpus_used.len() as u32 * 8,
        jobs: jobs.to_vec(),
        ..v1::Node::default()
    }
}

fn job(id: u64, state: v1::JobState, name: &str, gpus: u32) -> v1::Job {
    v1::Job {
        id,
        first: id,
        state: state.into(),
        name: name.to_owned(),
        user: "ada".to_owned(),
        queue: "default".to_owned(),
        gpus,
        submitted_ms: NOW - 90 * MINUTE,
        ..v1::Job::default()
    }
}

/// Four nodes of eight GPUs, one drained, one with an ill GPU; a gang on two nodes, and what waits.
fn snapshot() -> Snapshot {
    let all: Vec<u32> = (0..8).collect();
    let started = |after: u64, nodes: &[&str], job: v1::Job| v1::Job {
        started_ms: Some(job.submitted_ms + after),
        attempt: 1,
        nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        ..job
    };
    let placed = vec![
        started(4, &["gpu-1", "gpu-2"], job(4711, v1::JobState::Running, "pretrain-llm-70b", 16)),
        started(80 * MINUTE, &["gpu-4"], job(4718, v1::JobState::Stopping, "evaluate", 2)),
        started(
            90 * MINUTE - 900,
            &["gpu-4"],
            v1::Job { user: "grace".to_owned(), ..job(4720, v1::JobState::Starting, "finetune", 4) },
        ),
    ];
    let unplaced = vec![
        v1::Job { priority: 10, ..job(4722, v1::JobState::Queued, "pretrain-vision", 32) },
        v1::Job {
            cause: "node gpu-3 was lost".to_owned(),
            restarts: 1,
            ..job(4723, v1::JobState::Queued, "sweep-of-learning-rates", 1)
        },
        v1::Job {
            user: "grace".to_owned(),
            queue: "research".to_owned(),
            ..job(4724, v1::JobState::Waiting, "merge", 0)
        },
        job(4725, v1::JobState::Held, "later", 8),
    ];
    let nodes = vec![
        node("gpu-1", &all, &[4711]),
        node("gpu-2", &all, &[4711]),
        v1::Node { drained: true, ..node("gpu-3", &[], &[]) },
        v1::Node { gpus_ill: vec![7], ..node("gpu-4", &[0, 1, 2, 3, 4, 5], &[4718, 4720]) },
    ];
    let count = |state: v1::JobState, jobs| v1::StateCount { state: state.into(), jobs };
    let counts = vec![
        count(v1::JobState::Held, 1),
        count(v1::JobState::Waiting, 1),
        count(v1::JobState::Queued, 2),
        count(v1::JobState::Starting, 1),
        count(v1::JobState::Running, 1),
        count(v1::JobState::Stopping, 1),
    ];
    let cluster = v1::ClusterResponse {
        nodes,
        counts,
        version: "0.1.0".to_owned(),
        started_ms: NOW - 26 * 60 * MINUTE,
        ..v1::ClusterResponse::default()
    };
    Snapshot { cluster, placed, unplaced, taken_ms: NOW }
}

fn screen(seen: Snapshot) -> Screen {
    let mut screen = Screen::new("http://127.0.0.1:50051");
    screen.see(seen);
    screen
}

fn compare(name: &str, screen: &Screen, width: u16, height: u16) {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(area, &mut buffer, screen);
    let seen = text_of(&buffer);
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/top-{name}-{width}x{height}.txt"));
    if std::env::var_os("ZENITH_BLESS").is_some() {
        std::fs::write(&path, &seen).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == seen, "{} differs; ZENITH_BLESS=1 accepts this:\n{seen}", path.display());
}

#[test]
fn a_busy_cluster_at_three_sizes() {
    let screen = screen(snapshot());
    for (width, height) in [(80, 24), (120, 40), (60, 20)] {
        compare("busy", &screen, width, height);
    }
}

#[test]
fn what_ails_is_shown_where_nodes_have_no_room() {
    let mut seen = snapshot();
    seen.cluster.nodes = (1..=60).map(|number| node(&format!("gpu-{number}"), &[], &[])).collect();
    seen.cluster.nodes[57].contact = v1::NodeContact::Lost.into();
    seen.cluster.nodes[58].gpus_ill = vec![3];
    compare("crowded", &screen(seen), 80, 24);
}

#[test]
fn an_empty_cluster_says_so() {
    let mut seen = Snapshot { taken_ms: NOW, ..Snapshot::default() };
    seen.cluster.version = "0.1.0".to_owned();
    seen.cluster.started_ms = NOW - 1000;
    compare("empty", &screen(seen), 80, 24);
}

#[test]
fn what_lies_over_the_lists_can_be_read() {
    let mut screen = screen(snapshot());
    screen.over = Over::Confirm { job: 4711, name: "pretrain-llm-70b".to_owned() };
    compare("confirm", &screen, 60, 20);
    screen.explain(Ok(v1::WhyResponse {
        job: 4722,
        state: v1::JobState::Queued.into(),
        code: "next".to_owned(),
        reason: "it is the next to start: room is kept for it until 32 GPUs are free together".to_owned(),
        unblocked_by: "work that ends on the nodes it waits for".to_owned(),
        predicted_start_ms: None,
    }));
    compare("why", &screen, 80, 24);
}
