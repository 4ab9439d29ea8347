//! The controller's thread: turns, each of as many calls as have come, one write to disk, and then the answers.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep_until};

use super::handle::{CALLS, CHANGES, Call, Completion, Handle, Running};
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::sessions::Sessions;
use super::turn::Turn;
use super::{Settings, clock};
use crate::core::event::Change;
use crate::core::job::Exit;
use crate::core::node::Contact;
use crate::core::on_job::on_forget;
use crate::core::on_node::{on_node_heard, on_node_lost, on_node_silent};
use crate::core::on_rank::{Process, on_rank_exited};
use crate::core::on_round::{on_round, on_tick};
use crate::core::state::Trigger;
use crate::core::{Core, Error, JobId, NodeId, Span, Time};
use crate::refusal::Refusal;
use crate::store::{Snapshotter, Store, StoreError};

/// Calls of one turn at most.
const BATCH: usize = 512;

/// How often nodes and the disk are looked at; nodes also when they are due.
const LOOK: Duration = Duration::from_millis(500);

/// How often old jobs are looked for.
const FORGET: Duration = Duration::from_secs(60);

/// A snapshot is taken when the journal has more than this many events, and several times as many as there are jobs.
const SNAPSHOT_EVENTS: u64 = 50_000;

/// A pause before a store that failed is opened again.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) fn start(store: Store, core: Core, settings: Settings) -> Result<(Handle, Running), StoreError> {
    let (calls, inbox) = mpsc::channel(CALLS);
    let (changes, _) = broadcast::channel(CHANGES);
    let metrics = Arc::new(Metrics::default());
    let handle =
        Handle { calls, changes: changes.clone(), logs: Arc::default(), metrics: Arc::clone(&metrics) };
    let path = store.path().to_owned();
    let (snapshots, written) = mpsc::channel(1);
    let actor = Actor {
        store,
        core,
        settings,
        sessions: Sessions::default(),
        changes,
        metrics,
        has_room: true,
        snapshots,
        is_snapshotting: false,
        look_at: Instant::now(),
        forget_at: Time(0),
    };
    let spawned =
        thread::Builder::new().name("zenith-core".to_owned()).spawn(move || run(actor, inbox, written));
    let thread = spawned.map_err(|source| StoreError::Thread { path, source })?;
    Ok((handle, Running { thread }))
}

struct Actor {
    store: Store,
    core: Core,
    settings: Settings,
    sessions: Sessions,
    changes: broadcast::Sender<Arc<[JobId]>>,
    metrics: Arc<Metrics>,
    has_room: bool,
    snapshots: mpsc::Sender<Result<u64, StoreError>>,
    is_snapshotting: bool,
    look_at: Instant,
    forget_at: Time,
}

fn run(
    mut actor: Actor,
    mut inbox: mpsc::Receiver<Call>,
    mut written: mpsc::Receiver<Result<u64, StoreError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the controller has no runtime");
            return;
        }
    };
    runtime.block_on(async {
        actor.turn(vec![nodes_are_away()]);
        let mut calls = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                taken = inbox.recv_many(&mut calls, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    actor.turn(std::mem::take(&mut calls));
                }
                () = sleep_until(actor.due()) => actor.turn(Vec::new()),
                Some(outcome) = written.recv() => actor.snapshot_written(outcome),
            }
        }
    });
    actor.close(&mut written);
}

impl Actor {
    /// Runs calls, and what time and their changes bring; writes it down; answers and acts.
    fn turn(&mut self, calls: Vec<Call>) {
        let now = clock::now().max(self.core.ledger().now());
        let mut out = Outbox::default();
        self.metrics.called(calls.len());
        let completions: Vec<Completion> =
            calls.into_iter().map(|call| call(&mut self.lend(&mut out, now))).collect();
        if let Err(error) = self.follow(&mut out, now) {
            // What the core has done is consistent; what it would have done next is missing, and comes with the next turn.
            tracing::error!(%error, "the core contradicts itself");
        }
        let outcome = self.write(&out);
        if outcome.is_ok() {
            self.act(&out, now);
        }
        completions.into_iter().for_each(|done| done(outcome.clone()));
        self.fail_portless(now);
        self.snapshot_if_due();
    }

    /// Writes a turn's records down, or goes back to what is on disk.
    fn write(&mut self, out: &Outbox) -> Result<(), Refusal> {
        let wanted = self.store.events() + out.records.len() as u64;
        let begun = Instant::now();
        let Err(error) = self.store.append(&out.records) else {
            if !out.records.is_empty() {
                self.metrics.commits.observe(begun.elapsed());
                self.metrics.written(&out.records);
            }
            return Ok(());
        };
        self.metrics.not_written();
        tracing::error!(%error, "the state could not be written; going back to what is on disk");
        self.reload();
        // A disk may fail after it has taken what it was given.
        if self.store.events() == wanted { Ok(()) } else { Err(refusal_of(error)) }
    }

