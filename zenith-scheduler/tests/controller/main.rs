//! The controller with nodes that are played by the test: what is told to whom and when, over restarts, lost connections and
//! refused writes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod clocks;
#[path = "../disk/mod.rs"]
mod disk;
mod fixture;
mod limits;
mod meeting;
mod returning;

use std::collections::BTreeSet;
use std::time::Duration;

use fixture::{House, ada, pair, place, settings, work};
use zenith_proto::v1;
use zenith_proto::v1::controller_message::Kind;
use zenith_scheduler::controller::Settings;
use zenith_scheduler::controller::ops::{Act, Caller, Happened};
use zenith_scheduler::core::Submission;
use zenith_scheduler::core::job::{Cause, Exit, Used, Work};
use zenith_scheduler::core::node::Contact;
use zenith_scheduler::core::request::{NodeCount, Request};
use zenith_scheduler::core::state::State;
use zenith_scheduler::policy::Policy;

#[tokio::test]
async fn a_job_runs_on_what_it_was_given_and_its_use_is_counted() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 8, &[]).await;
    let job = house.submit(work(2)).await.unwrap();
    let start = node.told_to_start().await;
    assert_eq!((start.job, start.attempt, start.local_ranks, start.world_size), (job.0, 1, 2, 2));
    assert_eq!(start.command, ["train"]);
    assert_eq!(start.slice.as_ref().unwrap().gpus.len(), 2);
    node.run(&start).await;
    assert_eq!(house.state(job).await, State::Running);
    node.end(&start, Exit::Code(0)).await;
    assert_eq!(house.state(job).await, State::Completed);
    let used = house.handle.call(move |turn| Ok(turn.core().job(job).unwrap().used)).await.unwrap();
    assert_eq!(used, Used { user_ms: 10, system_ms: 4, max_rss_kib: 100 });
}

#[tokio::test]
async fn a_gang_is_told_to_each_of_its_nodes_with_one_place_to_meet() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut nodes = [house.join("a", 4, &[]).await, house.join("b", 4, &[]).await];
    let request =
        Request { nodes: Some(NodeCount { min: 2, max: 2 }), gpus_per_node: Some(4), ..Request::default() };
    house.submit(Submission { request, ..work(0) }).await.unwrap();
    let mut starts = Vec::new();
    for node in &mut nodes {
        starts.push(node.told_to_start().await);
    }
    starts.sort_by_key(|start| start.node_rank);
    assert_eq!(starts.iter().map(|start| start.rank_offset).collect::<Vec<_>>(), [0, 4]);
    assert!(starts.iter().all(|start| (start.world_size, start.nodes, start.local_ranks) == (8, 2, 4)));
    assert_eq!(starts[0].master_port, starts[1].master_port);
    assert_eq!(starts[0].master_address, "127.0.0.1");
}

#[tokio::test]
async fn gangs_that_live_at_the_same_time_meet_at_ports_of_their_own() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 8, &[]).await;
    let mut ports = BTreeSet::new();
    for _ in 0..8 {
        house.submit(work(1)).await.unwrap();
        ports.insert(node.told_to_start().await.master_port);
    }
    assert_eq!(ports.len(), 8);
}

#[tokio::test]
async fn what_a_node_never_heard_of_is_sent_again_and_what_it_knows_is_not() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 8, &[]).await;
    let heard = house.submit(work(1)).await.unwrap();
    let lost = house.submit(work(1)).await.unwrap();
    let (first, second) = (node.told_to_start().await, node.told_to_start().await);
    node.run(&first).await;
    assert_eq!((first.job, second.job), (heard.0, lost.0));
    drop(node);
    house.close();

    let house = House::open(&path);
    let mut node = house.join("a", 8, &[(heard, 1)]).await;
    let again = node.told_to_start().await;
    assert_eq!((again.job, again.attempt), (lost.0, 1));
    assert_eq!(house.state(heard).await, State::Running);
    assert!(node.told_nothing());
    node.run(&again).await;
    node.end(&again, Exit::Code(0)).await;
    assert_eq!(house.state(lost).await, State::Completed);
}

