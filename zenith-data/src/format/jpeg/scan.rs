//! What all kinds of scan share: their tables, their restart intervals, and the order of blocks in an MCU.

use std::ops::Deref;

use super::bits::{self, Bits, Feed};
use super::block::{BlockError, place};
use super::error::JpegError;
use super::header::{Frame, HuffmanSpec, Scan, Tables, ZIGZAG};
use super::huffman::{STANDARD_AC, STANDARD_DC, Table};
use super::idct::Steps;
use super::index::Entry;

/// The Huffman tables of a decoder, by slot.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) dc: [Table; 4],
    pub(super) ac: [Table; 4],
}

/// Which tables of a scan are used.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) dc: bool,
    pub(super) ac: bool,
}

impl Slots {
    /// Takes on the tables that `scan` uses.
    pub(super) fn load(&mut self, tables: &Tables<'_>, scan: &Scan, wanted: Wanted) -> Result<(), JpegError> {
        fn spec<'a>(
            given: &[Option<HuffmanSpec<'a>>; 4],
            standard: &[HuffmanSpec<'static>; 2],
            slot: usize,
        ) -> Option<HuffmanSpec<'a>> {
            given[slot].or_else(|| standard.get(slot).copied())
        }
        let missing = JpegError::corrupt(scan.at, "scan with a huffman table that was never given");
        let bad = JpegError::corrupt(scan.at, "scan with a huffman table that is no prefix code");
        for component in &scan.components[..scan.count] {
            if wanted.dc {
                let table = &mut self.dc[component.dc];
                table.load(&spec(&tables.dc, &STANDARD_DC, component.dc).ok_or(missing)?).ok_or(bad)?;
                if !table.is_dc() {
                    return Err(JpegError::corrupt(scan.at, "dc huffman table with a size above 15"));
                }
            }
            if wanted.ac {
                self.ac[component.ac]
                    .load(&spec(&tables.ac, &STANDARD_AC, component.ac).ok_or(missing)?)
                    .ok_or(bad)?;
            }
        }
        Ok(())
    }
}

/// Dequantisation steps of a component, in storage order.
pub(super) fn steps(
    tables: &Tables<'_>,
    frame: &Frame,
    component: usize,
    at: usize,
) -> Result<Steps, JpegError> {
    let slot = usize::from(frame.components[component].quant);
    let table = tables.quant[slot]
        .ok_or(JpegError::corrupt(at, "scan with a quantisation table that was never given"))?;
    let mut steps = [0; 64];
    for (natural, step) in ZIGZAG.iter().zip(table) {
        let natural = usize::from(*natural);
        // Steps above 16 bits signed wrap, as they do in the reference's vector code.
        steps[place(natural / 8, natural % 8)] = step as i16;
    }
    Ok(steps)
}

/// One block of an MCU.
#[derive(Clone, Copy)]
pub(super) struct McuBlock<'t> {
    /// Position of the component in the frame.
    pub(super) component: usize,
    /// Blocks of the component in an MCU.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Place in the MCU.
    pub(super) dx: usize,
    pub(super) dy: usize,
    pub(super) dc: &'t Table,
    pub(super) ac: &'t Table,
}

/// Most blocks of an MCU; the header is refused where there are more.
const MAX_BLOCKS: usize = 10;

/// The blocks of an MCU, in the order they are coded.
pub(super) struct McuBlocks<'t> {
    blocks: [McuBlock<'t>; MAX_BLOCKS],
    count: usize,
}

impl<'t> Deref for McuBlocks<'t> {
    type Target = [McuBlock<'t>];

    fn deref(&self) -> &Self::Target {
        &self.blocks[..self.count]
    }
}

/// The blocks of an MCU of `scan`; a lone component is coded block by block.
pub(super) fn mcu_blocks<'t>(frame: &Frame, scan: &Scan, slots: &'t Slots) -> McuBlocks<'t> {
    let mut at = scan.components[..scan.count].iter().flat_map(|component| {
        let given = &frame.components[component.index];
        let (h, v) = if scan.count == 1 { (1, 1) } else { (usize::from(given.h), usize::from(given.v)) };
        (0..h * v).map(move |at| McuBlock {
            component: component.index,
            h,
            v,
            dx: at % h,
            dy: at / h,
            dc: &slots.dc[component.dc],
            ac: &slots.ac[component.ac],
        })
    });
    let unused = McuBlock { component: 0, h: 1, v: 1, dx: 0, dy: 0, dc: &slots.dc[0], ac: &slots.ac[0] };
    let mut count = 0;
    let blocks = [(); MAX_BLOCKS].map(|()| match at.next() {
        Some(block) => {
            count += 1;
            block
        }
        None => unused,
    });
    McuBlocks { blocks, count }
}

