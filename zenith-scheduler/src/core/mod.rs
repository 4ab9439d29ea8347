//! The scheduler without the world: what there is, and what may become of it.
//!
//! The entry points are functions `on_*(core, comm, now, ...)`: each checks what it is told, changes the state through
//! events that `comm` is given to write down, and tells `comm` what to do. [`on_round`](on_round::on_round) places what waits. A refused call changes nothing.

pub(crate) mod apply;
pub mod cluster;
pub mod comm;
pub mod error;
pub mod event;
pub mod id;
pub mod job;
pub(crate) mod ledger;
pub mod node;
pub(crate) mod node_set;
pub mod on_job;
pub mod on_node;
pub mod on_rank;
pub mod on_round;
pub mod on_settings;
pub(crate) mod placement;
pub mod ports;
pub mod request;
pub mod state;
pub mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub use self::cluster::Cluster;
pub use self::comm::Comm;
pub use self::error::Error;
pub use self::event::{Change, Event};
pub use self::id::{JobId, NodeId, QueueId, UserId};
pub use self::job::{Batch, Job, Submission};
pub use self::ledger::Ledger;
pub use self::time::{Span, Time};

use self::ledger::{OLDEST, VERSION};
use self::ports::{Meeting, Ports};
use self::state::State;
use crate::policy::Policy;
use crate::policy::backlog::Backlog;
use crate::policy::calibration::Calibration;
use crate::policy::preempt::Claim;
use crate::policy::quota::{Queue, User};
use crate::policy::round::Plan;

/// The scheduler's state and settings.
#[derive(Clone, Debug)]
pub struct Core {
    pub(crate) ledger: Ledger,
    pub(crate) policy: Policy,
    /// Queued jobs, by what they have in common. Follows from the ledger.
    pub(crate) backlog: Backlog,
    /// When a job has to be looked at again. Follows from the ledger; may name jobs for which nothing is due.
    pub(crate) timers: BTreeSet<(Time, JobId)>,
    /// When placed jobs are expected to end. Only ever a guess.
    pub(crate) expected: BTreeSet<(Time, JobId)>,
    /// Placed jobs that may be preempted, the least important first. Follows from the ledger.
    pub(crate) preemptible: BTreeSet<(i32, JobId)>,
    /// Where placed gangs meet. Follows from the ledger.
    pub(crate) ports: Ports,
    /// Submissions by user and key. Follows from the ledger.
    pub(crate) keys: BTreeMap<(String, String), JobId>,
    /// What all submissions take, in bytes. Follows from the ledger.
    pub(crate) kept_bytes: u64,
    /// Room that is being made for jobs.
    pub(crate) claims: Vec<Claim>,
    /// What the last round found out.
    pub(crate) plan: Plan,
    /// How predicted starts have turned out.
    pub(crate) calibration: Calibration,
    /// A job that has queued since the last round.
    pub(crate) fresh: Option<JobId>,
    /// Something has changed since the last round that may let a job start.
    pub(crate) dirty: bool,
}

impl Core {
    /// A scheduler without nodes and jobs, with one queue, `default`.
    pub fn new(policy: Policy) -> Self {
        Self::with(Ledger::default(), policy)
    }

    /// A scheduler as it was when the snapshot was taken.
    ///
    /// # Errors
    /// [`Error::Journal`] where the snapshot was written by a program with another layout.
    pub fn restore(ledger: Ledger, policy: Policy) -> Result<Self, Error> {
        if !(OLDEST..=VERSION).contains(&ledger.version) {
            return Err(Error::Journal("the snapshot has a layout that this program does not know"));
        }
        let mut core = Self::with(Ledger { version: VERSION, ..ledger }, policy);
        core.ledger.cluster.rebuild();
        let ids: Vec<JobId> = core.ledger.jobs.iter().map(|job| job.id).collect();
        for id in ids {
            core.follow(id);
        }
        let gangs = core.ledger.jobs.iter().filter_map(|job| job.gang.as_ref());
        gangs.filter_map(|gang| gang.meeting.as_ref()).for_each(|meeting| core.ports.take(meeting));
        core.kept_bytes = core.ledger.batches.values().map(|batch| batch.submission.bytes()).sum();
        let keyed = core.ledger.batches.iter().filter(|(_, batch)| !batch.submission.key.is_empty());
        core.keys = keyed.map(|(first, batch)| (apply::key_of(&batch.submission), *first)).collect();
        Ok(core)
    }

