//! The portable inner loops: they define the result that every other set must give, bit for bit.

use super::{Affine, PairRow};
use crate::transform::filter::Taps;

fn finish(sum: i32, shift: u32) -> u32 {
    (sum >> shift).clamp(0, 255) as u32
}

pub(super) fn horizontal(even: &[u8], odd: &[u8], taps: &Taps, out: &mut PairRow) {
    let width = taps.starts.len();
    let half = 1i32 << (taps.shift - 1);
    for (x, weights) in taps.weights.chunks_exact(taps.pairs * 2).enumerate() {
        let start = taps.starts[x] as usize * 3;
        let mut sums = [[half; 3]; 2];
        for (row, sums) in [even, odd].into_iter().zip(&mut sums) {
            for (pixel, &weight) in row[start..].chunks_exact(3).zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * i32::from(weight);
                }
            }
        }
        for channel in 0..3 {
            out[channel * width + x] =
                finish(sums[0][channel], taps.shift) | finish(sums[1][channel], taps.shift) << 16;
        }
    }
}

/// The resampled value of one column.
fn column(ring: &[u32], rows: &[usize], weights: &[i16], shift: u32, x: usize) -> u8 {
    let mut sum = 1i32 << (shift - 1);
    for (&row, pair) in rows.iter().zip(weights.chunks_exact(2)) {
        let both = ring[row + x];
        sum += (both & 0xffff) as i32 * i32::from(pair[0]) + (both >> 16) as i32 * i32::from(pair[1]);
    }
    finish(sum, shift) as u8
}

pub(super) fn vertical_u8(ring: &[u32], rows: &[usize], weights: &[i16], shift: u32, out: &mut [u8]) {
    for (x, out) in out.iter_mut().enumerate() {
        *out = column(ring, rows, weights, shift, x);
    }
}

pub(super) fn vertical_f32(
    ring: &[u32],
    rows: &[usize],
    weights: &[i16],
    shift: u32,
    affine: &Affine,
    out: &mut [u8],
) {
    for (x, out) in out.chunks_exact_mut(4).enumerate() {
        let value = column(ring, rows, weights, shift, x);
        out.copy_from_slice(&affine.table[usize::from(value)].to_ne_bytes());
    }
}

pub(super) fn rgb_to_planes(rgb: &[u8], affine: &[Affine; 3], planes: [&mut [u8]; 3]) {
    for (channel, (affine, plane)) in affine.iter().zip(planes).enumerate() {
        for (out, pixel) in plane.chunks_exact_mut(4).zip(rgb.chunks_exact(3)) {
            out.copy_from_slice(&affine.table[usize::from(pixel[channel])].to_ne_bytes());
        }
    }
}
