//! Record batches as blocks, and as borrowed columns where their memory is already row-major. Where the batches come
//! from (a caller, an IPC file) is not decided here.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_buffer::{Buffer, NullBuffer};
use arrow_schema::{DataType, SchemaRef};
use xxhash_rust::xxh3::Xxh3;

use super::arrow_columns::{collect_texts, holds, needs_look, put};
use crate::table::blocks::{Blocks, Job};
use crate::table::cells::{Cells, claimed};
use crate::table::columns::MemoryColumn;
use crate::table::mapping::{Column, Holds, Plan, Target};
use crate::table::memory::Bytes;
use crate::{Error, Result};

/// What the columns of `schema` hold; `first_row` yields the first row of a column that must be looked at.
pub(crate) fn describe(
    schema: &SchemaRef,
    mut first_row: impl FnMut(usize) -> Result<Option<ArrayRef>>,
) -> Result<Vec<Column>> {
    let describe_one = |(index, field): (usize, &Arc<arrow_schema::Field>)| {
        let look = if needs_look(field.data_type()) { first_row(index)? } else { None };
        Ok(Column::new(field.name(), holds(field.data_type(), look.as_deref())))
    };
    schema.fields().iter().enumerate().map(describe_one).collect()
}

/// Writes the targets of `job` from the columns that `array` yields. On trouble gives the column's name, the row in
/// the batch, and the reason.
pub(crate) fn put_batch(
    columns: &[Column],
    job: &Job<'_>,
    cells: &mut [Cells<'_>],
    array: impl Fn(&Target) -> ArrayRef,
) -> std::result::Result<(), (String, usize, String)> {
    for target in &job.plan.targets[job.targets.clone()] {
        let shape: &[usize] = match &columns[target.column].holds {
            Holds::Array { shape, .. } => shape,
            _ => &[],
        };
        put(array(target).as_ref(), target, shape, 0, claimed(cells, target), job.classes)
            .map_err(|error| (target.name.clone(), error.row, error.reason))?;
    }
    Ok(())
}

/// The batch's columns as borrowed columns, one for every target of `plan`; `None` where one is not row-major in
/// memory as it is (nulls, lists of varying length, text, several columns that make one field).
pub(crate) fn borrow(
    plan: &Plan,
    columns: &[Column],
    array: impl Fn(&Target) -> ArrayRef,
) -> Option<Vec<MemoryColumn>> {
    if plan.targets.len() != plan.schema.fields.len() {
        return None;
    }
    plan.targets
        .iter()
        .map(|target| {
            let whole = array(target);
            let (leaf, dtype, shape) = match &columns[target.column].holds {
                Holds::Number(dtype) => (Arc::clone(&whole), *dtype, Vec::new()),
                Holds::Array { dtype, shape } => (flatten(&whole)?, *dtype, shape.clone()),
                _ => return None,
            };
            let plain = leaf.data_type().is_primitive()
                && !matches!(
                    leaf.data_type(),
                    DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..)
                );
            if !plain || leaf.null_count() > 0 || target.text {
                return None;
            }
            let data = leaf.to_data();
            let (size, row) = (dtype.size(), target.elements * dtype.size());
            let buffer = data.buffers().first()?.slice_with_length(data.offset() * size, data.len() * size);
            let name = plan.schema.fields[target.field].name.clone();
            let (rows, bytes) = (whole.len(), Bytes::of(Owned(buffer)));
            (bytes.len() == rows * row).then_some(MemoryColumn {
                name,
                dtype,
                shape,
                rows,
                row_stride: row,
                bytes,
            })
        })
        .collect()
}

/// The numbers of nested lists of fixed size, if no list is null.
fn flatten(array: &ArrayRef) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::FixedSizeList(_, len) if array.null_count() == 0 => {
            let list = array.as_fixed_size_list();
            let len = *len as usize;
            flatten(&list.values().slice(list.value_offset_at(0), list.len() * len))
        }
        DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_) => None,
        _ => Some(Arc::clone(array)),
    }
}

struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

/// Record batches in memory.
pub(crate) struct BatchBlocks {
    batches: Vec<RecordBatch>,
    columns: Vec<Column>,
    rows: Vec<u64>,
}

impl BatchBlocks {
    /// A table of `batches` of one schema.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no row or the schemas differ.
    pub(crate) fn new(batches: Vec<RecordBatch>) -> Result<Self> {
        let batches: Vec<RecordBatch> = batches.into_iter().filter(|b| b.num_rows() > 0).collect();
        let Some(first) = batches.first() else {
            return Err(Error::Config("the table has no rows".into()));
        };
        let schema = first.schema();
        if let Some(other) = batches.iter().find(|b| b.schema().fields() != schema.fields()) {
            return Err(Error::Config(format!(
                "record batches of different columns: {:?} and {:?}",
                schema.fields().iter().map(|f| f.name()).collect::<Vec<_>>(),
                other.schema().fields().iter().map(|f| f.name()).collect::<Vec<_>>()
            )));
        }
        let columns = describe(&schema, |column| Ok(Some(batches[0].column(column).slice(0, 1))))?;
        let rows = batches.iter().map(|b| b.num_rows() as u64).collect();
        Ok(Self { batches, columns, rows })
    }

