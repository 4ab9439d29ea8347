//! What an implementation is to the selection: an identity, what it can do, what it depends on, and a way to run it. Nothing
//! here measures.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::bucket::Buckets;
use super::environment::Library;
use super::host::HostTensor;
use super::key::{Key, KeyError, Name, Problem, digest};
use super::sandbox::Probe;

/// The most candidates an operation may have.
pub const MAX_CANDIDATES: usize = 256;

/// Which implementation: another name, version or source is another candidate, with measurements of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CandidateId {
    /// Its name among the operation's candidates.
    pub name: Name,
    /// Its version, as its author counts.
    pub version: Name,
    /// A hash of its source, such as [`CandidateId::hash`] makes.
    pub source: Name,
}

/// Why a call of a candidate did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Failure(
    /// What it said.
    pub String,
);

/// Why a candidate is never chosen for a key, in one environment.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Rejection {
    /// Its result is not the reference's.
    #[error("wrong result: {detail}")]
    Wrong {
        /// Where, and by how much.
        detail: String,
    },
    /// It wrote outside of its output.
    #[error("wrote out of bounds: {detail}")]
    OutOfBounds {
        /// Where.
        detail: String,
    },
    /// It said that it cannot, or panicked, or raised.
    #[error("failed: {detail}")]
    Failed {
        /// What it said.
        detail: String,
    },
    /// It did not end within its deadline.
    #[error("did not end within {deadline_ms} ms")]
    Hung {
        /// The deadline.
        deadline_ms: u64,
    },
    /// Its process was ended by a signal.
    #[error("crashed by {signal}")]
    Crashed {
        /// The signal's name, such as `SIGSEGV`.
        signal: String,
    },
}

/// An implementation of an operation.
///
/// Its calls may come from any thread, one at a time for each thing that [`prepare`](Self::prepare) gives.
pub trait Candidate: Send + Sync {
    /// Which one it is.
    fn id(&self) -> &CandidateId;

    /// Whether it can do `problem`.
    ///
    /// # Errors
    /// Why it cannot, for people: it is shown by [`Explain`](super::Explain) and remembered nowhere.
    fn supports(&self, problem: &Problem) -> Result<(), String>;

    /// The libraries that its speed and its results depend on, with the versions that are loaded. Only these make its
    /// measurements stale.
    fn env_deps(&self) -> Vec<Library>;

    /// Something that runs it on `workload` many times. What it does once, such as compiling, belongs here and is not timed.
    ///
    /// # Errors
    /// When it cannot be run; it is then rejected.
    fn prepare(&self, problem: &Problem, workload: &mut dyn Workload) -> Result<Box<dyn Prepared>, Failure>;

    /// For one that could hang or crash: the command that tries it out first, in a process of its own.
    fn probe(&self, problem: &Problem) -> Option<Probe> {
        let _ = problem;
        None
    }
}

/// A candidate that is ready to run on one workload.
pub trait Prepared {
    /// Runs `calls` times, one after the other, on the workload's operands. It may return before a device is done; the timer of
    /// that device knows.
    ///
    /// # Errors
    /// When a call does not come to its end; the candidate is then rejected.
    fn run(&mut self, calls: u64) -> Result<(), Failure>;

