//! What happens, as data: every change of the core's state is one of these, so that a journal of them is the state.

use serde::{Deserialize, Serialize};

use super::id::{JobId, NodeId};
use super::job::{Cause, Exit, Placement, Stop, Submission, Used};
use super::node::{Contact, NodeSpec};
use super::ports::Meeting;
use super::state::Trigger;
use super::time::Time;
use crate::policy::quota::{QueueSettings, UserSettings};

/// A change and when it happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, by the clock of whoever called.
    pub at: Time,
    /// What.
    pub change: Change,
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Change {
    /// A node joined, or joined again with what it has now.
    NodeJoined {
        /// Its id.
        node: NodeId,
        /// What it has.
        spec: NodeSpec,
    },
    /// A node answers, or does not.
    NodeContact {
        /// Its id.
        node: NodeId,
        /// How it is reached from now on.
        contact: Contact,
    },
    /// A person closed a node for new work, or opened it.
    NodeDrained {
        /// Its id.
        node: NodeId,
        /// Closed.
        drained: bool,
    },
    /// A node could not start a job, whoever is at fault: the job is tried on others.
    StartRefused {
        /// The node.
        node: NodeId,
        /// The job.
        job: JobId,
    },
    /// A node could not start what would have started elsewhere.
    NodeFault {
        /// The node.
        node: NodeId,
        /// The job that it could not start, or the first one of its submission.
        job: JobId,
        /// Why, for people.
        reason: String,
    },
    /// A node that could not start something has started something else.
    NodeSound {
        /// The node.
        node: NodeId,
    },
    /// A GPU fell ill, or is well again.
    GpuHealth {
        /// Its node.
        node: NodeId,
        /// Its index there.
        gpu: u8,
        /// Well.
        healthy: bool,
        /// Why it is ill, for people.
        #[serde(default)]
        reason: String,
    },
    /// What was left of an old attempt on a node is gone.
    OrphanGone {
        /// The node.
        node: NodeId,
        /// The job.
        job: JobId,
        /// Its attempt.
        attempt: u32,
    },
    /// A queue was made or changed.
    QueueSet {
        /// Its name.
        name: String,
        /// What holds for it.
        settings: QueueSettings,
    },
    /// What a user may have was changed.
    UserSet {
        /// Their name.
        name: String,
        /// What holds for them.
        settings: UserSettings,
    },
    /// Jobs were submitted.
    Submitted {
        /// The first of them.
        first: JobId,
        /// What they are.
        submission: Box<Submission>,
    },
    /// Something that a submission waits for has ended as it should.
    DependencyMet {
        /// The first job of the submission that waits.
        first: JobId,
    },
    /// A job went to another state.
    Moved {
        /// The job.
        job: JobId,
        /// By what.
        trigger: Trigger,
        /// Why, where it was not its own good end.
        cause: Option<Cause>,
        /// Until when it pauses.
        not_before: Option<Time>,
    },
    /// A place was found for a gang.
    Placed {
        /// The job.
        job: JobId,
        /// Which attempt this is.
        attempt: u32,
        /// Where.
        placement: Placement,
        /// Where its ranks meet. Programs that wrote the first layout did not say.
        #[serde(default)]
        meeting: Option<Meeting>,
    },
    /// A process runs.
    RankStarted {
        /// The job.
        job: JobId,
        /// The process.
        rank: u32,
    },
    /// A process is gone.
    RankGone {
        /// The job.
        job: JobId,
        /// The process.
        rank: u32,
        /// How it ended.
        exit: Exit,
    },
    /// A process that is gone used this much.
    RankUsed {
        /// The job.
        job: JobId,
        /// What.
        used: Used,
    },
    /// A node could not do everything for a job.
    Noted {
        /// The job.
        job: JobId,
        /// What it could not do, for people.
        note: String,
    },
    /// A gang is being ended.
    Stopping {
        /// The job.
        job: JobId,
        /// How.
        stop: Stop,
    },
    /// What becomes of a job whose gang is being ended has changed.
    StopChanged {
        /// The job.
        job: JobId,
        /// How it ends now.
        stop: Stop,
    },
    /// A gang did not end in time and was killed.
    Killed {
        /// The job.
        job: JobId,
    },
    /// A submission whose jobs have all ended is no longer kept.
    Forgotten {
        /// Its first job.
        first: JobId,
    },
}
