//! The laws of an engine, each for any fixture.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use zenith_scheduler::controller::logs::Wanted;
use zenith_scheduler::controller::ops::Caller;
use zenith_scheduler::core::job::{Dependency, When};
use zenith_scheduler::core::request::{Level, NodeCount, Request, Topology};
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{JobId, Span, Submission};
use zenith_scheduler::engine::{Capability, Engine};
use zenith_scheduler::refusal::{Kind, Refusal};

use crate::fixture::Fixture;
use crate::work::{Files, ann, in_state, is_alive, seen, shell, soon, until};

async fn submit(engine: &Arc<dyn Engine>, gang: Submission) -> JobId {
    engine.submit(&ann(), gang).await.unwrap().first
}

/// A gang that needs a capability and nothing else that an engine may lack.
fn needing(capability: Capability, before: JobId) -> Option<Submission> {
    let plain = Submission { held: true, ..shell(1, "true") };
    let near = |level| Request { topology: Topology { level, required: true }, ..Request::gpus(1) };
    Some(match capability {
        Capability::Arrays => Submission { count: 2, ..plain },
        Capability::Dependencies => {
            Submission { after: vec![Dependency { on: before, when: When::Ended }], ..plain }
        }
        Capability::Preemption => Submission { preemptible: true, ..plain },
        Capability::Retries => Submission { retries: 1, ..plain },
        Capability::TimeLimits => Submission { time_limit: Some(Span(3_600_000)), ..plain },
        Capability::NodeRanges => {
            let nodes = Some(NodeCount { min: 1, max: 2 });
            let request = Request { nodes, gpus_per_node: Some(1), ..Request::default() };
            Submission { request, ..plain }
        }
        Capability::NvLink => Submission { request: near(Level::NvLink), ..plain },
        Capability::Numa => Submission { request: near(Level::Numa), ..plain },
        Capability::Racks => Submission { request: near(Level::Rack), ..plain },
        // It is no part of a gang: the laws of signals ask for it.
        Capability::Signals => return None,
    })
}

pub(crate) async fn what_it_can_do_is_taken_in_and_the_rest_is_refused_by_name<F: Fixture>() {
    let fixture = F::start(1, 1).await;
    let engine = fixture.engine();
    let before = submit(&engine, Submission { held: true, ..shell(1, "true") }).await;
    let mut taken = BTreeSet::from([before]);
    for capability in Capability::ALL {
        let Some(gang) = needing(capability, before) else { continue };
        let count = gang.count;
        match (engine.submit(&ann(), gang).await, engine.capabilities().has(capability)) {
            (Ok(submitted), true) => {
                assert_eq!((submitted.count, submitted.known), (count, false), "{capability}");
                taken.extend((0..u64::from(count)).map(|index| JobId(submitted.first.0 + index)));
            }
            (Err(Refusal::Unsupported { capability: named }), false) => assert_eq!(named, capability.name()),
            (outcome, can) => panic!("{capability}, which it can: {can}: {outcome:?}"),
        }
    }
    let kept: BTreeSet<JobId> = engine.snapshot().await.unwrap().iter().map(|seen| seen.job).collect();
    assert_eq!(kept, taken, "what is refused leaves nothing");
}

pub(crate) async fn a_key_is_the_same_work_however_often_it_is_handed_in<F: Fixture>() {
    let fixture = F::start(1, 1).await;
    let engine = fixture.engine();
    let gang = || Submission { key: "night run".to_owned(), held: true, ..shell(1, "true") };
    let ann = ann();
    let (one, other) = tokio::join!(engine.submit(&ann, gang()), engine.submit(&ann, gang()));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.first, other.first);
    assert_eq!(BTreeSet::from([one.known, other.known]), BTreeSet::from([false, true]));
    let again = engine.submit(&ann, gang()).await.unwrap();
    assert_eq!((again.first, again.count, again.known), (one.first, 1, true));
    let bob = Caller { user: "bob".to_owned(), admin: false };
    let his = engine.submit(&bob, gang()).await.unwrap();
    assert!(his.first != one.first && !his.known, "a key is its user's");
    let without = submit(&engine, Submission { key: String::new(), ..gang() }).await;
    assert!(without != one.first, "no key is no key");
    assert_eq!(engine.snapshot().await.unwrap().len(), 3);
}

