//! What is asked of the controller, beside looking: work, jobs, nodes, settings, and what nodes report. Who may do what is
//! decided here, once for all doors.

use tokio::sync::mpsc;
use zenith_proto::v1;

use super::Settings;
use super::outbox::Action;
use super::sessions::{SessionId, Welcome};
use super::turn::Turn;
use crate::core::job::{Exit, Used};
use crate::core::node::NodeSpec;
use crate::core::on_job::{MAX_COUNT, on_cancel, on_hold, on_release, on_requeue, on_submit};
use crate::core::on_node::{
    on_drain, on_gpu_degraded, on_gpu_healthy, on_gpu_unhealthy, on_node_joined, on_node_returned,
    on_node_silent, on_part_gone,
};
use crate::core::on_rank::{Process, on_rank_exited, on_rank_note, on_rank_started, on_rank_used};
use crate::core::on_settings::{on_queue_set, on_user_set};
use crate::core::state::State;
use crate::core::{self, Job, JobId, NodeId, Submission};
use crate::policy::quota::{QueueSettings, UserSettings};
use crate::refusal::Refusal;

/// The largest number of a signal.
const MAX_SIGNAL: u32 = 31;

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Their name.
    pub user: String,
    /// They may do everything.
    pub admin: bool,
}

/// What can be done to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// End it for good.
    Cancel,
    /// Put it aside.
    Hold,
    /// Let it queue.
    Release,
    /// End its present attempt and queue it again.
    Requeue,
}

/// Jobs that were taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The first of them.
    pub first: JobId,
    /// How many.
    pub count: u32,
    /// They had been taken in before, under the same key.
    pub known: bool,
}

/// A node that wants to join.
#[derive(Clone, Debug)]
pub struct Joining {
    /// What it has.
    pub spec: NodeSpec,
    /// Where processes of other nodes reach it.
    pub address: String,
    /// Attempts it knows.
    pub known: Vec<(JobId, u32)>,
}

/// What a node reports of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: u32,
    /// What happened.
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A rank runs.
    Started {
        /// Which.
        rank: u32,
        /// What could not be done for it.
        notes: Vec<String>,
    },
    /// A rank is gone.
    Exited {
        /// Which.
        rank: u32,
        /// How.
        exit: Exit,
        /// What it used.
        used: Used,
        /// Why it could not be started, where it could not.
        note: Option<String>,
    },
    /// Nothing of the attempt is left on the node.
    Gone,
}

/// How a GPU is, and why where it is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is well.
    Well,
    /// It works, and nothing new is to be placed on it.
    Degraded(String),
    /// Nothing is to run on it.
    Ill(String),
}

