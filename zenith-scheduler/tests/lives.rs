//! Lives of jobs, told step by step: gangs, deaths, nodes that go and come back, preemption, quotas, reasons for waiting.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod world;

use world::World;
use zenith_scheduler::core::job::{Dependency, Exit, When};
use zenith_scheduler::core::node::NodeSpec;
use zenith_scheduler::core::on_job::{on_cancel, on_hold, on_release, on_requeue, on_submit};
use zenith_scheduler::core::on_node::{
    on_drain, on_gpu_unhealthy, on_node_joined, on_node_lost, on_node_returned, on_node_silent,
    on_orphan_gone,
};
use zenith_scheduler::core::on_settings::{on_queue_set, on_user_set};
use zenith_scheduler::core::request::{NodeCount, Request};
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{Error, JobId, NodeId, Span, Submission};
use zenith_scheduler::policy::Policy;
use zenith_scheduler::policy::quota::{QueueSettings, UserSettings};
use zenith_scheduler::policy::why::{Reason, why};

fn world(nodes: u32) -> World {
    World::new(nodes, 8, Policy::default())
}

fn submission(gpus: u32) -> Submission {
    Submission { request: Request::gpus(gpus), ..Submission::default() }
}

fn reason(world: &World, job: JobId) -> Reason {
    why(&world.core, job, world.now).unwrap().reason
}

#[test]
fn a_gang_runs_when_its_last_rank_does_and_completes_with_its_last() {
    let mut w = world(2);
    let job = w.gpus(16);
    assert_eq!(w.round().started, 1);
    assert_eq!(w.journal.started, [(job, 1)]);
    assert_eq!(w.state(job), State::Starting);
    w.up(job);
    assert_eq!(w.state(job), State::Running);
    w.exit_rank(job, 3, Exit::Code(0));
    assert_eq!(w.state(job), State::Running);
    w.exit(job, Exit::Code(0));
    assert_eq!((w.state(job), w.core.cluster().free_gpus()), (State::Completed, 16));
}

#[test]
fn the_death_of_one_rank_ends_the_gang_and_queues_it_again() {
    let mut w = world(2);
    let job = w.gpus(16);
    w.settle();
    w.exit_rank(job, 5, Exit::Signal(9));
    assert_eq!((w.state(job), &w.journal.signalled[..]), (State::Stopping, &[job][..]));
    w.later(Span::from_secs(3));
    assert_eq!(w.journal.killed, [(job, 1)]);
    w.exit(job, Exit::Signal(9));
    assert_eq!((w.state(job), w.core.job(job).unwrap().deaths), (State::Queued, 1));
    w.settle();
    assert_eq!((w.state(job), w.core.job(job).unwrap().attempt), (State::Running, 2));
}

#[test]
fn deaths_are_bounded() {
    let mut w = World::new(1, 8, Policy { max_deaths: 2, ..Policy::default() });
    let job = w.gpus(1);
    for expected in [State::Queued, State::Queued, State::Failed] {
        w.settle();
        w.exit(job, Exit::Signal(9));
        assert_eq!(w.state(job), expected);
    }
}

#[test]
fn what_fails_by_itself_is_tried_again_as_often_as_was_asked() {
    let mut w = world(1);
    let job = w.submit(Submission { retries: 1, ..submission(1) });
    w.settle();
    w.exit(job, Exit::Code(1));
    assert_eq!(w.state(job), State::Waiting);
    w.later(Span::from_secs(1));
    w.settle();
    w.exit(job, Exit::Code(1));
    assert_eq!(w.state(job), State::Failed);
}

