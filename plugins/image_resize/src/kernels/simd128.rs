//! The inner loops in vectors of 128 bits. They give the bytes of the portable ones: sums of products are exact, whatever
//! their order.

use core::arch::wasm32::*;

use zenith_plugin_guest::simd::{load, load_half, load_u32, store, store_u32};

use crate::taps::Taps;

/// Four sums of each of two rows as row pairs.
#[inline(always)]
fn row_pairs(even: v128, odd: v128, shift: u32) -> v128 {
    let both = u16x8_narrow_i32x4(i32x4_shr(even, shift), i32x4_shr(odd, shift));
    let both = u16x8_min(both, u16x8_splat(255));
    i16x8_shuffle::<0, 4, 1, 5, 2, 6, 3, 7>(both, both)
}

#[inline(always)]
fn half(shift: u32) -> v128 {
    i32x4_splat(1 << (shift - 1))
}

pub(crate) fn along_x<const CHANNELS: usize>(even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    match taps.taps / 4 {
        1 => along_x_of::<CHANNELS, 1>(even, odd, taps, out),
        2 => along_x_of::<CHANNELS, 2>(even, odd, taps, out),
        3 => along_x_of::<CHANNELS, 3>(even, odd, taps, out),
        _ => along_x_of::<CHANNELS, 0>(even, odd, taps, out),
    }
}

/// `FOURS` is the number of four taps, or 0 for any.
#[inline(always)]
fn along_x_of<const CHANNELS: usize, const FOURS: usize>(
    even: &[u8],
    odd: &[u8],
    taps: &Taps,
    out: &mut [u32],
) {
    let fours = if FOURS == 0 { taps.taps / 4 } else { FOURS };
    let bytes = (fours - 1) * 4 * CHANNELS + 16;
    let weights = taps.weights.chunks_exact(fours * 2);
    for (x, (weights, start)) in weights.zip(&taps.starts).enumerate() {
        let even = &even[start * CHANNELS..][..bytes];
        let odd = &odd[start * CHANNELS..][..bytes];
        let mut sum_even = half(taps.shift);
        let mut sum_odd = half(taps.shift);
        for four in 0..fours {
            let near = u32x4_splat(weights[four * 2]);
            let far = u32x4_splat(weights[four * 2 + 1]);
            let pixels = by_channel::<CHANNELS>(load(&even[four * 4 * CHANNELS..]));
            sum_even = i32x4_add(sum_even, i32x4_dot_i16x8(u16x8_extend_low_u8x16(pixels), near));
            sum_even = i32x4_add(sum_even, i32x4_dot_i16x8(u16x8_extend_high_u8x16(pixels), far));
            let pixels = by_channel::<CHANNELS>(load(&odd[four * 4 * CHANNELS..]));
            sum_odd = i32x4_add(sum_odd, i32x4_dot_i16x8(u16x8_extend_low_u8x16(pixels), near));
            sum_odd = i32x4_add(sum_odd, i32x4_dot_i16x8(u16x8_extend_high_u8x16(pixels), far));
        }
        // Where there are three channels, the next pixel overwrites the fourth.
        store_u32(row_pairs(sum_even, sum_odd, taps.shift), &mut out[x * CHANNELS..]);
    }
}

/// Of four pixels: the first two's values of each channel side by side, then the other two's.
#[inline(always)]
fn by_channel<const CHANNELS: usize>(pixels: v128) -> v128 {
    if CHANNELS == 3 {
        u8x16_shuffle::<0, 3, 1, 4, 2, 5, 2, 5, 6, 9, 7, 10, 8, 11, 8, 11>(pixels, pixels)
    } else {
        u8x16_shuffle::<0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15>(pixels, pixels)
    }
}

pub(crate) fn along_x_single(even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    let pairs = taps.pairs();
    let sums = |start: usize, weights: &[u32]| {
        let (even, odd) = (&even[start..][..taps.taps], &odd[start..][..taps.taps]);
        let mut sums = [u32x4_splat(0); 2];
        for ((even, odd), weights) in
            even.chunks_exact(8).zip(odd.chunks_exact(8)).zip(weights.chunks_exact(4))
        {
            let weights = load_u32(weights);
            sums[0] = i32x4_add(sums[0], i32x4_dot_i16x8(u16x8_extend_low_u8x16(load_half(even)), weights));
            sums[1] = i32x4_add(sums[1], i32x4_dot_i16x8(u16x8_extend_low_u8x16(load_half(odd)), weights));
        }
        // The sum of each row's four numbers is that of two.
        i32x4_add(
            i32x4_shuffle::<0, 4, 1, 5>(sums[0], sums[1]),
            i32x4_shuffle::<2, 6, 3, 7>(sums[0], sums[1]),
        )
    };
    for (x, (weights, starts)) in taps.weights.chunks(pairs * 2).zip(taps.starts.chunks(2)).enumerate() {
        let first = sums(starts[0], &weights[..pairs]);
        let second = sums(*starts.last().unwrap_or(&0), &weights[weights.len() - pairs..]);
        // Even and odd row of the first pixel, then of the second.
        let sum = i32x4_add(i64x2_shuffle::<0, 2>(first, second), i64x2_shuffle::<1, 3>(first, second));
        let sum = i32x4_shr(i32x4_add(sum, half(taps.shift)), taps.shift);
        let both = u16x8_min(u16x8_narrow_i32x4(sum, sum), u16x8_splat(255));
        store_u32(both, &mut out[x * 2..]);
    }
}

pub(crate) fn along_y(ring: &[u32], places: &[usize], weights: &[u32], shift: u32, out: &mut [u8]) {
    let mut chunks = out.chunks_exact_mut(16);
    let mut x = 0;
    for out in &mut chunks {
        store(columns(ring, places, weights, shift, x), out);
        x += 16;
    }
    let rest = chunks.into_remainder();
    if !rest.is_empty() {
        let mut bytes = [0; 16];
        store(columns(ring, places, weights, shift, x), &mut bytes);
        rest.copy_from_slice(&bytes[..rest.len()]);
    }
}

/// The values of 16 columns from `x` on.
#[inline(always)]
fn columns(ring: &[u32], places: &[usize], weights: &[u32], shift: u32, x: usize) -> v128 {
    let mut sums = [half(shift); 4];
    for (&place, &weights) in places.iter().zip(weights) {
        let row = &ring[place + x..][..16];
        let weights = u32x4_splat(weights);
        for (sum, row) in sums.iter_mut().zip(row.chunks_exact(4)) {
            *sum = i32x4_add(*sum, i32x4_dot_i16x8(load_u32(row), weights));
        }
    }
    let [a, b, c, d] = sums.map(|sum| i32x4_shr(sum, shift));
    u8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d))
}
