//! The controller's thread: turns, each of as many calls as have come, one write to disk, and then the answers.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc};
use tokio::time::sleep;

use super::Settings;
use super::clock::{Clock, Course};
use super::handle::{CALLS, CHANGES, Call, Completion, Handle, Running};
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::pace::Pace;
use super::sessions::Sessions;
use super::turn::Turn;
use crate::core::event::Change;
use crate::core::node::Contact;
use crate::core::on_job::on_forget;
use crate::core::on_node::{on_node_heard, on_node_lost, on_node_silent};
use crate::core::on_round::{on_round, on_tick};
use crate::core::{Core, Error, JobId, NodeId, Span, Time};
use crate::refusal::Refusal;
use crate::store::{Store, StoreError, room};

/// Calls of one turn at most.
const BATCH: usize = 512;

/// How often nodes and the disk are looked at; nodes also when they are due.
const LOOK: Duration = Duration::from_millis(500);

/// Looks that are further apart than this, or than the time after which a node counts as silent, say that the controller itself
/// stood still.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// How often old jobs are looked for.
const FORGET: Duration = Duration::from_secs(60);

/// A snapshot is taken when the journal has more than this many events, and several times as many as there are jobs.
const SNAPSHOT_EVENTS: u64 = 50_000;

/// A pause after a snapshot that was not written, and the longest; each is twice the one before.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_SNAPSHOT_PAUSE: Duration = Duration::from_secs(3600);

/// A pause before a store that failed is opened again.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) fn start(
    store: Store,
    core: Core,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Result<(Handle, Running), StoreError> {
    let (calls, inbox) = mpsc::channel(CALLS);
    let (changes, _) = broadcast::channel(CHANGES);
    let metrics = Arc::new(Metrics::default());
    let handle =
        Handle { calls, changes: changes.clone(), logs: Arc::default(), metrics: Arc::clone(&metrics) };
    let path = store.path().to_owned();
    let (snapshots, written) = mpsc::channel(1);
    let course = Course::new(clock, core.ledger().now());
    let actor = Actor {
        store,
        core,
        settings,
        sessions: Sessions::new(course.clock()),
        looked: course.steady(),
        look_due: course.steady() + LOOK,
        course,
        changes,
        metrics,
        has_room: true,
        was_refused: false,
        snapshots,
        is_snapshotting: false,
        snapshot_from: Duration::ZERO,
        snapshot_pause: SNAPSHOT_PAUSE,
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
    /// A write was refused since nodes were looked at last.
    was_refused: bool,
    snapshots: mpsc::Sender<Result<u64, StoreError>>,
    is_snapshotting: bool,
    /// When the next snapshot may be tried, and the pause after that if it fails.
    snapshot_from: Duration,
    snapshot_pause: Duration,
    course: Course,
    /// When nodes were looked at last.
    looked: Duration,
    /// When they are looked at next.
    look_due: Duration,
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
        let mut pace = Pace::new(Instant::now());
        loop {
            tokio::select! {
                taken = inbox.recv_many(&mut calls, BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    let wait = pace.wait(Instant::now());
                    if !wait.is_zero() {
                        sleep(wait).await;
                        while calls.len() < BATCH && let Ok(call) = inbox.try_recv() {
                            calls.push(call);
                        }
                    }
                    pace.begin(Instant::now(), calls.len());
                    actor.turn(std::mem::replace(&mut calls, Vec::with_capacity(BATCH)));
                }
                () = sleep(actor.due()) => actor.turn(Vec::new()),
                Some(outcome) = written.recv() => actor.snapshot_written(outcome),
            }
        }
    });
    actor.close(&mut written);
}

