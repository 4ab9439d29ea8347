//! Combining elements: the types there are, and the one door to the loops over them.
//!
//! The loops are compiled twice from one text, for every processor and for those with AVX2, so both give the same bits.
//! Elements of 16 bits are combined in 32 and rounded once.
#![expect(
    unsafe_code,
    reason = "elements lie in memory that other processes share, so they are reached by pointers"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(not(target_arch = "x86_64"))]
#[path = "avx2_disabled.rs"]
mod avx2;
mod portable;

use std::fmt;

use super::call::ReduceOp;

/// The types of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Dtype {
    F32 = 1,
    F64 = 2,
    I32 = 3,
    I64 = 4,
    F16 = 5,
    Bf16 = 6,
    U8 = 7,
}

impl Dtype {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::F32, Self::F64, Self::I32, Self::I64, Self::F16, Self::Bf16, Self::U8];

    /// Bytes of an element.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::U8 => 1,
        }
    }

    /// Whether it is floating point.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64 | Self::F16 | Self::Bf16)
    }

    /// The type of this name, as NumPy and torch write it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Its name, as NumPy and torch write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::U8 => "uint8",
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is combined, and how it ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold<'a> {
    pub(crate) dtype: Dtype,
    pub(crate) op: ReduceOp,
    /// What the result is divided by where `op` is an average; 1 for what is not the last step.
    pub(crate) divisor: usize,
    /// Where the operands lie, in the order in which they are combined; at least one.
    pub(crate) sources: &'a [*const u8],
    /// Where the result goes; may be one of the sources.
    pub(crate) result: *mut u8,
    /// Where it goes as well.
    pub(crate) copy: Option<*mut u8>,
    /// Bytes of each, a multiple of the element's.
    pub(crate) bytes: usize,
}

/// Combines.
///
/// # Safety
/// All sources can be read and all results be written, `bytes` long, and nobody else writes there meanwhile. `result` and
/// `copy` are apart from each other, and each is apart from or exactly at any source.
pub(crate) unsafe fn fold(fold: &Fold<'_>) {
    debug_assert!(!fold.sources.is_empty() && fold.bytes.is_multiple_of(fold.dtype.size()));
    // SAFETY: the caller's promise, handed on.
    unsafe {
        if !avx2::fold(fold) {
            portable::fold(fold);
        }
    }
}

/// Combines `received` into `mine`: `received` first, so that a partial result that goes around a ring keeps its order.
pub(crate) fn fold_into(mine: &mut [u8], received: &[u8], dtype: Dtype, op: ReduceOp, divisor: usize) {
    assert_eq!(mine.len(), received.len(), "as many elements");
    let result = mine.as_mut_ptr();
    let sources = [received.as_ptr(), result.cast_const()];
    let bytes = mine.len();
    // SAFETY: both slices are `bytes` long and live; the borrow of `mine` is exclusive.
    unsafe { fold(&Fold { dtype, op, divisor, sources: &sources, result, copy: None, bytes }) }
}

#[cfg(test)]
mod tests;