    fn lend<'a>(&'a mut self, out: &'a mut Outbox, now: Time) -> Turn<'a> {
        let Self { core, sessions, settings, has_room, .. } = self;
        Turn { core, out, sessions, settings, now, has_room: *has_room }
    }

    /// What follows from the time, and from what has changed.
    fn follow(&mut self, out: &mut Outbox, now: Time) -> Result<(), Error> {
        if Instant::now() >= self.look_at {
            self.look_at = Instant::now() + LOOK;
            self.look(out, now)?;
        }
        if self.core.next_timer().is_some_and(|at| at <= now) {
            on_tick(&mut self.core, out, now)?;
        }
        if self.core.wants_round() {
            let begun = Instant::now();
            on_round(&mut self.core, out, now)?;
            self.metrics.rounds.observe(begun.elapsed());
        }
        Ok(())
    }

    /// Tells everybody what is on disk now.
    fn act(&mut self, out: &Outbox, now: Time) {
        for record in &out.records {
            if let Change::Moved { job, trigger, .. } = &record.change
                && !matches!(trigger, Trigger::Up)
            {
                self.sessions.give_back_port(*job);
            }
        }
        for action in &out.actions {
            self.sessions.act(&self.core, action, now);
        }
        if self.changes.receiver_count() > 0 {
            let mut jobs: Vec<JobId> =
                out.records.iter().flat_map(|record| jobs_of(&record.change)).collect();
            jobs.sort_unstable();
            jobs.dedup();
            if !jobs.is_empty() {
                // Nobody listens: nobody is told.
                let _ = self.changes.send(jobs.into());
            }
        }
    }

    /// When something is due even if nobody calls.
    fn due(&self) -> Instant {
        let now = clock::now();
        let timer = self.core.next_timer().map_or(Span::FOREVER, |at| at.since(now));
        (Instant::now() + Duration::from_millis(timer.0).min(LOOK)).min(self.look_at)
    }

    /// Nodes that are silent, lost or heard again; the room on the disk; jobs that ended long ago.
    fn look(&mut self, out: &mut Outbox, now: Time) -> Result<(), Error> {
        let nodes: Vec<(NodeId, Contact)> =
            self.core.cluster().nodes().iter().map(|node| (node.id, node.contact)).collect();
        for (node, contact) in nodes {
            let since = Duration::from_millis(now.since(self.sessions.heard(node, now)).0);
            if let Some(left) = until_news(contact, since, &self.settings) {
                self.look_at = self.look_at.min(Instant::now() + left);
            }
            if since >= self.settings.lost_after && contact != Contact::Lost {
                // It may believe that it is connected; it has to come back and say what is left on it.
                self.sessions.drop_session(node, now);
                on_node_lost(&mut self.core, out, now, node)?;
            } else if since >= self.settings.silent_after && contact == Contact::Up {
                on_node_silent(&mut self.core, out, now, node)?;
            } else if since < self.settings.silent_after
                && contact == Contact::Silent
                && self.sessions.is_connected(node)
            {
                on_node_heard(&mut self.core, out, now, node)?;
            }
        }
        self.has_room = room(self.store.path()).is_none_or(|room| room >= self.settings.room);
        if now >= self.forget_at {
            self.forget_at = now + Span(FORGET.as_millis() as u64);
            let before = self.old(now);
            on_forget(&mut self.core, out, now, before)?;
        }
        Ok(())
    }

    /// Jobs that ended before this are forgotten: by age, and the oldest of too many.
    fn old(&self, now: Time) -> Time {
        let by_age = now - Span(u64::try_from(self.settings.keep_for.as_millis()).unwrap_or(u64::MAX));
        let mut ended: Vec<Time> = self.core.jobs().filter_map(|job| job.ended).collect();
        let surplus = ended.len().saturating_sub(self.settings.keep_at_most);
        if surplus == 0 {
            return by_age;
        }
        let last = ended.len() - 1;
        let (_, oldest_kept, _) = ended.select_nth_unstable(surplus.min(last));
        by_age.max(*oldest_kept)
    }

    /// Gangs whose ranks have no port to meet at do not start.
    fn fail_portless(&mut self, now: Time) {
        for (job, attempt) in std::mem::take(&mut self.sessions.portless) {
            tracing::error!(%job, "no port is left for the ranks to meet at");
            let Some(node) = self.core.job(job).and_then(|job| Some(job.last.as_ref()?.slices.first()?.node))
            else {
                continue;
            };
            let process = Process { node, job, attempt, rank: 0 };
            let call: Call = Box::new(move |turn| {
                let outcome = on_rank_exited(turn.core, turn.out, now, process, Exit::NotStarted);
                Box::new(move |_| {
                    if let Err(error) = outcome {
                        tracing::error!(%error, "a gang without a port");
                    }
                })
            });
            self.turn(vec![call]);
        }
    }

