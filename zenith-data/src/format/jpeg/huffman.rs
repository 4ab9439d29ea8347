//! Huffman tables, built for speed: one lookup of [`PEEK`] bits gives up to two coefficients, or, where only the
//! position matters, as many symbols as fit. Building only; the bits are read in `block` and `progressive`.

use super::bits::extend;
use super::header::HuffmanSpec;

/// Bits that a lookup sees.
pub(super) const PEEK: u32 = 11;
const SIZE: usize = 1 << PEEK;
/// Added to a coefficient position by an end-of-block symbol.
pub(super) const END: u32 = 64;

/// One AC symbol.
#[derive(Clone, Copy)]
pub(super) struct AcSymbol {
    /// Bits of the code.
    pub(super) length: u32,
    /// Bits of the value behind it.
    pub(super) size: u32,
    /// Zeros before the coefficient.
    pub(super) run: u32,
    /// Coefficients passed, [`END`] for the end of the block.
    pub(super) advance: u32,
}

impl AcSymbol {
    /// What `symbol` means in a sequential scan, its code having `length` bits.
    #[inline(always)]
    pub(super) fn new(length: u32, symbol: u8) -> Self {
        let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
        let ends = size == 0 && run != 15;
        Self { length, size, run: if ends { 0 } else { run }, advance: if ends { END } else { run + 1 } }
    }
}

/// One or two AC symbols that lie in a window with their values: bits of both (6), run of the first (4), coefficients
/// passed by both (7), value of the second (6, 0 where there is none), value of the first (9).
/// Without bits: the window does not hold one whole symbol, or not one with so small a value.
#[derive(Clone, Copy)]
pub(super) struct AcEntry(pub(super) u32);

impl AcEntry {
    fn new(bits: u32, run1: u32, advance: u32, value1: i32, value2: i32) -> Self {
        Self(bits | run1 << 6 | advance << 10 | (value2 as u32 & 63) << 17 | (value1 as u32) << 23)
    }

    /// Bits of all symbols, values included.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 63
    }

    /// Zeros before the first symbol's coefficient.
    #[inline(always)]
    pub(super) fn run1(self) -> u32 {
        (self.0 >> 6) & 15
    }

    /// Coefficients passed by all symbols, [`END`] more where the block ends.
    #[inline(always)]
    pub(super) fn advance(self) -> u32 {
        (self.0 >> 10) & 127
    }

    /// Whether the block ends here.
    #[inline(always)]
    pub(super) fn ends(self) -> bool {
        self.advance() >= END
    }

    #[inline(always)]
    pub(super) fn value1(self) -> i16 {
        (self.0 as i32 >> 23) as i16
    }

    #[inline(always)]
    pub(super) fn value2(self) -> i16 {
        ((self.0 << 9) as i32 >> 26) as i16
    }
}

/// As many AC symbols as have their codes in a window: bits of all, values included (6), whether the last ends the block
/// (bit 7), coefficients passed (8). Without bits: the window does not hold a whole code.
#[derive(Clone, Copy)]
pub(super) struct SkipEntry(pub(super) u16);

impl SkipEntry {
    /// Bits of all symbols, values included.
    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        u32::from(self.0 & 63)
    }

    /// Whether the block ends here.
    #[inline(always)]
    pub(super) fn ends(self) -> bool {
        self.0 & 128 != 0
    }

    /// Coefficients passed by all symbols, [`END`] more where the block ends.
    #[inline(always)]
    pub(super) fn advance(self) -> u32 {
        u32::from(self.0 >> 8)
    }
}

/// A table of one slot, kept from picture to picture: many pictures carry the same one.
pub(super) struct Table {
    counts: [u8; 16],
    symbols: [u8; 256],
    used: usize,
    /// First code above those of each length, aligned to 16 bits.
    limit: [u32; 17],
    /// What to add to a code of each length to get its symbol's position.
    base: [i32; 17],
    /// Length << 8 | symbol; 0 where the code is longer than the window.
    plain: Box<[u16; SIZE]>,
    /// [`AcEntry`] by window; valid when `has_ac`.
    ac: Box<[u32; SIZE]>,
    has_ac: bool,
    /// [`SkipEntry`] by window; valid when `has_skip`.
    skip: Box<[u16; SIZE]>,
    has_skip: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            counts: [0; 16],
            symbols: [0; 256],
            used: 0,
            limit: [0; 17],
            base: [0; 17],
            plain: Box::new([0; SIZE]),
            ac: Box::new([0; SIZE]),
            has_ac: false,
            skip: Box::new([0; SIZE]),
            has_skip: false,
        }
    }
}