pub(crate) async fn a_gang_has_all_of_its_gpus_or_none<F: Fixture>() {
    let fixture = F::start(2, 2).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let small = submit(&engine, shell(1, &files.staying("small"))).await;
    files.begun("small", 1).await;
    let mut changes = engine.watch();
    let gang = submit(&engine, shell(4, &files.staying("gang"))).await;
    assert_eq!((seen(&engine, gang).await.gpus, files.processes("gang", 4).len()), (0, 0));
    files.let_go("small");
    in_state(&engine, small, State::Completed).await;
    let processes = files.begun("gang", 4).await;
    assert_eq!(processes.iter().collect::<BTreeSet<_>>().len(), 4, "every rank is a process of its own");
    files.let_go("gang");
    assert_eq!(in_state(&engine, gang, State::Completed).await.attempt, 1);
    // However often it was looked at: all or none.
    let watched = Arc::clone(&engine);
    let mut heard = 0;
    while let Ok(jobs) = changes.try_recv() {
        heard += usize::from(jobs.contains(&gang));
        let gpus = seen(&watched, gang).await.gpus;
        assert!(gpus == 0 || gpus == 4, "{gpus} of 4 GPUs");
    }
    assert!(heard > 0);
}

pub(crate) async fn what_can_never_fit_waits_and_holds_nothing<F: Fixture>() {
    let fixture = F::start(1, 2).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let large = submit(&engine, shell(3, &files.staying("large"))).await;
    let small = submit(&engine, shell(2, "true")).await;
    in_state(&engine, small, State::Completed).await;
    let waits = seen(&engine, large).await;
    assert_eq!((waits.state, waits.gpus, waits.attempt), (State::Queued, 0, 0));
    assert_eq!(files.processes("large", 3).len(), 0);
}

pub(crate) async fn a_listener_hears_of_every_change_or_that_it_lags<F: Fixture>() {
    let fixture = F::start(1, 1).await;
    let engine = fixture.engine();
    let mut changes = engine.watch();
    let job = submit(&engine, shell(1, "true")).await;
    // The last that is heard of a job is its end, and by then a snapshot has it.
    soon(async {
        loop {
            let jobs = changes.recv().await.unwrap();
            if jobs.contains(&job) && seen(&engine, job).await.state == State::Completed {
                return;
            }
        }
    })
    .await;

    let mut expected = BTreeSet::new();
    for _ in 0..F::MORE_THAN_A_LAG {
        expected.insert(submit(&engine, Submission { held: true, ..shell(1, "true") }).await);
    }
    let mut heard = BTreeSet::new();
    let mut missed = 0;
    loop {
        match changes.try_recv() {
            Ok(jobs) => heard.extend(jobs.iter().copied()),
            Err(TryRecvError::Lagged(changes)) => missed += changes,
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Closed) => panic!("the engine is gone"),
        }
    }
    assert!(missed > 0 || heard.is_superset(&expected), "{} of {} were heard", heard.len(), expected.len());
    // Who lags takes a snapshot, and hears again from then on.
    assert_eq!(engine.snapshot().await.unwrap().len(), expected.len() + 1);
    let last = *expected.last().unwrap();
    engine.cancel(&ann(), last).await.unwrap();
    soon(async {
        loop {
            match changes.recv().await {
                Ok(jobs) if jobs.contains(&last) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => panic!("the engine is gone"),
            }
        }
    })
    .await;
}

pub(crate) async fn a_signal_reaches_every_rank_and_ends_nothing<F: Fixture>() {
    let fixture = F::start(2, 1).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let heard = fixture.folder().join("work/heard");
    let trap =
        format!("trap 'echo $$ > {0}.half.$RANK; mv {0}.half.$RANK {0}.$RANK' USR1; ", heard.display());
    let gang = submit(&engine, shell(2, &(trap + &files.staying("gang")))).await;
    let processes = files.begun("gang", 2).await;
    in_state(&engine, gang, State::Running).await;
    let sent = engine.signal(&ann(), gang, libc::SIGUSR1 as u32).await;
    if !engine.capabilities().has(Capability::Signals) {
        let Err(Refusal::Unsupported { capability }) = sent else { panic!("{sent:?}") };
        assert_eq!(capability, Capability::Signals.name());
        files.let_go("gang");
        return;
    }
    sent.unwrap();
    assert_eq!(files.begun("heard", 2).await, processes);
    let after = seen(&engine, gang).await;
    assert_eq!((after.state, after.attempt), (State::Running, 1));
    files.let_go("gang");
    in_state(&engine, gang, State::Completed).await;
}

