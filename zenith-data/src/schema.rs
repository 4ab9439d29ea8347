//! What one sample becomes in a batch: named fields with a dtype and a shape. Where they lie in a slab is
//! [`crate::pipeline::slots`]'s matter.

use crate::DType;

/// Fields of a slab start on this boundary, so that any SIMD load and any DLPack consumer is content.
pub const FIELD_ALIGN: usize = 64;

/// One named array of a batch. A batch of B samples holds it as `[B, shape...]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name of the field (`inputs`, `labels`, or a column's name).
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape of one sample, without the batch dimension.
    pub shape: Vec<usize>,
}

impl Field {
    /// A field of one sample's `shape`.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }

    /// Bytes of one sample of this field; `usize::MAX` where that is more than a machine can address.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        self.shape.iter().fold(self.dtype.size(), |bytes, extent| bytes.saturating_mul(*extent))
    }
}

/// How the fields of a batch reach the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `inputs, labels`: a tuple of all fields in order.
    Tuple,
    /// One array without a label.
    Single,
    /// A dictionary by field name.
    Dict,
}

/// The fields of a batch, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// The fields.
    pub fields: Vec<Field>,
    /// How they reach the user.
    pub shape: Shape,
}

impl Schema {
    /// Bytes of one sample over all fields; `usize::MAX` where that is more than a machine can address.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        self.fields.iter().fold(0, |bytes, field| bytes.saturating_add(field.sample_bytes()))
    }
}
