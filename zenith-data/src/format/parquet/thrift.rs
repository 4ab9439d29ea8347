//! Walks over the compact Thrift encoding, in which footers and page headers are. What nobody knows is skipped element
//! by element, and elements that take no bytes (booleans in lists) as often as a number of the file says: a few bytes
//! could keep a reader busy for hours, so a walk counts them. Looks at shapes only.

/// Structures and lists within each other. The `parquet` crate skips 64 of them below the structures that it knows, of
/// which about eight lie within each other; what is deeper it refuses.
const MOST_DEPTH: u32 = 64 + 16;

/// The kinds of the encoding, by their numbers.
pub(super) mod kind {
    pub(crate) const STOP: u8 = 0;
    pub(crate) const TRUE: u8 = 1;
    pub(crate) const FALSE: u8 = 2;
    pub(crate) const BYTE: u8 = 3;
    pub(crate) const I16: u8 = 4;
    pub(crate) const I64: u8 = 6;
    pub(crate) const DOUBLE: u8 = 7;
    pub(crate) const BINARY: u8 = 8;
    pub(crate) const LIST: u8 = 9;
    pub(crate) const SET: u8 = 10;
    pub(crate) const MAP: u8 = 11;
    pub(crate) const STRUCT: u8 = 12;
    pub(crate) const UUID: u8 = 13;
}

/// Why a walk ends early.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More elements than there are bytes.
    Endless,
    /// The bytes end first.
    Short,
    /// The bytes are no Thrift.
    Malformed,
    /// A field that is known is of another kind than it should be.
    Unlike,
}

/// What a field that is known holds.
pub(super) enum Shape {
    Number,
    Byte,
    Bytes,
    Double,
    /// A list of numbers or texts.
    List,
    Struct(Fields),
    /// A list of structures.
    Structs(Fields),
}

/// The fields of a structure that are known, by their numbers.
pub(super) type Fields = &'static [(i16, Shape)];

/// Bytes that are left, and how many elements may still be met.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    elements: usize,
}

impl<'a> Walk<'a> {
    /// A walk that meets no more elements than `bytes` has bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, elements: bytes.len() }
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?[0])
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], Stop> {
        let count = usize::try_from(count).map_err(|_| Stop::Short)?;
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(Stop::Short)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next number. Like the `parquet` crate it reads on for as long as bytes say that more follow.
    pub(super) fn number(&mut self) -> Result<u64, Stop> {
        let (mut number, mut shift) = (0, 0u32);
        loop {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift = shift.wrapping_add(7);
        }
    }

    /// The next number, with its sign.
    pub(super) fn signed(&mut self) -> Result<i64, Stop> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Number and kind of the next field of a structure whose last field had the number `last`; `None` at its end.
    pub(super) fn field(&mut self, last: i16) -> Result<Option<(i16, u8)>, Stop> {
        let head = self.byte()?;
        if head & 0x0f == kind::STOP {
            return Ok(None);
        }
        let number = match i16::from(head >> 4) {
            0 => self.signed()? as i16,
            more => last.checked_add(more).ok_or(Stop::Malformed)?,
        };
        Ok(Some((number, head & 0x0f)))
    }

    /// Walks over a structure whose known fields must be of the kinds they should be: readers who go by the numbers of
    /// fields, not by their kinds, meet the same bytes then.
    pub(super) fn known(&mut self, fields: Fields) -> Result<(), Stop> {
        let mut last = 0;
        while let Some((number, of)) = self.field(last)? {
            last = number;
            match (fields.iter().find(|(known, _)| *known == number).map(|(_, shape)| shape), of) {
                (None, _)
                | (Some(Shape::Number), kind::I16..=kind::I64)
                | (Some(Shape::Byte), kind::BYTE)
                | (Some(Shape::Bytes), kind::BINARY)
                | (Some(Shape::Double), kind::DOUBLE)
                | (Some(Shape::List), kind::LIST) => self.value(of)?,
                (Some(Shape::Struct(inner)), kind::STRUCT) => self.known(inner)?,
                (Some(Shape::Structs(inner)), kind::LIST) => {
                    let (count, of) = self.list()?;
                    if count > 0 && of != kind::STRUCT {
                        return Err(Stop::Unlike);
                    }
                    for _ in 0..self.count(count)? {
                        self.known(inner)?;
                    }
                }
                _ => return Err(Stop::Unlike),
            }
        }
        Ok(())
    }

    /// How many elements the next list has, and of which kind.
    fn list(&mut self) -> Result<(u64, u8), Stop> {
        let head = self.byte()?;
        let count = if head >> 4 == 15 { self.number()? } else { u64::from(head >> 4) };
        Ok((count, head & 0x0f))
    }

    /// Takes note of `count` elements.
    fn count(&mut self, count: u64) -> Result<usize, Stop> {
        let count = usize::try_from(count).map_err(|_| Stop::Endless)?;
        self.elements = self.elements.checked_sub(count).ok_or(Stop::Endless)?;
        Ok(count)
    }

    fn structure_within(&mut self, depth: u32) -> Result<(), Stop> {
        while let Some((_, of)) = self.field(0)? {
            self.value_within(of, depth)?;
        }
        Ok(())
    }

    /// Walks over a value of kind `of`.
    pub(super) fn value(&mut self, of: u8) -> Result<(), Stop> {
        self.value_within(of, MOST_DEPTH)
    }

    fn value_within(&mut self, of: u8, depth: u32) -> Result<(), Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Malformed)?;
        match of {
            kind::TRUE | kind::FALSE => Ok(()),
            kind::BYTE => self.take(1).map(|_| ()),
            kind::I16..=kind::I64 => self.number().map(|_| ()),
            kind::DOUBLE => self.take(8).map(|_| ()),
            kind::BINARY => {
                let len = self.number()?;
                self.take(len).map(|_| ())
            }
            kind::LIST | kind::SET => {
                let (count, of) = self.list()?;
                self.elements(count, &[of], depth)
            }
            kind::MAP => {
                let count = self.number()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.elements(count, &[kinds >> 4, kinds & 0x0f], depth)
            }
            kind::STRUCT => self.structure_within(depth),
            kind::UUID => self.take(16).map(|_| ()),
            _ => Err(Stop::Malformed),
        }
    }

    fn elements(&mut self, count: u64, of: &[u8], depth: u32) -> Result<(), Stop> {
        for _ in 0..self.count(count)? {
            for &each in of {
                self.value_within(each, depth)?;
            }
        }
        Ok(())
    }
}
