//! What the core refuses, and why.

use super::id::{JobId, NodeId};
use super::request::RequestError;
use super::state::Forbidden;

/// A call that the core refuses. Its state is as it was before the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such job, or it was forgotten.
    #[error("there is no job {0}")]
    NoJob(JobId),
    /// There is no such node.
    #[error("there is no node {0}")]
    NoNode(NodeId),
    /// There is no such GPU.
    #[error("node {node} has no GPU {gpu}")]
    NoGpu {
        /// The node.
        node: NodeId,
        /// The index that was named.
        gpu: u8,
    },
    /// There is no such queue.
    #[error("there is no queue {name:?}; there are {known}")]
    NoQueue {
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A job is not in a state from which this can be done.
    #[error("job {job}: {source}")]
    Forbidden {
        /// The job.
        job: JobId,
        /// What was tried from where.
        source: Forbidden,
    },
    /// The request makes no sense.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A submission of no jobs, or of too many.
    #[error("{count} jobs in one submission; 1 to {most} are possible")]
    Count {
        /// The number given.
        count: u32,
        /// The most.
        most: u32,
    },
    /// A node has more GPUs than can be told apart.
    #[error("node {name:?} has {gpus} GPUs; at most {most} are possible")]
    NodeTooLarge {
        /// Its name.
        name: String,
        /// Its GPUs.
        gpus: usize,
        /// The most.
        most: u32,
    },
    /// Another machine joined by the name of one that may still run what it was given.
    #[error("the name {name:?} belongs to another machine, or to this one with another state folder")]
    NodeTaken {
        /// The name.
        name: String,
    },
    /// A queue that is guaranteed more than it may have, or a weight that is not above zero.
    #[error("queue {name:?}: {reason}")]
    Settings {
        /// Its name.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A journal says something that cannot have happened after what it said before.
    #[error("the journal contradicts itself: {0}")]
    Journal(&'static str),
}