#[tokio::test]
async fn what_ran_on_a_node_and_is_no_longer_known_there_is_done_again() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let (_node, job, _) = house.at_work("a", 8, 1).await;
    let mut node = house.join("a", 8, &[]).await;
    let again = node.told_to_start().await;
    assert_eq!((again.job, again.attempt), (job.0, 2));
}

#[tokio::test]
async fn an_attempt_that_was_given_up_is_killed_when_its_node_returns() {
    let (_dir, path) = place();
    let quick = Settings {
        silent_after: Duration::from_millis(50),
        lost_after: Duration::from_millis(100),
        ..settings()
    };
    let house = House::with(&path, quick);
    let (node, job, start) = house.at_work("a", 2, 2).await;
    house.until(job, State::Queued).await;
    assert_eq!(house.contact(&node).await, Contact::Lost);
    assert_eq!(node.report(&start, Happened::Gone).await.unwrap_err().code(), "unreachable");

    let mut node = house.join("a", 2, &[(job, 1)]).await;
    match node.told().await {
        Kind::Signal(signal) => assert_eq!((signal.job, signal.attempt, signal.kill), (job.0, 1, true)),
        other => panic!("told {other:?} and not to kill"),
    }
    assert_eq!(
        house.state(job).await,
        State::Queued,
        "its GPUs are not free before the old processes are gone"
    );
    node.report(&start, Happened::Gone).await.unwrap();
    assert_eq!(node.told_to_start().await.attempt, 2);
}

#[tokio::test]
async fn a_node_that_is_slow_to_answer_gets_nothing_new_and_loses_nothing() {
    let (_dir, path) = place();
    let house = House::with(&path, Settings { silent_after: Duration::from_millis(200), ..settings() });
    let (mut node, job, _) = house.at_work("a", 8, 1).await;
    while house.contact(&node).await == Contact::Up {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let next = house.submit(work(1)).await.unwrap();
    assert_eq!(house.contact(&node).await, Contact::Silent);
    assert_eq!((house.state(job).await, house.state(next).await), (State::Running, State::Queued));
    while house.contact(&node).await == Contact::Silent {
        node.welcome.alive.heard();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(node.told_to_start().await.job, next.0);
}

#[tokio::test]
async fn a_key_is_the_same_work_over_a_restart() {
    let (_dir, path) = place();
    let keyed = || Submission { key: "nightly".to_owned(), ..work(1) };
    let house = House::open(&path);
    let job = house.submit(keyed()).await.unwrap();
    house.close();
    let house = House::open(&path);
    let again = house.handle.call(move |turn| turn.submit(&ada(), keyed())).await.unwrap();
    assert_eq!((again.first, again.known), (job, true));
    let bob = Caller { user: "bob".to_owned(), admin: false };
    let other = house.handle.call(move |turn| turn.submit(&bob, keyed())).await.unwrap();
    assert_ne!(other.first, job);
}

#[tokio::test]
async fn jobs_are_their_owners_and_settings_are_administrators() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let job = house.submit(work(1)).await.unwrap();
    let bob = || Caller { user: "bob".to_owned(), admin: false };
    let refused = house.handle.call(move |turn| turn.act(&bob(), job, Act::Cancel)).await.unwrap_err();
    assert_eq!((refused.code(), refused.hint()), ("not_yours", "ask ada or an administrator".to_owned()));
    let for_ada = Submission { user: "ada".to_owned(), ..work(1) };
    let refused = house.handle.call(move |turn| turn.submit(&bob(), for_ada)).await.unwrap_err();
    assert_eq!(refused.code(), "not_admin");
    let refused = house.handle.call(move |turn| turn.drain(&bob(), "a", true)).await.unwrap_err();
    assert_eq!(refused.code(), "not_admin");
    let root = Caller { user: "root".to_owned(), admin: true };
    house.handle.call(move |turn| turn.act(&root, job, Act::Cancel)).await.unwrap();
    assert_eq!(house.state(job).await, State::Cancelled);
    let nothing = Submission { work: Work::default(), ..work(1) };
    assert_eq!(house.submit(nothing).await.unwrap_err().code(), "invalid");
}

#[tokio::test]
async fn a_port_that_is_taken_leads_to_another_attempt_with_another_port() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 1, &[]).await;
    let job = house.submit(work(1)).await.unwrap();
    let start = node.told_to_start().await;
    let note = Some(format!("port {} is in use", start.master_port));
    let exited = Happened::Exited { rank: 0, exit: Exit::NotStarted, used: Used::default(), note };
    node.report(&start, exited).await.unwrap();
    let again = node.told_to_start().await;
    assert_eq!((again.job, again.attempt), (job.0, 2));
    assert_ne!(again.master_port, start.master_port);
    let notes = house.handle.call(move |turn| Ok(turn.core().job(job).unwrap().notes.clone())).await.unwrap();
    assert_eq!(notes, [format!("port {} is in use", start.master_port)]);
}

