//! Which twin of each kernel this machine runs: chosen once, when a decoder is made.

use super::idct::{self, Idct};
use super::sequential::{self, DecodeRun, SkipRun};
use super::{avx2, color, upsample};

/// Three rows of components to one of pixels.
type ToRgb = fn(&[u8], &[u8], &[u8], &mut [u8]);

/// The kernels a decoder calls.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub(super) skip_run: SkipRun,
    pub(super) decode_run: DecodeRun,
    pub(super) idct: Idct,
    pub(super) flat: Idct,
    pub(super) wide: fn(&[u8], &mut [u8]),
    pub(super) tall: fn(&[u8], &[u8], u16, &mut [u8]),
    pub(super) both: fn(&[u8], &[u8], &mut [u8]),
    pub(super) ycc: ToRgb,
}

impl Kernels {
    /// Those that run anywhere.
    pub(super) const PORTABLE: Self = Self {
        skip_run: sequential::skip_run,
        decode_run: sequential::decode_run,
        idct: idct::full,
        flat: idct::flat,
        wide: upsample::wide,
        tall: upsample::tall,
        both: upsample::both,
        ycc: color::ycc,
    };

    /// The best for this machine.
    pub(super) fn detect() -> Self {
        avx2::kernels().unwrap_or(Self::PORTABLE)
    }
}
