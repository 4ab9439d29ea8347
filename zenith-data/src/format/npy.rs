//! NumPy's NPY files: the header, and where in the file the rows of the array lie. Reads no values, and no other members
//! of an archive; that is [`super::npz`].

use std::io::{ErrorKind, Read};
use std::path::Path;

use parquet::file::reader::ChunkReader;

use crate::table::files::{FileColumn, Lies, Piece};
use crate::table::pread::PreadFile;
use crate::{DType, Error, Result};

/// A header longer than this is no header.
const MOST_HEADER: usize = 1 << 20;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// Where the array starts.
    pub(super) data: u64,
}

/// The array in the file at `path` as a column called `name`; rows are the first dimension.
///
/// # Errors
/// A file that is no NPY or is cut off, and arrays that have no rows or are no numbers.
pub(crate) fn open(path: &Path, name: &str) -> Result<FileColumn> {
    let file = PreadFile::open(path)?;
    if file.len() == 0 {
        return Err(Error::source(path, "the file is empty"));
    }
    let column = || {
        let header = Header::read(&mut file.get_read(0).map_err(|error| error.to_string())?)?;
        let lies = Lies::Plain { offset: header.data, sum: None };
        header.column(name, file.len(), file.clone(), lies)
    };
    column().map_err(|reason| Error::source(path, reason))
}

impl Header {
    /// Reads the header that `bytes` starts with.
    pub(super) fn read(bytes: &mut impl Read) -> std::result::Result<Self, String> {
        let mut fill = |into: &mut [u8]| {
            bytes.read_exact(into).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => "the file is cut off in its header".to_owned(),
                _ => error.to_string(),
            })
        };
        let mut marks = [0; 12];
        fill(&mut marks[..6])?;
        if !marks.starts_with(b"\x93NUMPY") {
            return Err("no NPY file: it does not start with \\x93NUMPY".into());
        }
        fill(&mut marks[6..10])?;
        let (len, start) = match marks[6] {
            1 => (usize::from(u16::from_le_bytes([marks[8], marks[9]])), 10),
            2 | 3 => {
                fill(&mut marks[10..])?;
                (u32::from_le_bytes([marks[8], marks[9], marks[10], marks[11]]) as usize, 12)
            }
            version => return Err(format!("NPY version {version} is unknown; 1 to 3 can be read")),
        };
        if len > MOST_HEADER {
            return Err(format!("a header of {len} bytes is not believable"));
        }
        let mut text = vec![0; len];
        fill(&mut text)?;
        parse(&text, (start + len) as u64)
    }

    /// The array as a column called `name` of one piece, whose values lie as `lies` says behind the header of an array of
    /// `len` bytes.
    pub(super) fn column(
        self,
        name: &str,
        len: u64,
        file: PreadFile,
        lies: Lies,
    ) -> std::result::Result<FileColumn, String> {
        let Some((rows, shape)) = self.shape.split_first() else {
            return Err("a single number has no rows".into());
        };
        if self.fortran && self.shape.iter().filter(|n| **n > 1).count() > 1 {
            return Err(
                "the array is in Fortran order, so its rows lie scattered; save np.ascontiguousarray(array)"
                    .into(),
            );
        }
        // The row first: an array of no rows may still announce rows that no memory holds.
        let row_bytes = shape.iter().try_fold(self.dtype.size(), |all, n| all.checked_mul(*n));
        let (row_bytes, expected) = row_bytes
            .and_then(|row| Some((row, row.checked_mul(*rows)?)))
            .filter(|(_, all)| isize::try_from(*all).is_ok())
            .ok_or_else(|| format!("an array of shape {:?} is larger than memory", self.shape))?;
        if row_bytes == 0 {
            return Err(format!("an array of shape {:?} has rows of no numbers", self.shape));
        }
        let found = len.saturating_sub(self.data);
        if found < expected as u64 {
            return Err(format!(
                "the file is cut off: an array of {expected} bytes was begun, {found} are there (from offset {})",
                self.data
            ));
        }
        let piece = Piece { file, rows: *rows, big_endian: self.big_endian, lies };
        Ok(FileColumn {
            name: name.to_owned(),
            dtype: self.dtype,
            shape: shape.to_vec(),
            pieces: vec![piece],
        })
    }
}

