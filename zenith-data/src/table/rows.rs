//! Rows held in memory: for every field of a batch a row-major matrix, ours or borrowed, and the gather of rows into
//! batch slots. Knows no files and no names.
#![expect(unsafe_code, reason = "rows are addressed by pointer after one bounds check per batch")]

use std::borrow::Borrow;

use super::convert::convert;
use super::gather::{RowCopy, gather};
use super::memory::Bytes;
use crate::DType;
use crate::pipeline::slots::Slots;

/// One field of every row: `elements` numbers each, rows `stride` bytes apart.
#[derive(Clone, Debug)]
pub(crate) struct RowField {
    bytes: Bytes,
    rows: usize,
    stride: usize,
    copy: RowCopy,
}

impl RowField {
    /// A field over `bytes`: `rows` rows, `stride` bytes apart, each of `elements` numbers of type `from`, delivered
    /// as `to`.
    ///
    /// # Panics
    /// When the last row would end outside of `bytes`.
    pub(crate) fn new(
        bytes: Bytes,
        rows: usize,
        stride: usize,
        elements: usize,
        from: DType,
        to: DType,
    ) -> Self {
        let source = elements * from.size();
        if let Some(last) = rows.checked_sub(1) {
            let end = last.checked_mul(stride).and_then(|start| start.checked_add(source));
            assert!(end.is_some_and(|end| end <= bytes.len()), "rows outside of their memory");
        }
        let copy = if from == to && from != DType::Bool {
            RowCopy::Bytes(source)
        } else {
            RowCopy::Convert { with: convert(from, to), elements, source, target: elements * to.size() }
        };
        Self { bytes, rows, stride, copy }
    }

    /// Whether rows follow each other without a gap and need no conversion.
    fn is_one_run(&self) -> bool {
        matches!(self.copy, RowCopy::Bytes(bytes) if bytes == self.stride)
    }
}

/// The fields of a set of rows.
#[derive(Clone, Debug)]
pub(crate) struct RowStore {
    fields: Vec<RowField>,
    rows: usize,
}

impl RowStore {
    /// A store of fields with `rows` rows each.
    ///
    /// # Panics
    /// When a field has another number of rows.
    pub(crate) fn new(fields: Vec<RowField>, rows: usize) -> Self {
        assert!(fields.iter().all(|field| field.rows == rows), "fields of unequal length");
        Self { fields, rows }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of row `row` of field `field` as they lie in memory.
    ///
    /// # Panics
    /// When there is no such row or field.
    pub(crate) fn row(&self, field: usize, row: usize) -> &[u8] {
        let field = &self.fields[field];
        assert!(row < field.rows, "row {row} of {}", field.rows);
        &field.bytes.as_slice()[row * field.stride..][..field.copy.source()]
    }

    /// Bytes of all rows as they lie in memory, without gaps between them.
    pub(crate) fn source_bytes(&self) -> u64 {
        self.fields.iter().map(|field| field.copy.source() as u64 * self.rows as u64).sum()
    }

    /// Bytes delivered per row over all fields.
    pub(crate) fn row_bytes(&self) -> usize {
        self.fields.iter().map(|field| field.copy.target()).sum()
    }

    /// Copies row `ids[i]` into slot `i` of every field.
    ///
    /// # Panics
    /// When an id is not a row, or the slots are fewer than the ids or of another size than the fields' rows.
    pub(crate) fn gather(&self, ids: &[u64], slots: &mut Slots<'_>) {
        let rows = self.rows as u64;
        assert!(ids.iter().fold(true, |all, id| all & (*id < rows)), "an id that is not a row");
        let in_order = ids.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == 1);
        for (index, field) in self.fields.iter().enumerate() {
            let out = column(slots, index, field.copy, ids.len());
            let base = field.bytes.as_ptr();
            if in_order && field.is_one_run() && !ids.is_empty() {
                let start = ids[0] as usize * field.stride;
                let run = ids.len() * field.stride;
                out[..run].copy_from_slice(&field.bytes.as_slice()[start..start + run]);
                continue;
            }
            // SAFETY: every id was checked to be a row, every row lies inside the field's bytes (checked when the field
            // was made), and `column` checked the room in the slots, which are exclusively borrowed.
            unsafe {
                gather(
                    field.copy,
                    ids.len(),
                    |i| base.add(*ids.get_unchecked(i) as usize * field.stride),
                    out.as_mut_ptr(),
                );
            }
        }
    }

    /// The fields.
    pub(crate) fn into_fields(self) -> Vec<RowField> {
        self.fields
    }
}

/// A row of one of several stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) store: usize,
    pub(crate) row: u64,
}

/// Copies the row at `places[i]` into slot `i` of every field.
///
/// # Panics
/// When a place does not exist, when the stores' fields differ, or when the slots are too few or of another size.
pub(crate) fn gather_from<S: Borrow<RowStore>>(stores: &[S], places: &[Place], slots: &mut Slots<'_>) {
    let Some(first) = stores.first().map(Borrow::borrow) else {
        assert!(places.is_empty(), "places in no store");
        return;
    };
    assert!(
        places
            .iter()
            .all(|place| stores.get(place.store).is_some_and(|s| place.row < s.borrow().rows as u64)),
        "a place that does not exist"
    );
    let mut bases = Vec::with_capacity(stores.len());
    for (index, field) in first.fields.iter().enumerate() {
        bases.clear();
        for store in stores {
            let other = &store.borrow().fields[index];
            assert!(
                other.stride == field.stride && other.copy.source() == field.copy.source(),
                "stores of different make"
            );
            bases.push(other.bytes.as_ptr());
        }
        let out = column(slots, index, field.copy, places.len());
        // SAFETY: every place was checked against its store, every row lies inside its field's bytes (all stores have
        // the same stride and row size), and `column` checked the room in the slots.
        unsafe {
            gather(
                field.copy,
                places.len(),
                |i| {
                    let Place { store, row } = *places.get_unchecked(i);
                    bases.get_unchecked(store).add(row as usize * field.stride)
                },
                out.as_mut_ptr(),
            );
        }
    }
}

fn column<'a>(slots: &'a mut Slots<'_>, field: usize, copy: RowCopy, n: usize) -> &'a mut [u8] {
    let per_slot = if slots.is_empty() { copy.target() } else { slots.bytes(field, 0).len() };
    assert!(per_slot == copy.target() && slots.len() >= n, "slots of another size");
    slots.column(field)
}