    /// Applies what was recorded after the snapshot (or from the very beginning).
    ///
    /// # Errors
    /// The first event that cannot have happened after those before it; the core is then of no use.
    pub fn replay<'a>(&mut self, events: impl IntoIterator<Item = &'a Event>) -> Result<(), Error> {
        events.into_iter().try_for_each(|event| self.apply(event))
    }

    /// The durable state, to be written as a snapshot.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The settings.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Option<&Job> {
        self.ledger.jobs.get(id)
    }

    /// All jobs that are kept, by id.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.ledger.jobs.iter()
    }

    /// The jobs of [`Core::jobs`] whose ids are in a range; it costs nothing to leave out the others.
    pub fn jobs_in(&self, ids: Range<JobId>) -> impl DoubleEndedIterator<Item = &Job> {
        self.ledger.jobs.range(ids)
    }

    /// The first id that may be kept; all jobs before were forgotten.
    pub fn first_id(&self) -> JobId {
        self.ledger.jobs.first()
    }

    /// The id that the next job will have.
    pub fn next_id(&self) -> JobId {
        self.ledger.next
    }

    /// How many jobs are in a state.
    pub fn count(&self, state: State) -> usize {
        self.ledger.jobs.count(state)
    }

    /// How many jobs are kept.
    pub fn len(&self) -> usize {
        self.ledger.jobs.len()
    }

    /// How many jobs have not ended.
    pub fn open(&self) -> usize {
        self.len()
            - State::ALL
                .iter()
                .filter(|state| state.is_final())
                .map(|state| self.count(*state))
                .sum::<usize>()
    }

    /// Bytes that all submissions take, about.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Submissions whose jobs have all ended: when the last of them did, and the bytes that they take.
    pub fn ended_batches(&self) -> impl Iterator<Item = (Time, u64)> {
        let over = self.ledger.batches.iter().filter(|(_, batch)| batch.open == 0);
        over.map(|(first, batch)| {
            let jobs = self.jobs_in(*first..JobId(first.0 + u64::from(batch.submission.count)));
            let ended = jobs.filter_map(|job| job.ended).max().unwrap_or_default();
            (ended, batch.submission.bytes())
        })
    }

    /// No job is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many jobs may start as soon as there is a place.
    pub fn queued(&self) -> usize {
        self.backlog.len()
    }

    /// The submission that a job belongs to.
    pub fn batch(&self, job: &Job) -> Option<&Batch> {
        self.ledger.batches.get(&job.first)
    }

    /// The first job of the submission that a user made under a key.
    pub fn by_key(&self, user: &str, key: &str) -> Option<JobId> {
        self.keys.get(&(user.to_owned(), key.to_owned())).copied()
    }

    /// The nodes.
    pub fn cluster(&self) -> &Cluster {
        &self.ledger.cluster
    }

    /// The queues, by id.
    pub fn queues(&self) -> &[Queue] {
        &self.ledger.queues
    }

    /// The users, by id.
    pub fn users(&self) -> &[User] {
        &self.ledger.users
    }

    /// When [`on_tick`](on_round::on_tick) has something to do next.
    pub fn next_timer(&self) -> Option<Time> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Something has changed since the last round, so that another may be of use.
    pub fn wants_round(&self) -> bool {
        self.dirty
    }

    fn with(ledger: Ledger, policy: Policy) -> Self {
        Self {
            ledger,
            policy,
            backlog: Backlog::default(),
            timers: BTreeSet::new(),
            expected: BTreeSet::new(),
            preemptible: BTreeSet::new(),
            ports: Ports::default(),
            kept_bytes: 0,
            keys: BTreeMap::new(),
            claims: Vec::new(),
            plan: Plan::default(),
            calibration: Calibration::default(),
            fresh: None,
            dirty: true,
        }
    }

    /// Records a change and makes it.
    pub(crate) fn emit(&mut self, comm: &mut impl Comm, at: Time, change: Change) -> Result<(), Error> {
        let event = Event { at, change };
        self.apply(&event)?;
        comm.record(&event);
        Ok(())
    }

    /// Where a gang whose first rank is on a node may meet; none where all ports are taken there.
    pub(crate) fn meeting_at(&self, node: NodeId) -> Option<Meeting> {
        let address = self.ledger.cluster.node(node)?.spec.address();
        let port = self.ports.free(address)?;
        Some(Meeting { address: address.to_owned(), port })
    }

    /// Enters a job of the ledger into what follows from it.
    pub(crate) fn follow(&mut self, id: JobId) {
        let Some(job) = self.ledger.jobs.get(id) else { return };
        match job.state {
            State::Waiting => {
                if let Some(at) = job.not_before {
                    self.timers.insert((at, id));
                }
            }
            State::Queued => {
                if let Some((kind, entry)) = self.queue_entry(job) {
                    self.backlog.insert(kind, entry);
                    self.fresh = Some(id);
                }
            }
            State::Starting | State::Running => {
                let limit = self.batch(job).and_then(|batch| batch.submission.time_limit);
                let placed = job.placed.unwrap_or_default();
                let preemptible = self.batch(job).map(|batch| &batch.submission);
                if let Some(submission) = preemptible.filter(|submission| submission.preemptible) {
                    self.preemptible.insert((submission.priority, id));
                }
                if let Some(limit) = limit {
                    self.timers.insert((placed + limit, id));
                }
                // An expectation in the past is renewed by the next round that wants to know.
                self.expect(id, placed);
            }
            State::Stopping => {
                if let Some(stop) = job.gang.as_ref().and_then(|gang| gang.stop).filter(|stop| !stop.killed) {
                    self.timers.insert((stop.kill_at, id));
                }
                let soon =
                    job.gang.as_ref().and_then(|gang| gang.stop).map_or(self.ledger.now, |stop| stop.kill_at);
                self.expect(id, soon);
            }
            State::Held | State::Completed | State::Failed | State::Cancelled => {}
        }
    }
}
