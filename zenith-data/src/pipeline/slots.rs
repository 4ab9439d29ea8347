//! Where every sample of a batch lies in its slab, and a worker's exclusive view of some of those slots.
#![expect(unsafe_code, reason = "several workers write disjoint slots of one slab")]

use std::marker::PhantomData;

use super::parts::Parts;
use crate::schema::FIELD_ALIGN;
use crate::{Error, Field, Result, Schema};

/// Exclusive access to `len` consecutive slots of every field of a batch.
#[derive(Debug)]
pub struct Slots<'a> {
    base: *mut u8,
    offsets: &'a [usize],
    sizes: &'a [usize],
    first: usize,
    len: usize,
    parts: Option<&'a Parts>,
    slab: PhantomData<&'a mut [u8]>,
}

// SAFETY: a `Slots` is an exclusive borrow of byte ranges that no other `Slots` covers; sending it sends the borrow.
unsafe impl Send for Slots<'_> {}

impl<'a> Slots<'a> {
    /// The slots `first..first + len` of a slab of this layout.
    ///
    /// # Safety
    /// `base` points to `layout.bytes()` initialised bytes; for `'a` nothing else reads or writes those slots.
    ///
    /// # Panics
    /// When the layout has fewer slots.
    #[must_use]
    pub unsafe fn new(base: *mut u8, layout: &'a SlotLayout, first: usize, len: usize) -> Self {
        assert!(
            first.checked_add(len).is_some_and(|end| end <= layout.batch_size),
            "slots {first}.. of a batch of {}",
            layout.batch_size
        );
        Self {
            base,
            offsets: &layout.offsets,
            sizes: &layout.sizes,
            first,
            len,
            parts: None,
            slab: PhantomData,
        }
    }

    /// All slots of a slab that is exclusively borrowed; for a caller with one worker, and for tests.
    ///
    /// # Panics
    /// When `slab` is shorter than the layout, or the layout has fewer slots than `len`.
    #[must_use]
    pub fn of(slab: &'a mut [u8], layout: &'a SlotLayout, len: usize) -> Self {
        assert!(slab.len() >= layout.bytes, "slab too short for {len} samples");
        // SAFETY: the slab is borrowed exclusively for 'a, and its length was checked against the layout.
        unsafe { Self::new(slab.as_mut_ptr(), layout, 0, len) }
    }

    /// Number of slots.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no slots.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of field `field` in slot `slot`.
    ///
    /// # Panics
    /// When there is no such field or slot.
    pub fn bytes(&mut self, field: usize, slot: usize) -> &mut [u8] {
        assert!(slot < self.len, "slot {slot} of {}", self.len);
        let size = self.sizes[field];
        // SAFETY: by the contract of `new` the field holds slots first..first + len of `size` bytes each, exclusively
        // ours; `slot < len` was checked.
        unsafe {
            let start = self.base.add(self.offsets[field] + (self.first + slot) * size);
            std::slice::from_raw_parts_mut(start, size)
        }
    }

    /// The bytes of field `field` in all slots, one behind the other.
    ///
    /// # Panics
    /// When there is no such field.
    pub fn column(&mut self, field: usize) -> &mut [u8] {
        let size = self.sizes[field];
        // SAFETY: as in `bytes`, for all slots; they are adjacent.
        unsafe {
            let start = self.base.add(self.offsets[field] + self.first * size);
            std::slice::from_raw_parts_mut(start, size * self.len)
        }
    }

    /// The slots `from..` of this view.
    ///
    /// # Panics
    /// When `from` is beyond the end.
    pub fn tail(&mut self, from: usize) -> Slots<'_> {
        assert!(from <= self.len, "tail {from} of {}", self.len);
        Slots {
            base: self.base,
            offsets: self.offsets,
            sizes: self.sizes,
            first: self.first + from,
            len: self.len - from,
            parts: self.parts,
            slab: PhantomData,
        }
    }

    /// The same slots, of which some may come to hold none or several samples.
    pub(super) const fn with_parts(mut self, parts: Option<&'a Parts>) -> Self {
        self.parts = parts;
        self
    }

    /// Says that not one but `count` samples became of slot `slot`. The first lies in the slot; of the further ones, field
    /// `field` lies in `more`, one behind the other, and the other fields are as in the slot. Leaves an empty buffer in
    /// `more`. False where every slot has to hold one sample: there is nobody who would pack them.
    ///
    /// # Panics
    /// When there is no such slot, or `more` has another length than the further samples.
    #[must_use]
    pub fn became(&mut self, slot: usize, count: usize, field: usize, more: &mut Vec<u8>) -> bool {
        assert!(slot < self.len, "slot {slot} of {}", self.len);
        assert!(more.len() == count.saturating_sub(1) * self.sizes[field], "samples of another size");
        let Some(parts) = self.parts else {
            return false;
        };
        parts.note(self.first + slot, count, field, more);
        true
    }
}

