//! Conversion of contiguous runs of numbers from one element type to another, as NumPy's `astype` does it (float to
//! integer truncates and saturates; anything to bool is "not zero"). Knows no rows.
#![expect(unsafe_code, reason = "runs are typed by a runtime tag and may be unaligned")]

use half::f16;

use crate::DType;

/// Converts `n` elements at `source` into `n` elements at `target`. Both may be unaligned; they must not overlap.
pub(crate) type Convert = unsafe fn(source: *const u8, target: *mut u8, n: usize);

/// One byte that is a truth value.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Flag(pub(crate) u8);

/// Conversion of one number.
pub(crate) trait Cast<T> {
    fn cast(self) -> T;
}

macro_rules! casts {
    ($($from:ty),*) => { $(
        casts!(@to $from => u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);
        impl Cast<Flag> for $from {
            #[inline(always)]
            fn cast(self) -> Flag { Flag(u8::from(self != 0 as $from)) }
        }
        impl Cast<$from> for Flag {
            #[inline(always)]
            fn cast(self) -> $from { u8::from(self.0 != 0) as $from }
        }
        impl Cast<$from> for f16 {
            #[inline(always)]
            fn cast(self) -> $from { self.to_f32() as $from }
        }
    )* };
    (@to $from:ty => $($to:ty),*) => { $(
        impl Cast<$to> for $from {
            #[inline(always)]
            fn cast(self) -> $to { self as $to }
        }
    )* };
}
casts!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

macro_rules! to_half {
    ($($from:ty),*) => { $(
        impl Cast<f16> for $from {
            #[inline(always)]
            fn cast(self) -> f16 { f16::from_f64(self as f64) }
        }
    )* };
}
to_half!(u8, u16, u32, u64, i8, i16, i32, i64, f64);

impl Cast<f16> for f32 {
    #[inline(always)]
    fn cast(self) -> f16 {
        f16::from_f32(self)
    }
}
impl Cast<f16> for f16 {
    #[inline(always)]
    fn cast(self) -> f16 {
        self
    }
}
impl Cast<Flag> for f16 {
    #[inline(always)]
    fn cast(self) -> Flag {
        Flag(u8::from(self.to_f32() != 0.0))
    }
}
impl Cast<f16> for Flag {
    #[inline(always)]
    fn cast(self) -> f16 {
        if self.0 == 0 { f16::ZERO } else { f16::ONE }
    }
}
impl Cast<Flag> for Flag {
    #[inline(always)]
    fn cast(self) -> Flag {
        Flag(u8::from(self.0 != 0))
    }
}

#[inline(always)]
unsafe fn body<S: Cast<T> + Copy, T>(source: *const u8, target: *mut u8, n: usize) {
    let (source, target) = (source.cast::<S>(), target.cast::<T>());
    for i in 0..n {
        // SAFETY: the caller promises n elements on both sides; unaligned access is used.
        unsafe {
            target.add(i).write_unaligned(source.add(i).read_unaligned().cast());
        }
    }
}

unsafe fn plain<S: Cast<T> + Copy, T>(source: *const u8, target: *mut u8, n: usize) {
    // SAFETY: the caller's promise is passed on.
    unsafe { body::<S, T>(source, target, n) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn avx2<S: Cast<T> + Copy, T>(source: *const u8, target: *mut u8, n: usize) {
    // SAFETY: the caller's promise is passed on.
    unsafe { body::<S, T>(source, target, n) }
}

fn pick<S: Cast<T> + Copy, T>() -> Convert {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        return avx2::<S, T>;
    }
    plain::<S, T>
}

/// The conversion between two element types; between equal ones it copies (and makes truth values 0 or 1).
pub(crate) fn convert(from: DType, to: DType) -> Convert {
    fn towards<S>(to: DType) -> Convert
    where
        S: Copy + Cast<Flag> + Cast<u8> + Cast<u16> + Cast<u32> + Cast<u64>,
        S: Cast<i8> + Cast<i16> + Cast<i32> + Cast<i64> + Cast<f16> + Cast<f32> + Cast<f64>,
    {
        match to {
            DType::Bool => pick::<S, Flag>(),
            DType::UInt8 => pick::<S, u8>(),
            DType::UInt16 => pick::<S, u16>(),
            DType::UInt32 => pick::<S, u32>(),
            DType::UInt64 => pick::<S, u64>(),
            DType::Int8 => pick::<S, i8>(),
            DType::Int16 => pick::<S, i16>(),
            DType::Int32 => pick::<S, i32>(),
            DType::Int64 => pick::<S, i64>(),
            DType::Float16 => pick::<S, f16>(),
            DType::Float32 => pick::<S, f32>(),
            DType::Float64 => pick::<S, f64>(),
        }
    }
    match from {
        DType::Bool => towards::<Flag>(to),
        DType::UInt8 => towards::<u8>(to),
        DType::UInt16 => towards::<u16>(to),
        DType::UInt32 => towards::<u32>(to),
        DType::UInt64 => towards::<u64>(to),
        DType::Int8 => towards::<i8>(to),
        DType::Int16 => towards::<i16>(to),
        DType::Int32 => towards::<i32>(to),
        DType::Int64 => towards::<i64>(to),
        DType::Float16 => towards::<f16>(to),
        DType::Float32 => towards::<f32>(to),
        DType::Float64 => towards::<f64>(to),
    }
}

/// Converts all of `source` into `target`, which has room for exactly as many numbers.
///
/// # Panics
/// When the two are not as many whole numbers.
pub(crate) fn convert_run(from: DType, source: &[u8], to: DType, target: &mut [u8]) {
    let n = source.len() / from.size();
    assert!(source.len() == n * from.size() && target.len() == n * to.size(), "runs of unequal length");
    // SAFETY: both slices are `n` numbers long, and one is borrowed exclusively.
    unsafe { convert(from, to)(source.as_ptr(), target.as_mut_ptr(), n) };
}

/// Whether `dtype` is a floating-point type (which has a NaN to stand for a null).
pub(crate) const fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::Float16 | DType::Float32 | DType::Float64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<const N: usize, const M: usize>(from: DType, to: DType, source: [u8; N], n: usize) -> [u8; M] {
        let mut target = [0u8; M];
        assert!(n * from.size() <= N && n * to.size() <= M);
        // SAFETY: the lengths were checked.
        unsafe { convert(from, to)(source.as_ptr(), target.as_mut_ptr(), n) };
        target
    }

    #[test]
    fn numbers_keep_their_value() {
        for from in DType::ALL {
            for to in DType::ALL {
                let five: [u8; 8] = run(DType::UInt8, from, [5], 1);
                let there: [u8; 8] = run(from, to, five, 1);
                let back: [u8; 8] = run(to, DType::Float64, there, 1);
                let expected = if from == DType::Bool || to == DType::Bool { 1.0 } else { 5.0 };
                assert_eq!(f64::from_le_bytes(back), expected, "{from} -> {to}");
            }
        }
    }

    #[test]
    fn floats_truncate_towards_zero_and_saturate() {
        let out: [u8; 1] = run(DType::Float32, DType::UInt8, (-3.7f32).to_le_bytes(), 1);
        assert_eq!(out, [0]);
        let out: [u8; 2] = run(DType::Float64, DType::Int16, (-3.7f64).to_le_bytes(), 1);
        assert_eq!(i16::from_le_bytes(out), -3);
    }
}
