//! `kill -9` of agents, nurseries and supervisors.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::controller::{Agent, Controller, Node, shell, text, until};
use super::{is_alive, joined, kill};

/// The nursery of an agent: its only child.
fn nursery(agent: &Agent) -> Option<i32> {
    let pid = agent.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn send(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Waits until no nursery, and nothing that one has just forked, can begin an attempt any more; none can while this is kept.
async fn no_nursery(state: &Path) -> File {
    let lock = File::open(state.join("nursery.lock")).unwrap();
    until(|| flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()).await;
    lock
}

#[tokio::test]
async fn a_start_that_outlives_the_report_of_its_attempts_end_begins_nothing() {
    let (_controller, mut node, mut agent, state) = joined(&[]).await;
    let (status, aside, runs) =
        (state.path().join("status/1.1"), state.path().join("aside"), state.path().join("runs.txt"));
    let first = nursery(&agent).unwrap();
    send(first, Signal::STOP);
    node.start(shell(1, &format!("echo run >> {}", runs.display()))).await;
    node.signal(77, true).await;
    assert_eq!(node.life(77).await, ["gone"], "by then the start is in the nursery's queue");

    // The attempt begins and ends, and its nursery dies, while the agent does not look.
    send(agent.pid(), Signal::STOP);
    send(first, Signal::CONT);
    until(|| fs::read_to_string(&status).ok().filter(|text| text.contains("gone"))).await;
    kill(first);
    let lock = no_nursery(state.path()).await;
    fs::rename(&status, &aside).unwrap();
    send(agent.pid(), Signal::CONT);

    // It passes the start on to a new nursery, hears of the end, and has it acknowledged, before that nursery begins.
    until(|| nursery(&agent).filter(|second| *second != first)).await;
    node.signal(78, true).await;
    assert_eq!(node.life(78).await, ["gone"]);
    fs::rename(&aside, &status).unwrap();
    drop(fs::OpenOptions::new().append(true).open(&status).unwrap());
    assert_eq!(node.life(1).await, ["0 started", "0 code 0", "gone"]);
    until(|| (!status.exists()).then_some(())).await;

    flock(&lock, FlockOperation::Unlock).unwrap();
    node.start(shell(2, "true")).await;
    assert_eq!(
        node.life(2).await,
        ["0 started", "0 code 0", "gone"],
        "the queue has come to what follows it"
    );
    agent.kill();
    no_nursery(state.path()).await;
    assert_eq!(fs::read_to_string(&runs).unwrap(), "run\n");
    assert!(!status.exists());
}

#[tokio::test]
async fn an_end_that_no_agent_saw_is_reported_by_the_next() {
    let (controller, mut node, mut agent, state) = joined(&[]).await;
    let go = state.path().join("go");
    node.start(shell(1, &format!("while [ ! -e {} ]; do sleep 0.01; done; exit 6", go.display()))).await;
    node.started(1).await;
    let supervisor = agent.supervisor(1);
    agent.kill();
    fs::write(go, "").unwrap();
    until(|| (!is_alive(supervisor)).then_some(())).await;

    let _agent = Agent::new(&controller, state.path(), &[]);
    let mut node = controller.node().await;
    assert_eq!(node.register.known.iter().map(|known| known.job).collect::<Vec<_>>(), [1]);
    assert_eq!(node.life(1).await, ["0 started", "0 code 6", "gone"]);
}

#[tokio::test]
async fn what_runs_does_not_notice_the_death_of_its_agent() {
    let (controller, mut node, mut agent, state) = joined(&[]).await;
    let identity = node.register.identity.clone();
    node.start(shell(1, "sleep 600")).await;
    node.started(1).await;
    let supervisor = agent.supervisor(1);
    agent.kill();

    let _agent = Agent::new(&controller, state.path(), &[]);
    let mut node = controller.node().await;
    assert_eq!(node.register.known.len(), 1);
    assert_eq!(node.register.identity, identity, "it is the same machine");
    assert!(is_alive(supervisor));
    // It is sent again by a controller that has not heard that it runs.
    node.start(shell(1, "sleep 600")).await;
    assert_eq!(text(&node.report().await), "0 started");
    node.signal(1, true).await;
    assert_eq!(node.life(1).await, ["0 signal 9", "gone"]);
}

#[tokio::test]
async fn starts_that_an_agent_took_with_it_are_begun_once_or_not_at_all() {
    let (controller, node, mut agent, state) = joined(&[]).await;
    let marks = state.path().join("marks");
    fs::create_dir(&marks).unwrap();
    let script = |job| format!("set -Ce; : > {}/{job}; sleep 0.05", marks.display());
    for job in 1..=40 {
        node.start(shell(job, &script(job))).await;
    }
    until(|| fs::read_dir(&marks).unwrap().next().is_some().then_some(())).await;
    agent.kill();

    let _agent = Agent::new(&controller, state.path(), &[]);
    let mut node = controller.node().await;
    let known: Vec<u64> = node.register.known.iter().map(|known| known.job).collect();
    for job in (1..=40).filter(|job| !known.contains(job)) {
        node.start(shell(job, &script(job))).await;
    }
    let mut ends = Vec::new();
    while ends.len() < 40 {
        let report = node.report().await;
        match text(&report).as_str() {
            "0 started" | "gone" => {}
            end => ends.push((report.job, end.to_owned())),
        }
    }
    ends.sort();
    // A second one would have found the first one's mark, and failed.
    let expected: Vec<_> = (1..=40).map(|job| (job, "0 code 0".to_owned())).collect();
    assert_eq!(ends, expected);
}

#[tokio::test]
async fn a_supervisor_takes_its_ranks_with_it() {
    let (_controller, mut node, agent, state) = joined(&[]).await;
    let pids = state.path().join("pids");
    let script = format!("setsid sleep 600 & echo $! >> {0}; echo $$ >> {0}; sleep 600", pids.display());
    node.start(shell(1, &script)).await;
    node.started(1).await;
    let written = || {
        let pids: Vec<i32> =
            fs::read_to_string(&pids).ok()?.lines().filter_map(|pid| pid.parse().ok()).collect();
        (pids.len() == 2).then_some(pids)
    };
    let pids = until(written).await;
    kill(agent.supervisor(1));
    assert_eq!(node.life(1).await, ["0 signal 9", "gone"]);
    assert!(!pids.into_iter().any(is_alive));
}

#[tokio::test]
async fn a_supervisor_that_died_without_an_agent_is_noticed_by_the_next() {
    let (controller, mut node, mut agent, state) = joined(&[]).await;
    node.start(shell(1, "sleep 600")).await;
    node.started(1).await;
    let supervisor = agent.supervisor(1);
    agent.kill();
    kill(supervisor);
    let _agent = Agent::new(&controller, state.path(), &[]);
    let mut node = controller.node().await;
    assert_eq!(node.life(1).await, ["0 started", "0 signal 9", "gone"]);
}

#[tokio::test]
async fn a_nursery_is_replaced_and_what_runs_does_not_notice() {
    let (_controller, mut node, agent, _state) = joined(&[]).await;
    node.start(shell(1, "sleep 600")).await;
    node.started(1).await;
    let first = nursery(&agent).unwrap();
    kill(first);
    node.start(shell(2, "exit 2")).await;
    assert_eq!(node.life(2).await, ["0 started", "0 code 2", "gone"]);
    assert!(nursery(&agent).unwrap() != first && is_alive(agent.supervisor(1)));
    node.signal(1, true).await;
    assert_eq!(node.life(1).await, ["0 signal 9", "gone"]);
}

#[tokio::test]
async fn a_nursery_ends_with_its_agent() {
    let (_controller, _node, mut agent, _state): (Controller, _, _, _) = joined(&[]).await;
    let nursery = nursery(&agent).unwrap();
    agent.kill();
    until(|| (!is_alive(nursery)).then_some(())).await;
}

#[tokio::test]
async fn only_the_newest_logs_are_kept() {
    let (_controller, mut node, agent, _state) = joined(&["--keep-attempts", "2"]).await;
    run_four(&mut node, "true").await;
    until_newest_are_kept(&agent).await;
}

#[tokio::test]
async fn only_so_much_of_logs_is_kept() {
    let (_controller, mut node, agent, _state) = joined(&["--keep-mib", "1"]).await;
    run_four(&mut node, "head -c 400000 /dev/urandom").await;
    until_newest_are_kept(&agent).await;
}

async fn run_four(node: &mut Node, script: &str) {
    for job in 1..=4 {
        node.start(shell(job, script)).await;
        node.life(job).await;
    }
}

async fn until_newest_are_kept(agent: &Agent) {
    let kept = || {
        let runs = fs::read_dir(agent.state.join("runs")).unwrap();
        let mut runs: Vec<String> = runs.map(|run| run.unwrap().file_name().into_string().unwrap()).collect();
        runs.sort();
        (runs == ["3.1", "4.1"]).then_some(())
    };
    until(kept).await;
}