pub(crate) async fn a_signal_that_cannot_be_sent_is_refused<F: Fixture>() {
    let fixture = F::start(1, 1).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    if !engine.capabilities().has(Capability::Signals) {
        return;
    }
    let kind = |outcome: Result<(), Refusal>| {
        let refusal = outcome.unwrap_err();
        assert!(!refusal.hint().is_empty(), "{refusal}");
        refusal.kind()
    };
    let usr1 = libc::SIGUSR1 as u32;
    let running = submit(&engine, shell(1, &files.staying("job"))).await;
    files.begun("job", 1).await;
    in_state(&engine, running, State::Running).await;
    let bob = Caller { user: "bob".to_owned(), admin: false };
    assert_eq!(kind(engine.signal(&bob, running, usr1).await), Kind::Forbidden);
    for number in [0, 32, 4096] {
        assert_eq!(kind(engine.signal(&ann(), running, number).await), Kind::Invalid, "{number}");
    }
    assert_eq!(kind(engine.signal(&ann(), JobId(1_000_000), usr1).await), Kind::NotFound);
    let queued = submit(&engine, shell(1, "true")).await;
    assert_eq!(kind(engine.signal(&ann(), queued, usr1).await), Kind::Conflict);
    files.let_go("job");
    in_state(&engine, running, State::Completed).await;
    assert_eq!(kind(engine.signal(&ann(), running, usr1).await), Kind::Conflict);
}

pub(crate) async fn a_job_that_is_cancelled_ends_for_good_and_leaves_no_process<F: Fixture>() {
    let fixture = F::start(1, 2).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let running = submit(&engine, Submission { retries: 3, ..shell(2, &files.staying("job")) }).await;
    let processes = files.begun("job", 2).await;
    let queued = submit(&engine, shell(2, &files.staying("later"))).await;
    engine.cancel(&ann(), queued).await.unwrap();
    assert_eq!(in_state(&engine, queued, State::Cancelled).await.attempt, 0);
    engine.cancel(&ann(), running).await.unwrap();
    let ended = in_state(&engine, running, State::Cancelled).await;
    assert_eq!((ended.attempt, ended.gpus), (1, 0));
    assert!(!processes.into_iter().any(is_alive), "its GPUs are somebody else's now");
    let refusal = engine.cancel(&ann(), running).await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::Conflict, "{refusal}");
    let refusal = engine.cancel(&ann(), JobId(1_000_000)).await.unwrap_err();
    assert_eq!(refusal.kind(), Kind::NotFound, "{refusal}");
    // The room is free again.
    let next = submit(&engine, shell(2, "true")).await;
    in_state(&engine, next, State::Completed).await;
}

pub(crate) async fn what_is_somebody_elses_is_left_alone<F: Fixture>() {
    let fixture = F::start(1, 1).await;
    let engine = fixture.engine();
    let hers = submit(&engine, Submission { held: true, ..shell(1, "true") }).await;
    let bob = Caller { user: "bob".to_owned(), admin: false };
    assert_eq!(engine.cancel(&bob, hers).await.unwrap_err().kind(), Kind::Forbidden);
    let as_ann = Submission { user: "ann".to_owned(), ..shell(1, "true") };
    assert_eq!(engine.submit(&bob, as_ann).await.unwrap_err().kind(), Kind::Forbidden);
    assert_eq!(engine.snapshot().await.unwrap().len(), 1);
    let boss = Caller { user: "boss".to_owned(), admin: true };
    engine.cancel(&boss, hers).await.unwrap();
    in_state(&engine, hers, State::Cancelled).await;
}

