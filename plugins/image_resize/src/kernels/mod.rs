//! The inner loops, portable and in vectors. Both give the same bytes; the portable ones define them.
//!
//! An intermediate row is a row pair: each `u32` holds a value of the even row in its low half and the one of the odd row
//! below in its high half.

#[cfg(any(not(all(target_arch = "wasm32", target_feature = "simd128")), test))]
mod portable;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
use portable as chosen;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
use simd128 as chosen;

use crate::taps::Taps;

/// Numbers of an intermediate row of `columns` values: what the loops read and write a little behind the last value.
pub(crate) fn slot(columns: usize) -> usize {
    columns.next_multiple_of(16) + 16
}

/// Bytes of a row that [`along_x`] may look at.
pub(crate) fn reach(taps: &Taps, channels: usize) -> usize {
    let last = taps.starts.iter().copied().max().unwrap_or(0);
    (last + taps.taps) * channels + 16
}

/// Resamples two rows of `channels` interleaved values along x into a row pair of [`slot`] numbers. Both have [`reach`]
/// bytes. The taps are a multiple of 4, or of 8 for one channel.
pub(crate) fn along_x(channels: usize, even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    match channels {
        3 => chosen::along_x::<3>(even, odd, taps, out),
        4 => chosen::along_x::<4>(even, odd, taps, out),
        _ => chosen::along_x_single(even, odd, taps, out),
    }
}

/// Resamples row pairs along y: the one for the weights `k` begins at `places[k]` of `ring`.
pub(crate) fn along_y(ring: &[u32], places: &[usize], weights: &[u32], shift: u32, out: &mut [u8]) {
    chosen::along_y(ring, places, weights, shift, out);
}
