//! The loops. A block is read from all sources before its result is written, so a result may lie where a source does.
#![expect(unsafe_code, reason = "reads and writes elements by pointers")]

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::{Dtype, Fold};
use crate::collective::call::ReduceOp;

/// Bytes that are combined in registers at a time.
const BLOCK: usize = 128;

/// Elements of 16 bits that are widened at a time.
const WIDENED: usize = 256;

/// Combines. Inlined, so that it is compiled for the processor of whoever calls it.
///
/// # Safety
/// As for [`super::fold`].
#[inline(always)]
pub(super) unsafe fn fold(fold: &Fold<'_>) {
    // SAFETY: each arm hands the caller's promise on, with the type that `dtype` names.
    unsafe {
        match fold.dtype {
            Dtype::F32 => by_op::<f32>(fold),
            Dtype::F64 => by_op::<f64>(fold),
            Dtype::I32 => by_op::<i32>(fold),
            Dtype::I64 => by_op::<i64>(fold),
            Dtype::U8 => by_op::<u8>(fold),
            Dtype::F16 => widened::<f16>(fold),
            Dtype::Bf16 => widened::<bf16>(fold),
        }
    }
}

/// An element that is combined as it is.
trait Element: Copy + Default {
    fn add(self, other: Self) -> Self;
    fn least(self, other: Self) -> Self;
    fn greatest(self, other: Self) -> Self;
    fn divide(self, by: usize) -> Self;
}