    fn snapshot_if_due(&mut self) {
        let events = self.store.since_snapshot();
        if self.is_snapshotting || events < SNAPSHOT_EVENTS.max(4 * self.core.len() as u64) {
            return;
        }
        let (snapshotter, done) =
            (self.store.snapshotter(self.core.ledger().clone()), self.snapshots.clone());
        let write = move || {
            // The controller is gone where nobody hears; the snapshot counts all the same.
            let _ = done.blocking_send(snapshotter.and_then(Snapshotter::write));
        };
        match thread::Builder::new().name("zenith-snapshot".to_owned()).spawn(write) {
            Ok(_) => self.is_snapshotting = true,
            Err(error) => tracing::warn!(%error, "no thread for a snapshot; the journal grows"),
        }
    }

    fn snapshot_written(&mut self, outcome: Result<u64, StoreError>) {
        self.is_snapshotting = false;
        match outcome {
            Ok(events) => self.store.snapshot_written(events),
            Err(error) => tracing::warn!(%error, "the snapshot was not written; the journal grows"),
        }
    }

    /// The disk has refused what the core had already done: goes back to what the disk has. Nobody was told anything else.
    fn reload(&mut self) {
        self.has_room = false;
        loop {
            match self.store.reopen(self.settings.policy) {
                Ok(core) => {
                    self.core = core;
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, "the state cannot be read either; trying again");
                    thread::sleep(AGAIN);
                }
            }
        }
    }

    fn close(self, written: &mut mpsc::Receiver<Result<u64, StoreError>>) {
        if self.is_snapshotting {
            // A second one beside it would write the same again.
            let _ = written.blocking_recv();
            return;
        }
        if self.store.since_snapshot() > 0
            && let Err(error) =
                self.store.snapshotter(self.core.ledger().clone()).and_then(Snapshotter::write)
        {
            tracing::warn!(%error, "no snapshot at the end; the next start reads the journal");
        }
    }
}

/// After a start nobody has been heard yet, and nothing is placed on a node before it has said what is on it.
fn nodes_are_away() -> Call {
    Box::new(|turn| {
        let nodes: Vec<NodeId> = turn.core.cluster().nodes().iter().map(|node| node.id).collect();
        let outcome = nodes.into_iter().try_for_each(|node| {
            turn.sessions.heard(node, turn.now);
            on_node_silent(turn.core, turn.out, turn.now, node)
        });
        Box::new(move |_| {
            if let Err(error) = outcome {
                tracing::error!(%error, "nodes could not be taken for silent");
            }
        })
    })
}

/// How long it is until a node is silent or lost, if it is not heard before; none where it is neither, or both.
fn until_news(contact: Contact, since: Duration, settings: &Settings) -> Option<Duration> {
    let timers: &[Duration] = match contact {
        Contact::Up => &[settings.silent_after, settings.lost_after],
        Contact::Silent => &[settings.lost_after],
        Contact::Lost => &[],
    };
    let left = timers.iter().filter_map(|timer| timer.checked_sub(since)).filter(|left| !left.is_zero());
    // Times are whole milliseconds: one more, so that it is not looked a moment too soon.
    left.min().map(|left| left + Duration::from_millis(1))
}

fn refusal_of(error: StoreError) -> Refusal {
    match error {
        StoreError::Full { .. } => Refusal::Full,
        error => Refusal::Store(Arc::new(error)),
    }
}

/// The job that a change is about.
fn jobs_of(change: &Change) -> Vec<JobId> {
    match change {
        Change::Submitted { first, submission } => {
            (0..u64::from(submission.count)).map(|index| JobId(first.0 + index)).collect()
        }
        Change::Moved { job, .. }
        | Change::Placed { job, .. }
        | Change::RankStarted { job, .. }
        | Change::RankGone { job, .. }
        | Change::Stopping { job, .. }
        | Change::StopChanged { job, .. }
        | Change::Killed { job } => vec![*job],
        _ => Vec::new(),
    }
}

/// Bytes that are left on the disk that holds `path`; none where the system does not say.
fn room(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_looked_at_when_its_next_timer_has_run_out() {
        let settings = Settings {
            silent_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(60),
            ..Settings::default()
        };
        let left = |contact, ms| until_news(contact, Duration::from_millis(ms), &settings);
        assert_eq!(left(Contact::Up, 4_800), Some(Duration::from_millis(201)));
        assert_eq!(
            left(Contact::Up, 5_000),
            Some(Duration::from_millis(55_001)),
            "that it is silent is seen now"
        );
        assert_eq!(left(Contact::Silent, 5_000), Some(Duration::from_millis(55_001)));
        assert_eq!(left(Contact::Silent, 60_000), None);
        assert_eq!(left(Contact::Lost, 90_000), None);
    }
}
