//! Nodes that come back: what they missed is said again, and what has changed about them is taken in.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use zenith_scheduler::controller::Settings;
use zenith_scheduler::controller::ops::{Happened, Joining};
use zenith_scheduler::core::job::Exit;
use zenith_scheduler::core::node::{Contact, NodeSpec};
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{JobId, Span};
use zenith_scheduler::policy::Policy;
use zenith_scheduler::store::Store;

use crate::disk::limited;
use crate::fixture::{Hands, House, Node, pair, place, settings, work};

#[tokio::test]
async fn what_a_node_missed_of_the_end_of_a_job_is_said_when_it_returns() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let (node, job, start) = house.at_work("a", 1, 1).await;
    drop(node);
    house.cancel(job).await;
    let mut node = house.join("a", 1, &[(job, 1)]).await;
    assert!(!node.told_to_end(job, 1).await, "it has its time");
    node.end(&start, Exit::Signal(15)).await;
    assert_eq!(house.state(job).await, State::Cancelled);
}

#[tokio::test]
async fn a_kill_that_was_decided_while_a_node_was_away_is_said_over_a_restart_too() {
    let (_dir, path) = place();
    let hasty = Policy { grace: Span(20), ..Policy::default() };
    let house = House::with(&path, Settings { policy: hasty, ..settings() });
    let (node, job, start) = house.at_work("a", 1, 1).await;
    drop(node);
    house.cancel(job).await;
    while !is_killed(&house, job).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.close();
    let house = House::open(&path);
    let mut node = house.join("a", 1, &[(job, 1)]).await;
    assert!(node.told_to_end(job, 1).await);
    node.end(&start, Exit::Signal(9)).await;
    assert_eq!(house.state(job).await, State::Cancelled);
}

#[tokio::test]
async fn a_member_that_was_away_when_its_gang_died_is_ended_when_it_returns() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut a = house.join("a", 1, &[]).await;
    let mut b = house.join("b", 1, &[]).await;
    let job = house.submit(pair(1)).await.unwrap();
    let (on_a, on_b) = (a.told_to_start().await, b.told_to_start().await);
    a.run(&on_a).await;
    b.run(&on_b).await;
    drop(b);
    a.end(&on_a, Exit::Signal(9)).await;
    let mut b = house.join("b", 1, &[(job, 1)]).await;
    b.told_to_end(job, 1).await;
    b.end(&on_b, Exit::Signal(15)).await;
    assert!(!a.told_to_end(job, 1).await, "it was told too");
    assert_eq!(a.told_to_start().await.attempt, 2);
}

/// The time of a job that is being ended was over.
async fn is_killed(house: &House, job: JobId) -> bool {
    let stop = house.handle.call(move |turn| {
        let gang = turn.core().job(job).unwrap().gang.as_ref();
        Ok(gang.unwrap().stop.unwrap())
    });
    stop.await.unwrap().killed
}

/// A node as it is, by the ledger.
async fn spec(house: &House, node: &Node) -> NodeSpec {
    let id = node.welcome.node;
    house.handle.call(move |turn| Ok(turn.core().cluster().node(id).unwrap().spec.clone())).await.unwrap()
}

#[tokio::test]
async fn another_kernel_rack_or_one_more_gpu_is_taken_in_while_jobs_run() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let (_node, job, _) = house.at_work("a", 2, 1).await;
    let plain = NodeSpec::with_gpus("a", 2);
    let more = NodeSpec { gpus: NodeSpec::with_gpus("a", 8).gpus, ..plain.clone() };
    let more = NodeSpec { gpus: [&plain.gpus[..], &more.gpus[2..]].concat(), ..more };
    let changes = [
        NodeSpec { memory_mib: plain.memory_mib - 1, ..plain.clone() },
        NodeSpec { rack: "r2".to_owned(), cpus: 3, ..plain.clone() },
        more,
    ];
    for change in changes {
        let node = house.join_as(change.clone(), "127.0.0.1", &[(job, 1)]).await;
        let known = spec(&house, &node).await;
        assert_eq!((known.memory_mib, known.rack, known.cpus), (change.memory_mib, change.rack, change.cpus));
        assert_eq!(known.gpus, change.gpus);
        assert_eq!((house.contact(&node).await, house.state(job).await), (Contact::Up, State::Running));
    }
}