#[test]
fn a_lost_node_keeps_what_it_held_until_it_says_that_it_is_gone() {
    let mut w = world(3);
    let job = w.gpus(16);
    w.settle();
    let lost = w.core.job(job).unwrap().gang.as_ref().unwrap().placement.slices[0].node;
    on_node_silent(&mut w.core, &mut w.journal, w.now, lost).unwrap();
    assert_eq!(w.state(job), State::Running);
    on_node_lost(&mut w.core, &mut w.journal, w.now, lost).unwrap();
    assert_eq!(w.state(job), State::Stopping);
    w.exit(job, Exit::Signal(15));
    w.settle();
    assert_eq!((w.state(job), w.core.job(job).unwrap().attempt), (State::Running, 2));
    assert!(w.core.job(job).unwrap().gpus_on(lost).is_empty());

    on_node_returned(&mut w.core, &mut w.journal, w.now, lost, &[(job, 1)]).unwrap();
    assert_eq!(w.journal.killed, [(job, 1)]);
    assert_eq!(w.core.cluster().free_gpus(), 0);
    assert!(on_orphan_gone(&mut w.core, &mut w.journal, w.now, lost, job, 1).unwrap());
    assert_eq!(w.core.cluster().free_gpus(), 8);
    assert!(!on_orphan_gone(&mut w.core, &mut w.journal, w.now, lost, job, 1).unwrap());
    assert_eq!(w.state(job), State::Running);
}

#[test]
fn a_short_silence_harms_nothing() {
    let mut w = world(1);
    let job = w.gpus(8);
    w.settle();
    on_node_silent(&mut w.core, &mut w.journal, w.now, NodeId(0)).unwrap();
    on_node_returned(&mut w.core, &mut w.journal, w.now, NodeId(0), &[(job, 1)]).unwrap();
    assert_eq!((w.state(job), w.journal.killed.len()), (State::Running, 0));
}

#[test]
fn an_ill_gpu_is_drained_and_its_node_is_not() {
    let mut w = world(1);
    let job = w.gpus(1);
    w.settle();
    let gpu = w.core.job(job).unwrap().gpus_on(NodeId(0)).iter().next().unwrap();
    on_gpu_unhealthy(&mut w.core, &mut w.journal, w.now, NodeId(0), gpu, "Xid 79").unwrap();
    w.exit(job, Exit::Signal(15));
    assert_eq!(w.core.cluster().free_gpus(), 7);
    w.settle();
    assert_eq!(w.state(job), State::Running);
    let whole = w.gpus(8);
    assert_eq!(reason(&w, whole), Reason::GpusIll { gpus: vec![(NodeId(0), gpu)] });
    let error = on_gpu_unhealthy(&mut w.core, &mut w.journal, w.now, NodeId(0), 8, "Xid 79").unwrap_err();
    assert_eq!(error, Error::NoGpu { node: NodeId(0), gpu: 8 });
}

#[test]
fn holds_cancels_and_requeues_go_where_they_should() {
    let mut w = world(1);
    let (a, b) = (w.gpus(8), w.gpus(8));
    on_hold(&mut w.core, &mut w.journal, w.now, a).unwrap();
    w.settle();
    assert_eq!((w.state(a), w.state(b)), (State::Held, State::Running));
    on_release(&mut w.core, &mut w.journal, w.now, a).unwrap();
    on_requeue(&mut w.core, &mut w.journal, w.now, b).unwrap();
    on_cancel(&mut w.core, &mut w.journal, w.now, b).unwrap();
    assert!(on_requeue(&mut w.core, &mut w.journal, w.now, b).is_err());
    w.exit(b, Exit::Signal(15));
    assert_eq!(w.state(b), State::Cancelled);
    w.settle();
    assert_eq!(w.state(a), State::Running);
    let before = w.core.job(b).cloned().map(|job| job.state);
    assert!(matches!(on_cancel(&mut w.core, &mut w.journal, w.now, b), Err(Error::Forbidden { .. })));
    assert!(matches!(on_release(&mut w.core, &mut w.journal, w.now, b), Err(Error::Forbidden { .. })));
    assert_eq!(w.core.job(b).map(|job| job.state), before);
}