#[tokio::test]
async fn changes_are_heard_and_a_rank_that_fails_fails_the_job() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 2, &[]).await;
    let mut changes = house.handle.changes();
    let job = house.submit(work(2)).await.unwrap();
    let start = node.told_to_start().await;
    node.run(&start).await;
    let exited = Happened::Exited { rank: 1, exit: Exit::Code(3), used: Used::default(), note: None };
    node.report(&start, exited).await.unwrap();
    match node.told().await {
        Kind::Signal(signal) => assert!(!signal.kill),
        other => panic!("told {other:?} and not to end the other rank"),
    }
    let exited = Happened::Exited { rank: 0, exit: Exit::Signal(15), used: Used::default(), note: None };
    node.report(&start, exited).await.unwrap();
    let ended = house.handle.call(move |turn| {
        let job = turn.core().job(job).unwrap();
        Ok((job.state, job.cause))
    });
    let cause = Cause::RankFailed { rank: 1, exit: Exit::Code(3) };
    assert_eq!(ended.await.unwrap(), (State::Failed, Some(cause)));
    let mut heard = 0;
    while let Ok(jobs) = changes.try_recv() {
        assert_eq!(&*jobs, [job]);
        heard += 1;
    }
    assert!(heard >= 4, "submitted, started, failing and failed: heard {heard}");
}

#[tokio::test]
async fn a_log_is_asked_of_the_node_that_has_it_and_comes_in_parts() {
    use zenith_scheduler::controller::logs::Wanted;
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut node = house.join("a", 1, &[]).await;
    let never = house.submit(Submission { held: true, ..work(1) }).await.unwrap();
    let wanted = |job| Wanted { job, ..Wanted::default() };
    assert_eq!(house.handle.logs(wanted(never)).await.unwrap_err().code(), "no_logs");
    let job = house.submit(work(1)).await.unwrap();
    let start = node.told_to_start().await;
    let mut streams = house.handle.logs(wanted(job)).await.unwrap();
    let Kind::ReadLog(read) = node.told().await else { panic!("the node is not asked") };
    assert_eq!((read.job, read.attempt, read.rank), (start.job, 1, None));
    let routes = house.handle.log_routes();
    let part = |data: &[u8]| v1::LogsResponse { data: data.to_vec(), ..v1::LogsResponse::default() };
    for (data, last) in [(b"one", false), (b"two", true)] {
        assert!(routes.deliver(v1::LogPart { request: read.request, part: Some(part(data)), last }).await);
    }
    let mut stream = streams.remove(0);
    assert_eq!(stream.next().await.unwrap().unwrap().data, b"one");
    assert_eq!(stream.next().await.unwrap().unwrap().data, b"two");
    assert_eq!(stream.next().await.unwrap(), None);
    drop(stream);
    assert!(!routes.deliver(v1::LogPart { request: read.request, part: None, last: false }).await);
}

