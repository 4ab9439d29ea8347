//! The twin of `avx2` for other processors.
#![expect(unsafe_code, reason = "has the signature of its twin")]

use super::Fold;

/// Never combines.
///
/// # Safety
/// None is needed.
pub(super) unsafe fn fold(_fold: &Fold<'_>) -> bool {
    false
}
