//! Jobs: what was submitted, and what has become of each. Only data and what follows from it; changes are made in `apply`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::id::{JobId, NodeId, QueueId, UserId};
use super::node::{GpuSet, Slice};
use super::ports::Meeting;
use super::request::{RanksPer, Request, Shape};
use super::state::State;
use super::time::{Span, Time};

/// What a user submits. One submission makes `count` jobs, which are alike but for their place in the array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Submission {
    /// For people.
    pub name: String,
    /// Whose it is.
    pub user: String,
    /// Where it queues.
    pub queue: String,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
    /// What each job needs.
    pub request: Request,
    /// How long a run may take; it is stopped then. Also an upper bound of every estimate.
    pub time_limit: Option<Span>,
    /// How long a run will take, where somebody knows (a simulation's oracle does).
    pub runtime: Option<Span>,
    /// Jobs of a higher priority may take its place; it is told, given time, and queued again.
    pub preemptible: bool,
    /// How often a run that ended badly by its own doing is tried again.
    pub retries: u32,
    /// What has to end first.
    pub after: Vec<Dependency>,
    /// Put aside from the start.
    pub held: bool,
    /// How many jobs.
    pub count: u32,
    /// What tells this call of the user from their others: the same key again is the same submission. Empty for none.
    pub key: String,
    /// What is to be run. The core keeps it and hands it on.
    pub work: Work,
}

impl Submission {
    /// Bytes that it takes for as long as one of its jobs is kept, about.
    pub fn bytes(&self) -> u64 {
        let Work { command, environment, directory } = &self.work;
        let texts = [&self.name, &self.user, &self.queue, &self.key, directory];
        let variables = environment.iter().map(|(name, value)| name.len() + value.len() + 2 * PER_TEXT);
        let after = self.after.len() * size_of::<Dependency>();
        let all = size_of::<Self>()
            + after
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + command.iter().map(|part| part.len() + PER_TEXT).sum::<usize>()
            + variables.sum::<usize>();
        all as u64
    }

    /// It asks for the same work as `other`. Variables may differ: two calls of one script have surroundings of their own.
    pub fn is_same_work(&self, other: &Self) -> bool {
        let bare = |known: &Self| {
            let Work { command, directory, .. } = known.work.clone();
            Self { work: Work { command, directory, environment: BTreeMap::new() }, ..known.clone() }
        };
        bare(self) == bare(other)
    }
}

/// Bytes that a text takes beside its own.
const PER_TEXT: usize = size_of::<String>();

impl Default for Submission {
    fn default() -> Self {
        Self {
            name: String::new(),
            user: String::new(),
            queue: "default".to_owned(),
            priority: 0,
            request: Request::gpus(1),
            time_limit: None,
            runtime: None,
            preemptible: false,
            retries: 0,
            after: Vec::new(),
            held: false,
            count: 1,
            key: String::new(),
            work: Work::default(),
        }
    }
}

/// A command with its surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Variables on top of those that the scheduler sets.
    pub environment: BTreeMap<String, String>,
    /// Where it runs.
    pub directory: String,
}

/// A submission that has to end before another may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Any job of the submission; all of its jobs are meant.
    pub on: JobId,
    /// How they have to end.
    pub when: When,
}

/// How a job has to end for those that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// All completed.
    Completed,
    /// All ended, no matter how.
    Ended,
}

/// A submission as the core keeps it: the words resolved, the jobs counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// What was submitted.
    pub submission: Arc<Submission>,
    /// Its request, checked.
    pub shape: Shape,
    /// Its queue.
    pub queue: QueueId,
    /// Its user.
    pub user: UserId,
    /// When.
    pub submitted: Time,
    /// The group of finished work that its run time is judged by.
    pub(crate) group: u32,
    /// Dependencies that are not fulfilled.
    pub(crate) unmet: u32,
    /// Jobs that have not ended.
    pub(crate) open: u32,
    /// Jobs that ended, but not well.
    pub(crate) unwell: u32,
    /// Submissions that wait for this one, by their first job.
    pub(crate) dependents: Vec<(JobId, When)>,
}