/// A place in a scan's entropy-coded data.
pub(super) struct Cursor<'a, 'b> {
    data: &'a [u8],
    pub(super) feed: Feed<'a, 'b>,
    pub(super) bits: Bits,
    /// DC predictors by component of the frame.
    pub(super) predictors: [i32; 4],
    /// The MCU that comes next.
    pub(super) mcu: usize,
    /// MCUs of the scan.
    total: usize,
    /// MCUs between restart markers, 0 for none.
    interval: usize,
    /// MCUs before a restart marker must come.
    pub(super) left: usize,
}

impl<'a, 'b> Cursor<'a, 'b> {
    /// At the start of a scan of `total` MCUs.
    pub(super) fn new(
        data: &'a [u8],
        start: usize,
        total: usize,
        interval: u16,
        scratch: &'b mut Vec<u8>,
    ) -> Self {
        let interval = usize::from(interval);
        Self {
            data,
            feed: Feed::new(data, start, scratch),
            bits: Bits::default(),
            predictors: [0; 4],
            mcu: 0,
            total,
            interval,
            left: if interval == 0 { usize::MAX } else { interval },
        }
    }

    /// Reads the restart marker that is due and begins its interval.
    pub(super) fn restart(&mut self) -> Result<(), JpegError> {
        self.feed.check(&self.bits)?;
        let found = self.feed.marker();
        let behind = self.expect_restart(found)?;
        self.begin_interval(behind);
        Ok(())
    }

    fn begin_interval(&mut self, start: usize) {
        self.feed.restart(start);
        self.bits = Bits::default();
        self.predictors = [0; 4];
        self.left = self.interval;
    }

    /// Checks that `found` is the marker that must precede MCU `self.mcu`; returns the offset behind it.
    fn expect_restart(&self, found: Option<(u8, usize)>) -> Result<usize, JpegError> {
        let Some((code, behind)) = found else {
            return Err(JpegError::truncated(
                self.data.len(),
                "entropy-coded data ends before a restart marker",
            ));
        };
        let number = (self.mcu / self.interval - 1) % 8;
        if usize::from(code) != 0xD0 + number {
            return Err(JpegError::corrupt(behind - 2, "another marker in place of a restart marker"));
        }
        Ok(behind)
    }

    /// Whether this interval ends, with a marker, at or before MCU `target`.
    fn interval_ends_before(&self, target: usize) -> bool {
        self.left <= target - self.mcu && self.left < self.total - self.mcu
    }

    /// Goes past whole restart intervals towards MCU `target` by looking for their markers alone.
    pub(super) fn skip_intervals(&mut self, target: usize) -> Result<(), JpegError> {
        if self.interval == 0 || !self.interval_ends_before(target) {
            return Ok(());
        }
        let mut found = self.feed.marker();
        loop {
            self.mcu += self.left;
            let behind = self.expect_restart(found)?;
            self.left = self.interval;
            if !self.interval_ends_before(target) {
                self.begin_interval(behind);
                return Ok(());
            }
            found = bits::next_marker(self.data, behind);
        }
    }

    /// Goes to a place known from an index.
    pub(super) fn seek(&mut self, entry: &Entry) -> Result<(), JpegError> {
        self.feed.restart(entry.offset);
        self.bits = Bits::default();
        self.feed.provide(&mut self.bits, 8)?;
        self.bits.refill(self.feed.bytes());
        self.bits.consume(entry.bit);
        self.predictors = entry.predictors;
        self.mcu = entry.mcu;
        self.left = if self.interval == 0 { usize::MAX } else { self.interval - entry.mcu % self.interval };
        Ok(())
    }

    /// Where the next MCU begins: byte, bit of it. A restart marker that is due is read first.
    pub(super) fn position(&mut self) -> Result<(usize, u32), JpegError> {
        if self.left == 0 {
            self.restart()?;
        }
        Ok(self.feed.locate(&self.bits))
    }

    /// The error of a block at the place where `bits` stands.
    #[cold]
    pub(super) fn fault(&mut self, error: BlockError) -> JpegError {
        if let Err(overrun) = self.feed.check(&self.bits) {
            return overrun;
        }
        let (offset, _) = self.feed.locate(&self.bits);
        JpegError::corrupt(offset, error.reason())
    }

    /// Where to look for the marker behind this scan.
    pub(super) fn end(&self) -> usize {
        self.feed.raw()
    }
}