#[test]
fn dependents_start_after_and_are_cancelled_where_they_cannot() {
    let mut w = world(1);
    let first = w.submit(Submission { count: 2, ..submission(1) });
    let after = |on, when| Submission { after: vec![Dependency { on, when }], ..submission(1) };
    let good = w.submit(after(first, When::Completed));
    let any = w.submit(after(first, When::Ended));
    let chained = w.submit(after(good, When::Completed));
    w.settle();
    assert_eq!(reason(&w, good), Reason::Dependencies { on: vec![first] });
    w.exit(first, Exit::Code(0));
    assert_eq!((w.state(good), w.state(any)), (State::Waiting, State::Waiting));
    w.exit(JobId(first.0 + 1), Exit::Code(2));
    assert_eq!((w.state(good), w.state(any)), (State::Cancelled, State::Queued));
    assert_eq!(w.state(chained), State::Cancelled);
    let late = w.submit(after(first, When::Completed));
    assert_eq!(w.state(late), State::Cancelled);
}

#[test]
fn a_time_limit_ends_a_run() {
    let mut w = world(1);
    let job = w.submit(Submission { time_limit: Some(Span::from_secs(60)), ..submission(1) });
    w.settle();
    w.later(Span::from_secs(59));
    assert_eq!(w.state(job), State::Running);
    w.later(Span::from_secs(1));
    assert_eq!(w.state(job), State::Stopping);
    w.later(Span::from_secs(30));
    assert_eq!(w.journal.killed, [(job, 1)]);
    w.exit(job, Exit::Signal(9));
    assert_eq!(w.state(job), State::Failed);
}

#[test]
fn an_urgent_job_takes_the_place_of_a_preemptible_one() {
    let mut w = world(2);
    let keeps = w.gpus(8);
    let goes = w.submit(Submission { preemptible: true, ..submission(8) });
    w.settle();
    let equal = w.gpus(8);
    assert_eq!(w.round().preempted, 0);
    let urgent = w.submit(Submission { priority: 10, ..submission(8) });
    assert_eq!(w.round().preempted, 1);
    assert_eq!((w.state(goes), w.state(keeps)), (State::Stopping, State::Running));
    assert!(matches!(reason(&w, urgent), Reason::MakingRoom { .. }));
    assert_eq!(w.round().preempted, 0, "room is made once");
    w.later(Span::from_secs(30));
    assert_eq!(w.journal.killed, [(goes, 1)]);
    w.exit(goes, Exit::Signal(9));
    assert_eq!((w.state(goes), w.core.job(goes).unwrap().preemptions), (State::Queued, 1));
    w.settle();
    assert_eq!((w.state(urgent), w.state(equal)), (State::Running, State::Queued));
}

#[test]
fn a_job_that_was_preempted_often_is_left_alone() {
    let mut w = World::new(1, 8, Policy { max_preemptions: 1, ..Policy::default() });
    let goes = w.submit(Submission { preemptible: true, ..submission(8) });
    w.settle();
    let urgent = w.submit(Submission { priority: 1, ..submission(8) });
    w.round();
    w.exit(goes, Exit::Signal(15));
    w.settle();
    w.exit(urgent, Exit::Code(0));
    w.settle();
    assert_eq!(w.state(goes), State::Running);
    w.submit(Submission { priority: 1, ..submission(8) });
    assert_eq!(w.round().preempted, 0);
}

#[test]
fn a_queue_takes_back_what_it_lent() {
    let mut w = world(2);
    for (name, guarantee) in [("a", 8), ("b", 8)] {
        let settings = QueueSettings { guarantee, ..QueueSettings::default() };
        on_queue_set(&mut w.core, &mut w.journal, w.now, name, settings).unwrap();
    }
    let of = |queue: &str| Submission { queue: queue.into(), preemptible: true, ..submission(8) };
    let (own, lent) = (w.submit(of("a")), w.submit(of("a")));
    w.settle();
    assert_eq!((w.state(own), w.state(lent)), (State::Running, State::Running));
    let back = w.submit(of("b"));
    assert_eq!(w.round().preempted, 1);
    let gone = if w.state(own) == State::Stopping { own } else { lent };
    w.exit(gone, Exit::Signal(15));
    w.settle();
    assert_eq!(w.state(back), State::Running);
    assert_eq!(w.round().preempted, 0, "what a queue is promised is not taken from it");
}

