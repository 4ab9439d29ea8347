//! Columns that are in memory already: NumPy arrays, tensors, Arrow buffers, mapped files. A column that is a field of
//! its own is borrowed as it lies; several columns of numbers that make one field are transposed once.
#![expect(unsafe_code, reason = "memory owned by the caller comes as a pointer")]

use std::any::Any;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use super::blocks::{Blocks, Job, load};
use super::cells::{Cells, claimed};
use super::convert::convert;
use super::mapping::{Column, Holds, Plan, Target};
use super::memory::Bytes;
use super::rows::{RowField, RowStore};
use crate::{DType, Error, Result, Schema};

/// Rows that one task transposes.
const BLOCK_ROWS: usize = 1 << 16;
/// Rows of a tile, and bytes between its columns (not a multiple of 4 KiB, for the sets of the L1 cache).
const TILE_ROWS: usize = 1024;
const PITCH: usize = TILE_ROWS * 8 + 64;
/// Columns of a tile.
const GROUP: usize = 16;
/// Rows of which the content counts for the fingerprint.
const SAMPLED_ROWS: usize = 1024;

/// A column in memory: `rows` values of one shape, each contiguous (C order), at a fixed distance.
#[derive(Clone, Debug)]
pub struct MemoryColumn {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) rows: usize,
    pub(crate) row_stride: usize,
    pub(crate) bytes: Bytes,
}

impl MemoryColumn {
    /// A column of memory that `owner` keeps alive; nothing is copied.
    ///
    /// `shape` is one row's; `row_stride` is the distance of rows in bytes.
    ///
    /// # Safety
    /// For every row r below `rows` the bytes of one value from `data + r * row_stride` on are readable and are not
    /// written for as long as `owner` lives. (A writer would not break Zenith, but batches would be torn.)
    ///
    /// # Errors
    /// [`Error::Config`] when the sizes overflow.
    pub unsafe fn borrowed(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        rows: usize,
        data: *const u8,
        row_stride: usize,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Result<Self> {
        let (name, shape) = (name.into(), shape.into());
        let value = value_bytes(&name, dtype, &shape)?;
        let len = match rows {
            0 => 0,
            _ => (rows - 1)
                .checked_mul(row_stride)
                .and_then(|last| last.checked_add(value))
                .filter(|len| isize::try_from(*len).is_ok())
                .ok_or_else(|| Error::Config(format!("column {name:?} is larger than memory")))?,
        };
        // SAFETY: from the first byte of the first row to the last byte of the last, as the caller promises. Gaps between
        // rows may be unreadable in theory; they are never read.
        let bytes = unsafe { Bytes::new(data, len, owner) };
        Ok(Self { name, dtype, shape, rows, row_stride, bytes })
    }

    /// A column over bytes that this value owns, rows one behind the other.
    ///
    /// # Errors
    /// [`Error::Config`] when the bytes are no whole number of rows.
    pub fn owned(
        name: impl Into<String>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        bytes: Vec<u8>,
    ) -> Result<Self> {
        let (name, shape) = (name.into(), shape.into());
        let value = value_bytes(&name, dtype, &shape)?;
        if value == 0 || !bytes.len().is_multiple_of(value) {
            return Err(Error::Config(format!(
                "column {name:?}: {} bytes are no whole number of rows of {value} bytes",
                bytes.len()
            )));
        }
        let rows = bytes.len() / value;
        Ok(Self { name, dtype, shape, rows, row_stride: value, bytes: Bytes::of(bytes) })
    }

    pub(crate) fn holds(&self) -> Holds {
        if self.shape.is_empty() {
            Holds::Number(self.dtype)
        } else {
            Holds::Array { dtype: self.dtype, shape: self.shape.clone() }
        }
    }

    fn row(&self, row: usize) -> &[u8] {
        let value = self.shape.iter().product::<usize>() * self.dtype.size();
        &self.bytes.as_slice()[row * self.row_stride..][..value]
    }
}

fn value_bytes(name: &str, dtype: DType, shape: &[usize]) -> Result<usize> {
    shape.iter().try_fold(dtype.size(), |bytes, n| bytes.checked_mul(*n)).ok_or_else(|| {
        Error::Config(format!("column {name:?}: a row of shape {shape:?} is larger than memory"))
    })
}

/// Number of rows, the same in every column.
pub(crate) fn common_rows(columns: &[MemoryColumn]) -> Result<usize> {
    let Some(first) = columns.first() else {
        return Err(Error::Config("there are no columns".into()));
    };
    match columns.iter().find(|c| c.rows != first.rows) {
        Some(other) => Err(Error::Config(format!(
            "columns of unequal length: {:?} has {} rows, {:?} has {}",
            first.name, first.rows, other.name, other.rows
        ))),
        None if first.rows == 0 => Err(Error::Config("the table has no rows".into())),
        None => Ok(first.rows),
    }
}

/// Bytes that [`store`] copies: fields of several columns are laid out as rows.
pub(crate) fn copied_bytes(columns: &[MemoryColumn], plan: &Plan) -> u64 {
    let rows = columns.first().map_or(0, |column| column.rows as u64);
    let fields = plan.schema.fields.iter().enumerate();
    let merged = fields.filter(|(index, _)| plan.targets.iter().filter(|t| t.field == *index).count() > 1);
    merged.map(|(_, field)| field.sample_bytes() as u64).sum::<u64>().saturating_mul(rows)
}

/// The store that `plan` makes of `columns`.
pub(crate) fn store(columns: &[MemoryColumn], plan: &Plan, threads: usize) -> Result<RowStore> {
    let rows = common_rows(columns)?;
    let parts = |field: usize| plan.targets.iter().filter(move |t| t.field == field);
    let merged: Vec<usize> = (0..plan.schema.fields.len()).filter(|f| parts(*f).count() > 1).collect();
    let mut transposed = Vec::new();
    if !merged.is_empty() {
        let mut targets = Vec::new();
        for (new, field) in merged.iter().enumerate() {
            targets.extend(parts(*field).map(|t| Target { field: new, ..t.clone() }));
        }
        let fields = merged.iter().map(|f| plan.schema.fields[*f].clone()).collect();
        let part = Plan { schema: Schema { fields, shape: plan.schema.shape }, targets, classes: None };
        let table = Columns::new(columns, rows);
        transposed = load(&table, &part, 0..table.rows.len(), threads, false)?.0.into_fields();
    }
    let mut transposed = transposed.into_iter();
    let mut fields = Vec::with_capacity(plan.schema.fields.len());
    for (index, field) in plan.schema.fields.iter().enumerate() {
        if merged.contains(&index) {
            fields.extend(transposed.next());
        } else if let Some(target) = parts(index).next() {
            let column = &columns[target.column];
            fields.push(RowField::new(
                column.bytes.clone(),
                rows,
                column.row_stride,
                target.elements,
                column.dtype,
                field.dtype,
            ));
        }
    }
    Ok(RowStore::new(fields, rows))
}

/// A number that changes with shape, types, and the content of sampled rows.
pub(crate) fn fingerprint(columns: &[MemoryColumn]) -> u64 {
    let mut hash = Xxh3::new();
    for column in columns {
        hash.update(column.name.as_bytes());
        hash.update(format!("{}{:?}{}", column.dtype, column.shape, column.rows).as_bytes());
        let step = column.rows.div_ceil(SAMPLED_ROWS).max(1);
        for row in (0..column.rows).step_by(step) {
            let value = column.row(row);
            hash.update(&value[..value.len().min(4096)]);
        }
    }
    hash.digest()
}

/// Columns of numbers as blocks, to be transposed by several threads.
struct Columns<'a> {
    columns: &'a [MemoryColumn],
    described: Vec<Column>,
    rows: Vec<u64>,
}

