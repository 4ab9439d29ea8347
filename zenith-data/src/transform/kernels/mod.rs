//! The inner loops of transforms, each in a portable form and, where it pays, in a form for the processor at hand.
//! Both forms give the same bytes. What the loops are for is [`super::resample`]'s and [`super::emit`]'s matter.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod portable;

use super::filter::Taps;

/// The set of inner loops in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernels {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

/// Proof that the processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

/// One row of an intermediate picture pair: for each channel `width` pairs of pixels, the one of the even row in the
/// low half of each `u32`, the one of the odd row in the high half.
pub(super) type PairRow = [u32];

/// An affine map of 8-bit values to floats, also as a table. The table is what defines it.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub(super) scale: f32,
    pub(super) bias: f32,
    pub(super) table: Box<[f32; 256]>,
}

impl Affine {
    pub(super) fn new(scale: f64, bias: f64) -> Self {
        let (scale, bias) = (scale as f32, bias as f32);
        let mut table = Box::new([0.0; 256]);
        for (value, out) in table.iter_mut().enumerate() {
            *out = (value as f32).mul_add(scale, bias);
        }
        Self { scale, bias, table }
    }
}

impl Kernels {
    /// The fastest set for this processor.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
            return Kernels::Avx2(Avx2(()));
        }
        Kernels::Portable
    }

    /// Pixels that the horizontal loop writes at a time: the width of a [`PairRow`] is a multiple of it.
    pub(super) const WIDTH: usize = 8;

    /// Bytes of a source row, from its first pixel on, that `horizontal` may look at.
    pub(super) fn reach(taps: &Taps) -> usize {
        taps.last_start as usize * 3 + taps.pairs.div_ceil(2) * 12 + 4
    }

    /// Resamples two interleaved RGB rows horizontally into a row of pairs. Both rows have [`Self::reach`] bytes.
    pub(super) fn horizontal(self, even: &[u8], odd: &[u8], taps: &Taps, out: &mut PairRow) {
        assert!(even.len() >= Self::reach(taps) && odd.len() >= Self::reach(taps));
        assert!(out.len() == taps.starts.len() * 3 && taps.starts.len().is_multiple_of(Self::WIDTH));
        assert!(taps.weights.len() == taps.starts.len() * taps.pairs * 2);
        match self {
            Kernels::Portable => portable::horizontal(even, odd, taps, out),
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx2(proof) => avx2::horizontal(proof, even, odd, taps, out),
        }
    }

    /// Resamples rows of pairs vertically: `rows[k]` is where in `ring` the pairs for weights `2k` and `2k + 1` begin.
    pub(super) fn vertical_u8(
        self,
        ring: &[u32],
        rows: &[usize],
        weights: &[i16],
        shift: u32,
        out: &mut [u8],
    ) {
        check_vertical(ring, rows, weights, out.len());
        match self {
            Kernels::Portable => portable::vertical_u8(ring, rows, weights, shift, out),
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx2(proof) => avx2::vertical_u8(proof, ring, rows, weights, shift, out),
        }
    }

    /// As [`Self::vertical_u8`], and maps the result to floats (native byte order) in the same stroke.
    pub(super) fn vertical_f32(
        self,
        ring: &[u32],
        rows: &[usize],
        weights: &[i16],
        shift: u32,
        affine: &Affine,
        out: &mut [u8],
    ) {
        check_vertical(ring, rows, weights, out.len() / 4);
        match self {
            Kernels::Portable => portable::vertical_f32(ring, rows, weights, shift, affine, out),
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx2(proof) => avx2::vertical_f32(proof, ring, rows, weights, shift, affine, out),
        }
    }

    /// Maps interleaved RGB to three rows of floats (native byte order).
    pub(super) fn rgb_to_planes(self, rgb: &[u8], affine: &[Affine; 3], planes: [&mut [u8]; 3]) {
        assert!(planes.iter().all(|p| p.len() / 4 * 3 == rgb.len() && p.len().is_multiple_of(4)));
        match self {
            Kernels::Portable => portable::rgb_to_planes(rgb, affine, planes),
            #[cfg(target_arch = "x86_64")]
            Kernels::Avx2(proof) => avx2::rgb_to_planes(proof, rgb, affine, planes),
        }
    }
}

fn check_vertical(ring: &[u32], rows: &[usize], weights: &[i16], columns: usize) {
    let padded = columns.next_multiple_of(Kernels::WIDTH);
    assert!(rows.iter().all(|&row| row <= ring.len() && ring.len() - row >= padded));
    assert!(weights.len() == rows.len() * 2);
}

#[cfg(test)]
mod tests;
