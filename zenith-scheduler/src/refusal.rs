//! Why a call is refused: one type for every door, with a word for programs, a sentence for people and a hint at what would
//! work. How a door says it (a gRPC status, an HTTP status, an exit code) is the door's.

use std::fmt;
use std::sync::Arc;

use zenith_proto::v1;

use crate::core::request::RequestError;
use crate::core::state::State;
use crate::core::{self, JobId};
use crate::store::StoreError;

/// A call that was refused. Nothing of it was done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The core refuses it.
    #[error(transparent)]
    Core(#[from] core::Error),
    /// The job is somebody else's.
    #[error("job {job} is {owner}'s")]
    NotYours {
        /// The job.
        job: JobId,
        /// Whose it is.
        owner: String,
    },
    /// Only a job that runs has processes.
    #[error("job {job} is {state}, and a signal needs one that runs")]
    NotRunning {
        /// The job.
        job: JobId,
        /// Where it is instead.
        state: State,
    },
    /// Only administrators may do it.
    #[error("{what} is for administrators")]
    NotAdmin {
        /// What was tried.
        what: &'static str,
    },
    /// Only agents may do it.
    #[error("joining as a node is for agents")]
    NotAgent,
    /// Nobody is known by this token, or a token is needed and was not given.
    #[error("{0}")]
    Unauthenticated(&'static str),
    /// A part of the call makes no sense.
    #[error("{field}: {reason}")]
    Invalid {
        /// The part.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no node of this name.
    #[error("there is no node {name:?}")]
    NoNode {
        /// The name.
        name: String,
    },
    /// The disk has no room for new work.
    #[error("the disk that holds the scheduler's state is full")]
    Full,
    /// The disk failed.
    #[error("the scheduler's state could not be written")]
    Store(#[source] Arc<StoreError>),
    /// The node that has what was asked for cannot be reached.
    #[error("node {node} cannot be reached")]
    Unreachable {
        /// The node.
        node: String,
    },
    /// There is nothing to read.
    #[error("job {job} has written nothing that is kept: {reason}")]
    NoLogs {
        /// The job.
        job: JobId,
        /// Why.
        reason: String,
    },
    /// The engine cannot do what the job needs.
    #[error("this engine has no {capability}")]
    Unsupported {
        /// What.
        capability: &'static str,
    },
    /// A log was not read to its end.
    #[error("the log from node {node} was cut off: the way to it was lost, or it was read too slowly")]
    CutOff {
        /// The node.
        node: String,
    },
    /// The controller does not answer in time.
    #[error("the controller does not answer in time")]
    Busy,
    /// The scheduler is going down.
    #[error("the scheduler is stopping")]
    Stopping,
}

/// The kind of a refusal, for doors that have few numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The call makes no sense, whatever the state.
    Invalid,
    /// What it names does not exist.
    NotFound,
    /// It makes sense, but not in this state.
    Conflict,
    /// Who calls is not known.
    Unauthenticated,
    /// Who calls may not.
    Forbidden,
    /// There is no room.
    Exhausted,
    /// It may work later.
    Unavailable,
    /// This program cannot do it.
    Unsupported,
    /// Something broke.
    Internal,
}

impl Refusal {
    /// The refusal as every door says it.
    pub fn on_wire(&self) -> v1::Refusal {
        v1::Refusal { code: self.code().to_owned(), message: self.to_string(), hint: self.hint() }
    }

    /// The refusal as a word, which does not change.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Core(error) => match error {
                core::Error::NoJob(_) => "no_such_job",
                core::Error::NoNode(_) => "no_such_node",
                core::Error::NoGpu { .. } => "no_such_gpu",
                core::Error::NoQueue { .. } => "no_such_queue",
                core::Error::Forbidden { .. } => "forbidden_transition",
                core::Error::Request(_) => "bad_request",
                core::Error::Count { .. } => "bad_count",
                core::Error::NodeTooLarge { .. } => "node_too_large",
                core::Error::NodeInUse { .. } => "node_in_use",
                core::Error::Settings { .. } => "bad_settings",
                core::Error::Journal(_) => "journal",
            },
            Self::NotYours { .. } => "not_yours",
            Self::NotRunning { .. } => "not_running",
            Self::NotAdmin { .. } => "not_admin",
            Self::NotAgent => "not_agent",
            Self::Unauthenticated(_) => "unauthenticated",
            Self::Invalid { .. } => "invalid",
            Self::NoNode { .. } => "no_such_node",
            Self::Full => "disk_full",
            Self::Store(_) => "store",
            Self::Unreachable { .. } => "unreachable",
            Self::NoLogs { .. } => "no_logs",
            Self::Unsupported { .. } => "unsupported",
            Self::CutOff { .. } => "cut_off",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Core(error) => match error {
                core::Error::NoJob(_) | core::Error::NoNode(_) | core::Error::NoGpu { .. } => Kind::NotFound,
                core::Error::NoQueue { .. }
                | core::Error::Request(_)
                | core::Error::Count { .. }
                | core::Error::NodeTooLarge { .. }
                | core::Error::Settings { .. } => Kind::Invalid,
                core::Error::Forbidden { .. } | core::Error::NodeInUse { .. } => Kind::Conflict,
                core::Error::Journal(_) => Kind::Internal,
            },
            Self::NotYours { .. } | Self::NotAdmin { .. } | Self::NotAgent => Kind::Forbidden,
            Self::Unauthenticated(_) => Kind::Unauthenticated,
            Self::NotRunning { .. } => Kind::Conflict,
            Self::Invalid { .. } => Kind::Invalid,
            Self::NoNode { .. } | Self::NoLogs { .. } => Kind::NotFound,
            Self::Full => Kind::Exhausted,
            Self::Unreachable { .. } | Self::CutOff { .. } | Self::Busy | Self::Stopping => Kind::Unavailable,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::Store(_) => Kind::Internal,
        }
    }

    /// What would work.
    pub fn hint(&self) -> String {
        let hint: &dyn fmt::Display = match self {
            Self::Core(error) => match error {
                core::Error::NoJob(_) => &"`zenith job ls --all` lists the jobs that are kept",
                core::Error::NoNode(_) => &"`zenith node ls` lists the nodes",
                core::Error::NoGpu { .. } => &"GPUs of a node are counted from 0",
                core::Error::NoQueue { .. } => &"name one of these, or let an administrator make the queue",
                core::Error::Forbidden { .. } => &"`zenith job show` has the job's state and what led to it",
                core::Error::Request(RequestError::Nothing) => {
                    &"ask for GPUs with --gpus, or for processors with --cpus"
                }
                core::Error::Request(_) => &"give GPUs in all, or nodes and GPUs per node",
                core::Error::Count { .. } => &"split it into several submissions",
                core::Error::NodeTooLarge { .. } => &"run several agents on it, each with a part of the GPUs",
                core::Error::NodeInUse { .. } => &"drain it, wait until its jobs have ended, and join again",
                core::Error::Settings { .. } => {
                    &"a weight is above zero, and a guarantee is at most the limit"
                }
                core::Error::Journal(_) => &"this is a fault of the scheduler; please report it with its log",
            },
            Self::NotYours { owner, .. } => return format!("ask {owner} or an administrator"),
            Self::NotRunning { state, .. } if state.is_final() => {
                &"it has ended; `zenith job show` has what led to it"
            }
            Self::NotRunning { .. } => &"wait until it runs; `zenith job why` says what it waits for",
            Self::NotAdmin { .. } => &"use an administrator's token",
            Self::NotAgent => &"`zenith-scheduler token add NAME --agent` makes a token for agents",
            Self::Unauthenticated(_) => &"give a token: --token, or the variable ZENITH_TOKEN",
            Self::Invalid { .. } => &"see the reference of the API",
            Self::NoNode { .. } => &"`zenith node ls` lists the nodes",
            Self::Full => &"make room on that disk; what was taken in before is safe and goes on",
            Self::Store(_) => &"see the scheduler's log; what was taken in before is safe",
            Self::Unreachable { .. } => &"start its agent, or wait until it is back",
            Self::NoLogs { .. } => &"name another attempt with --attempt",
            Self::Unsupported { .. } => &"leave it out, or use another engine",
            Self::CutOff { .. } => &"read it again, into a file where the reader is slow",
            Self::Busy => &"try again later; see the scheduler's log where that does not help",
            Self::Stopping => &"try again when it is back",
        };
        hint.to_string()
    }
}
