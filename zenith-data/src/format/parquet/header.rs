//! The headers of pages, with the bound that the `parquet` crate's own reading of them lacks. Reads no pages.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::{Page, PageMetadata};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::ChunkReader;

use super::thrift::{Stop, Walk, kind};
use crate::table::pread::PreadFile;

/// Bytes read at first: headers are some tens of bytes, unless they have statistics.
const FIRST_BYTES: u64 = 512;
/// Bytes of a header at most; Arrow's readers have the same bound.
const MOST_BYTES: u64 = 16 << 20;
/// One more than the number of the last field that is known in any of the structures.
const FIELDS: usize = 9;

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    /// Bytes of the page as they lie in the file, and once they are inflated.
    pub(super) packed: usize,
    pub(super) inflated: usize,
    pub(super) crc: Option<u32>,
    pub(super) page: Kind,
}

/// What a page is.
#[derive(Debug)]
pub(super) enum Kind {
    Data {
        values: u32,
        encoding: Encoding,
        definition: Encoding,
        repetition: Encoding,
    },
    /// The second version, whose levels are never compressed.
    DataV2 {
        values: u32,
        nulls: u32,
        rows: u32,
        encoding: Encoding,
        definition: u32,
        repetition: u32,
        compressed: bool,
    },
    Dictionary {
        values: u32,
        encoding: Encoding,
        sorted: bool,
    },
    /// Nobody writes these; they are passed over.
    Index,
}

/// The numbers and truth values of a structure, by their fields' numbers.
type Numbers = [Option<i32>; FIELDS];

fn numbers(walk: &mut Walk<'_>) -> Result<Numbers, Stop> {
    let mut numbers = [None; FIELDS];
    let mut last = 0;
    while let Some((field, of)) = walk.field(last)? {
        let value = match of {
            kind::TRUE => Some(1),
            kind::FALSE => Some(0),
            kind::I16..=kind::I64 => Some(i32::try_from(walk.signed()?).map_err(|_| Stop::Malformed)?),
            _ => {
                walk.value(of)?;
                None
            }
        };
        if let Some(known) = usize::try_from(field).ok().and_then(|field| numbers.get_mut(field)) {
            *known = value;
        }
        last = field;
    }
    Ok(numbers)
}

fn unsigned(number: Option<i32>) -> Result<u32, Stop> {
    number.and_then(|number| u32::try_from(number).ok()).ok_or(Stop::Malformed)
}

fn encoding(number: Option<i32>) -> Result<Encoding, Stop> {
    let number = number.ok_or(Stop::Malformed)?;
    Encoding::VARIANTS.iter().copied().find(|each| *each as i32 == number).ok_or(Stop::Malformed)
}

impl Header {
    /// The header that `bytes` start with, and its length.
    fn parse(bytes: &[u8]) -> Result<(Self, usize), Stop> {
        let mut walk = Walk::new(bytes);
        let mut own: Numbers = [None; FIELDS];
        let mut of_kind: [Option<Numbers>; FIELDS] = [None; FIELDS];
        let mut last = 0;
        while let Some((field, of)) = walk.field(last)? {
            match (field, of) {
                (1..=4, kind::I16..=kind::I64) => {
                    own[field as usize] = Some(i32::try_from(walk.signed()?).map_err(|_| Stop::Malformed)?);
                }
                (5 | 7 | 8, kind::STRUCT) => of_kind[field as usize] = Some(numbers(&mut walk)?),
                _ => walk.value(of)?,
            }
            last = field;
        }
        let of = |field: usize| of_kind[field].ok_or(Stop::Malformed);
        let page = match own[1] {
            Some(0) => {
                let data = of(5)?;
                Kind::Data {
                    values: unsigned(data[1])?,
                    encoding: encoding(data[2])?,
                    definition: encoding(data[3])?,
                    repetition: encoding(data[4])?,
                }
            }
            Some(1) => Kind::Index,
            Some(2) => {
                let dictionary = of(7)?;
                Kind::Dictionary {
                    values: unsigned(dictionary[1])?,
                    encoding: encoding(dictionary[2])?,
                    sorted: dictionary[3] == Some(1),
                }
            }
            Some(3) => {
                let data = of(8)?;
                Kind::DataV2 {
                    values: unsigned(data[1])?,
                    nulls: unsigned(data[2])?,
                    rows: unsigned(data[3])?,
                    encoding: encoding(data[4])?,
                    definition: unsigned(data[5])?,
                    repetition: unsigned(data[6])?,
                    compressed: data[7] != Some(0),
                }
            }
            _ => return Err(Stop::Malformed),
        };
        let header = Self {
            inflated: unsigned(own[2])? as usize,
            packed: unsigned(own[3])? as usize,
            crc: own[4].map(i32::cast_unsigned),
            page,
        };
        Ok((header, bytes.len() - walk.rest().len()))
    }

    /// The header at `offset` of `file`, where `left` bytes of the column are left, and its length.
    pub(super) fn read(file: &PreadFile, offset: u64, left: u64) -> ParquetResult<(Self, u64)> {
        let most = left.min(MOST_BYTES).min(file.len().saturating_sub(offset));
        let mut size = FIRST_BYTES;
        loop {
            let bytes = file.get_bytes(offset, size.min(most) as usize)?;
            let reason = match Self::parse(&bytes) {
                Ok((header, len)) => return Ok((header, len as u64)),
                Err(Stop::Short | Stop::Endless) if size < most => {
                    size *= 8;
                    continue;
                }
                Err(Stop::Short) => "ends too early",
                Err(Stop::Endless) => "counts more elements than it has bytes",
                Err(Stop::Malformed | Stop::Unlike) => "is damaged",
            };
            return Err(ParquetError::General(format!("the page header at offset {offset} {reason}")));
        }
    }

    /// Bytes of the page that are its levels and never compressed.
    pub(super) fn plain_bytes(&self) -> usize {
        match self.page {
            Kind::DataV2 { definition, repetition, .. } => definition as usize + repetition as usize,
            _ => 0,
        }
    }

    pub(super) fn compressed(&self) -> bool {
        !matches!(self.page, Kind::DataV2 { compressed: false, .. })
    }

    /// What readers want to know ahead of a page.
    pub(super) fn ahead(&self) -> PageMetadata {
        let (num_rows, num_levels) = match self.page {
            Kind::Data { values, .. } => (None, Some(values as usize)),
            Kind::DataV2 { values, rows, .. } => (Some(rows as usize), Some(values as usize)),
            Kind::Dictionary { .. } | Kind::Index => (None, None),
        };
        PageMetadata { num_rows, num_levels, is_dict: matches!(self.page, Kind::Dictionary { .. }) }
    }
}

impl Kind {
    /// The page of the inflated bytes `buf`; `None` for an index.
    pub(super) fn page(self, buf: Bytes) -> Option<Page> {
        Some(match self {
            Self::Data { values, encoding, definition, repetition } => Page::DataPage {
                buf,
                num_values: values,
                encoding,
                def_level_encoding: definition,
                rep_level_encoding: repetition,
                statistics: None,
            },
            Self::DataV2 { values, nulls, rows, encoding, definition, repetition, compressed } => {
                Page::DataPageV2 {
                    buf,
                    num_values: values,
                    encoding,
                    num_nulls: nulls,
                    num_rows: rows,
                    def_levels_byte_len: definition,
                    rep_levels_byte_len: repetition,
                    is_compressed: compressed,
                    statistics: None,
                }
            }
            Self::Dictionary { values, encoding, sorted } => {
                Page::DictionaryPage { buf, num_values: values, encoding, is_sorted: sorted }
            }
            Self::Index => return None,
        })
    }
}
