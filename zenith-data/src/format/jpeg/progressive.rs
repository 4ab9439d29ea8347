//! Pictures of several scans, progressive or not: their coefficients are gathered first, then transformed. Only rows
//! down to the end of the region are stored, and the rest of each scan is gone past by looking for the next marker.

use super::bands::Bands;
use super::bits::{BLOCK_BYTES, Bits, extend};
use super::block::{Block, BlockError, ORDER, ac_coefficients, dc_difference};
use super::error::JpegError;
use super::header::{Parsed, Scan, Stop, Walker};
use super::huffman::{PEEK, Table};
use super::kernels::Kernels;
use super::plan::Plan;
use super::scan::{Cursor, McuBlock, Slots, Wanted, mcu_blocks, steps};
use super::sequential::Stage;
use crate::pixels::{PixelBuf, give_back_giant};

/// Most scans of a picture: no encoder makes so many, and each costs a walk over the picture.
const MAX_SCANS: usize = 512;

/// The coefficients of a picture and how far they are known.
#[derive(Default)]
pub(super) struct Store {
    coefficients: Vec<i16>,
    /// First block of each component.
    base: [usize; 4],
    /// Bits still unknown of each coefficient (zigzag) of each component; 255 before the first scan of it.
    unknown: [[u8; 32]; 8],
}

impl Store {
    fn reset(&mut self, plan: &Plan) {
        let mut blocks = 0;
        for (base, c) in self.base.iter_mut().zip(&plan.components[..plan.count]) {
            *base = blocks;
            blocks += plan.mcus_x * c.h * plan.rows.end * c.v;
        }
        debug_assert_eq!(blocks, plan.stored_blocks(), "one sum of blocks");
        self.coefficients.clear();
        self.coefficients.resize(blocks * 64, 0);
        self.unknown = [[255; 32]; 8];
    }

    /// Gives the memory of a giant picture back.
    pub(super) fn give_back_giant(&mut self) {
        give_back_giant(&mut self.coefficients);
    }

    fn known_mut(&mut self, component: usize, k: usize) -> &mut u8 {
        &mut self.unknown[component * 2 + k / 32][k % 32]
    }

    fn index(&self, plan: &Plan, component: usize, bx: usize, by: usize) -> usize {
        let c = &plan.components[component];
        (self.base[component] + by * plan.mcus_x * c.h + bx) * 64
    }

    fn block_mut(&mut self, at: usize) -> &mut [i16] {
        &mut self.coefficients[at..at + 64]
    }

    /// Whether every coefficient of the used components is known to its last bit.
    fn complete(&self, count: usize) -> bool {
        self.unknown[..count * 2].iter().flatten().all(|&bits| bits == 0)
    }

    /// Takes note of what a scan brings.
    fn note(&mut self, progressive: bool, scan: &Scan) {
        let (start, end, low) =
            if progressive { (usize::from(scan.start), usize::from(scan.end), scan.low) } else { (0, 63, 0) };
        for component in &scan.components[..scan.count] {
            for k in start..=end {
                *self.known_mut(component.index, k) = low;
            }
        }
    }
}

/// Gathers the coefficients of all scans.
pub(super) fn gather(
    parsed: &Parsed<'_>,
    plan: &Plan,
    slots: &mut Slots,
    stage: &mut Stage<'_>,
    store: &mut Store,
    scratch: &mut Vec<u8>,
) -> Result<(), JpegError> {
    store.reset(plan);
    let progressive = parsed.frame.progressive;
    let mut walker = Walker::resume(parsed);
    let mut scan = parsed.scan;
    let mut seen = [false; 4];
    for number in 0.. {
        if number == MAX_SCANS {
            return Err(JpegError::corrupt(scan.at, "more scans than any picture has"));
        }
        for component in &scan.components[..scan.count] {
            if !std::mem::replace(&mut seen[component.index], true) {
                stage.steps[component.index] =
                    steps(&walker.tables, &parsed.frame, component.index, scan.at)?;
            }
        }
        let wanted = Wanted {
            dc: !progressive || (scan.start == 0 && scan.high == 0),
            ac: !progressive || scan.start != 0,
        };
        slots.load(&walker.tables, &scan, wanted)?;
        if !progressive {
            for component in &scan.components[..scan.count] {
                slots.ac[component.ac].prepare_ac();
            }
        }
        let blocks = mcu_blocks(&parsed.frame, &scan, slots);
        let (across, down) = extent(&scan, plan, plan.mcus_y);
        let interval = walker.tables.restart_interval;
        let mut cursor = Cursor::new(parsed.bytes, scan.data, across * down, interval, scratch);
        read_scan(&mut cursor, &blocks, &scan, progressive, plan, store)?;
        store.note(progressive, &scan);
        walker.seek(cursor.end());
        scan = match walker.next_stop() {
            Ok(Stop::Scan(scan)) => scan,
            Ok(Stop::EndOfImage) => break,
            // A missing end-of-image marker is forgiven once nothing else can be missing.
            Err(JpegError::Truncated { .. }) if store.complete(plan.count) => break,
            Err(error) => return Err(error),
        };
    }
    if seen[..plan.count].contains(&false) {
        return Err(JpegError::corrupt(scan.at, "a component without a scan"));
    }
    Ok(())
}

