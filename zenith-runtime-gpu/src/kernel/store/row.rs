//! What is known of one candidate for one key in one environment. Data, and no file: how rows are kept is [`files`](super::files)'.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::kernel::candidate::{CandidateId, Rejection};
use crate::kernel::environment::Environment;
use crate::kernel::key::{Key, digest};
use crate::kernel::timer::Sample;

/// The most samples that a row keeps.
pub const MAX_SAMPLES: usize = 4096;

/// What came of measuring one candidate for one key in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// For which problems.
    pub key: Key,
    /// Which candidate.
    pub candidate: CandidateId,
    /// Where, and with which libraries.
    pub environment: Environment,
    /// What came of it.
    pub outcome: Outcome,
    /// When, in seconds since 1970.
    pub at: u64,
    /// On which machine.
    pub host: String,
}

/// What came of measuring a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// Its result was right; all samples, in the order they were taken.
    Measured(Vec<Sample>),
    /// It is not to be chosen.
    Rejected(Rejection),
}

impl Row {
    /// A row of now and here.
    #[must_use]
    pub fn new(key: Key, candidate: CandidateId, environment: Environment, outcome: Outcome) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { key, candidate, environment, outcome, at, host }
    }

    /// Whether everything in it can be: what selection computes with is finite and more than zero, and there is not too much of it.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match &self.outcome {
            Outcome::Measured(samples) => {
                !samples.is_empty()
                    && samples.len() <= MAX_SAMPLES
                    && samples.iter().all(|sample| sample.ns.is_finite() && sample.ns > 0.0)
            }
            Outcome::Rejected(_) => true,
        }
    }

    /// The name of its file, which says which candidate in which environment.
    #[must_use]
    pub(super) fn file_name(&self) -> String {
        format!("{}.row", digest(&format!("{} {}", self.candidate.digest(), self.environment.digest())))
    }
}
