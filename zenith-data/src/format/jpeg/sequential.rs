//! Pictures of one sequential scan, decoded as a stream: blocks go through the inverse transform as they come, and what
//! the region does not need is read past without its values.

use super::bands::Bands;
use super::bits::BLOCK_BYTES;
use super::block::{Block, BlockError, ac_coefficients, dc_difference, skip_coefficients};
use super::error::JpegError;
use super::idct::{Idct, Steps};
use super::kernels::Kernels;
use super::plan::Plan;
use super::scan::{Cursor, McuBlock};

/// What blocks become.
pub(super) struct Stage<'p> {
    pub(super) plan: &'p Plan,
    pub(super) steps: [Steps; 4],
    pub(super) idct: [Idct; 4],
    /// For blocks with nothing but a DC coefficient.
    pub(super) flat: [Idct; 4],
}

/// Reads past a number of MCUs between restart markers. The inner error is a block's of the
/// MCU at which the cursor stops.
pub(super) type SkipRun =
    fn(&mut Cursor<'_, '_>, &[McuBlock<'_>], usize) -> Result<Result<(), BlockError>, JpegError>;

/// Decodes MCUs between restart markers: (MCU row, first MCU column, count). The errors are those of [`SkipRun`].
pub(super) type DecodeRun = fn(
    &mut Cursor<'_, '_>,
    &[McuBlock<'_>],
    &Stage<'_>,
    (usize, usize, usize),
    &mut Bands,
) -> Result<Result<(), BlockError>, JpegError>;

/// Reads past MCUs up to `target`, which is not the end of the scan: behind its last interval is no restart marker to
/// jump to. Stays where the cursor is there or beyond already.
pub(super) fn skip_to(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    target: usize,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    if target <= cursor.mcu {
        return Ok(());
    }
    cursor.skip_intervals(target)?;
    read_to(cursor, blocks, target, kernels)
}

/// Reads past MCUs up to `target`, every one of them.
pub(super) fn read_to(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    target: usize,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    while cursor.mcu < target {
        if cursor.left == 0 {
            cursor.restart()?;
        }
        let count = cursor.left.min(target - cursor.mcu);
        let outcome = (kernels.skip_run)(cursor, blocks, count);
        outcome?.map_err(|error| cursor.fault(error))?;
        cursor.mcu += count;
        cursor.left -= count;
    }
    Ok(())
}

/// Decodes MCUs of row `row` into `bands`, up to `column`; the cursor stands in the plan's columns of that row.
pub(super) fn decode_to(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    stage: &Stage<'_>,
    (row, column): (usize, usize),
    bands: &mut Bands,
    kernels: &Kernels,
) -> Result<(), JpegError> {
    let end = row * stage.plan.mcus_x + column;
    while cursor.mcu < end {
        if cursor.left == 0 {
            cursor.restart()?;
        }
        let count = cursor.left.min(end - cursor.mcu);
        let first = cursor.mcu - row * stage.plan.mcus_x;
        let outcome = (kernels.decode_run)(cursor, blocks, stage, (row, first, count), bands);
        outcome?.map_err(|error| cursor.fault(error))?;
        cursor.mcu += count;
        cursor.left -= count;
    }
    Ok(())
}

/// [`SkipRun`], to be compiled for a machine by inlining.
#[inline(always)]
pub(super) fn skip_run(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    count: usize,
) -> Result<Result<(), BlockError>, JpegError> {
    for _ in 0..count {
        cursor.feed.provide(&mut cursor.bits, blocks.len() * BLOCK_BYTES)?;
        let (mut bits, buf) = (cursor.bits, cursor.feed.bytes());
        for block in blocks {
            let difference = match dc_difference(&mut bits, buf, block.dc) {
                Ok(difference) => difference,
                Err(error) => return Ok(Err(error)),
            };
            let predictor = &mut cursor.predictors[block.component & 3];
            *predictor = predictor.wrapping_add(difference);
            if let Err(error) = skip_coefficients(&mut bits, buf, block.ac) {
                return Ok(Err(error));
            }
        }
        cursor.bits = bits;
    }
    cursor.feed.check(&cursor.bits)?;
    Ok(Ok(()))
}

/// [`DecodeRun`], to be compiled for a machine by inlining.
#[inline(always)]
pub(super) fn decode_run(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    stage: &Stage<'_>,
    (row, first, count): (usize, usize, usize),
    bands: &mut Bands,
) -> Result<Result<(), BlockError>, JpegError> {
    let mut coefficients: Block = [0; 256];
    for column in first..first + count {
        cursor.feed.provide(&mut cursor.bits, blocks.len() * BLOCK_BYTES)?;
        let (mut bits, buf) = (cursor.bits, cursor.feed.bytes());
        for block in blocks {
            let component = block.component & 3;
            let c = &stage.plan.components[component];
            let (bx, by) = (column * block.h + block.dx, row * block.v + block.dy);
            let needed = (c.bx.0..c.bx.1).contains(&bx) && (c.by.0..c.by.1).contains(&by);
            let difference = match dc_difference(&mut bits, buf, block.dc) {
                Ok(difference) => difference,
                Err(error) => return Ok(Err(error)),
            };
            let predictor = &mut cursor.predictors[component];
            *predictor = predictor.wrapping_add(difference);
            coefficients[0] = *predictor as i16;
            let used = if needed && c.block > 1 {
                ac_coefficients(&mut bits, buf, block.ac, &mut coefficients)
            } else {
                skip_coefficients(&mut bits, buf, block.ac).map(|()| 1)
            };
            let used = match used {
                Ok(used) => used,
                Err(error) => return Ok(Err(error)),
            };
            if needed {
                let (out, stride) = bands.band(component).block(bx, row, block.dy, c.block);
                let idct = if used == 1 { stage.flat[component] } else { stage.idct[component] };
                idct(&mut coefficients, &stage.steps[component], out, stride);
            }
        }
        cursor.bits = bits;
    }
    cursor.feed.check(&cursor.bits)?;
    Ok(Ok(()))
}
