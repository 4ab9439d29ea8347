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
    /// There are as many jobs as there may be.
    #[error("{open} jobs have not ended, and {more} more would be above the {most} that there may be")]
    TooManyJobs {
        /// Jobs that have not ended.
        open: usize,
        /// Jobs that are submitted.
        more: u32,
        /// The most.
        most: usize,
    },
    /// A submission is larger than one may be.
    #[error("the submission takes {bytes} bytes; at most {most} are possible")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The most.
        most: u64,
    },
    /// What all submissions take is as much as it may be.
    #[error("the submissions that are kept take the {most} bytes that they may")]
    TooMuch {
        /// The most, in bytes.
        most: u64,
    },
    /// The key stands for other work.
    #[error("the key {key:?} stands for job {job}, which is other work")]
    KeyReused {
        /// The key.
        key: String,
        /// The first job that was submitted under it.
        job: JobId,
    },
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
                core::Error::NodeTaken { .. } => "node_taken",
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
            Self::TooManyJobs { .. } => "too_many_jobs",
            Self::TooLarge { .. } => "too_large",
            Self::TooMuch { .. } => "too_much",
            Self::KeyReused { .. } => "key_reused",
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
                core::Error::Forbidden { .. } | core::Error::NodeTaken { .. } => Kind::Conflict,
                core::Error::Journal(_) => Kind::Internal,
            },
            Self::NotYours { .. } | Self::NotAdmin { .. } | Self::NotAgent => Kind::Forbidden,
            Self::Unauthenticated(_) => Kind::Unauthenticated,
            Self::Invalid { .. } | Self::TooLarge { .. } => Kind::Invalid,
            Self::KeyReused { .. } | Self::NotRunning { .. } => Kind::Conflict,
            Self::NoNode { .. } | Self::NoLogs { .. } => Kind::NotFound,
            Self::Full | Self::TooManyJobs { .. } | Self::TooMuch { .. } => Kind::Exhausted,
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
                core::Error::NodeTaken { .. } => {
                    &"give it another --name, or its former --state; if it replaces a machine that is lost and runs nothing more, drain the node by that name first"
                }
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
            Self::TooManyJobs { .. } => {
                &"wait until some have ended, or let whoever runs the scheduler raise `max-open-jobs`"
            }
            Self::TooLarge { .. } => {
                &"pass large data in files; whoever runs the scheduler can raise `max-submission-kib`"
            }
            Self::TooMuch { .. } => {
                &"wait until some jobs have ended, or let whoever runs the scheduler raise `max-kept-mib`"
            }
            Self::KeyReused { .. } => &"take another key for other work, or none",
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
