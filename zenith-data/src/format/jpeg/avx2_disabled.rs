//! The twin of `avx2` for machines of other kinds: there are no such kernels.

use super::kernels::Kernels;

/// None.
pub(super) fn kernels() -> Option<Kernels> {
    None
}
