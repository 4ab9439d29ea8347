//! Whether a footer may be given to the `parquet` crate. It skips what it does not know element by element, and elements
//! that take no bytes (booleans in lists) as often as a number of the file says: a few bytes could keep it busy for
//! hours. Only shapes are looked at here; what the footer means is the crate's to read.

use parquet::file::metadata::FooterTail;

use crate::table::pread::PreadFile;

/// Structures and lists within each other; a footer's own are about eight deep.
const MOST_DEPTH: u32 = 64;

/// The kinds of the compact Thrift encoding, by their numbers.
mod kind {
    pub(super) const STOP: u8 = 0;
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const BYTE: u8 = 3;
    pub(super) const I16: u8 = 4;
    pub(super) const I64: u8 = 6;
    pub(super) const DOUBLE: u8 = 7;
    pub(super) const BINARY: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const SET: u8 = 10;
    pub(super) const MAP: u8 = 11;
    pub(super) const STRUCT: u8 = 12;
    pub(super) const UUID: u8 = 13;
}

/// Why a walk ends early.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// More elements than the footer has bytes.
    Endless,
    /// The bytes are no Thrift; the crate says so better.
    Malformed,
}

/// Bytes that are left, and how many elements may still be met.
struct Walk<'a> {
    bytes: &'a [u8],
    elements: usize,
}

impl Walk<'_> {
    fn byte(&mut self) -> Result<u8, Stop> {
        let (&first, rest) = self.bytes.split_first().ok_or(Stop::Malformed)?;
        self.bytes = rest;
        Ok(first)
    }

    fn skip(&mut self, count: u64) -> Result<(), Stop> {
        let count = usize::try_from(count).map_err(|_| Stop::Malformed)?;
        self.bytes = self.bytes.get(count..).ok_or(Stop::Malformed)?;
        Ok(())
    }

    fn number(&mut self) -> Result<u64, Stop> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Stop::Malformed)
    }

    fn structure(&mut self, depth: u32) -> Result<(), Stop> {
        loop {
            let head = self.byte()?;
            if head & 0x0f == kind::STOP {
                return Ok(());
            }
            if head >> 4 == 0 {
                self.number()?;
            }
            self.value(head & 0x0f, depth)?;
        }
    }

    fn value(&mut self, of: u8, depth: u32) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Malformed)?;
        match of {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.skip(1),
            kind::I16..=kind::I64 => self.number().map(|_| ()),
            kind::DOUBLE => self.skip(8),
            kind::BINARY => {
                let len = self.number()?;
                self.skip(len)
            }
            kind::LIST | kind::SET => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
                self.elements(count, &[head & 0x0f], depth)
            }
            kind::MAP => {
                let count = self.number()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.elements(count, &[kinds >> 4, kinds & 0x0f], depth)
            }
            kind::STRUCT => self.structure(depth),
            kind::UUID => self.skip(16),
            _ => Err(Stop::Malformed),
        }
    }

    fn elements(&mut self, count: u64, of: &[u8], depth: u32) -> Result<(), Stop> {
        let count = usize::try_from(count).map_err(|_| Stop::Endless)?;
        self.elements = self.elements.checked_sub(count).ok_or(Stop::Endless)?;
        for _ in 0..count {
            for &each in of {
                self.value(each, depth)?;
            }
        }
        Ok(())
    }
}

/// Whether the structure in `bytes` has no more elements than bytes. What is no structure passes: it is refused later.
fn ends(bytes: &[u8]) -> bool {
    Walk { bytes, elements: bytes.len() }.structure(MOST_DEPTH) != Err(Stop::Endless)
}

/// Refuses a file whose footer would be read for ever. A footer that is missing or cut off passes: opening refuses it.
pub(super) fn check(file: &PreadFile) -> Result<(), &'static str> {
    let mut tail = [0; 8];
    let Some(tail_at) = file.len().checked_sub(tail.len() as u64) else {
        return Ok(());
    };
    let footer = file.fill(&mut tail, tail_at).ok().and_then(|()| FooterTail::try_new(&tail).ok());
    let Some(start) = footer.as_ref().and_then(|tail| tail_at.checked_sub(tail.metadata_length() as u64))
    else {
        return Ok(());
    };
    let mut bytes = vec![0; (tail_at - start) as usize];
    if file.fill(&mut bytes, start).is_ok() && !ends(&bytes) {
        return Err("its footer counts more elements than it has bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_nothing_are_counted() {
        // A structure with one field: a list of `count` booleans, which take no bytes.
        let with = |count: &[u8]| [&[0x19, 0xf1], count, &[0]].concat();
        assert!(ends(&with(&[3])));
        assert!(!ends(&with(&[0xff, 0xff, 0xff, 0xff, 0x07])));
        // As a map from booleans to booleans.
        assert!(!ends(&[0x1b, 0xff, 0xff, 0xff, 0xff, 0x07, 0x11, 0]));
        // Lists in a list, each shorter than the footer.
        let many: Vec<u8> = [&[0x19, 0xf9, 200, 1][..], &[0xf1, 100].repeat(200), &[0]].concat();
        assert!(!ends(&many));
    }

    #[test]
    fn what_is_no_thrift_is_left_to_the_reader() {
        assert!(ends(&[]) && ends(&[0x1f]) && ends(&[0x18, 0xff, 0xff]) && ends(&[0xff; 40]));
        // Deeper than anything that is read.
        assert!(ends(&[0x1c; 100_000]));
    }
}