#[tokio::test]
async fn a_gpu_that_fell_off_is_gone_as_soon_as_nothing_holds_one_and_nothing_new_comes_before() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let (_node, job, start) = house.at_work("a", 4, 1).await;
    let mut node = house.join("a", 3, &[(job, 1)]).await;
    let next = house.submit(work(1)).await.unwrap();
    assert_eq!((house.state(job).await, house.state(next).await), (State::Running, State::Queued));
    assert_eq!(spec(&house, &node).await.gpus.len(), 4, "which of them are held can still be said");
    node.end(&start, Exit::Code(0)).await;
    assert_eq!(node.told_to_start().await.job, next.0);
    assert_eq!(spec(&house, &node).await.gpus.len(), 3);
}

#[tokio::test]
async fn a_node_that_rebooted_into_something_else_is_back_at_once() {
    let (_dir, path) = place();
    let quick = Settings {
        silent_after: Duration::from_millis(50),
        lost_after: Duration::from_millis(100),
        ..settings()
    };
    let house = House::with(&path, quick);
    let (node, job, _) = house.at_work("a", 2, 2).await;
    house.until(job, State::Queued).await;
    assert_eq!(house.contact(&node).await, Contact::Lost);
    let other =
        NodeSpec { gpus: NodeSpec::with_gpus("a", 8).gpus, memory_mib: 7, ..NodeSpec::with_gpus("a", 2) };
    let mut node = house.join_as(other, "127.0.0.1", &[]).await;
    let again = node.told_to_start().await;
    assert_eq!((JobId(again.job), again.attempt), (job, 2));
    assert_eq!(spec(&house, &node).await.gpus.len(), 8);
}

#[tokio::test]
async fn a_node_whose_joining_was_not_written_has_not_joined() {
    let (_dir, path) = place();
    let budget = Arc::new(AtomicI64::new(i64::MAX));
    let (store, core) = Store::open_with(limited(&path, &budget), &path, Policy::default()).unwrap();
    let hands = Hands::new();
    let house = House::over(store, core, hands.clone());
    let node = house.join("a", 1, &[]).await;
    let (id, session) = (node.welcome.node, node.welcome.session);
    house.handle.call(move |turn| turn.leave(id, session)).await.unwrap();
    assert_eq!(house.contact(&node).await, Contact::Silent);
    let (sender, mut inbox) = mpsc::channel(8);
    let again =
        Joining { spec: NodeSpec::with_gpus("a", 1), address: "127.0.0.1".to_owned(), known: Vec::new() };
    budget.store(0, Ordering::Relaxed);
    let handle = house.handle.clone();
    let refused = tokio::spawn(async move { handle.call(move |turn| turn.join(again, sender)).await });
    // The disk is full until it has refused.
    while budget.load(Ordering::Relaxed) >= 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    budget.store(i64::MAX, Ordering::Relaxed);
    assert!(refused.await.unwrap().is_err());
    hands.pass(1000);
    house.look().await;
    let is_connected = house.handle.call(move |turn| Ok(turn.is_connected(id))).await.unwrap();
    assert_eq!((house.contact(&node).await, is_connected), (Contact::Silent, false));
    assert!(inbox.recv().await.is_none(), "it sees that it has to come again");
}

#[tokio::test]
async fn a_node_that_has_nothing_of_a_part_holds_up_no_end() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 2, &[]).await;
    let job = house.submit(work(2)).await.unwrap();
    let start = node.told_to_start().await;
    house.cancel(job).await;
    node.told_to_end(job, 1).await;
    node.report(&start, Happened::Gone).await.unwrap();
    assert_eq!(house.state(job).await, State::Cancelled);
    let job = house.submit(work(2)).await.unwrap();
    let start = node.told_to_start().await;
    node.run(&start).await;
    node.end(&start, Exit::Code(0)).await;
    node.report(&start, Happened::Gone).await.unwrap();
    assert_eq!(house.state(job).await, State::Completed, "the usual last word changes nothing");
}
