//! Writing decoded columns into row-major matrices. A [`Cells`] is an exclusive claim on some elements of some rows, so
//! several threads fill one matrix; columns are written in tiles that stay in the cache. Knows no format.
#![expect(unsafe_code, reason = "threads write disjoint cells of one matrix")]

use std::marker::PhantomData;
use std::ops::Range;

use zenith_runtime_cpu::allocator::Block;

use super::convert::{convert, is_float};
use super::mapping::{Plan, Target};
use super::memory::{self, Bytes};
use super::rows::{RowField, RowStore};
use crate::{DType, Error, Result, Schema};

/// The matrices of a store that is being filled.
#[derive(Debug)]
pub(crate) struct Matrices {
    fields: Vec<Matrix>,
    rows: usize,
}

#[derive(Debug)]
struct Matrix {
    memory: Block,
    elements: usize,
    dtype: DType,
}

impl Matrices {
    /// Zeroed matrices for `rows` rows of every field of `plan`.
    pub(crate) fn new(plan: &Plan, rows: usize) -> Result<Self> {
        let fields = plan
            .schema
            .fields
            .iter()
            .map(|field| {
                // The number of rows may come from a damaged file.
                let bytes = rows
                    .checked_mul(field.sample_bytes())
                    .filter(|bytes| isize::try_from(bytes.saturating_add(1 << 30)).is_ok())
                    .ok_or_else(|| Error::Machine(format!("{rows} rows are larger than memory")))?;
                Ok(Matrix {
                    memory: memory::zeroed(bytes)
                        .map_err(|error| Error::Machine(format!("for a table of {rows} rows: {error}")))?,
                    elements: field.shape.iter().product(),
                    dtype: field.dtype,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { fields, rows })
    }

    /// The cells of `rows` that the targets `targets` of `plan` write.
    ///
    /// # Safety
    /// As long as the result lives, no other result of this method covers both one of these rows and one of these
    /// targets, and nothing reads the matrices.
    pub(crate) unsafe fn claim(
        &self,
        plan: &Plan,
        targets: Range<usize>,
        rows: Range<usize>,
    ) -> Vec<Cells<'_>> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows outside of the matrices");
        let mut claims: Vec<Cells<'_>> = Vec::new();
        for target in &plan.targets[targets] {
            let matrix = &self.fields[target.field];
            assert!(target.element + target.elements <= matrix.elements, "elements outside of the matrix");
            match claims.last_mut() {
                Some(last) if last.field == target.field && last.first + last.elements == target.element => {
                    last.elements += target.elements;
                }
                _ => {
                    let stride = matrix.elements * matrix.dtype.size();
                    let offset = rows.start * stride + target.element * matrix.dtype.size();
                    claims.push(Cells {
                        // SAFETY: rows and elements were checked to be inside the matrix.
                        base: unsafe { matrix.memory.as_ptr().add(offset) },
                        stride,
                        rows: rows.len(),
                        field: target.field,
                        first: target.element,
                        elements: target.elements,
                        dtype: matrix.dtype,
                        matrix: PhantomData,
                    });
                }
            }
        }
        claims
    }

    /// The finished store, which delivers its fields as `schema` says.
    pub(crate) fn finish(self, schema: &Schema) -> RowStore {
        let rows = self.rows;
        let fields = self
            .fields
            .into_iter()
            .zip(&schema.fields)
            .map(|(matrix, field)| {
                let stride = matrix.elements * matrix.dtype.size();
                let bytes = Bytes::of(matrix.memory);
                RowField::new(bytes, rows, stride, matrix.elements, matrix.dtype, field.dtype)
            })
            .collect();
        RowStore::new(fields, rows)
    }
}

/// Exclusive access to elements `first..first + elements` of some rows of one field.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    base: *mut u8,
    stride: usize,
    rows: usize,
    field: usize,
    first: usize,
    elements: usize,
    dtype: DType,
    matrix: PhantomData<&'a mut [u8]>,
}

// SAFETY: an exclusive borrow of cells that no other claim covers; sending it sends the borrow.
unsafe impl Send for Cells<'_> {}

/// The claim among `claims` that holds `target`.
///
/// # Panics
/// When the target was not claimed.
pub(crate) fn claimed<'c, 'a>(claims: &'c mut [Cells<'a>], target: &Target) -> &'c mut Cells<'a> {
    let found = claims.iter_mut().find(|c| {
        c.field == target.field
            && c.first <= target.element
            && target.element + target.elements <= c.first + c.elements
    });
    match found {
        Some(cells) => cells,
        None => unreachable!("column {:?} was not claimed", target.name),
    }
}

