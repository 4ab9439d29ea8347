//! How long a call takes, as a contract. What is slower than what is the selection's business.
//!
//! A timer of a device has to: measure on the device itself (CUDA: events on the stream that the candidate runs on); make short
//! calls long enough to be measured (below [`UNROLL_BELOW`], record them into a graph and replay that, or the gap between
//! launches is what is measured); and begin each sample with a cache as training leaves it (write a buffer of the queried size of
//! its last cache first). None may call a clock for each call.

mod cpu;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use cpu::CpuTimer;

use super::candidate::{Failure, Prepared};

/// Calls on a device that take less than this are measured many at once, recorded together.
pub const UNROLL_BELOW: Duration = Duration::from_micros(50);

/// One measurement: many calls, and what one of them took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(f64, bool)", into = "(f64, bool)")]
pub struct Sample {
    /// Nanoseconds of one call; finite and more than zero.
    pub ns: f64,
    /// Whether nobody else was seen using the processors meanwhile.
    pub quiet: bool,
}

/// How one candidate is sampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Calls that a sample is made of.
    pub calls: u64,
    /// What a call took while the pace was found, in nanoseconds.
    pub ns: f64,
    /// Processors that it kept busy; zero where that is not known.
    pub busy: f64,
}

/// Why there is no measurement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimerError {
    /// The candidate failed; it is rejected.
    #[error(transparent)]
    Candidate(#[from] Failure),
    /// The timer failed; that ends the selection.
    #[error("the timer: {0}")]
    Timer(String),
}

/// Measures candidates.
pub trait Timer {
    /// Time that has gone by since any fixed moment; budgets are kept by it.
    fn now(&mut self) -> Duration;

    /// Warms a candidate up and finds how to sample it. `limit` bounds what that may take; one call always is made.
    ///
    /// # Errors
    /// When the candidate or the timer fails.
    fn pace(&mut self, prepared: &mut dyn Prepared, limit: Duration) -> Result<Pace, TimerError>;

    /// One sample.
    ///
    /// # Errors
    /// When the candidate or the timer fails.
    fn sample(&mut self, prepared: &mut dyn Prepared, pace: &mut Pace) -> Result<Sample, TimerError>;
}

impl From<(f64, bool)> for Sample {
    fn from((ns, quiet): (f64, bool)) -> Self {
        Self { ns, quiet }
    }
}

impl From<Sample> for (f64, bool) {
    fn from(sample: Sample) -> Self {
        (sample.ns, sample.quiet)
    }
}