impl<'a> Columns<'a> {
    fn new(columns: &'a [MemoryColumn], rows: usize) -> Self {
        let described = columns.iter().map(|c| Column::new(&c.name, c.holds())).collect();
        let rows = (0..rows).step_by(BLOCK_ROWS).map(|at| BLOCK_ROWS.min(rows - at) as u64).collect();
        Self { columns, described, rows }
    }
}

impl Blocks for Columns<'_> {
    fn columns(&self) -> &[Column] {
        &self.described
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn place(&self, block: usize) -> (&Path, String) {
        (Path::new("memory"), format!("rows from {}", block * BLOCK_ROWS))
    }

    fn texts(&self, column: usize) -> Result<Vec<String>> {
        Err(Error::Config(format!("column {:?} holds no text", self.columns[column].name)))
    }

    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>> {
        let mut tasks: Vec<Range<usize>> = Vec::new();
        for (nth, target) in plan.targets.iter().enumerate() {
            match tasks.last_mut() {
                Some(last) if last.len() < GROUP && plan.targets[last.start].field == target.field => {
                    last.end = nth + 1;
                }
                _ => tasks.push(nth..nth + 1),
            }
        }
        tasks
    }

    fn decode(&self, block: usize, job: &Job<'_>, cells: &mut [Cells<'_>]) -> Result<()> {
        let targets = &job.plan.targets[job.targets.clone()];
        let cells = claimed(cells, &targets[0]);
        let (to, size) = (cells.dtype(), cells.dtype().size());
        let mut tile = vec![0u8; PITCH * targets.len()];
        let first = block * BLOCK_ROWS;
        for row in (0..cells.rows()).step_by(TILE_ROWS) {
            let n = TILE_ROWS.min(cells.rows() - row);
            for (nth, target) in targets.iter().enumerate() {
                let column = &self.columns[target.column];
                let with = convert(column.dtype, to);
                let out = &mut tile[nth * PITCH..][..n * size];
                if column.row_stride == column.dtype.size() {
                    let source = &column.bytes.as_slice()[(first + row) * column.row_stride..]
                        [..n * column.row_stride];
                    // SAFETY: both slices were cut to n values.
                    unsafe { with(source.as_ptr(), out.as_mut_ptr(), n) };
                } else {
                    for (at, value) in out.chunks_exact_mut(size).enumerate() {
                        // SAFETY: one value on both sides.
                        unsafe { with(column.row(first + row + at).as_ptr(), value.as_mut_ptr(), 1) };
                    }
                }
            }
            cells.put_tile(&targets[0], targets.len(), row, n, &tile, PITCH);
        }
        Ok(())
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(self.columns)
    }
}
