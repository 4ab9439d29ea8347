//! What the consumer and the workers of one pipeline share.

use std::sync::Arc;

use zenith_runtime_cpu::buffer::SlabPool;
use zenith_runtime_cpu::sync::Gate;

use super::board::Board;
use super::slots::SlotLayout;
use super::stats::Stats;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) board: Board,
    pub(super) layout: Arc<SlotLayout>,
    pub(super) pool: SlabPool,
    /// Outlives the rest of this, for the report.
    pub(super) stats: Arc<Stats>,
    /// Whether a claim is a whole batch.
    pub(super) whole_batches: bool,
    /// Workers wait here for something to claim.
    pub(super) work: Gate,
}