    /// Makes the result of the last call lie in the workload's output, where [`Workload::judge`] looks: waits for a device, or
    /// copies what a call returned. Not timed.
    ///
    /// # Errors
    /// When that does not come to its end; the candidate is then rejected.
    fn settle(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

/// The operands of one problem, on which candidates run in turn, and the judge of what they leave.
///
/// `Send` is not asked: operands of a framework may belong to a thread.
pub trait Workload {
    /// Fills all of the output with what no result is (NaN where there is one) and renews the guard zones around it.
    ///
    /// # Errors
    /// When the operands cannot be had; that is nobody's fault, and ends the selection.
    fn poison(&mut self) -> Result<(), Failure>;

    /// Whether the output is what the reference computes, in higher precision, and the guard zones are as they were.
    /// [`gate`](super::select::gate) has the comparison.
    ///
    /// # Errors
    /// [`Judgement::Candidate`] with what is wrong with the output; [`Judgement::Workload`] when there is no reference.
    fn judge(&mut self) -> Result<(), Judgement>;

    /// The operands where processors reach them, in the operation's order, outputs last; `None` where they do not. They stay where
    /// they are: the selection drops everything that was prepared on a workload before the workload.
    fn host(&mut self) -> Option<Vec<HostTensor>> {
        None
    }

    /// Itself, for candidates that know what kind of workload they run on.
    fn as_any(&mut self) -> &mut dyn Any;
}

/// What a workload says of an output that it does not accept.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Judgement {
    /// The candidate is at fault.
    #[error(transparent)]
    Candidate(#[from] Rejection),
    /// The reference could not be computed.
    #[error("the reference: {0}")]
    Workload(Failure),
}

/// The candidates of an operation in the order of their priority, the default first, and which sizes count as the same for them.
#[derive(Clone)]
pub struct Candidates {
    list: Vec<Arc<dyn Candidate>>,
    buckets: Buckets,
}

/// Why a candidate cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddError {
    /// There is one with its name.
    #[error("there is a candidate `{0}` already: another name would work")]
    Twice(Name),
    /// There are too many.
    #[error("there are {MAX_CANDIDATES} candidates already")]
    Many,
}

impl CandidateId {
    /// An identity.
    ///
    /// # Errors
    /// When one of the names is none.
    pub fn new(name: &str, version: &str, source: &str) -> Result<Self, KeyError> {
        Ok(Self { name: Name::new(name)?, version: Name::new(version)?, source: Name::new(source)? })
    }

    /// A hash of source text: 32 hexadecimal digits.
    #[must_use]
    pub fn hash(source: &str) -> String {
        digest(source)
    }

    /// 32 hexadecimal digits that stand for it.
    #[must_use]
    pub fn digest(&self) -> String {
        digest(&format!("{}@{}#{}", self.name, self.version, self.source))
    }
}

impl Candidates {
    /// The default alone. It runs whenever nothing is known to be better.
    #[must_use]
    pub fn new(default: Arc<dyn Candidate>, buckets: Buckets) -> Self {
        Self { list: vec![default], buckets }
    }

    /// The key that `problem` shares with problems of like speed.
    #[must_use]
    pub fn key(&self, problem: &Problem) -> Key {
        problem.key(&self.buckets)
    }

    /// Adds one behind the others.
    ///
    /// # Errors
    /// When there is one with its name, or too many.
    pub fn add(&mut self, candidate: Arc<dyn Candidate>) -> Result<(), AddError> {
        if self.list.len() >= MAX_CANDIDATES {
            return Err(AddError::Many);
        }
        if self.position(&candidate.id().name).is_some() {
            return Err(AddError::Twice(candidate.id().name.clone()));
        }
        self.list.push(candidate);
        Ok(())
    }

    /// All of them, the default first.
    #[must_use]
    pub fn list(&self) -> &[Arc<dyn Candidate>] {
        &self.list
    }

    /// The default.
    #[must_use]
    pub fn default(&self) -> &Arc<dyn Candidate> {
        &self.list[0]
    }

    /// The place of the one with this name.
    #[must_use]
    pub fn position(&self, name: &Name) -> Option<usize> {
        self.list.iter().position(|candidate| candidate.id().name == *name)
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|candidate| candidate.id())).finish()
    }
}

impl fmt::Display for CandidateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}#{}", self.name, self.version, self.source)
    }
}

impl Rejection {
    /// One word for it: `wrong`, `out-of-bounds`, `failed`, `hung`, `crashed`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Wrong { .. } => "wrong",
            Self::OutOfBounds { .. } => "out-of-bounds",
            Self::Failed { .. } => "failed",
            Self::Hung { .. } => "hung",
            Self::Crashed { .. } => "crashed",
        }
    }
}
