//! The inner loops for x86-64 processors with AVX2 and FMA. They give the bytes of [`super::portable`]; nothing here
//! decides when they run, a value of [`Avx2`] is the proof that they may.
#![expect(
    unsafe_code,
    reason = "vector instructions and unchecked loads; lengths are asserted by the callers in mod.rs"
)]

use std::arch::x86_64::*;

use super::{Affine, Avx2, PairRow};
use crate::transform::filter::Taps;

pub(super) fn horizontal(_: Avx2, even: &[u8], odd: &[u8], taps: &Taps, out: &mut PairRow) {
    // SAFETY: `Avx2` proves the instructions; `Kernels::horizontal` has asserted that both rows have `reach` bytes, that
    // `out` has three runs of `starts.len()` (a multiple of 8) and that there are `pairs` weights for each start.
    unsafe {
        match taps.pairs {
            1 => horizontal_of::<1>(even, odd, taps, out),
            2 => horizontal_of::<2>(even, odd, taps, out),
            3 => horizontal_of::<3>(even, odd, taps, out),
            4 => horizontal_of::<4>(even, odd, taps, out),
            5 => horizontal_of::<5>(even, odd, taps, out),
            6 => horizontal_of::<6>(even, odd, taps, out),
            _ => horizontal_of::<0>(even, odd, taps, out),
        }
    }
}

/// `PAIRS` is `taps.pairs`, or 0 for any.
///
/// # Safety
/// As [`horizontal`] says.
#[target_feature(enable = "avx2,fma")]
unsafe fn horizontal_of<const PAIRS: usize>(even: &[u8], odd: &[u8], taps: &Taps, out: &mut PairRow) {
    let pairs = if PAIRS == 0 { taps.pairs } else { PAIRS };
    let width = taps.starts.len();
    let half = _mm256_set1_epi32(1 << (taps.shift - 1));
    let shift = _mm_cvtsi32_si128(taps.shift as i32);
    let most = _mm256_set1_epi16(255);
    // Two neighbouring RGB pixels become 16-bit (r r', g g', b b', -); the odd chunk is 6 bytes further on.
    let near =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    let far = _mm256_broadcastsi128_si256(_mm_setr_epi8(
        6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
    ));
    let (even, odd) = (even.as_ptr(), odd.as_ptr());
    let (starts, weights) = (taps.starts.as_ptr(), taps.weights.as_ptr().cast::<i32>());
    let out = out.as_mut_ptr();
    // Even row's r, g, b, - sums in the low half, odd row's in the high half.
    let pixel = |x: usize| {
        // SAFETY: x < width; the last 16-byte load of a pixel begins (ceil(pairs / 2) - 1) * 12 bytes after its start
        // and so ends within `reach`; weights are read as `pairs` whole pairs.
        unsafe {
            let at = *starts.add(x) as usize * 3;
            let (even, odd) = (even.add(at), odd.add(at));
            let weights = weights.add(x * pairs);
            let mut sum = half;
            let mut pair = 0;
            while pair < pairs {
                let offset = pair / 2 * 12;
                let four = _mm256_inserti128_si256::<1>(
                    _mm256_castsi128_si256(_mm_loadu_si128(even.add(offset).cast())),
                    _mm_loadu_si128(odd.add(offset).cast()),
                );
                let weight = _mm256_set1_epi32(weights.add(pair).read_unaligned());
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(four, near), weight));
                if pair + 1 < pairs {
                    let weight = _mm256_set1_epi32(weights.add(pair + 1).read_unaligned());
                    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_shuffle_epi8(four, far), weight));
                }
                pair += 2;
            }
            _mm256_sra_epi32(sum, shift)
        }
    };
    let mut x = 0;
    while x < width {
        let first = _mm256_min_epu16(_mm256_packus_epi32(pixel(x), pixel(x + 1)), most);
        let second = _mm256_min_epu16(_mm256_packus_epi32(pixel(x + 2), pixel(x + 3)), most);
        let even = _mm256_permute2x128_si256::<0x20>(first, second);
        let odd = _mm256_permute2x128_si256::<0x31>(first, second);
        let low = _mm256_unpacklo_epi16(even, odd);
        let high = _mm256_unpackhi_epi16(even, odd);
        let red_green = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpacklo_epi32(low, high));
        let blue = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_unpackhi_epi32(low, high));
        // SAFETY: x + 4 <= width, and `out` has three runs of `width`.
        unsafe {
            _mm_storeu_si128(out.add(x).cast(), _mm256_castsi256_si128(red_green));
            _mm_storeu_si128(out.add(width + x).cast(), _mm256_extracti128_si256::<1>(red_green));
            _mm_storeu_si128(out.add(2 * width + x).cast(), _mm256_castsi256_si128(blue));
        }
        x += 4;
    }
}

