//! NumPy's NPY files: the header, and the array as a column that lies in the file's bytes. Reads no other members of an
//! archive; that is [`super::npz`].

use std::path::Path;

use crate::source::table::columns::MemoryColumn;
use crate::source::table::memory::{Bytes, read_file};
use crate::{DType, Error, Result};

/// A header longer than this is no header.
const MOST_HEADER: usize = 1 << 20;

/// What the header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    dtype: DType,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// Where the array starts.
    data: usize,
}

/// The array in the file at `path` as a column called `name`; rows are the first dimension.
///
/// # Errors
/// A file that is no NPY or is cut off, and arrays that have no rows or are no numbers.
pub(crate) fn open(path: &Path, name: &str) -> Result<MemoryColumn> {
    let bytes = read_file(path)?;
    column(&bytes, name).map_err(|reason| Error::source(path, reason))
}

/// The array in `bytes` as a column called `name`.
pub(crate) fn column(bytes: &Bytes, name: &str) -> std::result::Result<MemoryColumn, String> {
    let header = parse(bytes.as_slice())?;
    let Some((rows, shape)) = header.shape.split_first() else {
        return Err("a single number has no rows".into());
    };
    if header.fortran && header.shape.iter().filter(|n| **n > 1).count() > 1 {
        return Err(
            "the array is in Fortran order, so its rows lie scattered; save np.ascontiguousarray(array)"
                .into(),
        );
    }
    // The row first: an array of no rows may still announce rows that no memory holds.
    let row_stride = shape.iter().try_fold(header.dtype.size(), |all, n| all.checked_mul(*n));
    let (row_stride, expected) = row_stride
        .and_then(|stride| Some((stride, stride.checked_mul(*rows)?)))
        .ok_or_else(|| format!("an array of shape {:?} is larger than memory", header.shape))?;
    let found = bytes.len() - header.data;
    if found < expected {
        return Err(format!(
            "the file is cut off: an array of {expected} bytes was begun, {found} are there (from offset {})",
            header.data
        ));
    }
    let mut data = bytes.slice(header.data, expected);
    if header.big_endian && header.dtype.size() > 1 {
        let mut swapped = data.as_slice().to_vec();
        swapped.chunks_exact_mut(header.dtype.size()).for_each(<[u8]>::reverse);
        data = Bytes::of(swapped);
    }
    Ok(MemoryColumn {
        name: name.to_owned(),
        dtype: header.dtype,
        shape: shape.to_vec(),
        rows: *rows,
        row_stride,
        bytes: data,
    })
}

fn parse(bytes: &[u8]) -> std::result::Result<Header, String> {
    let Some(rest) = bytes.strip_prefix(b"\x93NUMPY") else {
        return Err("no NPY file: it does not start with \\x93NUMPY".into());
    };
    let cut = || "the file is cut off in its header".to_owned();
    let (len, start) = match *rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        [major, _, ..] if major > 3 => {
            return Err(format!("NPY version {major} is unknown; 1 to 3 can be read"));
        }
        _ => return Err(cut()),
    };
    if len > MOST_HEADER {
        return Err(format!("a header of {len} bytes is not believable"));
    }
    let text = bytes.get(start..start + len).ok_or_else(cut)?;
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
    Ok(Header { dtype, big_endian: order == ">", fortran, shape, data: start + len })
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

    #[test]
    fn an_array_becomes_a_column_of_its_rows() {
        let file = npy("<i2", false, "(2, 3)", &[1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0]);
        let column = column(&Bytes::of(file), "x").unwrap();
        assert_eq!((column.rows, column.shape.as_slice(), column.dtype), (2, &[3][..], DType::Int16));
        assert_eq!(column.bytes.as_slice()[6..], [4, 0, 5, 0, 6, 0]);
    }

    #[test]
    fn big_endian_is_turned_and_fortran_order_is_refused() {
        let column_of = |file| column(&Bytes::of(file), "x");
        let big = column_of(npy(">i2", false, "(2,)", &[0, 1, 0, 2])).unwrap();
        assert_eq!(big.bytes.as_slice(), [1, 0, 2, 0]);
        let error = column_of(npy("<i2", true, "(2, 2)", &[0; 8])).unwrap_err();
        assert!(error.contains("ascontiguousarray"), "{error}");
        assert!(column_of(npy("<i2", true, "(4, 1)", &[0; 8])).is_ok());
    }

    #[test]
    fn bad_files_say_what_is_wrong() {
        let error = |file: Vec<u8>| column(&Bytes::of(file), "x").unwrap_err();
        assert!(error(npy("<f4", false, "(2, 3)", &[0; 20])).contains("24 bytes was begun, 20 are there"));
        assert!(error(npy("<U5", false, "(2,)", &[0; 40])).contains("<U5"));
        assert!(error(npy("<f4", false, "()", &[0; 4])).contains("no rows"));
        assert!(error(b"\x93NUMPY\x01\0\xff".to_vec()).contains("cut off"));
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
            let _ = column(&Bytes::of(file), "x");
        }
    }
}
