//! The scheduler on a virtual clock: recorded work, a cluster that does not exist, and the very code that schedules real work.

pub mod cluster;
pub mod measure;
pub mod outcome;
pub mod plot;
pub mod table;
pub mod trace;
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::policy::Policy;

pub use self::cluster::ClusterShape;
pub use self::outcome::Outcome;
pub use self::trace::{Trace, TraceError, TraceJob};

/// A policy that can be simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Named {
    /// What it is called.
    pub name: String,
    /// What it is.
    pub policy: Policy,
}

/// Names of policies, in the order of comparison.
pub const POLICIES: [&str; 4] = ["fifo", "easy", "sjf-oracle", "default"];

/// Why nothing was simulated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// There is no such policy.
    #[error("no policy {0:?}; there are fifo, easy, sjf-oracle and default")]
    Policy(String),
    /// A cluster without GPUs, or with nodes larger than nodes can be.
    #[error("{nodes} nodes of {gpus_per_node} GPUs; at least one node and 1 to 64 GPUs on it are needed")]
    Cluster {
        /// Nodes.
        nodes: u32,
        /// GPUs per node.
        gpus_per_node: u32,
    },
    /// The scheduler refused something that the trace asks for.
    #[error(transparent)]
    Refused(#[from] crate::core::Error),
}

impl Named {
    /// A policy by its name.
    ///
    /// # Errors
    /// [`SimulateError::Policy`] where there is none.
    pub fn find(name: &str) -> Result<Self, SimulateError> {
        let policy = match name {
            "fifo" => Policy::fifo(),
            "easy" => Policy::easy(),
            "sjf-oracle" => Policy::shortest(),
            "default" => Policy::default(),
            _ => return Err(SimulateError::Policy(name.to_owned())),
        };
        Ok(Self { name: name.to_owned(), policy })
    }
}

/// Runs all of a trace on a cluster under a policy. No job is taken to be preemptible: a record does not say that it was.
/// Runs are as long as recorded, wherever they are placed.
///
/// # Errors
/// A cluster that cannot be.
pub fn run(trace: &Trace, cluster: ClusterShape, policy: &Named) -> Result<Outcome, SimulateError> {
    world::run(trace, &[cluster], policy)
}

/// The same under several policies, beside each other on as many processors as there are. Outcomes are in their order.
///
/// # Errors
/// A cluster that cannot be.
pub fn run_each(
    trace: &Trace,
    cluster: ClusterShape,
    policies: &[Named],
) -> Result<Vec<Outcome>, SimulateError> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(policies.len())));
    let work = || {
        // From the last one on: the default takes longest, and nobody is to wait for it in the end.
        let take = || policies.iter().enumerate().nth_back(next.fetch_add(1, Ordering::Relaxed));
        while let Some((place, policy)) = take() {
            let outcome = run(trace, cluster, policy);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((place, outcome));
        }
    };
    let processors = thread::available_parallelism().map_or(1, usize::from).min(policies.len());
    thread::scope(|scope| {
        (1..processors).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_unstable_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The same on a cluster of several kinds of nodes.
///
/// # Errors
/// A cluster that cannot be.
pub fn run_mixed(trace: &Trace, cluster: &[ClusterShape], policy: &Named) -> Result<Outcome, SimulateError> {
    world::run(trace, cluster, policy)
}
