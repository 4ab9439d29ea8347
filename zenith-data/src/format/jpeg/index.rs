//! Entry points into a picture's entropy-coded data: where some MCUs begin and what the DC predictors are there. A
//! decode with the index starts at the nearest one instead of reading everything before it; the pixels are the same.

use xxhash_rust::xxh3::Xxh3;

use super::error::JpegError;
use super::header::Parsed;
use super::plan::Plan;
use super::scan::Cursor;

mod packed;

/// Bytes at each end of the entropy-coded data that tell one file from another.
const PROBE: usize = 4096;

/// Entry points into one picture of a single sequential scan. Takes 5 bytes and 2 for each component an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntropyIndex {
    /// Length and hash of the file it belongs to.
    length: u64,
    identity: u64,
    mcus_x: u32,
    mcus_y: u32,
    /// MCUs between entries; each row of MCUs begins with one.
    spacing: u16,
    components: u8,
    /// Byte of the file in which each entry begins.
    offsets: Vec<u32>,
    /// Bit of that byte, from its top.
    bits: Vec<u8>,
    /// DC predictors, by component, of each entry.
    predictors: Vec<i16>,
}

/// One entry point.
pub(super) struct Entry {
    pub(super) mcu: usize,
    pub(super) offset: usize,
    pub(super) bit: u32,
    pub(super) predictors: [i32; 4],
}

/// Tells a file from others by its header and both ends of its data, without reading all of it.
fn identity(parsed: &Parsed<'_>) -> u64 {
    let bytes = parsed.bytes;
    let mut hash = Xxh3::new();
    hash.update(&bytes[..bytes.len().min(parsed.scan.data + PROBE)]);
    hash.update(&bytes[bytes.len().saturating_sub(PROBE)..]);
    hash.digest()
}

impl EntropyIndex {
    /// Becomes the empty index of a picture.
    pub(super) fn begin(&mut self, parsed: &Parsed<'_>, plan: &Plan, spacing: u16) -> Result<(), JpegError> {
        if u32::try_from(parsed.bytes.len()).is_err() {
            return Err(JpegError::unsupported(0, "an entropy index of a file of 4 GiB or more"));
        }
        let mcus_x = plan.mcus_x as u32;
        self.length = parsed.bytes.len() as u64;
        self.identity = identity(parsed);
        self.mcus_x = mcus_x;
        self.mcus_y = plan.mcus_y as u32;
        self.spacing = spacing.min(u16::try_from(mcus_x).unwrap_or(u16::MAX)).max(1);
        self.components = plan.count as u8;
        self.offsets.clear();
        self.bits.clear();
        self.predictors.clear();
        Ok(())
    }

    /// Entries in a row of MCUs.
    fn per_row(&self) -> usize {
        (self.mcus_x as usize).div_ceil(self.spacing())
    }

    /// Whether all entries are there.
    pub(super) fn is_whole(&self) -> bool {
        self.offsets.len() == self.per_row() * self.mcus_y as usize
    }

    /// The MCU of the entry that comes next, in a picture of `mcus_x` to a row.
    pub(super) fn next_mcu(&self, mcus_x: usize) -> usize {
        let (row, step) = (self.offsets.len() / self.per_row(), self.offsets.len() % self.per_row());
        row * mcus_x + step * self.spacing()
    }

    /// MCUs between entries of a row.
    pub(super) fn spacing(&self) -> usize {
        usize::from(self.spacing.max(1))
    }

    /// Adds the place where `cursor` stands.
    pub(super) fn push(&mut self, cursor: &mut Cursor<'_, '_>) -> Result<(), JpegError> {
        let (offset, bit) = cursor.position()?;
        self.offsets.push(offset as u32);
        self.bits.push(bit as u8);
        let predictors = &cursor.predictors[..usize::from(self.components)];
        // A coefficient has 16 bits: more of the sum does not matter.
        self.predictors.extend(predictors.iter().map(|&predictor| predictor as i16));
        Ok(())
    }

    /// Checks that the index is of this file.
    pub(super) fn check(&self, parsed: &Parsed<'_>, plan: &Plan) -> Result<(), JpegError> {
        let shape = (self.mcus_x as usize, self.mcus_y as usize, usize::from(self.components));
        if self.length != parsed.bytes.len() as u64
            || shape != (plan.mcus_x, plan.mcus_y, plan.count)
            || self.identity != identity(parsed)
        {
            return Err(JpegError::Index("it belongs to other bytes"));
        }
        Ok(())
    }

    /// The last entry at or before the MCU at `row`, `column`.
    pub(super) fn before(&self, row: usize, column: usize) -> Option<Entry> {
        let step = column / self.spacing();
        let at = row * self.per_row() + step;
        let count = usize::from(self.components);
        let mut predictors = [0; 4];
        for (predictor, stored) in
            predictors.iter_mut().zip(self.predictors.get(at * count..(at + 1) * count)?)
        {
            *predictor = i32::from(*stored);
        }
        Some(Entry {
            mcu: row * self.mcus_x as usize + step * self.spacing(),
            offset: *self.offsets.get(at)? as usize,
            bit: u32::from(*self.bits.get(at)?),
            predictors,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::format::jpeg::{DecodeOptions, Decoder};
    use crate::pixels::{PixelBuf, Region};

    /// A gray picture of two MCUs with standard Huffman tables, each MCU a restart interval of its own.
    fn two_intervals() -> Vec<u8> {
        let mut file = b"\xff\xd8\xff\xdb\0\x43\0".to_vec();
        file.extend([1; 64]);
        file.extend(b"\xff\xc0\0\x0b\x08\0\x08\0\x10\x01\x01\x11\0");
        file.extend(b"\xff\xdd\0\x04\0\x01");
        file.extend(b"\xff\xda\0\x08\x01\x01\0\0\x3f\0");
        // A DC difference of 0, the end of the block, padding.
        file.extend(b"\x2b\xff\xd0\x2b\xff\xd9");
        file
    }

    #[test]
    fn the_last_restart_interval_may_end_with_the_picture() {
        let file = two_intervals();
        let mut decoder = Decoder::new();
        let index = decoder.index_every(&file, 1).unwrap();
        assert_eq!(index.offsets.len(), 2);
        let options = DecodeOptions {
            region: Some(Region { x: 9, y: 0, width: 7, height: 8 }),
            index: Some(&index),
            ..DecodeOptions::default()
        };
        let mut out = PixelBuf::new();
        decoder.decode(&file, &options, &mut out).unwrap();
        assert_eq!(out.pixels(), [128; 56]);
    }
}