/// Transforms gathered coefficients and writes the pixels.
pub(super) fn render(
    parsed: &Parsed<'_>,
    stage: &Stage<'_>,
    store: &mut Store,
    bands: &mut Bands,
    kernels: &Kernels,
    out: &mut PixelBuf,
) {
    let plan = stage.plan;
    let mut block: Block = [0; 256];
    for row in plan.rows.clone() {
        for (component, c) in plan.components[..plan.count].iter().enumerate() {
            for by in (row * c.v).max(c.by.0)..((row + 1) * c.v).min(c.by.1) {
                for bx in c.bx.0..c.bx.1 {
                    let at = store.index(plan, component, bx, by);
                    block[..64].copy_from_slice(store.block_mut(at));
                    let flat = block[1..64].iter().fold(0, |any, &value| any | value) == 0;
                    let idct = if flat { stage.flat[component] } else { stage.idct[component] };
                    let (samples, stride) = bands.band(component).block(bx, row, by - row * c.v, c.block);
                    idct(&mut block, &stage.steps[component], samples, stride);
                }
            }
        }
        bands.finish_row(plan, parsed.model, row, kernels, out);
    }
}

/// MCUs of a scan, across and down to the end of row `rows` of the picture's MCUs.
fn extent(scan: &Scan, plan: &Plan, rows: usize) -> (usize, usize) {
    let lone = &plan.components[scan.components[0].index];
    if scan.count == 1 {
        (lone.blocks_across, lone.blocks_down.min(rows * lone.v))
    } else {
        (plan.mcus_x, rows)
    }
}

/// One pass over the blocks of a scan.
fn read_scan(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    scan: &Scan,
    progressive: bool,
    plan: &Plan,
    store: &mut Store,
) -> Result<(), JpegError> {
    let (across, down) = extent(scan, plan, plan.rows.end);
    let mut run = 0;
    for row in 0..down {
        for column in 0..across {
            if cursor.left == 0 {
                cursor.restart()?;
                run = 0;
            }
            cursor.feed.provide(&mut cursor.bits, blocks.len() * BLOCK_BYTES)?;
            for block in blocks {
                let (bx, by) = (column * block.h + block.dx, row * block.v + block.dy);
                let at = store.index(plan, block.component, bx, by);
                let target = store.block_mut(at);
                let predictor = &mut cursor.predictors[block.component];
                let (bits, buf) = (&mut cursor.bits, cursor.feed.bytes());
                let outcome = match (progressive, scan.start, scan.high) {
                    (false, ..) => whole(bits, buf, block, predictor, target),
                    (true, 0, 0) => dc_difference(bits, buf, block.dc).map(|difference| {
                        *predictor = predictor.wrapping_add(difference);
                        target[0] = (*predictor << scan.low) as i16;
                    }),
                    (true, 0, _) => {
                        bits.refill(buf);
                        target[0] |= (bits.take(1) << scan.low) as i16;
                        Ok(())
                    }
                    (true, _, 0) => first_pass(bits, buf, block.ac, scan, &mut run, target),
                    (true, ..) => refinement(bits, buf, block.ac, scan, &mut run, target),
                };
                outcome.map_err(|error| cursor.fault(error))?;
            }
            cursor.mcu += 1;
            cursor.left -= 1;
        }
    }
    cursor.feed.check(&cursor.bits)
}

/// A block of a sequential scan.
fn whole(
    bits: &mut Bits,
    buf: &[u8],
    block: &McuBlock<'_>,
    predictor: &mut i32,
    target: &mut [i16],
) -> Result<(), BlockError> {
    let mut coefficients: Block = [0; 256];
    let difference = dc_difference(bits, buf, block.dc)?;
    *predictor = predictor.wrapping_add(difference);
    coefficients[0] = *predictor as i16;
    ac_coefficients(bits, buf, block.ac, &mut coefficients)?;
    target.copy_from_slice(&coefficients[..64]);
    Ok(())
}

