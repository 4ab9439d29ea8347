//! The portable loops, compiled for processors with AVX2 and F16C.
#![expect(unsafe_code, reason = "calls code for a processor that has to be asked first")]

use super::{Fold, portable};

/// Combines where the processor can; whether it did.
///
/// # Safety
/// As for [`super::fold`].
pub(super) unsafe fn fold(fold: &Fold<'_>) -> bool {
    let can = std::arch::is_x86_feature_detected!("avx2");
    if can {
        // SAFETY: the processor has AVX2, and the rest is the caller's promise.
        unsafe { with_avx2(fold) }
    }
    can
}

#[target_feature(enable = "avx2")]
unsafe fn with_avx2(fold: &Fold<'_>) {
    // SAFETY: the caller's promise, handed on.
    unsafe { portable::fold(fold) }
}
