//! The hot path: copies rows that lie anywhere in memory into consecutive slots. Rows some places ahead are
//! prefetched, because each is a cache miss (and a fresh one for every line of it). Knows pointers and sizes only;
//! who owns the memory and which row is where, is `rows`' matter.
#![expect(
    unsafe_code,
    reason = "one bounds check per batch instead of one per row, and prefetch instructions"
)]

use super::convert::Convert;

/// Bytes of rows to have in flight: 64 lines, about as many misses as a core keeps open towards memory.
/// Twice as much is no faster (Zen 4, rows of 400 bytes).
const IN_FLIGHT: usize = 4 << 10;
/// Rows to have in flight at most, for rows of a few bytes.
const MOST_ROWS: usize = 32;
/// Lines of one row to prefetch at most; the hardware follows a longer row by itself.
const MOST_LINES: usize = 32;

/// How one row becomes one slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RowCopy {
    /// Same bytes.
    Bytes(usize),
    /// `elements` numbers of another type; `source` and `target` are the bytes of a row on each side.
    Convert { with: Convert, elements: usize, source: usize, target: usize },
}

impl RowCopy {
    /// Bytes of a row at its source.
    pub(crate) const fn source(&self) -> usize {
        match self {
            RowCopy::Bytes(bytes) => *bytes,
            RowCopy::Convert { source, .. } => *source,
        }
    }

    /// Bytes of a row in its slot.
    pub(crate) const fn target(&self) -> usize {
        match self {
            RowCopy::Bytes(bytes) => *bytes,
            RowCopy::Convert { target, .. } => *target,
        }
    }
}

/// Copies the rows at `address(0..n)` into the `n` slots from `out`.
///
/// # Safety
/// `address(i)` is readable for `copy.source()` bytes for every i < n, `out` is writable for `n * copy.target()`
/// bytes, and they do not overlap.
pub(crate) unsafe fn gather(copy: RowCopy, n: usize, address: impl Fn(usize) -> *const u8, out: *mut u8) {
    // SAFETY: every arm passes the caller's promise on; fixed-size arms are only taken for rows of that size, and the
    // AVX arm only where the CPU has it.
    unsafe {
        match copy {
            RowCopy::Bytes(0) => {}
            RowCopy::Bytes(1) => walk(1, n, address, out, 1, |s, t| copy_fixed::<1>(s, t)),
            RowCopy::Bytes(2) => walk(2, n, address, out, 2, |s, t| copy_fixed::<2>(s, t)),
            RowCopy::Bytes(4) => walk(4, n, address, out, 4, |s, t| copy_fixed::<4>(s, t)),
            RowCopy::Bytes(8) => walk(8, n, address, out, 8, |s, t| copy_fixed::<8>(s, t)),
            RowCopy::Bytes(16) => walk(16, n, address, out, 16, |s, t| copy_fixed::<16>(s, t)),
            #[cfg(target_arch = "x86_64")]
            RowCopy::Bytes(bytes)
                if (32..=AVX_MOST).contains(&bytes) && std::is_x86_feature_detected!("avx") =>
            {
                walk_avx(bytes, n, address, out);
            }
            RowCopy::Bytes(bytes) => {
                walk(bytes, n, address, out, bytes, |s, t| {
                    std::ptr::copy_nonoverlapping(s, t, bytes);
                });
            }
            RowCopy::Convert { with, elements, source, target } => {
                walk(source, n, address, out, target, |s, t| with(s, t, elements));
            }
        }
    }
}

/// Longer rows are left to the C library's memcpy, which knows the machine's best way for them.
#[cfg(target_arch = "x86_64")]
const AVX_MOST: usize = 4096;

#[inline(always)]
unsafe fn copy_fixed<const N: usize>(source: *const u8, target: *mut u8) {
    // SAFETY: the caller promises N bytes on both sides; byte arrays have no alignment.
    unsafe { target.cast::<[u8; N]>().write(source.cast::<[u8; N]>().read()) }
}

/// Rows to prefetch ahead for rows of `bytes`.
const fn distance(bytes: usize) -> usize {
    let rows = IN_FLIGHT / if bytes == 0 { 1 } else { bytes };
    if rows == 0 {
        1
    } else if rows > MOST_ROWS {
        MOST_ROWS
    } else {
        rows
    }
}

#[inline(always)]
unsafe fn walk(
    source: usize,
    n: usize,
    address: impl Fn(usize) -> *const u8,
    out: *mut u8,
    target: usize,
    copy: impl Fn(*const u8, *mut u8),
) {
    let ahead = distance(source);
    for i in 0..ahead.min(n) {
        prefetch(address(i), source);
    }
    for i in 0..n {
        if i + ahead < n {
            prefetch(address(i + ahead), source);
        }
        // SAFETY: slot i of n, inside what the caller promised.
        copy(address(i), unsafe { out.add(i * target) });
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn walk_avx(bytes: usize, n: usize, address: impl Fn(usize) -> *const u8, out: *mut u8) {
    use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};
    // SAFETY: bytes >= 32, so the last, overlapping, vector of a row starts inside the row; all others end before it.
    unsafe {
        walk(bytes, n, address, out, bytes, |source, target| {
            let mut at = 0;
            while at + 64 <= bytes {
                let low = _mm256_loadu_si256(source.add(at).cast::<__m256i>());
                let high = _mm256_loadu_si256(source.add(at + 32).cast::<__m256i>());
                _mm256_storeu_si256(target.add(at).cast::<__m256i>(), low);
                _mm256_storeu_si256(target.add(at + 32).cast::<__m256i>(), high);
                at += 64;
            }
            if at + 32 < bytes {
                let vector = _mm256_loadu_si256(source.add(at).cast::<__m256i>());
                _mm256_storeu_si256(target.add(at).cast::<__m256i>(), vector);
            }
            let last = bytes - 32;
            let vector = _mm256_loadu_si256(source.add(last).cast::<__m256i>());
            _mm256_storeu_si256(target.add(last).cast::<__m256i>(), vector);
        });
    }
}

/// Asks for the cache lines of a row. Never faults, whatever the address.
#[inline(always)]
fn prefetch(row: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = (row as usize) & !63;
        let end = (row as usize + bytes).min(start + 64 * MOST_LINES);
        let mut line = start;
        while line < end {
            // SAFETY: a prefetch is a hint and does not access memory architecturally.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line as *const i8) };
            line += 64;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_of_any_size_arrive_whole_and_nothing_else_is_touched(
            bytes in prop_oneof![0usize..200, 390usize..410, 4090usize..4100],
            ids in proptest::collection::vec(0usize..50, 0..70),
        ) {
            let table: Vec<u8> = (0..50 * bytes).map(|i| (i * 31 % 251) as u8).collect();
            let mut out = vec![0xEEu8; ids.len() * bytes + 64];
            // SAFETY: 50 rows of `bytes` bytes, ids below 50, and room for all slots.
            unsafe {
                gather(RowCopy::Bytes(bytes), ids.len(), |i| table.as_ptr().add(ids[i] * bytes), out.as_mut_ptr());
            }
            for (i, id) in ids.iter().enumerate() {
                prop_assert_eq!(&out[i * bytes..(i + 1) * bytes], &table[id * bytes..(id + 1) * bytes]);
            }
            prop_assert!(out[ids.len() * bytes..].iter().all(|b| *b == 0xEE));
        }
    }
}