#[test]
fn limits_of_queues_hold_and_are_named() {
    let mut w = world(1);
    let settings = QueueSettings { limit: Some(2), ..QueueSettings::default() };
    on_queue_set(&mut w.core, &mut w.journal, w.now, "default", settings).unwrap();
    let jobs = [w.gpus(1), w.gpus(1), w.gpus(1)];
    w.settle();
    assert_eq!(jobs.map(|job| w.state(job)), [State::Running, State::Running, State::Queued]);
    assert_eq!(reason(&w, jobs[2]), Reason::QueueLimit { queue: "default".into(), used: 2, limit: 2 });
    let contradiction = QueueSettings { limit: Some(2), guarantee: 3, weight: 1.0 };
    assert!(on_queue_set(&mut w.core, &mut w.journal, w.now, "default", contradiction).is_err());
    let nowhere = Submission { queue: "nowhere".into(), ..submission(1) };
    let error = on_submit(&mut w.core, &mut w.journal, w.now, nowhere).unwrap_err();
    assert_eq!(error.to_string(), "there is no queue \"nowhere\"; there are default");
}

#[test]
fn the_reason_for_waiting_is_the_one_that_matters() {
    let mut w = world(2);
    let huge = w.gpus(24);
    assert!(matches!(reason(&w, huge), Reason::TooLarge { gpus: 24, usable: 16, node_size: 8 }));
    on_cancel(&mut w.core, &mut w.journal, w.now, huge).unwrap();
    on_drain(&mut w.core, &mut w.journal, w.now, NodeId(1), true).unwrap();
    let both = w.gpus(16);
    assert_eq!(reason(&w, both), Reason::NodesAway { nodes: vec![NodeId(1)] });
    on_drain(&mut w.core, &mut w.journal, w.now, NodeId(1), false).unwrap();
    assert_eq!(reason(&w, both), Reason::NextRound);
    w.settle();
    assert_eq!(reason(&w, both), Reason::Running);
    let next = w.gpus(8);
    let behind = w.gpus(8);
    w.later(Span::from_secs(1));
    w.round();
    assert_eq!(reason(&w, next), Reason::Next { gpus: 8, free: 0 });
    assert_eq!(reason(&w, behind), Reason::Behind { jobs: 1 });
    assert!(why(&w.core, next, w.now).unwrap().predicted_start.unwrap() > w.now);
}

#[test]
fn a_gang_of_several_nodes_keeps_those_that_become_free_whoever_comes() {
    let mut w = world(3);
    let busy: Vec<JobId> = (0..3).map(|_| w.gpus(8)).collect();
    w.settle();
    let gang = w.gpus(24);
    w.exit(busy[0], Exit::Code(0));
    w.settle();
    // A smaller gang is more urgent as soon as it comes.
    let smaller = w.gpus(8);
    w.settle();
    w.exit(busy[1], Exit::Code(0));
    w.settle();
    assert_eq!((w.state(gang), w.state(smaller)), (State::Queued, State::Queued));
    w.exit(busy[2], Exit::Code(0));
    w.settle();
    assert_eq!(w.state(gang), State::Running);
}

#[test]
fn a_higher_priority_goes_before_a_gang_that_nodes_are_kept_for() {
    let mut w = world(2);
    let busy = [w.gpus(8), w.gpus(8)];
    w.settle();
    let gang = w.gpus(16);
    w.settle();
    w.exit(busy[0], Exit::Code(0));
    w.settle();
    assert_eq!(w.state(gang), State::Queued);
    let urgent = w.submit(Submission { priority: 1000, ..submission(8) });
    w.settle();
    assert_eq!((w.state(urgent), w.state(gang)), (State::Running, State::Queued));
}