impl Cells<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The memory of `n` rows from `row` on, where they lie one behind the other and belong to `target` alone.
    ///
    /// # Panics
    /// When the rows or the target are not inside the claim.
    pub(crate) fn whole_rows(&mut self, target: &Target, row: usize, n: usize) -> Option<&mut [u8]> {
        let element = self.place(target);
        assert!(row.checked_add(n).is_some_and(|end| end <= self.rows), "rows outside of the claim");
        if element != 0 || target.elements * self.dtype.size() != self.stride {
            return None;
        }
        // SAFETY: the rows are inside the claim, which is exclusively ours; without other elements between them they are
        // one stretch of initialised memory.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base.add(row * self.stride), n * self.stride) })
    }

    /// Writes whole values of one target: `values` holds rows `row..` one behind the other, `target.elements` numbers
    /// of type `from` each.
    ///
    /// # Panics
    /// When the rows or the target are not inside the claim, or the values are no whole rows.
    pub(crate) fn put(&mut self, target: &Target, row: usize, from: DType, values: &[u8]) {
        let element = self.place(target);
        let source = target.elements * from.size();
        if source == 0 {
            return;
        }
        let rows = values.len() / source;
        assert!(
            values.len().is_multiple_of(source) && row + rows <= self.rows,
            "values outside of the claim"
        );
        let size = self.dtype.size();
        let with = convert(from, self.dtype);
        // SAFETY: rows and elements were checked to be inside the claim, which is exclusively ours.
        unsafe {
            let start = self.base.add(row * self.stride + element * size);
            if target.elements * size == self.stride {
                with(values.as_ptr(), start, rows * target.elements);
            } else {
                for nth in 0..rows {
                    with(values.as_ptr().add(nth * source), start.add(nth * self.stride), target.elements);
                }
            }
        }
    }

    /// Writes a NaN in place of a null.
    ///
    /// # Errors
    /// When the field has no NaN.
    ///
    /// # Panics
    /// When the row or the target is not inside the claim.
    pub(crate) fn put_null(&mut self, target: &Target, row: usize) -> std::result::Result<(), NullError> {
        if !is_float(self.dtype) {
            return Err(NullError(self.dtype));
        }
        let one = Target { elements: 1, ..target.clone() };
        for nth in 0..target.elements {
            let at = Target { element: target.element + nth, ..one.clone() };
            self.put(&at, row, DType::Float32, &f32::NAN.to_le_bytes());
        }
        Ok(())
    }

    /// Writes a tile of neighbouring one-element targets: `tile` is column-major, column c (of `columns`) from byte
    /// `c * pitch` on, `rows` values each, already of the field's type. The first column is `target`'s.
    ///
    /// # Panics
    /// When the tile is not inside the claim.
    pub(crate) fn put_tile(
        &mut self,
        target: &Target,
        columns: usize,
        row: usize,
        rows: usize,
        tile: &[u8],
        pitch: usize,
    ) {
        let element = self.place(target);
        let size = self.dtype.size();
        assert!(element + columns <= self.elements && row + rows <= self.rows, "tile outside of the claim");
        assert!(columns == 0 || (columns - 1) * pitch + rows * size <= tile.len(), "tile too short");
        // SAFETY: checked above: the cells are ours, the tile is long enough.
        unsafe {
            let start = self.base.add(row * self.stride + element * size);
            match size {
                1 => transpose::<1>(tile.as_ptr(), pitch, start, self.stride, columns, rows),
                2 => transpose::<2>(tile.as_ptr(), pitch, start, self.stride, columns, rows),
                4 => transpose::<4>(tile.as_ptr(), pitch, start, self.stride, columns, rows),
                _ => transpose::<8>(tile.as_ptr(), pitch, start, self.stride, columns, rows),
            }
        }
    }

    fn place(&self, target: &Target) -> usize {
        assert!(
            target.field == self.field
                && target.element >= self.first
                && target.element + target.elements <= self.first + self.elements,
            "column {:?} is outside of the claim",
            target.name
        );
        target.element - self.first
    }
}

#[inline(always)]
unsafe fn transpose<const N: usize>(
    tile: *const u8,
    pitch: usize,
    out: *mut u8,
    stride: usize,
    columns: usize,
    rows: usize,
) {
    for row in 0..rows {
        for column in 0..columns {
            // SAFETY: the caller promises `columns` x `rows` values of N bytes on both sides.
            unsafe {
                let value = tile.add(column * pitch + row * N).cast::<[u8; N]>().read();
                out.add(row * stride + column * N).cast::<[u8; N]>().write(value);
            }
        }
    }
}

/// A null where the field's type has no NaN.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "a null cannot be {0}; choose a floating-point type (dtype=) to have it as NaN, or leave the column out"
)]
pub(crate) struct NullError(DType);

/// Fills `values` (of a float type) with NaN; used for the holes that nulls leave.
pub(crate) fn nan_bytes(dtype: DType) -> Vec<u8> {
    match dtype {
        DType::Float16 => half::f16::NAN.to_le_bytes().to_vec(),
        DType::Float64 => f64::NAN.to_le_bytes().to_vec(),
        _ => f32::NAN.to_le_bytes().to_vec(),
    }
}