macro_rules! float {
    ($($type:ty)*) => {$(
        impl Element for $type {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn least(self, other: Self) -> Self {
                // A NaN on either side wins.
                if self < other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn greatest(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn divide(self, by: usize) -> Self {
                self / by as $type
            }
        }
    )*};
}

macro_rules! integer {
    ($($type:ty)*) => {$(
        impl Element for $type {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn least(self, other: Self) -> Self {
                self.min(other)
            }
            #[inline(always)]
            fn greatest(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline(always)]
            fn divide(self, _by: usize) -> Self {
                unreachable!("averages of integers are refused before anything is sent")
            }
        }
    )*};
}

float!(f32 f64);
integer!(i32 i64 u8);

#[inline(always)]
unsafe fn by_op<T: Element>(fold: &Fold<'_>) {
    let divisor = fold.divisor;
    // SAFETY: the caller's promise, handed on.
    unsafe {
        match fold.op {
            ReduceOp::Min => by_count::<T>(fold, T::least, |value| value),
            ReduceOp::Max => by_count::<T>(fold, T::greatest, |value| value),
            ReduceOp::Avg if divisor > 1 => by_count::<T>(fold, T::add, move |sum| sum.divide(divisor)),
            ReduceOp::Sum | ReduceOp::Avg => by_count::<T>(fold, T::add, |value| value),
        }
    }
}

/// Two sources are the usual case and worth a loop whose length is known.
#[inline(always)]
unsafe fn by_count<T: Element>(fold: &Fold<'_>, op: impl Fn(T, T) -> T + Copy, end: impl Fn(T) -> T + Copy) {
    // SAFETY: the caller's promise, handed on.
    unsafe {
        match (fold.sources, fold.copy) {
            (&[first, second], Some(copy)) => blocks::<T>(fold, &[first, second], Some(copy), op, end),
            (&[first, second], None) => blocks::<T>(fold, &[first, second], None, op, end),
            (sources, copy) => blocks::<T>(fold, sources, copy, op, end),
        }
    }
}

#[inline(always)]
unsafe fn blocks<T: Element>(
    fold: &Fold<'_>,
    sources: &[*const u8],
    copy: Option<*mut u8>,
    op: impl Fn(T, T) -> T + Copy,
    end: impl Fn(T) -> T + Copy,
) {
    let whole = fold.bytes - fold.bytes % BLOCK;
    // SAFETY: every access lies within `bytes` of a pointer that the caller vouches for; none needs alignment.
    unsafe {
        match size_of::<T>() {
            1 => steps::<T, BLOCK>(fold, sources, copy, 0..whole, op, end),
            4 => steps::<T, { BLOCK / 4 }>(fold, sources, copy, 0..whole, op, end),
            _ => steps::<T, { BLOCK / 8 }>(fold, sources, copy, 0..whole, op, end),
        }
        steps::<T, 1>(fold, sources, copy, whole..fold.bytes, op, end);
    }
}

#[inline(always)]
unsafe fn steps<T: Element, const N: usize>(
    fold: &Fold<'_>,
    sources: &[*const u8],
    copy: Option<*mut u8>,
    range: std::ops::Range<usize>,
    op: impl Fn(T, T) -> T,
    end: impl Fn(T) -> T,
) {
    let mut at = range.start;
    while at < range.end {
        // SAFETY: `at` and the `N` elements behind it lie within the range, which lies within `bytes`.
        unsafe {
            let mut value: [T; N] = sources[0].add(at).cast::<[T; N]>().read_unaligned();
            for source in &sources[1..] {
                let other: [T; N] = source.add(at).cast::<[T; N]>().read_unaligned();
                for lane in 0..N {
                    value[lane] = op(value[lane], other[lane]);
                }
            }
            for lane in &mut value {
                *lane = end(*lane);
            }
            fold.result.add(at).cast::<[T; N]>().write_unaligned(value);
            if let Some(copy) = copy {
                copy.add(at).cast::<[T; N]>().write_unaligned(value);
            }
        }
        at += N * size_of::<T>();
    }
}

/// An element of 16 bits.
trait Narrow: Copy + Default {
    fn widen(from: &[Self], to: &mut [f32]);
    fn narrow(from: &[f32], to: &mut [Self]);
}

macro_rules! narrow {
    ($($type:ty)*) => {$(
        impl Narrow for $type {
            fn widen(from: &[Self], to: &mut [f32]) {
                from.convert_to_f32_slice(to);
            }
            fn narrow(from: &[f32], to: &mut [Self]) {
                to.convert_from_f32_slice(from);
            }
        }
    )*};
}

narrow!(f16 bf16);

#[inline(always)]
unsafe fn widened<T: Narrow>(fold: &Fold<'_>) {
    let op: fn(f32, f32) -> f32 = match fold.op {
        ReduceOp::Min => f32::least,
        ReduceOp::Max => f32::greatest,
        ReduceOp::Sum | ReduceOp::Avg => f32::add,
    };
    let divisor = if fold.op == ReduceOp::Avg { fold.divisor } else { 1 };
    let mut narrow = [T::default(); WIDENED];
    let (mut value, mut other) = ([0f32; WIDENED], [0f32; WIDENED]);
    let mut at = 0;
    while at < fold.bytes {
        let bytes = (fold.bytes - at).min(WIDENED * size_of::<T>());
        let count = bytes / size_of::<T>();
        for (index, source) in fold.sources.iter().enumerate() {
            // SAFETY: `at + bytes` is at most `fold.bytes`; `narrow` is ours and holds as many.
            unsafe { source.add(at).copy_to_nonoverlapping(narrow.as_mut_ptr().cast(), bytes) };
            if index == 0 {
                T::widen(&narrow[..count], &mut value[..count]);
                continue;
            }
            T::widen(&narrow[..count], &mut other[..count]);
            for (value, other) in value[..count].iter_mut().zip(&other[..count]) {
                *value = op(*value, *other);
            }
        }
        if divisor > 1 {
            for value in &mut value[..count] {
                *value /= divisor as f32;
            }
        }
        T::narrow(&value[..count], &mut narrow[..count]);
        for target in [Some(fold.result), fold.copy].into_iter().flatten() {
            // SAFETY: as above; the targets can be written.
            unsafe { target.add(at).copy_from_nonoverlapping(narrow.as_ptr().cast(), bytes) };
        }
        at += bytes;
    }
}