#[test]
fn a_part_that_came_to_its_end_is_kept_when_its_node_is_lost_and_returns() {
    let mut w = World::new(2, 4, Policy::default());
    let job = w.gpus(8);
    w.settle();
    for rank in 4..8 {
        w.exit_rank(job, rank, Exit::Code(0));
    }
    let node = w.processes(job)[4].node;
    on_node_lost(&mut w.core, &mut w.journal, w.now, node).unwrap();
    assert_eq!(w.state(job), State::Running);
    on_node_returned(&mut w.core, &mut w.journal, w.now, node, &[]).unwrap();
    assert_eq!((w.state(job), w.core.cluster().free_gpus()), (State::Running, 0));
    for rank in 0..4 {
        w.exit_rank(job, rank, Exit::Code(0));
    }
    assert_eq!((w.state(job), w.core.cluster().free_gpus()), (State::Completed, 8));
}

/// A machine called n0 joins and says that it knows nothing.
fn machine(w: &mut World, identity: &str) -> Result<(), Error> {
    let spec = NodeSpec { identity: identity.to_owned(), ..NodeSpec::with_gpus("n0", 8) };
    let node = on_node_joined(&mut w.core, &mut w.journal, w.now, spec)?;
    on_node_returned(&mut w.core, &mut w.journal, w.now, node, &[])
}

#[test]
fn another_machine_of_the_same_name_takes_nothing_from_the_first() {
    let mut w = world(0);
    machine(&mut w, "first").unwrap();
    let job = w.gpus(8);
    w.settle();
    let taken = Err(Error::NodeTaken { name: "n0".to_owned() });
    assert_eq!(machine(&mut w, "second"), taken);
    on_node_silent(&mut w.core, &mut w.journal, w.now, NodeId(0)).unwrap();
    assert_eq!(machine(&mut w, "second"), taken);
    assert_eq!(machine(&mut w, ""), taken, "one that does not say who it is could be any");
    assert_eq!((w.state(job), w.core.cluster().free_gpus()), (State::Running, 0));
    assert_eq!(w.journal.started, [(job, 1)], "nothing is repeated");

    // Lost, it may still run what it was given, until somebody says that it does not.
    on_node_lost(&mut w.core, &mut w.journal, w.now, NodeId(0)).unwrap();
    assert_eq!(machine(&mut w, "second"), taken);
    on_drain(&mut w.core, &mut w.journal, w.now, NodeId(0), true).unwrap();
    machine(&mut w, "second").unwrap();
    on_drain(&mut w.core, &mut w.journal, w.now, NodeId(0), false).unwrap();
    w.settle();
    assert_eq!((w.state(job), w.core.job(job).unwrap().attempt), (State::Running, 2));
    assert_eq!(machine(&mut w, "first"), taken, "the name is the second one's now");
}

#[test]
fn a_machine_that_held_nothing_may_be_replaced_once_it_is_lost() {
    let mut w = world(1);
    machine(&mut w, "first").unwrap();
    assert_eq!(machine(&mut w, "second"), Err(Error::NodeTaken { name: "n0".to_owned() }));
    on_node_lost(&mut w.core, &mut w.journal, w.now, NodeId(0)).unwrap();
    machine(&mut w, "second").unwrap();
    assert_eq!(w.core.cluster().free_gpus(), 8);
}

fn retried(gpus: u32, retries: u32) -> Submission {
    Submission { retries, ..submission(gpus) }
}