/// The resampled values of 8 * N columns from column `x` on, as 32-bit numbers within 0..=255.
///
/// # Safety
/// Each row has `x + 8 * N` pairs in `ring`, and there are two weights for each row.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn columns<const N: usize>(
    ring: *const u32,
    rows: &[usize],
    weights: *const i32,
    shift: u32,
    x: usize,
) -> [__m256i; N] {
    let mut sums = [_mm256_set1_epi32(1 << (shift - 1)); N];
    for (k, &row) in rows.iter().enumerate() {
        // SAFETY: as the function's own condition says.
        unsafe {
            let weight = _mm256_set1_epi32(weights.add(k).read_unaligned());
            let from = ring.add(row + x);
            for (n, sum) in sums.iter_mut().enumerate() {
                let pairs = _mm256_loadu_si256(from.add(n * 8).cast());
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, weight));
            }
        }
    }
    let shift = _mm_cvtsi32_si128(shift as i32);
    let most = _mm256_set1_epi32(255);
    for sum in &mut sums {
        *sum = _mm256_max_epi32(_mm256_sra_epi32(*sum, shift), _mm256_setzero_si256());
        *sum = _mm256_min_epi32(*sum, most);
    }
    sums
}

pub(super) fn vertical_u8(
    _: Avx2,
    ring: &[u32],
    rows: &[usize],
    weights: &[i16],
    shift: u32,
    out: &mut [u8],
) {
    // SAFETY: `Avx2` proves the instructions; `Kernels::vertical_u8` has asserted the lengths.
    unsafe { vertical_u8_of(ring, rows, weights, shift, out) }
}

/// # Safety
/// Each row has `out.len()` pairs, rounded up to 8, in `ring`, and there are two weights for each row.
#[target_feature(enable = "avx2,fma")]
unsafe fn vertical_u8_of(ring: &[u32], rows: &[usize], weights: &[i16], shift: u32, out: &mut [u8]) {
    let (ring, weights) = (ring.as_ptr(), weights.as_ptr().cast::<i32>());
    let narrow = |sums: [__m256i; 1]| {
        let words = _mm256_packus_epi32(sums[0], sums[0]);
        let bytes = _mm256_packus_epi16(words, words);
        _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes))
    };
    let mut x = 0;
    while x + 32 <= out.len() {
        // SAFETY: x + 32 columns exist in the rows and in `out`.
        unsafe {
            let [a, b, c, d] = columns::<4>(ring, rows, weights, shift, x);
            let bytes = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
            let bytes = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
            _mm256_storeu_si256(out.as_mut_ptr().add(x).cast(), bytes);
        }
        x += 32;
    }
    for chunk in out[x..].chunks_mut(8) {
        let mut bytes = [0u8; 16];
        // SAFETY: the rows have columns up to the next multiple of 8; `bytes` has 16.
        unsafe {
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), narrow(columns::<1>(ring, rows, weights, shift, x)));
        };
        chunk.copy_from_slice(&bytes[..chunk.len()]);
        x += 8;
    }
}

pub(super) fn vertical_f32(
    _: Avx2,
    ring: &[u32],
    rows: &[usize],
    weights: &[i16],
    shift: u32,
    affine: &Affine,
    out: &mut [u8],
) {
    // SAFETY: `Avx2` proves the instructions; `Kernels::vertical_f32` has asserted the lengths.
    unsafe { vertical_f32_of(ring, rows, weights, shift, affine, out) }
}