#[tokio::test]
async fn the_log_of_an_earlier_attempt_is_asked_of_the_node_that_ran_it() {
    use zenith_scheduler::controller::logs::Wanted;
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut a = house.join("a", 1, &[]).await;
    let job = house.submit(work(1)).await.unwrap();
    let start = a.told_to_start().await;
    let mut b = house.join("b", 1, &[]).await;
    let root = || Caller { user: "root".to_owned(), admin: true };
    house.handle.call(move |turn| turn.drain(&root(), "a", true)).await.unwrap();
    a.end(&start, Exit::Signal(9)).await;
    assert_eq!(b.told_to_start().await.attempt, 2);
    let wanted = |attempt| Wanted { job, attempt, ..Wanted::default() };
    for (attempt, asked) in [(1, 1), (2, 2), (0, 2)] {
        let node = if asked == 1 { &mut a } else { &mut b };
        let streams = house.handle.logs(wanted(attempt)).await.unwrap();
        let Kind::ReadLog(read) = node.told().await else { panic!("the node is not asked") };
        assert_eq!((streams.len(), read.attempt), (1, asked));
    }
    let refused = house.handle.logs(wanted(3)).await.unwrap_err();
    assert_eq!(refused.to_string(), "attempt: 3; the job has had attempts 1 to 2");
}

#[tokio::test]
async fn an_attempt_of_very_many_whose_place_is_not_kept_is_refused_by_name() {
    use zenith_scheduler::controller::logs::Wanted;
    let (_dir, path) = place();
    let policy = Policy { max_deaths: 100, ..Policy::default() };
    let house = House::with(&path, Settings { policy, ..settings() });
    let mut node = house.join("a", 1, &[]).await;
    let job = house.submit(work(1)).await.unwrap();
    for _ in 0..12 {
        let start = node.told_to_start().await;
        node.end(&start, Exit::Signal(9)).await;
    }
    let refused = house.handle.logs(Wanted { job, attempt: 1, ..Wanted::default() }).await.unwrap_err();
    assert_eq!(refused.code(), "no_logs");
    house.handle.logs(Wanted { job, attempt: 11, ..Wanted::default() }).await.unwrap();
}

#[tokio::test]
async fn a_signal_goes_to_the_whole_gang_or_to_nobody() {
    let (_dir, path) = place();
    let house = House::open(&path);
    let mut a = house.join("a", 1, &[]).await;
    let mut b = house.join("b", 1, &[]).await;
    let job = house.submit(pair(1)).await.unwrap();
    let (on_a, on_b) = (a.told_to_start().await, b.told_to_start().await);
    a.run(&on_a).await;
    b.run(&on_b).await;
    let signal = || house.handle.call(move |turn| turn.signal(&ada(), job, 10));
    signal().await.unwrap();
    for node in [&mut a, &mut b] {
        let Kind::Signal(signal) = node.told().await else { panic!("no signal") };
        assert_eq!((signal.job, signal.number, signal.kill), (job.0, Some(10), false));
    }
    let (node, session) = (b.welcome.node, b.welcome.session);
    house.handle.call(move |turn| turn.leave(node, session)).await.unwrap();
    assert_eq!(signal().await.unwrap_err().code(), "unreachable");
    assert!(a.told_nothing(), "the rest of the gang is left alone");
}

#[tokio::test]
async fn a_controller_that_dies_does_not_go_unseen() {
    let (_dir, path) = place();
    let house = House::open(&path);
    assert!(house.handle.is_alive());
    let died = house.handle.call::<()>(|_| panic!("a fault that the test makes")).await;
    assert_eq!(died.unwrap_err().code(), "stopping");
    tokio::time::timeout(Duration::from_secs(20), house.handle.ended()).await.unwrap();
    assert!(!house.handle.is_alive());
}