fn parse(text: &[u8], data: u64) -> std::result::Result<Header, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the header is no text".to_owned())?;
    let value = |key: &str| {
        let after = text.split_once(&format!("'{key}'")).map(|(_, after)| after);
        after
            .and_then(|after| after.trim_start().strip_prefix(':'))
            .map(str::trim_start)
            .ok_or_else(|| format!("the header names no {key:?}"))
    };
    let descr = value("descr")?;
    let descr = descr
        .strip_prefix('\'')
        .and_then(|d| d.split_once('\''))
        .map(|(d, _)| d)
        .ok_or_else(|| "the array has records with names; save one array for each".to_owned())?;
    let (order, code) = descr.split_at_checked(1).unwrap_or(("", ""));
    let dtype = match code {
        "b1" => DType::Bool,
        "u1" => DType::UInt8,
        "u2" => DType::UInt16,
        "u4" => DType::UInt32,
        "u8" => DType::UInt64,
        "i1" => DType::Int8,
        "i2" => DType::Int16,
        "i4" => DType::Int32,
        "i8" => DType::Int64,
        "f2" => DType::Float16,
        "f4" => DType::Float32,
        "f8" => DType::Float64,
        _ => return Err(format!("an array of type {descr:?} holds no plain numbers")),
    };
    let shape = value("shape")?;
    let shape = shape
        .strip_prefix('(')
        .and_then(|s| s.split_once(')'))
        .map(|(s, _)| s)
        .ok_or_else(|| "the header's shape is no tuple".to_owned())?;
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .map(|n| n.parse().map_err(|_| format!("{n:?} in the header's shape is no number")))
        .collect::<std::result::Result<_, _>>()?;
    let fortran = value("fortran_order")?.starts_with("True");
    Ok(Header { dtype, big_endian: order == ">", fortran, shape, data })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An NPY file, version 1.
    pub(crate) fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let order = if fortran { "True" } else { "False" };
        let mut text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        while (text.len() + 11) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let mut file = b"\x93NUMPY\x01\0".to_vec();
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.as_bytes());
        file.extend(data);
        file
    }

    /// The column of a file of these bytes, and its values as they are delivered.
    fn column(bytes: Vec<u8>) -> std::result::Result<(FileColumn, Vec<u8>), String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let column = open(file.path(), "x").map_err(|error| error.to_string())?;
        let mut values = vec![0; column.rows() * column.row_bytes()];
        column.read(0, 0, &mut values, false).map_err(|error| error.to_string())?;
        Ok((column, values))
    }

    #[test]
    fn an_array_becomes_a_column_of_its_rows() {
        let file = npy("<i2", false, "(2, 3)", &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
        let (column, values) = column(file).unwrap();
        assert_eq!((column.rows(), column.shape.as_slice(), column.dtype), (2, &[3][..], DType::Int16));
        assert_eq!(values[6..], [4, 0, 5, 0, 6, 0]);
    }

    #[test]
    fn big_endian_is_turned_and_fortran_order_is_refused() {
        assert_eq!(column(npy(">i2", false, "(2,)", &[0, 1, 0, 2])).unwrap().1, [1, 0, 2, 0]);
        let error = column(npy("<i2", true, "(2, 2)", &[0; 8])).unwrap_err();
        assert!(error.contains("ascontiguousarray"), "{error}");
        assert!(column(npy("<i2", true, "(4, 1)", &[0; 8])).is_ok());
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        let error = |file: Vec<u8>| column(file).unwrap_err();
        assert!(error(npy("<f4", false, "(2, 3)", &[0; 20])).contains("24 bytes was begun, 20 are there"));
        assert!(error(npy("<U5", false, "(2,)", &[0; 40])).contains("<U5"));
        assert!(error(npy("<f4", false, "()", &[0; 4])).contains("no rows"));
        assert!(error(npy("<f4", false, "(3, 0)", &[])).contains("rows of no numbers"));
        assert!(error(b"\x93NUMPY\x01\0\xff".to_vec()).contains("cut off"));
        assert!(error(Vec::new()).contains("the file is empty"));
        for shape in ["(99999999999999, 99999999999)", "(0, 99999999999999, 99999999999)"] {
            assert!(error(npy("<f8", false, shape, &[])).contains("larger than memory"), "{shape}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..90, byte: u8, len in 0usize..100) {
            let mut file = npy("<f4", false, "(2, 3)", &[0; 24]);
            if let Some(place) = file.get_mut(at) { *place = byte; }
            file.truncate(len);
            let _ = column(file);
        }
    }
}
