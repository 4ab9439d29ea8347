//! The kernels for x86-64 machines with AVX2 and the bit instructions that came with it. Each gives exactly what its
//! portable twin gives.
#![expect(
    unsafe_code,
    reason = "vector loads and stores, and calls that are sound only after the machine was asked"
)]

use std::arch::x86_64::*;

use super::bands::Bands;
use super::block::{Block, BlockError};
use super::error::JpegError;
use super::idct::Steps;
use super::kernels::Kernels;
use super::scan::{Cursor, McuBlock};
use super::sequential::{self, Stage};
use super::{color, upsample};

/// The kernels, where this machine can run them.
pub(super) fn kernels() -> Option<Kernels> {
    let able = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe");
    able.then_some(Kernels { skip_run, decode_run, idct, flat: super::idct::flat, wide, tall, both, ycc })
}

// The functions of the next block are reached only through the table that `kernels` gives after it has asked the machine.

fn skip_run(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    count: usize,
) -> Result<Result<(), BlockError>, JpegError> {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe")]
    fn compiled(
        cursor: &mut Cursor<'_, '_>,
        blocks: &[McuBlock<'_>],
        count: usize,
    ) -> Result<Result<(), BlockError>, JpegError> {
        sequential::skip_run(cursor, blocks, count)
    }
    // SAFETY: `kernels` saw all these features.
    unsafe { compiled(cursor, blocks, count) }
}

fn decode_run(
    cursor: &mut Cursor<'_, '_>,
    blocks: &[McuBlock<'_>],
    stage: &Stage<'_>,
    place: (usize, usize, usize),
    bands: &mut Bands,
) -> Result<Result<(), BlockError>, JpegError> {
    #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe")]
    fn compiled(
        cursor: &mut Cursor<'_, '_>,
        blocks: &[McuBlock<'_>],
        stage: &Stage<'_>,
        place: (usize, usize, usize),
        bands: &mut Bands,
    ) -> Result<Result<(), BlockError>, JpegError> {
        sequential::decode_run(cursor, blocks, stage, place, bands)
    }
    // SAFETY: `kernels` saw all these features.
    unsafe { compiled(cursor, blocks, stage, place, bands) }
}

fn idct(block: &mut Block, steps: &Steps, out: &mut [u8], stride: usize) {
    // SAFETY: `kernels` saw AVX2.
    unsafe { idct_avx2(block, steps, out, stride) }
}

fn wide(input: &[u8], out: &mut [u8]) {
    // SAFETY: `kernels` saw AVX2.
    unsafe { wide_avx2(input, out) }
}

fn tall(near: &[u8], far: &[u8], bias: u16, out: &mut [u8]) {
    #[target_feature(enable = "avx2")]
    fn compiled(near: &[u8], far: &[u8], bias: u16, out: &mut [u8]) {
        upsample::tall(near, far, bias, out);
    }
    // SAFETY: `kernels` saw AVX2.
    unsafe { compiled(near, far, bias, out) }
}

fn both(near: &[u8], far: &[u8], out: &mut [u8]) {
    // SAFETY: `kernels` saw AVX2.
    unsafe { both_avx2(near, far, out) }
}

fn ycc(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    // SAFETY: `kernels` saw AVX2.
    unsafe { ycc_avx2(y, cb, cr, out) }
}

/// A pair of factors for `_mm256_madd_epi16`: `a` for the even, `b` for the odd places.
const fn pair(a: i16, b: i16) -> i32 {
    (a as u16 as u32 | (b as u16 as u32) << 16) as i32
}

/// One dimension for eight columns. The inputs hold coefficients (0, 4), (1, 5), (2, 6), (3, 7) of each side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn transform<const SHIFT: i32>(i04: __m256i, i15: __m256i, i26: __m256i, i37: __m256i) -> [__m256i; 4] {
    let dot = |v: __m256i, a: i16, b: i16| _mm256_madd_epi16(v, _mm256_set1_epi32(pair(a, b)));
    let round = _mm256_set1_epi32(1 << (SHIFT - 1));
    let even0 = _mm256_add_epi32(dot(i04, 8192, 8192), round);
    let even1 = _mm256_add_epi32(dot(i04, 8192, -8192), round);
    let even2 = dot(i26, 4433, -10704);
    let even3 = dot(i26, 10703, 4433);
    let a = [
        _mm256_add_epi32(even0, even3),
        _mm256_add_epi32(even1, even2),
        _mm256_sub_epi32(even1, even2),
        _mm256_sub_epi32(even0, even3),
    ];
    let b = [
        _mm256_add_epi32(dot(i15, 11363, 6437), dot(i37, 9633, 2260)),
        _mm256_add_epi32(dot(i15, 9633, -11362), dot(i37, -2259, -6436)),
        _mm256_add_epi32(dot(i15, 6437, 2261), dot(i37, -11362, 9633)),
        _mm256_add_epi32(dot(i15, 2260, 9633), dot(i37, -6436, -11363)),
    ];
    let plus = |k: usize| _mm256_srai_epi32::<SHIFT>(_mm256_add_epi32(a[k], b[k]));
    let minus = |k: usize| _mm256_srai_epi32::<SHIFT>(_mm256_sub_epi32(a[k], b[k]));
    [
        _mm256_packs_epi32(plus(0), plus(1)),
        _mm256_packs_epi32(plus(2), plus(3)),
        _mm256_packs_epi32(minus(3), minus(2)),
        _mm256_packs_epi32(minus(1), minus(0)),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn idct_avx2(block: &mut Block, steps: &Steps, out: &mut [u8], stride: usize) {
    assert!(stride >= 8 && out.len() >= 7 * stride + 8, "eight rows of samples");
    let coefficients = block.as_mut_ptr().cast::<__m256i>();
    let steps = steps.as_ptr().cast::<__m256i>();
    // SAFETY: four vectors of 16 values are the 64 of `steps` and the first 64 of `block`.
    let load = |i: usize| unsafe {
        let value = _mm256_loadu_si256(coefficients.add(i));
        _mm256_storeu_si256(coefficients.add(i), _mm256_setzero_si256());
        _mm256_mullo_epi16(value, _mm256_loadu_si256(steps.add(i)))
    };
    // Each result holds two rows of four columns per lane: columns 0..=3 in the lower, 4..=7 in the upper lane.
    let [r01, r23, r45, r67] = transform::<11>(load(0), load(1), load(2), load(3));
    // Transposed: four columns in each lane, eight rows of each.
    let (a, b) = (_mm256_unpacklo_epi16(r01, r23), _mm256_unpackhi_epi16(r01, r23));
    let (c, d) = (_mm256_unpacklo_epi16(r45, r67), _mm256_unpackhi_epi16(r45, r67));
    let (c01, c23) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
    let (d01, d23) = (_mm256_unpacklo_epi16(c, d), _mm256_unpackhi_epi16(c, d));
    let interleave = _mm256_setr_epi8(
        0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7,
        14, 15,
    );
    // A lane each of columns c and c + 4 becomes pairs of them, row by row.
    let pairs =
        |both: __m256i| _mm256_shuffle_epi8(_mm256_permute4x64_epi64::<0b11_01_10_00>(both), interleave);
    let [c01, c23, c45, c67] = transform::<18>(
        pairs(_mm256_unpacklo_epi64(c01, d01)),
        pairs(_mm256_unpackhi_epi64(c01, d01)),
        pairs(_mm256_unpacklo_epi64(c23, d23)),
        pairs(_mm256_unpackhi_epi64(c23, d23)),
    );
    // Now rows run along the lanes: 0..=3 in the lower, 4..=7 in the upper; bytes are four columns of four rows.
    let bias = _mm256_set1_epi8(-128);
    let turn = _mm256_setr_epi8(
        0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7,
        11, 15,
    );
    let left = _mm256_shuffle_epi8(_mm256_xor_si256(_mm256_packs_epi16(c01, c23), bias), turn);
    let right = _mm256_shuffle_epi8(_mm256_xor_si256(_mm256_packs_epi16(c45, c67), bias), turn);
    let (rows0145, rows2367) = (_mm256_unpacklo_epi32(left, right), _mm256_unpackhi_epi32(left, right));
    let quarters = [
        _mm256_castsi256_si128(rows0145),
        _mm256_castsi256_si128(rows2367),
        _mm256_extracti128_si256::<1>(rows0145),
        _mm256_extracti128_si256::<1>(rows2367),
    ];
    let out = out.as_mut_ptr();
    for (i, two) in quarters.into_iter().enumerate() {
        // SAFETY: rows 2i and 2i + 1 are at most 7, and `out` holds 8 bytes of row 7 (asserted above).
        unsafe {
            _mm_storel_epi64(out.add(2 * i * stride).cast(), two);
            _mm_storeh_pd(out.add((2 * i + 1) * stride).cast(), _mm_castsi128_pd(two));
        }
    }
}

/// Sixteen bytes from `at` on, widened.
#[inline]
#[target_feature(enable = "avx2")]
fn sixteen(bytes: &[u8], at: usize) -> __m256i {
    assert!(at + 16 <= bytes.len(), "sixteen bytes");
    // SAFETY: asserted above.
    _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(bytes.as_ptr().add(at).cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn wide_avx2(input: &[u8], out: &mut [u8]) {
    let count = (input.len().max(2) - 2).min(out.len() / 2);
    let vectors = |at: usize, out: &mut [u8]| {
        let three = _mm256_mullo_epi16(sixteen(input, at + 1), _mm256_set1_epi16(3));
        let left = _mm256_add_epi16(sixteen(input, at), _mm256_set1_epi16(1));
        let right = _mm256_add_epi16(sixteen(input, at + 2), _mm256_set1_epi16(2));
        let even = _mm256_srli_epi16::<2>(_mm256_add_epi16(three, left));
        let odd = _mm256_srli_epi16::<2>(_mm256_add_epi16(three, right));
        store(out, 2 * at, _mm256_or_si256(even, _mm256_slli_epi16::<8>(odd)));
    };
    if count < 16 {
        upsample::wide(input, out);
        return;
    }
    for at in (0..count - 15).step_by(16) {
        vectors(at, out);
    }
    vectors(count - 16, out);
}

#[inline]
#[target_feature(enable = "avx2")]
fn both_avx2(near: &[u8], far: &[u8], out: &mut [u8]) {
    let count = (near.len().min(far.len()).max(2) - 2).min(out.len() / 2);
    let three = _mm256_set1_epi16(3);
    let column = |at: usize| _mm256_add_epi16(_mm256_mullo_epi16(sixteen(near, at), three), sixteen(far, at));
    let vectors = |at: usize, out: &mut [u8]| {
        let here = _mm256_mullo_epi16(column(at + 1), three);
        let left = _mm256_add_epi16(column(at), _mm256_set1_epi16(8));
        let right = _mm256_add_epi16(column(at + 2), _mm256_set1_epi16(7));
        let even = _mm256_srli_epi16::<4>(_mm256_add_epi16(here, left));
        let odd = _mm256_srli_epi16::<4>(_mm256_add_epi16(here, right));
        store(out, 2 * at, _mm256_or_si256(even, _mm256_slli_epi16::<8>(odd)));
    };
    if count < 16 {
        upsample::both(near, far, out);
        return;
    }
    for at in (0..count - 15).step_by(16) {
        vectors(at, out);
    }
    vectors(count - 16, out);
}

/// Thirty-two bytes to `at`.
#[inline]
#[target_feature(enable = "avx2")]
fn store(out: &mut [u8], at: usize, value: __m256i) {
    assert!(at + 32 <= out.len(), "thirty-two bytes");
    // SAFETY: asserted above.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(at).cast(), value) };
}

#[inline]
#[target_feature(enable = "avx2")]
fn ycc_avx2(y: &[u8], cb: &[u8], cr: &[u8], out: &mut [u8]) {
    let count = y.len().min(cb.len()).min(cr.len()).min(out.len() / 3);
    if count < 32 {
        color::ycc(y, cb, cr, out);
        return;
    }
    for at in (0..count - 31).step_by(32) {
        ycc_32(y, cb, cr, at, out);
    }
    ycc_32(y, cb, cr, count - 32, out);
}

/// Sixteen pixels: R, G and B as 16-bit values, not yet clamped.
#[inline]
#[target_feature(enable = "avx2")]
fn ycc_16(y: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
    let center = _mm256_set1_epi16(128);
    let (cb, cr) = (_mm256_sub_epi16(cb, center), _mm256_sub_epi16(cr, center));
    let one = _mm256_set1_epi16(1);
    // Half of the rounded product of twice the value: the factors' fractions in 16 bits.
    let scaled = |x: __m256i, factor: i16| {
        let product = _mm256_mulhi_epi16(_mm256_add_epi16(x, x), _mm256_set1_epi16(factor));
        _mm256_srai_epi16::<1>(_mm256_add_epi16(product, one))
    };
    // 1.402 = 1 + 26345 / 65536; 1.772 = 2 - 14942 / 65536; 0.71414 = 1 - 18734 / 65536.
    let red = _mm256_add_epi16(_mm256_add_epi16(y, cr), scaled(cr, 26345));
    let blue = _mm256_add_epi16(_mm256_add_epi16(y, _mm256_add_epi16(cb, cb)), scaled(cb, -14942));
    let factors = _mm256_set1_epi32(pair(-22554, 18734));
    let half = _mm256_set1_epi32(1 << 15);
    let part =
        |pairs: __m256i| _mm256_srai_epi32::<16>(_mm256_add_epi32(_mm256_madd_epi16(pairs, factors), half));
    let green = _mm256_packs_epi32(part(_mm256_unpacklo_epi16(cb, cr)), part(_mm256_unpackhi_epi16(cb, cr)));
    let green = _mm256_add_epi16(_mm256_sub_epi16(y, cr), green);
    [red, green, blue]
}

#[inline]
#[target_feature(enable = "avx2")]
fn ycc_32(y: &[u8], cb: &[u8], cr: &[u8], at: usize, out: &mut [u8]) {
    assert!(3 * at + 96 <= out.len(), "thirty-two pixels");
    let low = ycc_16(sixteen(y, at), sixteen(cb, at), sixteen(cr, at));
    let high = ycc_16(sixteen(y, at + 16), sixteen(cb, at + 16), sixteen(cr, at + 16));
    // Lanes: pixels 0..=7 and 16..=23 below, 8..=15 and 24..=31 above; brought into order.
    let plane = |i: usize| _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi16(low[i], high[i]));
    let (r, g, b) = (plane(0), plane(1), plane(2));
    // In each lane of 16 pixels the bytes of a colour go to every third place of 48.
    let spread = |plane: __m256i, masks: &[[i8; 16]; 3]| {
        masks.map(|mask| {
            // SAFETY: the mask has the sixteen bytes that are loaded.
            let mask = unsafe { _mm_loadu_si128(mask.as_ptr().cast()) };
            _mm256_shuffle_epi8(plane, _mm256_broadcastsi128_si256(mask))
        })
    };
    let (r, g, b) = (spread(r, &MASKS[0]), spread(g, &MASKS[1]), spread(b, &MASKS[2]));
    let merged: [__m256i; 3] = std::array::from_fn(|i| _mm256_or_si256(_mm256_or_si256(r[i], g[i]), b[i]));
    // The lower lanes are the first 48 bytes, the upper lanes the rest.
    let first = _mm256_permute2x128_si256::<0x20>(merged[0], merged[1]);
    let second = _mm256_permute2x128_si256::<0x30>(merged[2], merged[0]);
    let third = _mm256_permute2x128_si256::<0x31>(merged[1], merged[2]);
    store(out, 3 * at, first);
    store(out, 3 * at + 32, second);
    store(out, 3 * at + 64, third);
}

/// For each colour and each 16 of 48 bytes: which pixel's byte comes where, -1 for another colour's place.
const MASKS: [[[i8; 16]; 3]; 3] = {
    let mut masks = [[[-1; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        masks[at % 3][at / 16][at % 16] = (at / 3) as i8;
        at += 1;
    }
    masks
};
