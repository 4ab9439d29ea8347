//! A worker's exclusive view of some slots of a batch slab.
#![expect(unsafe_code, reason = "several workers write disjoint slots of one slab")]

use std::marker::PhantomData;

use super::parts::Parts;
use crate::Schema;

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
    /// The slots `first..first + len` of a slab.
    ///
    /// # Safety
    /// `base` points to a slab whose field `f` starts at `offsets[f]` and holds at least `first + len` samples of
    /// `sizes[f]` bytes, all initialised; for `'a` nothing else reads or writes those slots.
    #[must_use]
    pub unsafe fn new(
        base: *mut u8,
        offsets: &'a [usize],
        sizes: &'a [usize],
        first: usize,
        len: usize,
    ) -> Self {
        debug_assert_eq!(offsets.len(), sizes.len());
        Self { base, offsets, sizes, first, len, parts: None, slab: PhantomData }
    }

    /// All slots of a slab that is exclusively borrowed; for a caller with one worker, and for tests.
    ///
    /// # Panics
    /// When `slab` is shorter than the schema's layout for `len` samples.
    #[must_use]
    pub fn of(slab: &'a mut [u8], schema_layout: &'a SlotLayout, len: usize) -> Self {
        assert!(
            slab.len() >= schema_layout.bytes && len <= schema_layout.batch_size,
            "slab too short for {len} samples"
        );
        // SAFETY: the slab is borrowed exclusively for 'a, and its length was checked against the layout.
        unsafe { Self::new(slab.as_mut_ptr(), &schema_layout.offsets, &schema_layout.sizes, 0, len) }
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

/// Where every field of a batch lies in its slab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotLayout {
    /// Byte offset of every field.
    pub offsets: Vec<usize>,
    /// Bytes of one sample of every field.
    pub sizes: Vec<usize>,
    /// Samples in a full batch.
    pub batch_size: usize,
    /// Bytes of the slab.
    pub bytes: usize,
}

impl SlotLayout {
    /// The layout of `batch_size` samples of `schema`.
    #[must_use]
    pub fn new(schema: &Schema, batch_size: usize) -> Self {
        let (offsets, bytes) = schema.layout(batch_size);
        Self {
            offsets,
            sizes: schema.fields.iter().map(crate::Field::sample_bytes).collect(),
            batch_size,
            bytes,
        }
    }
}
