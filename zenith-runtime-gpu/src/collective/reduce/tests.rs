//! Both twins against plain arithmetic, at every length around the blocks' edges and wherever the result lies.
#![expect(unsafe_code, reason = "calls the loops")]

use half::{bf16, f16};
use proptest::prelude::*;

use super::*;

const OPS: [ReduceOp; 4] = [ReduceOp::Sum, ReduceOp::Min, ReduceOp::Max, ReduceOp::Avg];

/// Runs one twin with the result on top of source `onto`; the result and its copy.
fn run(
    twin: unsafe fn(&Fold<'_>) -> bool,
    dtype: Dtype,
    op: ReduceOp,
    parts: &[Vec<u8>],
    onto: usize,
) -> Vec<u8> {
    let mut parts = parts.to_vec();
    let bytes = parts[0].len();
    let mut copy = vec![0xa5; bytes + 1];
    let result = parts[onto].as_mut_ptr();
    let sources: Vec<*const u8> = parts.iter().map(|part| part.as_ptr()).collect();
    let divisor = sources.len();
    // SAFETY: all vectors live and are `bytes` long; the copy is a vector of its own.
    let ran = unsafe {
        twin(&Fold { dtype, op, divisor, sources: &sources, result, copy: Some(copy.as_mut_ptr()), bytes })
    };
    assert!(ran, "this processor has no AVX2, so its twin cannot be compared");
    assert_eq!(copy.pop(), Some(0xa5), "nothing is written behind the end");
    assert_eq!(parts[onto], copy, "the result and its copy are equal");
    copy
}

unsafe fn portable_twin(fold: &Fold<'_>) -> bool {
    // SAFETY: the caller's promise, handed on.
    unsafe { portable::fold(fold) };
    true
}

fn reference(dtype: Dtype, op: ReduceOp, parts: &[Vec<u8>]) -> Vec<u8> {
    macro_rules! plain {
        ($type:ty, $add:expr, $divide:expr) => {{
            let read = |part: &Vec<u8>, i: usize| {
                <$type>::from_ne_bytes(
                    part[i * size_of::<$type>()..][..size_of::<$type>()].try_into().unwrap(),
                )
            };
            (0..parts[0].len() / size_of::<$type>())
                .flat_map(|i| {
                    let mut values = parts.iter().map(|part| read(part, i));
                    let first = values.next().unwrap();
                    let value = values.fold(first, |a, b| match op {
                        ReduceOp::Sum | ReduceOp::Avg => $add(a, b),
                        ReduceOp::Min => {
                            if b < a {
                                b
                            } else {
                                a
                            }
                        }
                        ReduceOp::Max => {
                            if b > a {
                                b
                            } else {
                                a
                            }
                        }
                    });
                    let value: $type = if op == ReduceOp::Avg { $divide(value) } else { value };
                    value.to_ne_bytes()
                })
                .collect()
        }};
    }
    macro_rules! wide {
        ($type:ty) => {{
            (0..parts[0].len() / 2)
                .flat_map(|i| {
                    let mut values = parts
                        .iter()
                        .map(|part| <$type>::from_ne_bytes(part[i * 2..][..2].try_into().unwrap()).to_f32());
                    let first = values.next().unwrap();
                    let value = values.fold(first, |a, b| match op {
                        ReduceOp::Sum | ReduceOp::Avg => a + b,
                        ReduceOp::Min => a.min(b),
                        ReduceOp::Max => a.max(b),
                    });
                    let value = if op == ReduceOp::Avg { value / parts.len() as f32 } else { value };
                    <$type>::from_f32(value).to_ne_bytes()
                })
                .collect()
        }};
    }
    match dtype {
        Dtype::F32 => plain!(f32, |a: f32, b: f32| a + b, |v: f32| v / parts.len() as f32),
        Dtype::F64 => plain!(f64, |a: f64, b: f64| a + b, |v: f64| v / parts.len() as f64),
        Dtype::I32 => plain!(i32, i32::wrapping_add, |v| v),
        Dtype::I64 => plain!(i64, i64::wrapping_add, |v| v),
        Dtype::U8 => plain!(u8, u8::wrapping_add, |v| v),
        Dtype::F16 => wide!(f16),
        Dtype::Bf16 => wide!(bf16),
    }
}

/// Finite values of a type, small enough that their sums are too.
fn values(dtype: Dtype, seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..count)
        .flat_map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let wide = (state >> 33) as i32;
            let real = f64::from(wide) / 65_536.0;
            match dtype {
                Dtype::F32 => (real as f32).to_ne_bytes().to_vec(),
                Dtype::F64 => real.to_ne_bytes().to_vec(),
                Dtype::I32 => wide.wrapping_mul(7).to_ne_bytes().to_vec(),
                Dtype::I64 => state.to_ne_bytes().to_vec(),
                Dtype::F16 => f16::from_f64(real / 16.0).to_ne_bytes().to_vec(),
                Dtype::Bf16 => bf16::from_f64(real).to_ne_bytes().to_vec(),
                Dtype::U8 => vec![wide as u8],
            }
        })
        .collect()
}

proptest! {
    #[test]
    fn both_twins_are_plain_arithmetic(count in 0usize..700, sources in 1usize..6, onto in 0usize..6, seed: u64) {
        for dtype in Dtype::ALL {
            for op in OPS.into_iter().filter(|op| *op != ReduceOp::Avg || dtype.is_float()) {
                let parts: Vec<_> = (0..sources).map(|s| values(dtype, seed ^ (s as u64) << 40, count)).collect();
                let expected = reference(dtype, op, &parts);
                let onto = onto % sources;
                prop_assert_eq!(&run(portable_twin, dtype, op, &parts, onto), &expected, "{} {:?}", dtype, op);
                if cfg!(target_arch = "x86_64") {
                    prop_assert_eq!(&run(avx2::fold, dtype, op, &parts, onto), &expected, "{} {:?}", dtype, op);
                }
            }
        }
    }
}

#[test]
fn a_nan_anywhere_is_a_nan_in_the_least_and_the_greatest() {
    for op in [ReduceOp::Min, ReduceOp::Max] {
        for place in 0..3 {
            let mut values = [1.0f32, 2.0, 3.0];
            values[place] = f32::NAN;
            let parts: Vec<Vec<u8>> = values.iter().map(|value| value.to_ne_bytes().to_vec()).collect();
            let result = run(portable_twin, Dtype::F32, op, &parts, 0);
            assert!(f32::from_ne_bytes(result.try_into().unwrap()).is_nan(), "{op:?} with NaN at {place}");
        }
    }
}
