//! The endless sequence of batches to be made: epoch after epoch, from any place. Pure; the board asks it for work.

use std::ops::Range;
use std::sync::Arc;

use crate::sampler::{Cut, Order, OrderSpec, Step, Steps};
use crate::source::SampleKey;

/// A place in the sequence. Rank-independent: taken on any rank, it is the place of every rank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The epoch.
    pub epoch: u64,
    /// The position in the epoch's global sequence.
    pub cursor: u64,
    /// How many of the samples that the one at `cursor` is split into come before this place; 0 where nothing splits.
    pub part: u64,
}

impl Place {
    /// The place before the sample at `cursor`.
    #[must_use]
    pub const fn new(epoch: u64, cursor: u64) -> Self {
        Self { epoch, cursor, part: 0 }
    }
}

/// Everything that determines which samples come in which batches.
#[derive(Clone, Debug)]
pub struct StreamSpec {
    /// How epochs are ordered.
    pub order: OrderSpec,
    /// How positions become batches.
    pub cut: Cut,
    /// Samples in the source.
    pub samples: u64,
    /// The loader's seed.
    pub seed: u64,
}

/// One epoch of a [`StreamSpec`].
#[derive(Debug)]
pub struct EpochPlan {
    epoch: u64,
    seed: u64,
    order: Order,
    steps: Steps,
}

impl EpochPlan {
    /// The plan of `epoch`.
    #[must_use]
    pub fn new(spec: &StreamSpec, epoch: u64) -> Self {
        let order = spec.order.epoch(spec.samples, spec.seed, epoch);
        let steps = Steps { cut: spec.cut.clone(), len: order.len() };
        Self { epoch, seed: spec.seed, order, steps }
    }

    /// The epoch.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Steps left from the global position `cursor`.
    #[must_use]
    pub fn steps_from(&self, cursor: u64) -> u64 {
        self.steps.count_from(cursor)
    }

    /// The step that begins at the global position `cursor`, or `None` at the end of the epoch.
    #[must_use]
    pub fn step(&self, cursor: u64) -> Option<Step> {
        self.steps.at(cursor)
    }

    /// The sample at `position`, with the key of its randomness.
    #[must_use]
    pub fn key(&self, position: u64) -> SampleKey {
        SampleKey { sample: self.order.at(position), seed: self.seed, epoch: self.epoch }
    }

    /// Positions in the epoch.
    #[must_use]
    pub fn positions(&self) -> u64 {
        self.steps.len
    }
}

/// One batch that is to be made, and the place behind it.
#[derive(Clone, Debug)]
pub(super) struct Making {
    pub(super) plan: Arc<EpochPlan>,
    pub(super) positions: Range<u64>,
    pub(super) next: Place,
}

/// Yields batches to be made, in order.
#[derive(Debug)]
pub(super) struct Stream {
    spec: StreamSpec,
    plan: Arc<EpochPlan>,
    cursor: u64,
}

impl Stream {
    pub(super) fn new(spec: StreamSpec, place: Place) -> Self {
        let plan = Arc::new(EpochPlan::new(&spec, place.epoch));
        Self { spec, plan, cursor: place.cursor }
    }

    /// The next batch; `None` when the order of the epoch that follows is not known yet or has no batch.
    pub(super) fn next(&mut self) -> Option<Making> {
        let step = match self.plan.steps.at(self.cursor) {
            Some(step) => step,
            None if self.spec.order.continues() => {
                let plan = Arc::new(EpochPlan::new(&self.spec, self.plan.epoch + 1));
                let step = plan.steps.at(0)?;
                self.plan = plan;
                step
            }
            None => return None,
        };
        self.cursor = step.next;
        let next = Place::new(self.plan.epoch, step.next);
        Some(Making { plan: Arc::clone(&self.plan), positions: step.positions, next })
    }
}
