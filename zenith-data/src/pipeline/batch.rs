//! A finished batch: a lease on a slab and the shape of what lies in it.

use std::sync::Arc;

use zenith_runtime_cpu::buffer::Lease;

use super::slots::SlotLayout;
use super::stream::Place;
use crate::{DType, Schema};

/// A finished batch. The memory returns to its pool when the last clone of [`Batch::lease`] is dropped.
#[derive(Clone, Debug)]
pub struct Batch {
    pub(super) lease: Arc<Lease>,
    pub(super) layout: Arc<SlotLayout>,
    pub(super) schema: Arc<Schema>,
    pub(super) len: usize,
    pub(super) next: Place,
}

/// One array of a batch, `[len, shape...]`, C-contiguous.
#[derive(Clone, Debug)]
pub struct ArrayView {
    /// First byte. Valid as long as the batch's lease.
    pub pointer: *mut u8,
    /// Element type.
    pub dtype: DType,
    /// Shape, the batch dimension first.
    pub shape: Vec<usize>,
}

impl Batch {
    /// The first `len` slots of a slab as a batch, for a reader without a pipeline.
    ///
    /// # Panics
    /// When the slab is shorter than the layout, the layout is of another schema or has fewer slots.
    #[must_use]
    pub fn new(lease: Lease, layout: Arc<SlotLayout>, schema: Arc<Schema>, len: usize, next: Place) -> Self {
        let sizes = schema.fields.iter().map(crate::Field::sample_bytes);
        assert!(sizes.eq(layout.sizes().iter().copied()), "a layout of another schema");
        assert!(
            len <= layout.batch_size() && layout.bytes() <= lease.len(),
            "a slab too short for {len} samples"
        );
        Self { lease: Arc::new(lease), layout, schema, len, next }
    }

    /// Number of samples.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the batch holds no samples.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The fields.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// What keeps the memory alive.
    #[must_use]
    pub const fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// The place in the stream behind this batch.
    #[must_use]
    pub const fn next_place(&self) -> Place {
        self.next
    }

    /// The array of field `field`.
    ///
    /// # Panics
    /// When there is no such field.
    #[must_use]
    pub fn array(&self, field: usize) -> ArrayView {
        let spec = &self.schema.fields[field];
        let mut shape = Vec::with_capacity(spec.shape.len() + 1);
        shape.push(self.len);
        shape.extend_from_slice(&spec.shape);
        ArrayView {
            pointer: self.lease.as_mut_ptr().wrapping_add(self.layout.offsets()[field]),
            dtype: spec.dtype,
            shape,
        }
    }

    /// The bytes of field `field`, all samples one behind the other.
    ///
    /// # Panics
    /// When there is no such field.
    #[must_use]
    pub fn bytes(&self, field: usize) -> &[u8] {
        let start = self.layout.offsets()[field];
        &self.lease.as_slice()[start..start + self.layout.sizes()[field] * self.len]
    }
}
