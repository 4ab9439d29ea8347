//! Flat columns of numbers, straight from pages into rows: a group of neighbouring columns is decoded in step, a tile
//! of rows at a time, so that a tile is transposed in the cache and a whole line of the matrix is written at once.
#![expect(unsafe_code, reason = "numbers are viewed as bytes")]

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type as Physical};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{BoolType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::types::ColumnDescriptor;

use super::pages::Pages;
use crate::DType;
use crate::table::cells::{Cells, nan_bytes};
use crate::table::convert::{Convert, convert, is_float};
use crate::table::mapping::Target;
use crate::table::pread::PreadFile;

/// Columns decoded in step: 16 float32 columns are one cache line of a row.
pub(super) const GROUP: usize = 16;
/// Rows of a tile.
const TILE_ROWS: usize = 1024;
/// Bytes between the columns of a tile: not a multiple of 4 KiB, or they would share the sets of the L1 cache.
const PITCH: usize = TILE_ROWS * 8 + 64;

/// The type that a flat column's values have in memory when read through this module; `None` where the column must be
/// read through Arrow (nested, decimal, 96-bit times, half precision, text).
pub(super) fn flat_type(column: &ColumnDescriptor) -> Option<DType> {
    if column.max_rep_level() > 0 || column.max_def_level() > 1 {
        return None;
    }
    let unsigned = matches!(
        (column.logical_type_ref(), column.converted_type()),
        (Some(LogicalType::Integer(kind)), _) if !kind.is_signed
    ) || matches!(
        column.converted_type(),
        ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64
    );
    let decimal = column.converted_type() == ConvertedType::DECIMAL
        || matches!(column.logical_type_ref(), Some(LogicalType::Decimal(_)));
    match column.physical_type() {
        _ if decimal => None,
        Physical::BOOLEAN => Some(DType::Bool),
        Physical::INT32 => Some(if unsigned { DType::UInt32 } else { DType::Int32 }),
        Physical::INT64 => Some(if unsigned { DType::UInt64 } else { DType::Int64 }),
        Physical::FLOAT => Some(DType::Float32),
        Physical::DOUBLE => Some(DType::Float64),
        _ => None,
    }
}

/// Reads the next rows of one column.
trait Stream {
    /// Converts the next `n` rows into `out`; positions of nulls are appended to `nulls`. Returns how many rows came.
    fn next(&mut self, n: usize, out: &mut [u8], nulls: &mut Vec<usize>) -> ParquetResult<usize>;
}

struct Typed<T: DataType> {
    reader: ColumnReaderImpl<T>,
    values: Vec<T::T>,
    levels: Vec<i16>,
    optional: bool,
    size: usize,
    with: Convert,
}

impl<T: DataType> Stream for Typed<T> {
    fn next(&mut self, n: usize, out: &mut [u8], nulls: &mut Vec<usize>) -> ParquetResult<usize> {
        self.values.clear();
        self.levels.clear();
        let mut rows = 0;
        while rows < n {
            let levels = self.optional.then_some(&mut self.levels);
            let (records, _, _) = self.reader.read_records(n - rows, levels, None, &mut self.values)?;
            if records == 0 {
                break;
            }
            rows += records;
        }
        assert!(rows * self.size <= out.len() && self.values.len() <= rows, "more values than rows");
        // SAFETY: the streams below are numbers and truth values: plain memory of their size, and `out` was checked to
        // hold `rows` values.
        unsafe {
            if self.values.len() == rows {
                (self.with)(self.values.as_ptr().cast(), out.as_mut_ptr(), rows);
                return Ok(rows);
            }
            let mut value = self.values.iter();
            for (row, level) in self.levels.iter().enumerate() {
                match (*level > 0).then(|| value.next()).flatten() {
                    Some(value) => {
                        (self.with)(
                            std::ptr::from_ref(value).cast(),
                            out.as_mut_ptr().add(row * self.size),
                            1,
                        );
                    }
                    None => nulls.push(row),
                }
            }
        }
        Ok(rows)
    }
}

fn stream(
    file: &Arc<PreadFile>,
    group: &RowGroupMetaData,
    leaf: usize,
    to: DType,
) -> ParquetResult<Box<dyn Stream>> {
    fn typed<T: DataType + 'static>(
        file: &Arc<PreadFile>,
        group: &RowGroupMetaData,
        leaf: usize,
        with: Convert,
        size: usize,
    ) -> ParquetResult<Box<dyn Stream>>
    where
        T::T: 'static,
    {
        let column = group.column(leaf);
        Ok(Box::new(Typed::<T> {
            reader: ColumnReaderImpl::new(column.column_descr_ptr(), Box::new(Pages::new(file, column)?)),
            values: Vec::with_capacity(TILE_ROWS),
            levels: Vec::with_capacity(TILE_ROWS),
            optional: column.column_descr().max_def_level() > 0,
            size,
            with,
        }))
    }
    let descriptor = group.column(leaf).column_descr();
    let physical = descriptor.physical_type();
    let other = || ParquetError::General(format!("{physical} values where flat numbers were expected"));
    let from = flat_type(descriptor).ok_or_else(other)?;
    let (with, size) = (convert(from, to), to.size());
    match physical {
        Physical::BOOLEAN => typed::<BoolType>(file, group, leaf, with, size),
        Physical::INT32 => typed::<Int32Type>(file, group, leaf, with, size),
        Physical::INT64 => typed::<Int64Type>(file, group, leaf, with, size),
        Physical::FLOAT => typed::<FloatType>(file, group, leaf, with, size),
        Physical::DOUBLE => typed::<DoubleType>(file, group, leaf, with, size),
        Physical::INT96 | Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY => Err(other()),
    }
}