impl Table {
    /// Takes on `spec`; `None` when its codes do not fit a prefix code.
    pub(super) fn load(&mut self, spec: &HuffmanSpec<'_>) -> Option<()> {
        let used = spec.symbols.len();
        if used != 0
            && self.used == used
            && self.counts == spec.counts
            && self.symbols[..used] == *spec.symbols
        {
            return Some(());
        }
        self.used = 0;
        self.has_ac = false;
        self.has_skip = false;
        self.plain.fill(0);
        self.limit = [0; 17];
        let (mut code, mut position) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = u32::from(spec.counts[length as usize - 1]);
            self.base[length as usize] = position as i32 - code as i32;
            for _ in 0..count {
                if code >= 1 << length {
                    return None;
                }
                if length <= PEEK {
                    let spare = PEEK - length;
                    let first = (code << spare) as usize;
                    let entry = (length << 8) as u16 | u16::from(*spec.symbols.get(position)?);
                    self.plain[first..first + (1 << spare)].fill(entry);
                }
                code += 1;
                position += 1;
            }
            self.limit[length as usize] = code << (16 - length);
            code <<= 1;
        }
        self.counts = spec.counts;
        self.symbols[..used].copy_from_slice(spec.symbols);
        self.used = used;
        Some(())
    }

    /// Whether every symbol is a legal DC size.
    pub(super) fn is_dc(&self) -> bool {
        self.symbols[..self.used].iter().all(|&symbol| symbol < 16)
    }

    /// Makes the table ready for AC coefficients.
    pub(super) fn prepare_ac(&mut self) {
        if self.has_ac {
            return;
        }
        for window in 0..SIZE {
            self.ac[window] = self.ac_entry(window).0;
        }
        self.has_ac = true;
    }

    /// The symbol at the top of `window`, of which `left` bits are real, and its value, where both lie inside.
    #[inline]
    fn whole_symbol(&self, window: usize, left: u32) -> Option<(AcSymbol, i32)> {
        let plain = self.plain[window & (SIZE - 1)];
        let symbol = AcSymbol::new(u32::from(plain >> 8), plain as u8);
        if plain == 0 || symbol.length + symbol.size > left {
            return None;
        }
        let raw = (window & (SIZE - 1)) as u32 >> (PEEK - symbol.length - symbol.size);
        Some((symbol, extend(raw & ((1 << symbol.size) - 1), symbol.size)))
    }

    fn ac_entry(&self, window: usize) -> AcEntry {
        let Some((first, value1)) = self.whole_symbol(window, PEEK).filter(|(first, _)| first.size <= 8)
        else {
            return AcEntry(0);
        };
        let bits = first.length + first.size;
        if first.advance < END {
            let second =
                self.whole_symbol(window << bits, PEEK - bits).filter(|(second, _)| second.size <= 5);
            if let Some((second, value2)) = second {
                let bits = bits + second.length + second.size;
                return AcEntry::new(bits, first.run, first.advance + second.advance, value1, value2);
            }
        }
        AcEntry::new(bits, first.run, first.advance, value1, 0)
    }

    /// Makes the table ready for skipping AC coefficients.
    pub(super) fn prepare_skip(&mut self) {
        if self.has_skip {
            return;
        }
        for window in 0..SIZE {
            let (mut bits, mut advance, mut ends) = (0, 0, 0);
            while bits < PEEK && advance < 63 {
                let plain = self.plain[(window << bits) & (SIZE - 1)];
                let length = u32::from(plain >> 8);
                if length == 0 || bits + length > PEEK {
                    break;
                }
                let symbol = AcSymbol::new(length, plain as u8);
                bits += length + symbol.size;
                advance += symbol.advance;
                if symbol.advance == END {
                    ends = 128;
                    break;
                }
            }
            self.skip[window] = (bits | ends | advance << 8) as u16;
        }
        self.has_skip = true;
    }

    /// Length << 8 | symbol by window.
    #[inline(always)]
    pub(super) fn plain(&self) -> &[u16; SIZE] {
        &self.plain
    }

    /// [`AcEntry`] by window. Only after [`Self::prepare_ac`].
    #[inline(always)]
    pub(super) fn ac(&self) -> &[u32; SIZE] {
        &self.ac
    }

    /// [`SkipEntry`] by window. Only after [`Self::prepare_skip`].
    #[inline(always)]
    pub(super) fn skip(&self) -> &[u16; SIZE] {
        &self.skip
    }

    /// Length and symbol of the code at the top of `bits`, of any length; `None` when there is no such code.
    #[cold]
    pub(super) fn long(&self, bits: u64) -> Option<(u32, u8)> {
        let top = (bits >> 48) as u32;
        let length = (1..=16_u32).find(|&length| top < self.limit[length as usize])?;
        let position = (top >> (16 - length)) as i32 + self.base[length as usize];
        let symbol = self.symbols[..self.used].get(usize::try_from(position).ok()?)?;
        Some((length, *symbol))
    }
}

const fn standard(counts: [u8; 16], symbols: &'static [u8]) -> HuffmanSpec<'static> {
    HuffmanSpec { counts, symbols }
}

/// The tables of the specification's annex K, for files that carry none (frames of Motion JPEG): luma, chroma.
pub(super) const STANDARD_DC: [HuffmanSpec<'static>; 2] = [
    standard([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
    standard([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
];

/// See [`STANDARD_DC`].
pub(super) const STANDARD_AC: [HuffmanSpec<'static>; 2] = [
    standard(
        [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d],
        &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
            0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
            0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
            0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
            0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
            0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
            0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
            0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
            0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
            0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
            0xf9, 0xfa,
        ],
    ),
    standard(
        [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77],
        &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
            0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
            0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
            0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
            0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
            0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
            0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
            0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
            0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
            0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
            0xf9, 0xfa,
        ],
    ),
];