pub(crate) async fn what_ranks_write_can_be_read_while_they_run_and_after<F: Fixture>() {
    let fixture = F::start(2, 1).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let refusal = engine.logs(Wanted { job: JobId(1_000_000), ..Wanted::default() }).await.err().unwrap();
    assert_eq!(refusal.kind(), Kind::NotFound);
    let script = format!("echo first $RANK; echo aside >&2; {}; echo last $RANK", files.staying("gang"));
    let gang = submit(&engine, shell(2, &script)).await;
    files.begun("gang", 2).await;
    let wanted = Wanted { job: gang, rank: Some(1), follow: true, ..Wanted::default() };
    let mut follow = engine.logs(wanted).await.unwrap();
    assert_eq!(follow.len(), 1, "one rank is on one node");
    let mut followed = String::new();
    while !followed.contains("first 1\n") {
        let part = soon(follow[0].next()).await.unwrap().expect("it runs, so there is more to come");
        assert_eq!(part.rank, 1);
        followed += str::from_utf8(&part.data).unwrap();
    }
    files.let_go("gang");
    while let Some(part) = soon(follow[0].next()).await.unwrap() {
        followed += str::from_utf8(&part.data).unwrap();
    }
    assert!(followed.ends_with("last 1\n"), "{followed}");
    in_state(&engine, gang, State::Completed).await;
    let mut lines = BTreeSet::new();
    for mut node in engine.logs(Wanted { job: gang, ..Wanted::default() }).await.unwrap() {
        while let Some(part) = soon(node.next()).await.unwrap() {
            let text = str::from_utf8(&part.data).unwrap().to_owned();
            lines.extend(text.lines().map(|line| format!("{} {line}", part.rank)));
        }
    }
    let expected = ["0 aside", "0 first 0", "0 last 0", "1 aside", "1 first 1", "1 last 1"];
    assert_eq!(lines.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

pub(crate) async fn jobs_on_nodes_that_are_away_cannot_be_vouched_for<F: Fixture>() {
    let mut fixture = F::start(2, 1).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let gang = submit(&engine, shell(2, &files.staying("gang"))).await;
    let processes = files.begun("gang", 2).await;
    in_state(&engine, gang, State::Running).await;
    assert_eq!(engine.reconcile().await.unwrap(), []);
    fixture.lose_node(1).await;
    assert_eq!(engine.reconcile().await.unwrap(), [gang]);
    assert!(processes.iter().all(|pid| is_alive(*pid)), "what runs there goes on");
    fixture.find_node(1).await;
    assert_eq!(engine.reconcile().await.unwrap(), []);
    let after = seen(&engine, gang).await;
    assert_eq!((after.state, after.attempt, after.gpus), (State::Running, 1, 2));
    assert_eq!(files.processes("gang", 2), processes);
    files.let_go("gang");
    in_state(&engine, gang, State::Completed).await;
}

pub(crate) async fn what_was_acknowledged_survives_the_engine<F: Fixture>() {
    let mut fixture = F::start(2, 1).await;
    let (engine, files) = (fixture.engine(), Files::of(&fixture));
    let keyed = || Submission { key: "kept".to_owned(), held: true, ..shell(1, "true") };
    let done = submit(&engine, shell(1, "true")).await;
    in_state(&engine, done, State::Completed).await;
    let gang = submit(&engine, shell(2, &files.staying("gang"))).await;
    let processes = files.begun("gang", 2).await;
    in_state(&engine, gang, State::Running).await;
    let queued = submit(&engine, shell(2, &files.staying("next"))).await;
    let held = submit(&engine, keyed()).await;
    let dropped = submit(&engine, Submission { held: true, ..shell(1, "true") }).await;
    engine.cancel(&ann(), dropped).await.unwrap();
    let before = engine.snapshot().await.unwrap();
    assert_eq!(before.len(), 5);
    drop(engine);

    fixture.crash().await;
    let engine = fixture.engine();
    assert_eq!(engine.snapshot().await.unwrap(), before);
    assert_eq!(engine.reconcile().await.unwrap(), []);
    assert!(processes.iter().all(|pid| is_alive(*pid)), "what runs is untouched");
    let again = engine.submit(&ann(), keyed()).await.unwrap();
    assert_eq!((again.first, again.known), (held, true));
    let fresh = submit(&engine, Submission { held: true, ..shell(1, "true") }).await;
    assert!(before.iter().all(|seen| seen.job < fresh), "a number is given once");

    files.let_go("gang");
    assert_eq!(in_state(&engine, gang, State::Completed).await.attempt, 1, "nothing was done twice");
    assert_eq!(files.processes("gang", 2), processes);
    files.begun("next", 2).await;
    files.let_go("next");
    until(&engine, queued, |seen| seen.state == State::Completed && seen.attempt == 1).await;
}
