//! From file bytes to bits: byte stuffing is removed chunk by chunk into a small buffer that ends at the next marker,
//! so that the bit reservoir can be filled eight bytes at a time without looking at them.

use super::error::JpegError;

/// Most bytes that the coefficients of one block can take: 64 symbols of 16 code bits and 15 value bits.
pub(super) const BLOCK_BYTES: usize = 64 * 31 / 8;
/// Bytes unstuffed at a time, beyond what was asked for.
const CHUNK: usize = 2048;
/// Bytes that one load of the reservoir reads.
const LOAD: usize = 8;

/// A place in the unstuffed bytes, and the bits read ahead of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits {
    /// Next byte to be loaded.
    pos: usize,
    /// The next bits, from the top; below `count` there may be bits of the byte at `pos` already.
    pub(super) reservoir: u64,
    /// Bits loaded.
    count: u32,
}

impl Bits {
    /// Brings the reservoir to 56 bits or more.
    #[inline(always)]
    pub(super) fn refill(&mut self, buf: &[u8]) {
        // Positions end far below the top of the address space, so that this one comparison is the whole check.
        if let Some(eight) = buf.get(self.pos..self.pos.wrapping_add(LOAD)) {
            let eight: [u8; LOAD] = eight.try_into().unwrap_or_default();
            self.reservoir |= u64::from_be_bytes(eight) >> self.count;
        }
        self.pos += ((63 ^ self.count) >> 3) as usize;
        self.count |= 56;
    }

    /// Drops `length` bits, at most what a refill guarantees.
    #[inline(always)]
    pub(super) fn consume(&mut self, length: u32) {
        self.reservoir <<= length;
        self.count -= length;
    }

    /// Reads `length` bits, 0..=16, out of a reservoir that holds them.
    #[inline(always)]
    pub(super) fn take(&mut self, length: u32) -> u32 {
        let value = (self.reservoir >> 1 >> (63 - length)) as u32;
        self.consume(length);
        value
    }

    /// Where the next bit is, counted from the first unstuffed byte that is still kept; it may lie before that one, in
    /// the reservoir alone.
    fn used(&self) -> isize {
        self.pos as isize * 8 - self.count as isize
    }
}

/// The value of `size` bits read as JPEG's sign-and-magnitude difference.
#[inline(always)]
pub(super) fn extend(raw: u32, size: u32) -> i32 {
    let mask = (1_i32 << size) - 1;
    let raw = raw as i32;
    raw - if raw <= mask >> 1 { mask } else { 0 }
}

/// Entropy-coded bytes between two markers, unstuffed as far as they were asked for.
pub(super) struct Feed<'a, 'b> {
    data: &'a [u8],
    /// Next file byte to be unstuffed.
    raw: usize,
    buf: &'b mut Vec<u8>,
    /// Real bytes in `buf`, when the marker or the end of the file has been reached; zeros follow.
    end: Option<usize>,
    /// A pair of places that correspond: index into `buf` (may have moved out of it), file offset.
    anchor: (isize, usize),
}

impl<'a, 'b> Feed<'a, 'b> {
    /// Begins at file offset `raw`. `buf` is scratch.
    pub(super) fn new(data: &'a [u8], raw: usize, buf: &'b mut Vec<u8>) -> Self {
        buf.clear();
        Self { data, raw, buf, end: None, anchor: (0, raw) }
    }

    /// Begins again at file offset `raw`.
    pub(super) fn restart(&mut self, raw: usize) {
        self.buf.clear();
        self.raw = raw;
        self.end = None;
        self.anchor = (0, raw);
    }

