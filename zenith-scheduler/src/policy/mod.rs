//! Whose turn it is: order, reservations, backfill, preemption, shares and quotas, as settings of one scheduling round.
//! What a job is and what states it has is `core`'s.

pub(crate) mod backlog;
pub(crate) mod calibration;
pub(crate) mod expectation;
pub mod history;
pub(crate) mod order;
pub mod outlook;
pub(crate) mod preempt;
pub mod quota;
pub(crate) mod reservation;
pub(crate) mod room;
pub(crate) mod round;
pub(crate) mod slots;
pub mod usage;
pub mod why;

use serde::{Deserialize, Serialize};

use crate::core::placement::Reserve;
use crate::core::time::Span;

/// The settings of the scheduler. The default is what is shipped; the others are for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Who comes first.
    pub order: Order,
    /// How many jobs that have to wait get a date and nodes that others leave alone. With none, nothing starts before
    /// the first job of the queue.
    pub reservations: usize,
    /// Where run times are taken from.
    pub runtimes: Runtimes,
    /// Jobs that may be preempted are.
    pub preemption: bool,
    /// What counts for a job's turn besides its age, where `order` is [`Order::Urgency`].
    pub weights: Weights,
    /// Processors kept for each free GPU.
    pub reserve_cpus: u32,
    /// Memory kept for each free GPU, in MiB.
    pub reserve_memory_mib: u64,
    /// Time between the signal to end and the kill.
    pub grace: Span,
    /// The same where a member of the gang is dead already, so that the rest can do little.
    pub death_grace: Span,
    /// Pause before a job that failed is tried again; doubled each time, up to 64 of it.
    pub retry_pause: Span,
    /// How often a job is queued again because a rank, a GPU or a node died, before it has failed.
    pub max_deaths: u32,
    /// Jobs in a row that a node may fail to start before it is closed for new work.
    pub max_faults: u32,
    /// A job that was preempted this often is left alone.
    pub max_preemptions: u32,
}

/// Who comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Who was submitted first.
    Submitted,
    /// Who will run shortest; needs known run times.
    Shortest,
    /// Who has waited long for what is expected to take little, weighed with priority and fair share.
    #[default]
    Urgency,
}

/// Where run times are taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtimes {
    /// From the submission, as an oracle would know them.
    Known,
    /// From runs that have completed.
    #[default]
    Learned,
}

/// How urgency is made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    /// How many steps of priority double the urgency.
    pub priority_step: f64,
    /// What every job is taken to have waited before it came.
    pub patience: Span,
    /// Waiting beyond this counts more and more: urgency grows with the third power, so that no wait is out of all proportion.
    pub long_wait: Span,
    /// Power of the expected run time that urgency falls with.
    pub runtime: f64,
    /// Power of the number of GPUs that urgency falls with.
    pub gpus: f64,
    /// Power of the part of a node that a job needs which its urgency falls with where it would take a whole node that
    /// gangs wait for.
    pub keep_nodes: f64,
    /// The same for parts of nodes that waiting work needs.
    pub keep_slots: f64,
    /// For how long, per GPU on a node, a job stands back for larger work; then less and less, and not at all after twice
    /// that.
    pub keep_for: Span,
    /// How strongly use beyond the fair share lowers urgency; 0 for not at all.
    pub share: f64,
    /// With this probability a node that is lent while others of its gang's nodes are still busy is back in time; each job on
    /// it may be late by its part of the rest. At 1 only time limits count.
    pub caution: f64,
    /// Quantile of the remaining run time by which running work is expected to be over.
    pub release: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            priority_step: 10.0,
            patience: Span::from_secs(3600),
            long_wait: Span::from_secs(10 * 24 * 3600),
            runtime: 1.0,
            gpus: 0.5,
            keep_nodes: 8.5,
            keep_slots: 2.0,
            keep_for: Span::from_secs(200 * 3600),
            share: 0.0,
            caution: 0.9,
            release: 0.5,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            order: Order::Urgency,
            reservations: 1,
            runtimes: Runtimes::Learned,
            preemption: true,
            weights: Weights::default(),
            reserve_cpus: 4,
            reserve_memory_mib: 16 * 1024,
            grace: Span::from_secs(30),
            death_grace: Span::from_secs(2),
            retry_pause: Span::from_secs(1),
            max_deaths: 8,
            max_faults: 3,
            max_preemptions: 16,
        }
    }
}

impl Policy {
    /// First come, first served; nobody overtakes.
    pub fn fifo() -> Self {
        Self { order: Order::Submitted, reservations: 0, preemption: false, ..Self::default() }
    }

    /// First come, first served; whoever does not delay the first in the queue may overtake. Knows run times.
    pub fn easy() -> Self {
        Self { reservations: 1, runtimes: Runtimes::Known, ..Self::fifo() }
    }

    /// The shortest first, as an oracle would know it.
    pub fn shortest() -> Self {
        Self { order: Order::Shortest, ..Self::easy() }
    }

    pub(crate) fn knows_runtimes(&self) -> bool {
        self.runtimes == Runtimes::Known
    }

    pub(crate) fn reserve(&self) -> Reserve {
        Reserve { cpus: self.reserve_cpus, memory_mib: self.reserve_memory_mib }
    }
}