impl Actor {
    /// Runs calls, and what time and their changes bring; writes it down; answers and acts.
    fn turn(&mut self, calls: Vec<Call>) {
        let now = self.course.now();
        let mut out = Outbox::default();
        self.metrics.called(calls.len());
        let completions: Vec<Completion> =
            calls.into_iter().map(|call| call(&mut self.lend(&mut out, now))).collect();
        if let Err(error) = self.follow(&mut out, now) {
            // What the core has done is consistent; what it would have done next is missing, and comes with the next turn.
            tracing::error!(%error, "the core contradicts itself");
        }
        let outcome = self.write(&out);
        self.sessions.keep_fresh();
        if outcome.is_ok() {
            self.act(&out);
        }
        completions.into_iter().for_each(|done| done(outcome.clone()));
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
        if self.course.steady() >= self.look_due {
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
    fn act(&mut self, out: &Outbox) {
        for action in &out.actions {
            self.sessions.act(&self.core, action);
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

    /// How long until something is due even if nobody calls.
    fn due(&self) -> Duration {
        let now = self.course.now();
        let timer = self.core.next_timer().map_or(Span::FOREVER, |at| at.since(now));
        Duration::from_millis(timer.0).min(self.look_due.saturating_sub(self.course.steady()))
    }

    /// Nodes that are silent, lost or heard again; the room on the disk; jobs that ended long ago.
    fn look(&mut self, out: &mut Outbox, now: Time) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.looked, self.course.steady());
        self.look_due = self.looked + LOOK;
        let still = self.looked.saturating_sub(before);
        let stood_still = still > STOOD_STILL.max(self.settings.silent_after);
        if stood_still {
            tracing::warn!(?still, "the controller stood still; nodes have their whole time again");
        }
        // Where nothing can be written, no node can come back.
        if std::mem::take(&mut self.was_refused) || stood_still {
            self.sessions.forgive();
        }
        self.course.compare();
        let nodes: Vec<(NodeId, Contact)> =
            self.core.cluster().nodes().iter().map(|node| (node.id, node.contact)).collect();
        for (node, contact) in nodes {
            let since = self.sessions.unheard(node);
            if let Some(left) = until_news(contact, since, &self.settings) {
                self.look_due = self.look_due.min(self.looked + left);
            }
            if since >= self.settings.lost_after && contact != Contact::Lost {
                // It may believe that it is connected; it has to come back and say what is left on it.
                self.sessions.drop_session(node);
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
            let before = self.old(now).max(self.too_large());
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

    /// Jobs that ended before this are forgotten because all that is kept takes more than half of what it may; none before 1970.
    fn too_large(&self) -> Time {
        let most = self.settings.max_kept_bytes / 2;
        let mut surplus = self.core.kept_bytes().saturating_sub(most);
        if surplus == 0 {
            return Time(0);
        }
        let mut ended: Vec<(Time, u64)> = self.core.ended_batches().collect();
        ended.sort_unstable();
        let mut before = Time(0);
        for (at, bytes) in ended {
            if surplus == 0 {
                break;
            }
            surplus = surplus.saturating_sub(bytes);
            before = at + Span(1);
        }
        before
    }

    fn snapshot_if_due(&mut self) {
        let events = self.store.since_snapshot();
        let is_early = self.is_snapshotting || self.course.steady() < self.snapshot_from;
        if is_early || events < SNAPSHOT_EVENTS.max(4 * self.core.len() as u64) {
            return;
        }
        let (snapshotter, done) =
            (self.store.snapshotter(self.core.ledger().clone()), self.snapshots.clone());
        let spare = self.spare();
        let write = move || {
            // The controller is gone where nobody hears; the snapshot counts all the same.
            let _ = done.blocking_send(snapshotter.write(spare));
        };
        let path = self.store.path().to_owned();
        match thread::Builder::new().name("zenith-snapshot".to_owned()).spawn(write) {
            Ok(_) => self.is_snapshotting = true,
            Err(source) => self.snapshot_written(Err(StoreError::Thread { path, source })),
        }
    }

    /// Bytes of the disk that snapshots leave to the journal of what runs.
    fn spare(&self) -> u64 {
        self.settings.room / 2
    }

    fn snapshot_written(&mut self, outcome: Result<u64, StoreError>) {
        self.is_snapshotting = false;
        match outcome {
            Ok(events) => {
                self.store.snapshot_written(events);
                self.snapshot_pause = SNAPSHOT_PAUSE;
            }
            Err(error) => {
                let pause = self.snapshot_pause;
                tracing::warn!(%error, ?pause, "the snapshot was not written; the journal grows until the next try");
                self.snapshot_from = self.course.steady() + pause;
                self.snapshot_pause = (pause * 2).min(LONGEST_SNAPSHOT_PAUSE);
            }
        }
    }

    /// The disk has refused what the core had already done: goes back to what the disk has. Nobody was told anything else.
    fn reload(&mut self) {
        self.has_room = false;
        self.was_refused = true;
        loop {
            match self.store.reopen(self.settings.policy) {
                Ok(core) => {
                    self.core = core;
                    self.sessions.drop_fresh();
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
            && let Err(error) = self.store.snapshotter(self.core.ledger().clone()).write(self.spare())
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
            turn.sessions.unheard(node);
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
    // The controller sleeps by whole milliseconds: one more, so that it does not look a moment too soon.
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