/// What went wrong, and in which of the columns; the row counts from the start of the row group.
pub(super) struct FlatError {
    pub(super) column: usize,
    pub(super) row: Option<usize>,
    pub(super) reason: String,
}

/// Decodes neighbouring one-element targets (with their leaf columns) of one row group into `cells`.
pub(super) fn decode(
    file: &Arc<PreadFile>,
    group: &RowGroupMetaData,
    targets: &[Target],
    leaves: &[usize],
    cells: &mut Cells<'_>,
) -> Result<(), FlatError> {
    let dtype = cells.dtype();
    let failed = |column: usize, row: Option<usize>, reason: String| FlatError { column, row, reason };
    let mut streams = Vec::with_capacity(leaves.len());
    for (nth, leaf) in leaves.iter().enumerate() {
        streams.push(stream(file, group, *leaf, dtype).map_err(|e| failed(nth, None, e.to_string()))?);
    }
    let mut tile = vec![0u8; PITCH * streams.len()];
    let mut nulls = Vec::new();
    let hole = nan_bytes(dtype);
    let rows = cells.rows();
    let mut row = 0;
    while row < rows {
        let n = TILE_ROWS.min(rows - row);
        for (nth, stream) in streams.iter_mut().enumerate() {
            let out = &mut tile[nth * PITCH..(nth + 1) * PITCH];
            nulls.clear();
            let came = stream.next(n, out, &mut nulls).map_err(|e| failed(nth, Some(row), e.to_string()))?;
            if came < n {
                let reason = format!("the column ends after {} of {rows} rows", row + came);
                return Err(failed(nth, None, reason));
            }
            if let Some(null) = nulls.first() {
                if !is_float(dtype) {
                    let reason = format!(
                        "a null cannot be {dtype}; choose a floating-point type (dtype=) to have it as NaN, or leave the column out"
                    );
                    return Err(failed(nth, Some(row + null), reason));
                }
                for null in &nulls {
                    out[null * hole.len()..][..hole.len()].copy_from_slice(&hole);
                }
            }
        }
        cells.put_tile(&targets[0], targets.len(), row, n, &tile, PITCH);
        row += n;
    }
    Ok(())
}
