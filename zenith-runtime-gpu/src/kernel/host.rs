//! Operands where processors reach them: an address, a type, sizes, and distances between neighbours. Who has the memory is the
//! workload's business.
#![expect(unsafe_code, reason = "an address is a promise about memory, made by who has it")]

use std::ptr::NonNull;

use super::key::Name;

/// An operand in the host's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTensor {
    address: NonNull<u8>,
    dtype: Name,
    sizes: Vec<u64>,
    strides: Vec<i64>,
}

impl HostTensor {
    /// An operand; `strides` are in elements, one for each of `sizes`.
    ///
    /// # Safety
    /// As long as the workload that gives it lives and is not told to do something else, elements of `dtype` at all places that
    /// `sizes` and `strides` name are initialised memory that can be read, and, of an output, also written by one thread at a
    /// time. No two places of an output are the same.
    #[must_use]
    pub unsafe fn new(address: NonNull<u8>, dtype: Name, sizes: Vec<u64>, strides: Vec<i64>) -> Self {
        Self { address, dtype, sizes, strides }
    }

    /// Where its first element is.
    #[must_use]
    pub fn address(&self) -> NonNull<u8> {
        self.address
    }

    /// The type of its elements.
    #[must_use]
    pub fn dtype(&self) -> &Name {
        &self.dtype
    }

    /// Its sizes.
    #[must_use]
    pub fn sizes(&self) -> &[u64] {
        &self.sizes
    }

    /// The distances between neighbours, in elements.
    #[must_use]
    pub fn strides(&self) -> &[i64] {
        &self.strides
    }
}