/// One job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: JobId,
    /// The first job of its submission; `id - first` is its place in the array.
    pub first: JobId,
    /// Where it is in its life.
    pub state: State,
    /// What it waits behind: submission, and kept when it is queued again.
    pub submitted: Time,
    /// Until when it pauses before the next attempt.
    pub not_before: Option<Time>,
    /// How often it was placed. Tells the ranks of one attempt from those of another.
    pub attempt: u32,
    /// How often it was queued again after it had been placed.
    pub restarts: u32,
    /// Restarts because a job of higher priority took its place.
    pub preemptions: u32,
    /// Restarts because a node, a GPU or a rank died.
    pub deaths: u32,
    /// Runs that ended badly by their own doing.
    pub failures: u32,
    /// Where it is, while it is placed.
    pub gang: Option<Box<Gang>>,
    /// When it was last placed.
    pub placed: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Why it is no longer running, where that was not its own good end.
    pub cause: Option<Cause>,
    /// Where it was last placed, for those who look for what it left there.
    #[serde(default)]
    pub last: Option<Box<Placement>>,
    /// Where attempts before that were placed, for the same; the oldest first, and not all of very many.
    #[serde(default)]
    pub earlier: Vec<(u32, Placement)>,
    /// What its processes that are gone used.
    #[serde(default)]
    pub used: Used,
    /// What nodes could not do for it, for people.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Nodes that could not start it: others are tried as long as there are any that could hold it.
    #[serde(default)]
    pub avoided: Vec<NodeId>,
}

/// Most attempts before the last of which it is kept where they ran.
pub(crate) const MAX_EARLIER: usize = 8;

/// Most notes that are kept of a job.
pub(crate) const MAX_NOTES: usize = 16;

/// What processes used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Processor time in programs, in milliseconds.
    pub user_ms: u64,
    /// Processor time in the kernel, in milliseconds.
    pub system_ms: u64,
    /// Largest resident memory of one process, in KiB.
    pub max_rss_kib: u64,
}

impl Used {
    /// What both used: times are added, and the larger memory counts.
    pub fn and(self, other: Self) -> Self {
        Self {
            user_ms: self.user_ms.saturating_add(other.user_ms),
            system_ms: self.system_ms.saturating_add(other.system_ms),
            max_rss_kib: self.max_rss_kib.max(other.max_rss_kib),
        }
    }
}

/// A job's place and the processes in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Gang {
    /// The parts, one per node.
    pub placement: Placement,
    /// Where its ranks meet; not known of gangs that were placed by programs that did not write it down.
    #[serde(default)]
    pub meeting: Option<Meeting>,
    /// The processes, in the order of the parts.
    pub ranks: Vec<Rank>,
    /// Ranks that have neither started nor gone.
    pub(crate) pending: u32,
    /// Ranks that are not gone.
    pub(crate) alive: u32,
    /// When the last rank started.
    pub up: Option<Time>,
    /// How it is being ended, if it is.
    pub stop: Option<Stop>,
    /// When it is expected to end. A guess, made anew when needed.
    #[serde(skip)]
    pub(crate) expected: Time,
}

/// Where a gang is: the whole of it, never a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// A part per node, no node twice.
    pub slices: Vec<Slice>,
}

/// One process of a gang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    /// Told to start.
    Pending,
    /// Reported to run.
    Running,
    /// Gone, and how.
    Gone(Exit),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It was killed because it took more memory than it had asked for.
    OutOfMemory,
    /// It could not be started, and nobody can say whether it could elsewhere.
    NotStarted,
    /// It could not be started, here or anywhere.
    Unfit,
    /// Its node could not start it.
    NodeFault,
    /// It could not be started because the port at which the gang meets is in use.
    PortTaken,
    /// Its node is gone, and with it all knowledge of the process.
    NodeLost,
}

/// How a gang is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// Why.
    pub cause: Cause,
    /// What comes after the last rank is gone.
    pub then: Then,
    /// When ranks that are still there are killed.
    pub kill_at: Time,
    /// They were.
    pub killed: bool,
}