    /// The unstuffed bytes.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        self.buf
    }

    /// Makes sure that `need` bytes can be read from `bits` on, zeros standing for those behind the end.
    ///
    /// # Errors
    /// More bits have been used than there are.
    #[inline(always)]
    pub(super) fn provide(&mut self, bits: &mut Bits, need: usize) -> Result<(), JpegError> {
        if bits.pos + need + LOAD > self.buf.len() {
            self.top_up(bits, need)?;
        }
        Ok(())
    }

    #[cold]
    fn top_up(&mut self, bits: &mut Bits, need: usize) -> Result<(), JpegError> {
        self.check(bits)?;
        if self.end.is_none() {
            // What is left of the last chunk moves to the front; a few bytes behind `pos` may be in the reservoir, but
            // those need no second look.
            let kept = bits.pos.min(self.buf.len());
            self.buf.copy_within(kept.., 0);
            self.buf.truncate(self.buf.len() - kept);
            self.anchor.0 -= kept as isize;
            bits.pos -= kept;
            self.unstuff(need + LOAD + CHUNK);
        }
        if self.end.is_some() {
            let wanted = bits.pos + need + LOAD + CHUNK;
            if self.buf.len() < wanted {
                self.buf.resize(wanted, 0);
            }
        }
        Ok(())
    }

    /// Unstuffs until `buf` holds `wanted` bytes or a marker is reached.
    fn unstuff(&mut self, wanted: usize) {
        let data = self.data;
        while self.buf.len() < wanted {
            let rest = data.get(self.raw..).unwrap_or_default();
            let rest = &rest[..rest.len().min(wanted - self.buf.len())];
            let run = find_ff(rest);
            self.buf.extend_from_slice(&rest[..run]);
            self.raw += run;
            if run < rest.len() {
                // Fill bytes may precede the byte that tells data from a marker.
                let mut next = self.raw + 1;
                while data.get(next) == Some(&0xFF) {
                    next += 1;
                }
                if data.get(next) != Some(&0) {
                    if next >= data.len() {
                        self.raw = data.len();
                    }
                    self.end = Some(self.buf.len());
                    return;
                }
                self.buf.push(0xFF);
                self.raw = next + 1;
            } else if self.raw >= data.len() {
                self.end = Some(self.buf.len());
                return;
            }
        }
    }

    /// Fails when more bits have been used than there are.
    pub(super) fn check(&mut self, bits: &Bits) -> Result<(), JpegError> {
        match self.end {
            Some(end) if bits.used() > end as isize * 8 => Err(self.overrun()),
            _ => Ok(()),
        }
    }

    #[cold]
    fn overrun(&self) -> JpegError {
        if self.raw >= self.data.len() {
            JpegError::truncated(self.data.len(), "entropy-coded data ends early")
        } else {
            JpegError::corrupt(self.raw, "a marker cuts off entropy-coded data")
        }
    }

    /// The file offset and the bit inside that byte at which `bits` stands.
    pub(super) fn locate(&mut self, bits: &Bits) -> (usize, u32) {
        let used = bits.used();
        let target = used.div_euclid(8);
        let (mut plain, mut raw) = self.anchor;
        while plain < target && raw < self.data.len() {
            if self.data[raw] == 0xFF {
                while self.data.get(raw) == Some(&0xFF) {
                    raw += 1;
                }
            }
            raw += 1;
            plain += 1;
        }
        self.anchor = (plain, raw);
        (raw.min(self.data.len()), used.rem_euclid(8) as u32)
    }

    /// The next file byte to be looked at; no marker of this run lies before it.
    pub(super) fn raw(&self) -> usize {
        self.raw
    }

    /// Finds the marker that ends the entropy-coded data: its code and the offset behind it.
    pub(super) fn marker(&self) -> Option<(u8, usize)> {
        next_marker(self.data, self.raw)
    }
}

/// The next marker at or behind `at` (stuffed and fill bytes are not one): its code and the offset behind it.
pub(super) fn next_marker(data: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += find_ff(data.get(at..)?);
        while data.get(at) == Some(&0xFF) {
            at += 1;
        }
        let code = *data.get(at)?;
        at += 1;
        if code != 0 {
            return Some((code, at));
        }
    }
}

/// Position of the first 0xFF, or the length.
#[inline]
fn find_ff(bytes: &[u8]) -> usize {
    let mut at = 0;
    let (eights, _) = bytes.as_chunks::<8>();
    for eight in eights {
        let word = u64::from_le_bytes(*eight);
        // A byte is 0xFF when its top bit is set and adding one clears it; a carry only comes from an earlier one.
        let hit = word & !word.wrapping_add(0x0101_0101_0101_0101) & 0x8080_8080_8080_8080;
        if hit != 0 {
            return at + hit.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().position(|&byte| byte == 0xFF).unwrap_or(bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_ff_is_found() {
        for length in 0..40 {
            for at in 0..=length {
                let mut bytes = vec![0xFE; length];
                bytes.iter_mut().skip(at).for_each(|byte| *byte = 0xFF);
                assert_eq!(find_ff(&bytes), at);
            }
        }
    }

    #[test]
    fn stuffing_and_fill_bytes_go() {
        let data = [1, 0xFF, 0, 2, 0xFF, 0xFF, 0, 3, 0xFF, 0xFF, 0xD0, 9];
        let mut buf = Vec::new();
        let mut feed = Feed::new(&data, 0, &mut buf);
        let mut bits = Bits::default();
        let mut read = Vec::new();
        for _ in 0..5 {
            feed.provide(&mut bits, 4).unwrap();
            bits.refill(feed.bytes());
            read.push(bits.take(8) as u8);
        }
        assert_eq!(read, [1, 0xFF, 2, 0xFF, 3]);
        assert_eq!(feed.check(&bits), Ok(()));
        assert_eq!(feed.locate(&bits), (8, 0));
        assert_eq!(feed.marker(), Some((0xD0, 11)));
        bits.refill(feed.bytes());
        bits.take(1);
        assert!(matches!(feed.check(&bits), Err(JpegError::Corrupt { offset: 8, .. })));
    }

    #[test]
    fn differences_have_the_sign_of_their_top_bit() {
        assert_eq!(extend(0, 0), 0);
        assert_eq!([extend(0, 1), extend(1, 1)], [-1, 1]);
        assert_eq!([0, 1, 2, 3].map(|raw| extend(raw, 2)), [-3, -2, 2, 3]);
        assert_eq!([extend(0, 15), extend(32767, 15)], [-32767, 32767]);
    }
}
