//! One 8x8 block of a sequential scan: its coefficients out of the bits, or just past them. The hot loop of the house.

use super::bits::{Bits, extend};
use super::header::ZIGZAG;
use super::huffman::{AcEntry, AcSymbol, END, PEEK, SkipEntry, Table};

/// Coefficients of a block in [`ORDER`], and room behind them for stores that belong nowhere.
pub(super) type Block = [i16; 256];

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
    Ok(extend(bits.take(size), size))
}

/// The symbol at the top of a reservoir, whatever its length.
#[inline(always)]
fn any_symbol(reservoir: u64, table: &Table) -> Result<AcSymbol, BlockError> {
    let entry = table.plain()[(reservoir >> (64 - PEEK)) as usize];
    if entry == 0 {
        let (length, symbol) = table.long(reservoir).ok_or(BlockError::Code)?;
        return Ok(AcSymbol::new(length, symbol));
    }
    Ok(AcSymbol::new(u32::from(entry >> 8), entry as u8))
}

/// Reads the AC coefficients into `block`, which must be zero there, and returns how many zigzag positions (DC included)
/// can be other than zero.
#[inline(always)]
pub(super) fn ac_coefficients(
    state: &mut Bits,
    buf: &[u8],
    table: &Table,
    block: &mut Block,
) -> Result<u32, BlockError> {
    let lookup = table.ac();
    let mut bits = *state;
    let mut k = 1_u32;
    loop {
        // The window is there before the refill: looking it up does not wait for the load.
        let entry = AcEntry(lookup[(bits.reservoir >> (64 - PEEK)) as usize]);
        bits.refill(buf);
        if entry.bits() == 0 {
            let symbol = any_symbol(bits.reservoir, table)?;
            bits.consume(symbol.length);
            let value = extend(bits.take(symbol.size), symbol.size);
            block[usize::from(ORDER[usize::from((k + symbol.run) as u8)])] = value as i16;
            if symbol.advance == END {
                *state = bits;
                return Ok(k);
            }
            k += symbol.advance;
            if k >= 64 {
                *state = bits;
                return if k == 64 { Ok(64) } else { Err(BlockError::Length) };
            }
            continue;
        }
        let before = bits;
        bits.consume(entry.bits());
        let first = k + entry.run1();
        k += entry.advance();
        // Without a second symbol both stores hit the same place, or the second falls into the spare room: order matters.
        block[usize::from(ORDER[usize::from((k - 1) as u8)])] = entry.value2();
        block[usize::from(ORDER[usize::from(first as u8)])] = entry.value1();
        if k >= 64 {
            let used = if entry.ends() { k - END } else { k };
            if used <= 63 || !entry.ends() && used == 64 {
                *state = bits;
                return Ok(used);
            }
            // The first of two symbols completed the block, or neither belongs here.
            if first != 63 {
                return Err(BlockError::Length);
            }
            *state = before;
            return complete(state, table).map(|()| 64);
        }
    }
}

/// Goes past the one symbol that completes a block.
#[cold]
fn complete(bits: &mut Bits, table: &Table) -> Result<(), BlockError> {
    let symbol = any_symbol(bits.reservoir, table)?;
    bits.consume(symbol.length + symbol.size);
    Ok(())
}

/// Goes past the AC coefficients of a block.
#[inline(always)]
pub(super) fn skip_coefficients(state: &mut Bits, buf: &[u8], table: &Table) -> Result<(), BlockError> {
    let lookup = table.skip();
    let mut bits = *state;
    let mut k = 1_u32;
    loop {
        let entry = SkipEntry(lookup[(bits.reservoir >> (64 - PEEK)) as usize]);
        bits.refill(buf);
        if entry.bits() == 0 {
            let symbol = any_symbol(bits.reservoir, table)?;
            bits.consume(symbol.length + symbol.size);
            k += symbol.advance;
            if symbol.advance != END && k < 64 {
                continue;
            }
            *state = bits;
            return if symbol.advance == END || k == 64 { Ok(()) } else { Err(BlockError::Length) };
        }
        let before = bits;
        bits.consume(entry.bits());
        k += entry.advance();
        if k >= 64 {
            let used = if entry.ends() { k - END } else { k };
            if used <= 63 || !entry.ends() && used == 64 {
                *state = bits;
                return Ok(());
            }
            *state = before;
            return complete_skip(state, table, k - entry.advance());
        }
    }
}

/// Ends a block one symbol at a time, where several at once would reach into the next block. The reservoir holds all
/// of them.
#[cold]
fn complete_skip(bits: &mut Bits, table: &Table, mut k: u32) -> Result<(), BlockError> {
    loop {
        let symbol = any_symbol(bits.reservoir, table)?;
        bits.consume(symbol.length + symbol.size);
        if symbol.advance == END {
            return Ok(());
        }
        k += symbol.advance;
        if k >= 64 {
            return if k == 64 { Ok(()) } else { Err(BlockError::Length) };
        }
    }
}