    /// A column of a batch.
    pub(crate) fn array(&self, block: usize, column: usize) -> ArrayRef {
        Arc::clone(self.batches[block].column(column))
    }

    /// Every batch as borrowed columns, where all of them are row-major as they are.
    pub(crate) fn borrow(&self, plan: &Plan) -> Option<Vec<Vec<MemoryColumn>>> {
        let one = |batch: &RecordBatch| borrow(plan, &self.columns, |t| Arc::clone(batch.column(t.column)));
        self.batches.iter().map(one).collect()
    }
}

impl Blocks for BatchBlocks {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn rows(&self) -> &[u64] {
        &self.rows
    }

    fn place(&self, block: usize) -> (&Path, String) {
        (Path::new("memory"), format!("record batch {block}"))
    }

    fn texts(&self, column: usize) -> Result<Vec<String>> {
        let mut found = BTreeSet::new();
        for (block, batch) in self.batches.iter().enumerate() {
            collect_texts(batch.column(column).as_ref(), &mut found)
                .map_err(|e| self.at_row(block, &self.columns[column].name, e.row, &e.reason))?;
        }
        Ok(found.into_iter().collect())
    }

    fn tasks(&self, plan: &Plan) -> Vec<Range<usize>> {
        (0..plan.targets.len()).map(|nth| nth..nth + 1).collect()
    }

    fn decode(&self, block: usize, job: &Job<'_>, cells: &mut [Cells<'_>]) -> Result<()> {
        put_batch(&self.columns, job, cells, |t| Arc::clone(self.batches[block].column(t.column)))
            .map_err(|(name, row, reason)| self.at_row(block, &name, row, &reason))
    }

    fn fingerprint(&self) -> u64 {
        // Shapes and types, and pieces of every buffer.
        let mut hash = Xxh3::new();
        for batch in &self.batches {
            hash.update(format!("{:?}{}", batch.schema().fields(), batch.num_rows()).as_bytes());
            for column in batch.columns() {
                hash_array(&column.to_data().slice(0, column.len()), &mut hash);
            }
        }
        hash.digest()
    }
}

impl BatchBlocks {
    fn at_row(&self, block: usize, column: &str, row: usize, reason: &str) -> Error {
        let row = self.rows[..block].iter().sum::<u64>() + row as u64;
        Error::Config(format!("column {column:?}, row {row}: {reason}"))
    }
}

/// Bytes of a buffer that count together for the fingerprint, and how many of such pieces at most do.
const PIECE: usize = 64;
const PIECES: usize = 1024;

fn hash_array(data: &arrow_data::ArrayData, hash: &mut Xxh3) {
    hash.update(&data.offset().to_le_bytes());
    hash.update(&data.len().to_le_bytes());
    for buffer in data.buffers().iter().chain(data.nulls().map(NullBuffer::buffer)) {
        hash_pieces(buffer.as_slice(), hash);
    }
    for child in data.child_data() {
        hash_array(child, hash);
    }
}

/// Hashes all of a small buffer, and of a large one pieces at even distances, with its end.
fn hash_pieces(bytes: &[u8], hash: &mut Xxh3) {
    let step = bytes.len().div_ceil(PIECES).max(PIECE);
    for piece in bytes.chunks(step) {
        hash.update(&piece[..piece.len().min(PIECE)]);
    }
    hash.update(&bytes[bytes.len().saturating_sub(PIECE)..]);
}

#[cfg(test)]
mod tests {
    use arrow_array::Float32Array;

    use super::*;

    #[test]
    fn the_fingerprint_tells_apart_what_differs_in_the_middle() {
        let rows = 1 << 20;
        let fingerprint = |from: usize, to: usize, value: f32| {
            let mut values = vec![0.0f32; rows];
            values[from..to].fill(value);
            let column: ArrayRef = Arc::new(Float32Array::from(values));
            let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
            BatchBlocks::new(vec![batch]).unwrap().fingerprint()
        };
        let zeroes = fingerprint(0, rows, 0.0);
        // A thousandth of the rows, anywhere.
        for from in [0, 3000, rows / 2, rows - 2048] {
            assert_ne!(fingerprint(from, from + 2048, 1.0), zeroes, "from {from} on");
            assert_eq!(fingerprint(from, from + 2048, 1.0), fingerprint(from, from + 2048, 1.0));
        }
        assert_ne!(fingerprint(rows - 1, rows, 1.0), zeroes);
    }
}