impl Turn<'_> {
    /// Takes work in. `submission.user` is the caller where it is empty.
    ///
    /// # Errors
    /// What the core refuses; somebody else's name; a command that is missing; other work than was taken in under its key; a full
    /// disk; more jobs or larger ones than are kept.
    pub fn submit(&mut self, caller: &Caller, mut submission: Submission) -> Result<Submitted, Refusal> {
        if submission.user.is_empty() {
            submission.user.clone_from(&caller.user);
        }
        if submission.user != caller.user && !caller.admin {
            return Err(Refusal::NotAdmin { what: "submitting for somebody else" });
        }
        if submission.work.command.first().is_none_or(String::is_empty) {
            return Err(Refusal::Invalid {
                field: "command",
                reason: "there is no program to run".to_owned(),
            });
        }
        if let Some(first) = self.known(&submission) {
            let batch = self.core.job(first).and_then(|job| self.core.batch(job));
            return match batch.filter(|batch| batch.submission.is_same_work(&submission)) {
                Some(batch) => Ok(Submitted { first, count: batch.submission.count, known: true }),
                None => Err(Refusal::KeyReused { key: submission.key, job: first }),
            };
        }
        self.has_place_for(&submission)?;
        let count = submission.count;
        let first = on_submit(self.core, self.out, self.now, submission)?;
        Ok(Submitted { first, count, known: false })
    }

    /// Does something to a job.
    ///
    /// # Errors
    /// No such job, somebody else's job, or a job in whose state it cannot be done.
    pub fn act(&mut self, caller: &Caller, job: JobId, act: Act) -> Result<(), Refusal> {
        self.own(caller, job)?;
        let (core, out, now) = (&mut *self.core, &mut *self.out, self.now);
        match act {
            Act::Cancel => on_cancel(core, out, now, job)?,
            Act::Hold => on_hold(core, out, now, job)?,
            Act::Release => on_release(core, out, now, job)?,
            Act::Requeue => on_requeue(core, out, now, job)?,
        }
        Ok(())
    }

    /// Sends a signal to every rank of a running job. The attempt goes on, unless its processes end because of it.
    ///
    /// # Errors
    /// No such job, somebody else's, one that does not run, a number that is no signal, or a node that cannot be reached.
    pub fn signal(&mut self, caller: &Caller, job: JobId, number: u32) -> Result<(), Refusal> {
        if !(1..=MAX_SIGNAL).contains(&number) {
            let reason = format!("{number}; signals are 1 to {MAX_SIGNAL}");
            return Err(Refusal::Invalid { field: "signal", reason });
        }
        let record = self.own(caller, job)?;
        let (attempt, state) = (record.attempt, record.state);
        let gang = record.gang.as_ref().filter(|_| state == State::Running);
        let gang = gang.ok_or(Refusal::NotRunning { job, state })?;
        let nodes: Vec<NodeId> = gang.placement.slices.iter().map(|slice| slice.node).collect();
        // All of them or none.
        if let Some(node) = nodes.iter().find(|node| !self.sessions.is_connected(**node)) {
            return Err(Refusal::Unreachable { node: self.name_of(*node) });
        }
        self.out.actions.push(Action::Signal { job, attempt, number, nodes });
        Ok(())
    }

    /// A job that the caller may change.
    ///
    /// # Errors
    /// No such job, or somebody else's.
    pub fn own(&self, caller: &Caller, job: JobId) -> Result<&Job, Refusal> {
        let record = self.core.job(job).ok_or(core::Error::NoJob(job))?;
        let owner = self.core.batch(record).map(|batch| batch.submission.user.as_str()).unwrap_or_default();
        if caller.admin || owner == caller.user {
            Ok(record)
        } else {
            Err(Refusal::NotYours { job, owner: owner.to_owned() })
        }
    }

    /// Closes a node for new work, or opens it.
    ///
    /// # Errors
    /// No such node; callers who are no administrators.
    pub fn drain(&mut self, caller: &Caller, node: &str, drained: bool) -> Result<(), Refusal> {
        admin(caller, "draining nodes")?;
        let known = self.core.cluster().by_name(node).map(|node| node.id);
        let id = known.ok_or_else(|| Refusal::NoNode { name: node.to_owned() })?;
        Ok(on_drain(self.core, self.out, self.now, id, drained)?)
    }

    /// Makes a queue, or changes what holds for it.
    ///
    /// # Errors
    /// Settings that contradict themselves; callers who are no administrators.
    pub fn set_queue(&mut self, caller: &Caller, name: &str, settings: QueueSettings) -> Result<(), Refusal> {
        admin(caller, "setting up queues")?;
        Ok(on_queue_set(self.core, self.out, self.now, name, settings)?)
    }

    /// Changes what a user may have.
    ///
    /// # Errors
    /// Settings that contradict themselves; callers who are no administrators.
    pub fn set_user(&mut self, caller: &Caller, name: &str, settings: UserSettings) -> Result<(), Refusal> {
        admin(caller, "setting limits of users")?;
        Ok(on_user_set(self.core, self.out, self.now, name, settings)?)
    }

    /// A node connects. What it is to be told comes by `sender`.
    ///
    /// # Errors
    /// What the core refuses: too many GPUs.
    pub fn join(
        &mut self,
        joining: Joining,
        sender: mpsc::Sender<v1::ControllerMessage>,
    ) -> Result<Welcome, Refusal> {
        let Joining { spec, address, known } = joining;
        let node = on_node_joined(self.core, self.out, self.now, NodeSpec { address, ..spec })?;
        let (session, alive) = self.sessions.open(node, sender);
        on_node_returned(self.core, self.out, self.now, node, &known)?;
        Ok(Welcome { node, session, heartbeat: self.settings.heartbeat, alive })
    }

    /// There is a way to a node.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.sessions.is_connected(node)
    }

    /// A node's connection has ended.
    ///
    /// # Errors
    /// None that the core itself does not cause.
    pub fn leave(&mut self, node: NodeId, session: SessionId) -> Result<(), Refusal> {
        if self.sessions.close(node, session) {
            on_node_silent(self.core, self.out, self.now, node)?;
        }
        Ok(())
    }

    /// A node reports. What is known already, or about an attempt that was given up, is accepted and changes nothing.
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] for a connection that is not the present one of its node.
    pub fn report(&mut self, node: NodeId, session: SessionId, report: Report) -> Result<(), Refusal> {
        self.current(node, session)?;
        let Report { job, attempt, what } = report;
        let process = |rank| Process { node, job, attempt, rank };
        let (core, out, now) = (&mut *self.core, &mut *self.out, self.now);
        match what {
            Happened::Started { rank, notes } => {
                for note in &notes {
                    on_rank_note(core, out, now, process(rank), note)?;
                }
                on_rank_started(core, out, now, process(rank))?;
            }
            Happened::Exited { rank, exit, used, note } => {
                if let Some(note) = &note {
                    on_rank_note(core, out, now, process(rank), note)?;
                }
                if used != Used::default() {
                    on_rank_used(core, out, now, process(rank), used)?;
                }
                on_rank_exited(core, out, now, process(rank), exit)?;
            }
            Happened::Gone => {
                on_part_gone(core, out, now, node, job, attempt)?;
            }
        }
        Ok(())
    }

    /// A node reports the health of one of its GPUs.
    ///
    /// # Errors
    /// No such GPU; a connection that is not the present one.
    pub fn gpu_health(
        &mut self,
        node: NodeId,
        session: SessionId,
        gpu: u8,
        condition: &Condition,
    ) -> Result<(), Refusal> {
        self.current(node, session)?;
        let (core, out, now) = (&mut *self.core, &mut *self.out, self.now);
        match condition {
            Condition::Well => on_gpu_healthy(core, out, now, node, gpu)?,
            Condition::Degraded(reason) => on_gpu_degraded(core, out, now, node, gpu, reason)?,
            Condition::Ill(reason) => on_gpu_unhealthy(core, out, now, node, gpu, reason)?,
        }
        Ok(())
    }

    /// Asks a node for what processes wrote. The answers come to whoever holds the route of `read.request`.
    ///
    /// # Errors
    /// [`Refusal::Unreachable`] where there is no way to the node.
    pub fn read_log(&mut self, node: NodeId, read: v1::ReadLog) -> Result<(), Refusal> {
        if !self.sessions.is_connected(node) {
            return Err(Refusal::Unreachable { node: self.name_of(node) });
        }
        self.out.actions.push(Action::ReadLog { node, read });
        Ok(())
    }

    /// A node's name.
    pub fn name_of(&self, node: NodeId) -> String {
        self.core.cluster().node(node).map_or_else(|| node.to_string(), |node| node.spec.name.clone())
    }

    fn current(&self, node: NodeId, session: SessionId) -> Result<(), Refusal> {
        match self.sessions.is_current(node, session) {
            true => Ok(()),
            false => Err(Refusal::Unreachable { node: self.name_of(node) }),
        }
    }

    fn known(&self, submission: &Submission) -> Option<JobId> {
        if submission.key.is_empty() { None } else { self.core.by_key(&submission.user, &submission.key) }
    }

    /// What is kept has a bound, in number and in size.
    fn has_place_for(&self, submission: &Submission) -> Result<(), Refusal> {
        let Settings { max_open_jobs, max_submission_bytes, max_kept_bytes, .. } = *self.settings;
        if !self.has_room {
            return Err(Refusal::Full);
        }
        let open = self.core.open();
        // A number that no submission may have is the core's to refuse.
        let is_possible = submission.count <= MAX_COUNT;
        if is_possible && open.saturating_add(submission.count as usize) > max_open_jobs {
            return Err(Refusal::TooManyJobs { open, more: submission.count, most: max_open_jobs });
        }
        let bytes = submission.bytes();
        if bytes > max_submission_bytes {
            return Err(Refusal::TooLarge { bytes, most: max_submission_bytes });
        }
        if self.core.kept_bytes().saturating_add(bytes) > max_kept_bytes {
            return Err(Refusal::TooMuch { most: max_kept_bytes });
        }
        Ok(())
    }
}

fn admin(caller: &Caller, what: &'static str) -> Result<(), Refusal> {
    if caller.admin { Ok(()) } else { Err(Refusal::NotAdmin { what }) }
}