#[test]
fn what_a_job_does_to_itself_is_a_failure_that_only_retries_allow() {
    for exit in [Exit::Unfit, Exit::OutOfMemory, Exit::Signal(11), Exit::Signal(6), Exit::Code(1)] {
        let mut w = world(2);
        let (never, once) = (w.submit(retried(1, 0)), w.submit(retried(1, 1)));
        w.settle();
        w.exit(never, exit);
        w.exit(once, exit);
        assert_eq!((w.state(never), w.state(once)), (State::Failed, State::Waiting), "{exit:?}");
        w.later(Span::from_secs(1));
        w.settle();
        w.exit(once, exit);
        assert_eq!((w.state(once), w.core.job(once).unwrap().failures), (State::Failed, 2), "{exit:?}");
        assert!(w.core.cluster().nodes().iter().all(|node| node.faults.is_empty()));
    }
}

/// The node that a job is on.
fn place(w: &World, job: JobId) -> NodeId {
    w.core.job(job).unwrap().gang.as_ref().unwrap().placement.slices[0].node
}

/// Every rank is told to start and cannot be.
fn refuse(w: &mut World, job: JobId, exit: Exit) {
    w.round();
    w.exit(job, exit);
}

#[test]
fn what_its_node_could_not_start_pauses_and_is_tried_elsewhere() {
    for exit in [Exit::NodeFault, Exit::NotStarted] {
        let mut w = world(2);
        let job = w.submit(submission(1));
        w.round();
        let first = place(&w, job);
        w.exit(job, exit);
        assert_eq!((w.state(job), w.core.job(job).unwrap().deaths), (State::Waiting, 1), "{exit:?}");
        w.later(Span::from_secs(1));
        w.settle();
        assert_ne!(place(&w, job), first);
        assert_eq!(w.state(job), State::Running);
    }
}

#[test]
fn where_there_is_no_other_node_it_is_tried_again_after_longer_and_longer_pauses() {
    let mut w = world(1);
    let job = w.submit(submission(1));
    for pause in [1, 2, 4] {
        refuse(&mut w, job, Exit::NotStarted);
        w.later(Span(pause * 1000 - 1));
        assert_eq!(w.state(job), State::Waiting);
        w.later(Span(1));
        assert_eq!(w.state(job), State::Queued);
    }
    w.settle();
    assert_eq!(w.state(job), State::Running);
}

#[test]
fn a_port_that_is_taken_is_no_reason_to_wait_or_to_go_elsewhere() {
    let mut w = world(1);
    let job = w.submit(submission(1));
    refuse(&mut w, job, Exit::PortTaken);
    assert_eq!((w.state(job), w.core.job(job).unwrap().avoided.len()), (State::Queued, 0));
    refuse(&mut w, job, Exit::PortTaken);
    assert_eq!(w.state(job), State::Waiting, "where ports run out nothing is gained by haste");
}

#[test]
fn a_node_that_starts_nothing_is_closed_and_loses_no_job() {
    let mut w = world(2);
    let fill = w.gpus(8);
    w.settle();
    let bad = NodeId(1 - place(&w, fill).0);
    let jobs: Vec<JobId> = (0..3).map(|_| w.submit(submission(1))).collect();
    w.round();
    for (at, job) in jobs.iter().enumerate() {
        assert_eq!(place(&w, *job), bad);
        assert!(!w.core.cluster().node(bad).unwrap().drained, "after {at}");
        w.exit(*job, Exit::NodeFault);
    }
    let node = w.core.cluster().node(bad).unwrap();
    assert_eq!((node.drained, node.faults.len()), (true, 3));
    w.exit(fill, Exit::Code(0));
    w.later(Span::from_secs(1));
    w.settle();
    assert!(jobs.iter().all(|job| w.state(*job) == State::Running));
    on_drain(&mut w.core, &mut w.journal, w.now, bad, false).unwrap();
    assert_eq!(w.core.cluster().node(bad).unwrap().faults, [], "whoever opens it says that it is well");
}