/// What becomes of a job whose gang is being ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// It is queued again at once.
    Requeue,
    /// It is queued again after a pause of this length.
    Retry(Span),
    /// It is put aside.
    Hold,
    /// It has failed.
    Fail,
    /// It is cancelled.
    Cancel,
}

/// Why a gang was ended, or a job will not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody asked.
    Asked,
    /// A job of higher priority needs the place.
    Preempted {
        /// That job.
        by: JobId,
    },
    /// A rank ended badly by its own doing, or cannot be started anywhere.
    RankFailed {
        /// Which.
        rank: u32,
        /// How.
        exit: Exit,
    },
    /// A rank was killed from outside, or its node could not start it.
    RankDied {
        /// Which.
        rank: u32,
        /// How.
        exit: Exit,
    },
    /// A node of the gang is gone.
    NodeLost {
        /// Which.
        node: NodeId,
    },
    /// A GPU of the gang is ill.
    GpuUnhealthy {
        /// Its node.
        node: NodeId,
        /// Its index there.
        gpu: u8,
    },
    /// It ran longer than it may.
    TimeLimit,
    /// What it waited for did not complete.
    Dependency {
        /// The first job of that submission.
        on: JobId,
    },
}

impl Placement {
    /// GPUs in all.
    pub fn gpus(&self) -> u32 {
        self.slices.iter().map(|slice| slice.gpus.len()).sum()
    }

    /// Processes in all.
    pub fn ranks(&self, per: RanksPer) -> u32 {
        self.slices.iter().map(|slice| slice.ranks(per)).sum()
    }

    /// The part that a rank belongs to.
    pub fn slice_of(&self, rank: u32, per: RanksPer) -> Option<&Slice> {
        let mut before = 0;
        self.slices.iter().find(|slice| {
            before += slice.ranks(per);
            rank < before
        })
    }
}

impl Slice {
    /// Processes in this part.
    pub fn ranks(&self, per: RanksPer) -> u32 {
        match per {
            RanksPer::Gpu => self.gpus.len().max(1),
            RanksPer::Node => 1,
        }
    }
}

impl Exit {
    /// The job itself is at fault: wherever and whenever it is tried again it will probably end like this.
    pub(crate) fn is_own_doing(self) -> bool {
        match self {
            Self::Code(_) | Self::Unfit | Self::OutOfMemory => true,
            Self::Signal(signal) => OWN_SIGNALS.contains(&signal),
            Self::NotStarted | Self::NodeFault | Self::PortTaken | Self::NodeLost => false,
        }
    }
}

/// Signals that processes bring upon themselves: SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGPIPE, SIGALRM, SIGXCPU,
/// SIGXFSZ, SIGSYS.
const OWN_SIGNALS: [i32; 11] = [4, 5, 6, 7, 8, 11, 13, 14, 24, 25, 31];

impl Gang {
    pub(crate) fn new(placement: Placement, meeting: Option<Meeting>, per: RanksPer) -> Self {
        let count = placement.ranks(per);
        let ranks = vec![Rank::Pending; count as usize];
        Self {
            placement,
            meeting,
            ranks,
            pending: count,
            alive: count,
            up: None,
            stop: None,
            expected: Time::default(),
        }
    }
}

impl Job {
    /// Where an attempt was placed; none where there was no such attempt, or it is not kept any more.
    pub fn place_of(&self, attempt: u32) -> Option<&Placement> {
        match attempt == self.attempt {
            true => self.last.as_deref(),
            false => self.earlier.iter().find(|(known, _)| *known == attempt).map(|(_, placement)| placement),
        }
    }

    /// The GPUs it holds on a node.
    pub fn gpus_on(&self, node: NodeId) -> GpuSet {
        let slices = self.gang.iter().flat_map(|gang| &gang.placement.slices);
        slices.filter(|slice| slice.node == node).fold(GpuSet::EMPTY, |all, slice| all | slice.gpus)
    }

    /// GPUs it holds in all.
    pub fn gpus(&self) -> u32 {
        self.gang.as_ref().map_or(0, |gang| gang.placement.gpus())
    }
}