/// Reads one symbol; fills the reservoir first and leaves at least 40 bits in it.
#[inline(always)]
fn symbol(bits: &mut Bits, buf: &[u8], table: &Table) -> Result<(usize, u32), BlockError> {
    bits.refill(buf);
    let entry = table.plain()[(bits.reservoir >> (64 - PEEK)) as usize];
    let (mut length, mut symbol) = (u32::from(entry >> 8), entry as u8);
    if entry == 0 {
        (length, symbol) = table.long(bits.reservoir).ok_or(BlockError::Code)?;
    }
    bits.consume(length);
    Ok((usize::from(symbol >> 4), u32::from(symbol & 15)))
}

/// The first bits of a band of AC coefficients. `run` counts blocks that have none.
fn first_pass(
    bits: &mut Bits,
    buf: &[u8],
    table: &Table,
    scan: &Scan,
    run: &mut u32,
    target: &mut [i16],
) -> Result<(), BlockError> {
    if *run > 0 {
        *run -= 1;
        return Ok(());
    }
    let (mut k, end) = (usize::from(scan.start), usize::from(scan.end));
    while k <= end {
        let (zeros, size) = symbol(bits, buf, table)?;
        if size == 0 && zeros < 15 {
            *run = (1 << zeros) + bits.take(zeros as u32) - 1;
            return Ok(());
        }
        k += zeros;
        if k > end {
            return Err(BlockError::Length);
        }
        let value = extend(bits.take(size), size);
        if size != 0 {
            target[usize::from(ORDER[k])] = (value << scan.low) as i16;
        }
        k += 1;
    }
    Ok(())
}

/// One more bit of a band of AC coefficients, and those that become other than zero by it.
fn refinement(
    bits: &mut Bits,
    buf: &[u8],
    table: &Table,
    scan: &Scan,
    run: &mut u32,
    target: &mut [i16],
) -> Result<(), BlockError> {
    let step = 1_i16 << scan.low;
    let correct = |bits: &mut Bits, value: &mut i16| {
        bits.refill(buf);
        if bits.take(1) != 0 && *value & step == 0 {
            *value = if *value > 0 { value.wrapping_add(step) } else { value.wrapping_sub(step) };
        }
    };
    let (mut k, end) = (usize::from(scan.start), usize::from(scan.end));
    if *run == 0 {
        while k <= end {
            let (mut zeros, size) = symbol(bits, buf, table)?;
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros as u32);
                break;
            }
            let value = match size {
                0 => 0,
                _ if bits.take(1) != 0 => step,
                _ => -step,
            };
            while k <= end {
                let coefficient = &mut target[usize::from(ORDER[k])];
                if *coefficient != 0 {
                    correct(bits, coefficient);
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if value != 0 {
                if k > end {
                    return Err(BlockError::Length);
                }
                target[usize::from(ORDER[k])] = value;
            }
            k += 1;
        }
    }
    if *run > 0 {
        for &place in &ORDER[k.min(end + 1)..=end] {
            let coefficient = &mut target[usize::from(place)];
            if *coefficient != 0 {
                correct(bits, coefficient);
            }
        }
        *run -= 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::format::jpeg::{DecodeOptions, Decoder};
    use crate::pixels::{PixelBuf, may_be_kept};

    #[test]
    fn the_coefficients_of_a_giant_are_given_back_even_if_it_is_cut_off() {
        let mut bytes = include_bytes!("../../../tests/data/jpeg/ycc_420_progressive.jpg").to_vec();
        let mut decoder = Decoder::new();
        decoder.decode(&bytes, &DecodeOptions::default(), &mut PixelBuf::new()).unwrap();
        assert!(decoder.store.coefficients.capacity() > 0, "an ordinary picture's memory is kept");
        // The frame claims 2,000 x 2,000 pixels: 12 MB of coefficients.
        let frame = bytes.windows(2).position(|w| w == [0xFF, 0xC2]).unwrap();
        bytes[frame + 5..frame + 9].copy_from_slice(&[0x07, 0xD0, 0x07, 0xD0]);
        let _ = decoder.decode(&bytes, &DecodeOptions::default(), &mut PixelBuf::new());
        assert!(may_be_kept(&decoder.store.coefficients));
    }
}
