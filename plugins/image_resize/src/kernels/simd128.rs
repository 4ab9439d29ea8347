//! The inner loops in vectors of 128 bits. They give the bytes of the portable ones: sums of products are exact, whatever
//! their order. Each variant of a loop stays a function of its own: hosts compile many short functions sooner than a long one.

use core::arch::wasm32::*;

use zenith_plugin_guest::simd::{load, load_half, load_u32, store, store_half, store_u32};

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
        4 => along_x_of::<CHANNELS, 4>(even, odd, taps, out),
        _ => along_x_of::<CHANNELS, 0>(even, odd, taps, out),
    }
}

/// `FOURS` is the number of four taps, or 0 for any: the host looks in at every turn of a loop, so a loop that is not there
/// is worth its code.
#[inline(never)]
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
        let mut sums = [half(taps.shift); 2];
        for four in 0..fours {
            let near = u32x4_splat(weights[four * 2]);
            let far = u32x4_splat(weights[four * 2 + 1]);
            for (sum, row) in sums.iter_mut().zip([even, odd]) {
                let pixels = by_channel::<CHANNELS>(load(&row[four * 4 * CHANNELS..]));
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(u16x8_extend_low_u8x16(pixels), near));
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(u16x8_extend_high_u8x16(pixels), far));
            }
        }
        // Where there are three channels, the next pixel overwrites the fourth.
        store_u32(row_pairs(sums[0], sums[1], taps.shift), &mut out[x * CHANNELS..]);
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

/// Output pixels of one channel that a turn makes.
const TURN: usize = 4;

pub(crate) fn along_x_single(even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    match taps.taps / 8 {
        1 => along_x_single_of::<1>(even, odd, taps, out),
        _ => along_x_single_of::<0>(even, odd, taps, out),
    }
}

/// `EIGHTS` is the number of eight taps, or 0 for any.
#[inline(never)]
fn along_x_single_of<const EIGHTS: usize>(even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    let eights = if EIGHTS == 0 { taps.taps / 8 } else { EIGHTS };
    let sums = |start: usize, weights: &[u32]| {
        let (even, odd) = (&even[start..][..eights * 8], &odd[start..][..eights * 8]);
        let mut sums = [u32x4_splat(0); 2];
        for eight in 0..eights {
            let weights = load_u32(&weights[eight * 4..]);
            for (sum, row) in sums.iter_mut().zip([even, odd]) {
                let pixels = u16x8_extend_low_u8x16(load_half(&row[eight * 8..]));
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(pixels, weights));
            }
        }
        // Four numbers of each row become two.
        i32x4_add(
            i32x4_shuffle::<0, 4, 1, 5>(sums[0], sums[1]),
            i32x4_shuffle::<2, 6, 3, 7>(sums[0], sums[1]),
        )
    };
    let weights = taps.weights.chunks(TURN * eights * 4);
    for (turn, (weights, starts)) in weights.zip(taps.starts.chunks(TURN)).enumerate() {
        let out = &mut out[turn * TURN..][..TURN];
        for at in [0, 2] {
            let two = [at, at + 1].map(|at| {
                let from = at.min(starts.len() - 1);
                sums(starts[from], &weights[from * eights * 4..][..eights * 4])
            });
            // Even and odd row of the first pixel, then of the second.
            let sum = i32x4_add(i64x2_shuffle::<0, 2>(two[0], two[1]), i64x2_shuffle::<1, 3>(two[0], two[1]));
            let sum = i32x4_shr(i32x4_add(sum, half(taps.shift)), taps.shift);
            let both = u16x8_min(u16x8_narrow_i32x4(sum, sum), u16x8_splat(255));
            store_half(both, &mut out[at..]);
        }
    }
}

pub(crate) fn along_y(ring: &[u32], places: &[usize], weights: &[u32], shift: u32, out: &mut [u8]) {
    match places.len() {
        1 => along_y_of::<1>(ring, places, weights, shift, out),
        2 => along_y_of::<2>(ring, places, weights, shift, out),
        3 => along_y_of::<3>(ring, places, weights, shift, out),
        4 => along_y_of::<4>(ring, places, weights, shift, out),
        _ => along_y_of::<0>(ring, places, weights, shift, out),
    }
}

/// `PAIRS` is the number of row pairs, or 0 for any.
#[inline(never)]
fn along_y_of<const PAIRS: usize>(
    ring: &[u32],
    places: &[usize],
    weights: &[u32],
    shift: u32,
    out: &mut [u8],
) {
    let pairs = if PAIRS == 0 { places.len() } else { PAIRS };
    let (places, weights) = (&places[..pairs], &weights[..pairs]);
    // The values of 16 columns from `x` on.
    let columns = |x: usize| {
        let mut sums = [half(shift); 4];
        for pair in 0..pairs {
            let row = &ring[places[pair] + x..][..16];
            let weights = u32x4_splat(weights[pair]);
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum = i32x4_add(*sum, i32x4_dot_i16x8(load_u32(&row[at * 4..]), weights));
            }
        }
        let [a, b, c, d] = sums.map(|sum| i32x4_shr(sum, shift));
        u8x16_narrow_i16x8(i16x8_narrow_i32x4(a, b), i16x8_narrow_i32x4(c, d))
    };
    for (turn, out) in out.chunks_mut(16).enumerate() {
        let values = columns(turn * 16);
        if out.len() == 16 {
            store(values, out);
        } else {
            let mut bytes = [0; 16];
            store(values, &mut bytes);
            out.copy_from_slice(&bytes[..out.len()]);
        }
    }
}
