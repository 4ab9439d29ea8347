//! Sequential pictures decoded while an index of their entropy-coded data is made: the same walk as without one, with
//! stops at the places to be noted. What an entry holds is the index' business.

use super::bands::Bands;
use super::error::JpegError;
use super::index::EntropyIndex;
use super::kernels::Kernels;
use super::plan::Plan;
use super::scan::{Cursor, McuBlock};
use super::sequential::{Stage, decode_to, read_to, skip_to};

/// Decodes the plan's columns of MCU row `row` into `bands`, and notes all entry points up to that row's last.
pub(super) fn decode_row(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    stage: &Stage<'_>,
    row: usize,
    index: &mut EntropyIndex,
    bands: &mut Bands,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    let plan = stage.plan;
    let start = row * plan.mcus_x;
    note_to(cursor, blocks, start, plan, index, kernels)?;
    // The end of the region is the last stop, so that damage to its right stays unseen here as without an index.
    let stops = (0..plan.mcus_x).step_by(index.spacing()).take_while(|&column| column < plan.columns.end);
    for column in stops {
        advance(cursor, blocks, stage, (row, column), bands, kernels)?;
        index.push(cursor)?;
    }
    advance(cursor, blocks, stage, (row, plan.columns.end), bands, kernels)
}

/// Goes to `column` of `row`, at most the end of the plan's columns, and decodes what lies in them.
fn advance(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    stage: &Stage<'_>,
    (row, column): (usize, usize),
    bands: &mut Bands,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    let plan = stage.plan;
    let skipped = column.min(plan.columns.start);
    skip_to(cursor, blocks, row * plan.mcus_x + skipped, kernels)?;
    decode_to(cursor, blocks, stage, (row, column), bands, kernels)
}

/// Reads past MCUs up to `target` and notes the entry points before it that are still missing.
fn note_to(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    target: usize,
    plan: &Plan,
    index: &mut EntropyIndex,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    while let mcu = index.next_mcu(plan.mcus_x)
        && mcu < target
    {
        skip_to(cursor, blocks, mcu, kernels)?;
        index.push(cursor)?;
    }
    // The target may be the end of the scan, to which one cannot skip.
    read_to(cursor, blocks, target, kernels)
}

/// Reads past the rest of the picture and notes the entry points in it.
pub(super) fn note_rest(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    plan: &Plan,
    index: &mut EntropyIndex,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    note_to(cursor, blocks, plan.mcus_x * plan.mcus_y, plan, index, kernels)
}
