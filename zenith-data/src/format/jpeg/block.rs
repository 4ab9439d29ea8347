//! One 8x8 block of a sequential scan: its coefficients out of the bits, or just past them. The hot loop of the house.

use super::bits::{Bits, extend};
use super::header::ZIGZAG;
use super::huffman::{AcEntry, END, PEEK, Table};

/// Coefficients of a block in [`ORDER`], and room behind them for stores that belong nowhere.
pub(super) type Block = [i16; 128];

/// Where the coefficient of row `r` and column `c` (r * 8 + c) is stored: rows r and r + 4 side by side, so that the
/// inverse transform finds its pairs of factors ready.
pub(super) const fn place(row: usize, column: usize) -> usize {
    (row & 3) * 16 + column * 2 + (row >> 2)
}

/// Storage index by zigzag position; what lies beyond the block goes to its spare room.
pub(super) const ORDER: [u8; 256] = {
    let mut order = [64; 256];
    let mut k = 0;
    while k < 64 {
        let natural = ZIGZAG[k] as usize;
        order[k] = place(natural / 8, natural % 8) as u8;
        k += 1;
    }
    order
};

/// Why a block could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlockError {
    /// Bits that are no code of the table.
    Code,
    /// More than 64 coefficients.
    Length,
}

impl BlockError {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Code => "bits that are no huffman code",
            Self::Length => "more than 64 coefficients in a block",
        }
    }
}

/// Reads a DC difference. Fills the reservoir first; leaves at least 25 bits in it.
#[inline(always)]
pub(super) fn dc_difference(bits: &mut Bits, buf: &[u8], table: &Table) -> Result<i32, BlockError> {
    bits.refill(buf);
    let entry = table.plain()[(bits.reservoir >> (64 - PEEK)) as usize];
    let (mut length, mut size) = (u32::from(entry >> 8), u32::from(entry & 15));
    if entry == 0 {
        let (long, symbol) = table.long(bits.reservoir).ok_or(BlockError::Code)?;
        (length, size) = (long, u32::from(symbol & 15));
    }
    bits.consume(length);
    let raw = (bits.reservoir >> 1 >> (63 - size)) as u32;
    bits.consume(size);
    Ok(extend(raw, size))
}

#[cold]
fn long_entry(bits: &Bits, table: &Table) -> Result<AcEntry, BlockError> {
    let (length, symbol) = table.long(bits.reservoir).ok_or(BlockError::Code)?;
    Ok(AcEntry::single(length, symbol))
}

/// The `size` bits that end `end` bits below the top.
#[inline(always)]
fn field(reservoir: u64, end: u32, size: u32) -> i16 {
    let raw = (reservoir >> ((64 - end) & 63)) as u32 & ((1 << size) - 1);
    extend(raw, size) as i16
}

/// Reads the AC coefficients into `block`, which must be zero there, and returns how many zigzag positions (DC included)
/// can be other than zero.
#[inline(always)]
pub(super) fn ac_coefficients(
    bits: &mut Bits,
    buf: &[u8],
    table: &Table,
    block: &mut Block,
) -> Result<u32, BlockError> {
    let lookup = table.ac();
    let mut k = 1_u32;
    loop {
        // The window is there before the refill: looking it up does not wait for the load.
        let mut entry = AcEntry(lookup[(bits.reservoir >> (64 - PEEK)) as usize]);
        bits.refill(buf);
        if entry.0 == 0 {
            entry = long_entry(bits, table)?;
        }
        let before = *bits;
        bits.consume(entry.total());
        let first = k + entry.run1();
        let last = k + entry.advance() - 1;
        // Without a second symbol both stores hit the same place (or the second falls into the spare room): order matters.
        let second = usize::from(ORDER[(last & 255) as usize] & 127);
        block[second] = field(before.reservoir, entry.total(), entry.size2());
        let place = usize::from(ORDER[(first & 255) as usize] & 127);
        block[place] = field(before.reservoir, entry.end1(), entry.size1());
        k = last + 1;
        if k >= 64 {
            if k == 64 {
                return Ok(64);
            }
            if k & (END - 1) < 64 {
                return Ok(k & (END - 1));
            }
            // The first of two symbols completed the block, or neither belongs here.
            if first != 63 {
                return Err(BlockError::Length);
            }
            *bits = before;
            bits.consume(entry.end1());
            return Ok(64);
        }
    }
}

/// Goes past the AC coefficients of a block.
#[inline(always)]
pub(super) fn skip_coefficients(bits: &mut Bits, buf: &[u8], table: &Table) -> Result<(), BlockError> {
    let lookup = table.skip();
    let mut k = 1_u32;
    loop {
        let entry = u32::from(lookup[(bits.reservoir >> (64 - PEEK)) as usize]);
        bits.refill(buf);
        let before = *bits;
        if entry == 0 {
            let entry = long_entry(bits, table)?;
            bits.consume(entry.total());
            k += entry.advance();
        } else {
            bits.consume(entry & 31);
            k += entry >> 8;
        }
        if k >= 64 {
            if k == 64 || k >= END && k & (END - 1) < 64 {
                return Ok(());
            }
            if entry == 0 {
                return Err(BlockError::Length);
            }
            *bits = before;
            return finish_skip(bits, table, k - (entry >> 8));
        }
    }
}

/// Ends a block one symbol at a time, where several at once would reach into the next block. The reservoir holds all bits
/// of the window.
#[cold]
fn finish_skip(bits: &mut Bits, table: &Table, mut k: u32) -> Result<(), BlockError> {
    loop {
        let plain = table.plain()[(bits.reservoir >> (64 - PEEK)) as usize];
        let entry = AcEntry::single(u32::from(plain >> 8), plain as u8);
        bits.consume(entry.total());
        k += entry.advance();
        if k == 64 || k >= END && k & (END - 1) < 64 {
            return Ok(());
        }
        if k > 64 {
            return Err(BlockError::Length);
        }
    }
}
