//! The inverse transform of one block, portable: the accurate integer method with 13-bit constants, and its reduced
//! forms that give 4x4, 2x2 or 1x1 samples. Bit-exact with the reference library; `idct_avx2` is the fast twin.

use super::block::{Block, place};

/// Dequantisation steps in the order of [`place`].
pub(super) type Steps = [i16; 64];

/// Writes a block's samples into the rows of `out` (`stride` apart, starting at its first byte) and leaves the
/// coefficients zero.
pub(super) type Idct = fn(&mut Block, &Steps, &mut [u8], usize);

const CONST_BITS: u32 = 13;
const PASS1_BITS: u32 = 2;

/// Rounds off `shift` bits.
fn descale(value: i32, shift: u32) -> i32 {
    value.wrapping_add(1 << (shift - 1)) >> shift
}

fn saturate(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

fn sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

fn dequantised(block: &Block, steps: &Steps, row: usize, column: usize) -> i32 {
    let at = place(row, column);
    i32::from(block[at].wrapping_mul(steps[at]))
}

fn sum<const N: usize>(terms: [(i32, i32); N]) -> i32 {
    terms.iter().fold(0, |sum, &(a, b)| sum.wrapping_add(a.wrapping_mul(b)))
}

/// One dimension of eight values, without the final rounding.
fn transform(i: [i32; 8]) -> [i32; 8] {
    let even0 = i[0].wrapping_add(i[4]).wrapping_mul(1 << CONST_BITS);
    let even1 = i[0].wrapping_sub(i[4]).wrapping_mul(1 << CONST_BITS);
    let even2 = sum([(i[2], 4433), (i[6], -10704)]);
    let even3 = sum([(i[2], 10703), (i[6], 4433)]);
    let a = [
        even0.wrapping_add(even3),
        even1.wrapping_add(even2),
        even1.wrapping_sub(even2),
        even0.wrapping_sub(even3),
    ];
    let b = [
        sum([(i[1], 11363), (i[5], 6437), (i[3], 9633), (i[7], 2260)]),
        sum([(i[1], 9633), (i[5], -11362), (i[3], -2259), (i[7], -6436)]),
        sum([(i[1], 6437), (i[5], 2261), (i[3], -11362), (i[7], 9633)]),
        sum([(i[1], 2260), (i[5], 9633), (i[3], -6436), (i[7], -11363)]),
    ];
    let mut out = [0; 8];
    for k in 0..4 {
        out[k] = a[k].wrapping_add(b[k]);
        out[7 - k] = a[k].wrapping_sub(b[k]);
    }
    out
}

/// 8x8 samples.
pub(super) fn full(block: &mut Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let mut work = [[0_i32; 8]; 8];
    for column in 0..8 {
        let values = transform(std::array::from_fn(|row| dequantised(block, steps, row, column)));
        for (row, value) in work.iter_mut().zip(values) {
            row[column] = saturate(descale(value, CONST_BITS - PASS1_BITS));
        }
    }
    for (row, line) in work.iter().zip(out.chunks_mut(stride)) {
        let values = transform(*row);
        for (pixel, value) in line.iter_mut().zip(values) {
            *pixel = sample(descale(value, CONST_BITS + PASS1_BITS + 3));
        }
    }
    block[..64].fill(0);
}

/// 8x8 samples of a block that has nothing but a DC coefficient.
pub(super) fn flat(block: &mut Block, steps: &Steps, out: &mut [u8], stride: usize) {
    let dc = i32::from(block[0].wrapping_mul(steps[0]));
    let value = sample(descale(saturate(dc << PASS1_BITS), PASS1_BITS + 3));
    block[0] = 0;
    for line in out.chunks_mut(stride).take(8) {
        line[..8].fill(value);
    }
}

/// 4x4 samples: columns 0..=3 and 5..=7 of the coefficients matter.
pub(super) fn half(block: &mut Block, steps: &Steps, out: &mut [u8], stride: usize) {
    fn transform(i: [i32; 8]) -> [i32; 4] {
        let even = i[0].wrapping_mul(1 << (CONST_BITS + 1));
        let cross = sum([(i[2], 15137), (i[6], -6270)]);
        let inner = sum([(i[7], -1730), (i[5], 11893), (i[3], -17799), (i[1], 8697)]);
        let outer = sum([(i[7], -4176), (i[5], -4926), (i[3], 7373), (i[1], 20995)]);
        let (sum, difference) = (even.wrapping_add(cross), even.wrapping_sub(cross));
        [
            sum.wrapping_add(outer),
            difference.wrapping_add(inner),
            difference.wrapping_sub(inner),
            sum.wrapping_sub(outer),
        ]
    }
    let mut work = [[0_i32; 8]; 4];
    for column in [0, 1, 2, 3, 5, 6, 7] {
        let values = transform(std::array::from_fn(|row| dequantised(block, steps, row, column)));
        for (row, value) in work.iter_mut().zip(values) {
            row[column] = saturate(descale(value, CONST_BITS - PASS1_BITS + 1));
        }
    }
    for (row, line) in work.iter().zip(out.chunks_mut(stride)) {
        let values = transform(*row);
        for (pixel, value) in line.iter_mut().zip(values) {
            *pixel = sample(descale(value, CONST_BITS + PASS1_BITS + 3 + 1));
        }
    }
    block[..64].fill(0);
}

/// 2x2 samples: the DC and the odd coefficients matter.
pub(super) fn quarter(block: &mut Block, steps: &Steps, out: &mut [u8], stride: usize) {
    fn transform(i: [i32; 8]) -> [i32; 2] {
        let even = i[0].wrapping_mul(1 << (CONST_BITS + 2));
        let odd = sum([(i[7], -5906), (i[5], 6967), (i[3], -10426), (i[1], 29692)]);
        [even.wrapping_add(odd), even.wrapping_sub(odd)]
    }
    let mut work = [[0_i32; 8]; 2];
    for column in [0, 1, 3, 5, 7] {
        let values = transform(std::array::from_fn(|row| dequantised(block, steps, row, column)));
        for (row, value) in work.iter_mut().zip(values) {
            row[column] = descale(value, CONST_BITS - PASS1_BITS + 2);
        }
    }
    for (row, line) in work.iter().zip(out.chunks_mut(stride)) {
        let values = transform(*row);
        for (pixel, value) in line.iter_mut().zip(values) {
            *pixel = sample(descale(value, CONST_BITS + PASS1_BITS + 3 + 2));
        }
    }
    block[..64].fill(0);
}

/// One sample: the mean.
pub(super) fn eighth(block: &mut Block, steps: &Steps, out: &mut [u8], _stride: usize) {
    let dc = i32::from(block[0].wrapping_mul(steps[0]));
    out[0] = sample(descale(dc, 3));
    block[..64].fill(0);
}