/// Where every field of a batch lies in its slab. Only made by [`SlotLayout::new`], so that every slot lies inside a slab
/// of [`SlotLayout::bytes`] bytes, whatever the sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    offsets: Vec<usize>,
    sizes: Vec<usize>,
    batch_size: usize,
    bytes: usize,
}

impl SlotLayout {
    /// The layout of `batch_size` samples of `schema`.
    ///
    /// # Errors
    /// [`Error::Config`] when such a batch has more bytes than a machine can address.
    pub fn new(schema: &Schema, batch_size: usize) -> Result<Self> {
        let sizes: Vec<usize> = schema.fields.iter().map(Field::sample_bytes).collect();
        let too_large = || {
            let bytes = schema.sample_bytes();
            Error::Config(format!(
                "a batch of {batch_size} samples of {bytes} bytes is larger than any memory"
            ))
        };
        let mut bytes = 0usize;
        let mut offsets = Vec::with_capacity(sizes.len());
        for size in &sizes {
            let start = bytes.checked_next_multiple_of(FIELD_ALIGN).ok_or_else(too_large)?;
            bytes = size
                .checked_mul(batch_size)
                .and_then(|column| column.checked_add(start))
                .filter(|end| isize::try_from(*end).is_ok())
                .ok_or_else(too_large)?;
            offsets.push(start);
        }
        Ok(Self { offsets, sizes, batch_size, bytes })
    }

    /// Byte offset of every field.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Bytes of one sample of every field.
    #[must_use]
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Samples in a full batch.
    #[must_use]
    pub const fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Bytes of the slab.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
    use crate::schema::Shape;
    use proptest::prelude::*;

    fn schema(fields: &[&[usize]]) -> Schema {
        let fields = fields.iter().map(|shape| Field::new("f", DType::Float32, *shape)).collect();
        Schema { fields, shape: Shape::Tuple }
    }

    #[test]
    fn a_batch_that_no_memory_holds_is_an_error() {
        for (shapes, batch) in [
            (&[&[3usize, 224, 224][..]][..], 1usize << 62),
            (&[&[1], &[1]], usize::MAX / 4),
            (&[&[]], (isize::MAX as usize) / 4 + 1),
            (&[&[usize::MAX, usize::MAX]], 1),
            (&[&[1 << 40, 1 << 40]], 2),
        ] {
            let error = SlotLayout::new(&schema(shapes), batch).unwrap_err().to_string();
            assert!(error.contains("larger than any memory"), "{error}");
        }
        // A sample without elements takes nothing, however large its other extents.
        assert_eq!(SlotLayout::new(&schema(&[&[0, usize::MAX, usize::MAX]]), 7).unwrap().bytes(), 0);
    }

    proptest! {
        #[test]
        fn fields_lie_apart_and_inside(extents in proptest::collection::vec(0usize..40, 1..6), batch in 0usize..50) {
            let shapes: Vec<&[usize]> = extents.iter().map(std::slice::from_ref).collect();
            let layout = SlotLayout::new(&schema(&shapes), batch).unwrap();
            let mut end = 0;
            for (offset, size) in layout.offsets().iter().zip(layout.sizes()) {
                prop_assert!(*offset >= end && offset % FIELD_ALIGN == 0);
                end = offset + size * batch;
            }
            prop_assert_eq!(end, layout.bytes());
        }
    }

    #[test]
    #[should_panic(expected = "slots 3.. of a batch of 4")]
    fn more_slots_than_there_are_cannot_be_viewed() {
        let layout = SlotLayout::new(&schema(&[&[]]), 4).unwrap();
        let mut slab = vec![0u8; 1 << 10];
        // SAFETY: the slab is longer than the layout and ours alone.
        let _ = unsafe { Slots::new(slab.as_mut_ptr(), &layout, 3, 2) };
    }
}