#[test]
fn a_directory_that_is_missing_everywhere_closes_no_node_and_one_that_is_missing_on_one_does() {
    let mut w = World::new(2, 8, Policy { max_deaths: 2, ..Policy::default() });
    let wrong: Vec<JobId> = (0..5).map(|_| w.submit(submission(1))).collect();
    for _ in 0..3 {
        w.round();
        wrong.iter().for_each(|job| w.exit(*job, Exit::NotStarted));
        w.later(Span::from_secs(60));
    }
    assert!(wrong.iter().all(|job| w.state(*job) == State::Failed));
    assert!(w.core.cluster().nodes().iter().all(|node| !node.drained));

    let mut w = world(2);
    let bad = NodeId(1);
    for closed in [false, false, true] {
        let fill = w.gpus(8);
        w.settle();
        assert_ne!(place(&w, fill), bad);
        let job = w.submit(submission(1));
        w.round();
        assert_eq!(place(&w, job), bad);
        w.exit(job, Exit::NotStarted);
        w.exit(fill, Exit::Code(0));
        w.later(Span::from_secs(1));
        w.settle();
        assert_ne!(place(&w, job), bad);
        assert_eq!(w.core.cluster().node(bad).unwrap().drained, closed);
        w.exit(job, Exit::Code(0));
    }
}

#[test]
fn a_node_that_starts_something_is_not_at_fault_for_what_was_before() {
    let mut w = world(1);
    for _ in 0..5 {
        let jobs = [w.submit(submission(1)), w.submit(submission(1))];
        w.round();
        jobs.iter().for_each(|job| w.exit(*job, Exit::NodeFault));
        assert_eq!(w.core.cluster().nodes()[0].faults.len(), 2);
        jobs.iter().for_each(|job| on_cancel(&mut w.core, &mut w.journal, w.now, *job).unwrap());
        let well = w.submit(submission(1));
        w.settle();
        assert_eq!(w.core.cluster().nodes()[0].faults, []);
        w.exit(well, Exit::Code(0));
    }
    assert!(!w.core.cluster().nodes()[0].drained);
}

/// 1 to 4 nodes with 8 GPUs each.
fn elastic(user: &str, queue: &str) -> Submission {
    let nodes = Some(NodeCount { min: 1, max: 4 });
    let request = Request { nodes, gpus_per_node: Some(8), ..Request::default() };
    Submission { request, user: user.to_owned(), queue: queue.to_owned(), ..Submission::default() }
}

#[test]
fn a_gang_of_one_to_four_nodes_takes_no_more_than_its_queue_and_its_user_may_have() {
    let gpus = |w: &World, job| w.core.job(job).unwrap().gpus();
    let mut w = world(8);
    let limit = Some(20);
    let settings = QueueSettings { limit, ..QueueSettings::default() };
    on_queue_set(&mut w.core, &mut w.journal, w.now, "small", settings).unwrap();
    let settings = UserSettings { limit, ..UserSettings::default() };
    on_user_set(&mut w.core, &mut w.journal, w.now, "bob", settings).unwrap();
    let (by_queue, by_user) = (w.submit(elastic("ada", "small")), w.submit(elastic("bob", "default")));
    w.settle();
    assert_eq!((gpus(&w, by_queue), gpus(&w, by_user)), (16, 16));
    let free = w.submit(elastic("ada", "default"));
    w.settle();
    assert_eq!(gpus(&w, free), 32);
}

#[test]
fn what_a_queue_is_promised_is_no_reason_to_take_more_before_others() {
    let mut w = world(4);
    let settings = QueueSettings { guarantee: 8, ..QueueSettings::default() };
    on_queue_set(&mut w.core, &mut w.journal, w.now, "vip", settings).unwrap();
    let (promised, other) = (w.submit(elastic("ada", "vip")), w.submit(submission(24)));
    w.settle();
    assert_eq!((w.state(promised), w.state(other)), (State::Running, State::Running));
    let mut alone = world(4);
    on_queue_set(&mut alone.core, &mut alone.journal, alone.now, "vip", settings).unwrap();
    let job = alone.submit(elastic("ada", "vip"));
    alone.settle();
    assert_eq!(alone.core.job(job).unwrap().gpus(), 32, "where nobody else waits it takes what it can use");
}
