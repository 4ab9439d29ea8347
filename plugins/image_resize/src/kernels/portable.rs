//! The inner loops in plain Rust: they define the result, and natively they are the ones that run.

use crate::taps::Taps;

/// The two weights in a number.
fn pair(weights: u32) -> [i32; 2] {
    [i32::from(weights as i16), i32::from((weights >> 16) as i16)]
}

fn rounded(sum: i32, shift: u32) -> u32 {
    ((sum + (1 << (shift - 1))) >> shift).min(255) as u32
}

pub(crate) fn along_x<const CHANNELS: usize>(even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    let weights = taps.weights.chunks_exact(taps.pairs());
    for ((out, weights), start) in out.chunks_exact_mut(CHANNELS).zip(weights).zip(&taps.starts) {
        let mut sums = [[0; CHANNELS]; 2];
        for (row, sums) in [even, odd].into_iter().zip(&mut sums) {
            let pixels = row[start * CHANNELS..].chunks_exact(CHANNELS);
            for (pixel, weight) in pixels.zip(weights.iter().copied().flat_map(pair)) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(value) * weight;
                }
            }
        }
        for ((out, even), odd) in out.iter_mut().zip(sums[0]).zip(sums[1]) {
            *out = rounded(even, taps.shift) | rounded(odd, taps.shift) << 16;
        }
    }
}

pub(crate) fn along_x_single(even: &[u8], odd: &[u8], taps: &Taps, out: &mut [u32]) {
    along_x::<1>(even, odd, taps, out);
}

pub(crate) fn along_y(ring: &[u32], places: &[usize], weights: &[u32], shift: u32, out: &mut [u8]) {
    for (x, out) in out.iter_mut().enumerate() {
        let mut sum = 0;
        for (&place, &weights) in places.iter().zip(weights) {
            let [above, below] = pair(weights);
            let both = ring[place + x];
            sum += (both & 0xffff) as i32 * above + (both >> 16) as i32 * below;
        }
        *out = rounded(sum, shift) as u8;
    }
}