/// # Safety
/// Each row has `out.len() / 4` pairs, rounded up to 8, in `ring`, and there are two weights for each row.
#[target_feature(enable = "avx2,fma")]
unsafe fn vertical_f32_of(
    ring: &[u32],
    rows: &[usize],
    weights: &[i16],
    shift: u32,
    affine: &Affine,
    out: &mut [u8],
) {
    let (ring, weights) = (ring.as_ptr(), weights.as_ptr().cast::<i32>());
    let (scale, bias) = (_mm256_set1_ps(affine.scale), _mm256_set1_ps(affine.bias));
    let width = out.len() / 4;
    let mut x = 0;
    while x + 32 <= width {
        // SAFETY: x + 32 columns exist in the rows, and as many floats in `out`.
        unsafe {
            let sums = columns::<4>(ring, rows, weights, shift, x);
            for (n, sum) in sums.into_iter().enumerate() {
                let floats = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, bias);
                _mm256_storeu_ps(out.as_mut_ptr().add((x + n * 8) * 4).cast(), floats);
            }
        }
        x += 32;
    }
    for chunk in out[x * 4..].chunks_mut(32) {
        let mut bytes = [0u8; 32];
        // SAFETY: the rows have columns up to the next multiple of 8; `bytes` has room for 8 floats.
        unsafe {
            let [sum] = columns::<1>(ring, rows, weights, shift, x);
            let floats = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, bias);
            _mm256_storeu_ps(bytes.as_mut_ptr().cast(), floats);
        }
        chunk.copy_from_slice(&bytes[..chunk.len()]);
        x += 8;
    }
}

pub(super) fn rgb_to_planes(_: Avx2, rgb: &[u8], affine: &[Affine; 3], planes: [&mut [u8]; 3]) {
    // SAFETY: `Avx2` proves the instructions; `Kernels::rgb_to_planes` has asserted the lengths.
    unsafe { rgb_to_planes_of(rgb, affine, planes) }
}

/// # Safety
/// Each plane has four bytes for each three of `rgb`.
#[target_feature(enable = "avx2,fma")]
unsafe fn rgb_to_planes_of(rgb: &[u8], affine: &[Affine; 3], planes: [&mut [u8]; 3]) {
    let width = rgb.len() / 3;
    // Byte c of pixels 0..4 of a 12-byte run, widened to 32 bits.
    let pick = |c: i8| {
        _mm256_broadcastsi128_si256(_mm_setr_epi8(
            c,
            -1,
            -1,
            -1,
            c + 3,
            -1,
            -1,
            -1,
            c + 6,
            -1,
            -1,
            -1,
            c + 9,
            -1,
            -1,
            -1,
        ))
    };
    let picks = [pick(0), pick(1), pick(2)];
    let mut x = 0;
    // The second load ends 28 bytes after the first begins.
    while x * 3 + 28 <= rgb.len() {
        // SAFETY: the loads end within `rgb`; x + 8 <= width, so the stores end within the planes.
        unsafe {
            let from = rgb.as_ptr().add(x * 3);
            let pixels = _mm256_inserti128_si256::<1>(
                _mm256_castsi128_si256(_mm_loadu_si128(from.cast())),
                _mm_loadu_si128(from.add(12).cast()),
            );
            for c in 0..3 {
                let values = _mm256_cvtepi32_ps(_mm256_shuffle_epi8(pixels, picks[c]));
                let (scale, bias) = (_mm256_set1_ps(affine[c].scale), _mm256_set1_ps(affine[c].bias));
                let floats = _mm256_fmadd_ps(values, scale, bias);
                _mm256_storeu_ps(planes[c].as_mut_ptr().add(x * 4).cast(), floats);
            }
        }
        x += 8;
    }
    debug_assert!(x <= width);
    let [r, g, b] = planes;
    super::portable::rgb_to_planes(
        &rgb[x * 3..],
        affine,
        [&mut r[x * 4..], &mut g[x * 4..], &mut b[x * 4..]],
    );
}
