//! Whether a candidate computes what it should, and writes only where it should: a run on a poisoned output, and the
//! comparison with a reference. Guard zones are in [`Guarded`]; how the reference is computed is the workload's business.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::kernel::candidate::{Failure, Judgement, Prepared, Rejection, Workload};

pub use super::guarded::Guarded;

/// The bytes of a guard zone: more than a row of vector registers and the largest tile's edge reach.
pub const GUARD_BYTES: usize = 4096;
/// The bytes that an output's address is a multiple of.
pub const OUTPUT_ALIGNMENT: usize = 64;

/// How far a result may be from the reference: `absolute + relative * |reference|`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// A part of the reference's value.
    pub relative: f64,
    /// Whatever the reference's value.
    pub absolute: f64,
}

/// A type of elements that outputs are made of.
pub trait Element: Copy + Send + Sync + 'static {
    /// What no computation gives: a NaN of odd bits.
    const POISON: Self;

    /// Its bits.
    fn bits(self) -> u64;

    /// Its value.
    fn value(self) -> f64;

    /// The nearest element to a value.
    fn nearest(value: f64) -> Self;
}

impl Element for f32 {
    const POISON: Self = Self::from_bits(0x7fd5_aa5d);

    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }

    fn value(self) -> f64 {
        f64::from(self)
    }

    fn nearest(value: f64) -> Self {
        value as Self
    }
}

impl Element for f64 {
    const POISON: Self = Self::from_bits(0x7ffd_5aa5_5aa5_d55a);

    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn value(self) -> f64 {
        self
    }

    fn nearest(value: f64) -> Self {
        value
    }
}

/// Compares a result with the reference, element by element; NaN equals NaN, infinities equal themselves.
///
/// # Errors
/// The first place that differs by more than the tolerance, how many do, and the greatest difference.
pub fn compare(
    result: impl IntoIterator<Item = f64>,
    reference: impl IntoIterator<Item = f64>,
    tolerance: Tolerance,
) -> Result<(), Rejection> {
    let (mut result, mut reference) = (result.into_iter(), reference.into_iter());
    let mut first = None;
    let (mut wrong, mut place) = (0_usize, 0_usize);
    let mut most: f64 = 0.0;
    loop {
        let (got, want) = match (result.next(), reference.next()) {
            (None, None) => break,
            (Some(got), Some(want)) => (got, want),
            (got, _) => {
                let which = if got.is_some() { "more" } else { "fewer" };
                return Err(Rejection::Wrong {
                    detail: format!("{which} elements than the reference's {place}"),
                });
            }
        };
        let same = got == want
            || (got.is_nan() && want.is_nan())
            || (want.is_finite()
                && (got - want).abs() <= tolerance.absolute + tolerance.relative * want.abs());
        if !same {
            wrong += 1;
            most = most.max(if got.is_nan() { f64::INFINITY } else { (got - want).abs() });
            first.get_or_insert((place, got, want));
        }
        place += 1;
    }
    let Some((at, got, want)) = first else { return Ok(()) };
    let left = if got.is_nan() { " (not written, or not a number)" } else { "" };
    Err(Rejection::Wrong {
        detail: format!(
            "element {at} is {got}{left} instead of {want}; {wrong} of {place} differ, by up to {most:e}"
        ),
    })
}

/// Runs a candidate once on a poisoned output and has the result judged. A panic is its failure.
///
/// # Errors
/// [`Judgement::Candidate`] when it is to be rejected, [`Judgement::Workload`] when it could not be judged.
pub fn admit(prepared: &mut dyn Prepared, workload: &mut dyn Workload) -> Result<(), Judgement> {
    workload.poison().map_err(Judgement::Workload)?;
    guarded(|| prepared.run(1).and_then(|()| prepared.settle()))
        .map_err(|failure| Judgement::Candidate(Rejection::Failed { detail: failure.0 }))?;
    workload.judge()
}

/// Calls a candidate's code so that a panic is its failure and nothing else.
///
/// # Errors
/// What the code returned, or the panic's message.
pub fn guarded<T>(code: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    // What a panicking candidate has left half done is not used again: it is rejected, and the output is poisoned anew.
    catch_unwind(AssertUnwindSafe(code))
        .unwrap_or_else(|panic| Err(Failure(format!("it panicked: {}", said(&*panic)))))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXACT: Tolerance = Tolerance { relative: 0.0, absolute: 0.0 };

    #[test]
    fn differences_are_told() {
        let Err(Rejection::Wrong { detail }) = compare([1.0, f64::NAN, 3.5], [1.0, 2.0, 3.0], EXACT) else {
            panic!()
        };
        assert!(
            detail.starts_with("element 1 is NaN (not written, or not a number) instead of 2"),
            "{detail}"
        );
        assert!(detail.contains("2 of 3 differ"), "{detail}");
        assert!(compare([1.0], [1.0, 2.0], EXACT).is_err());
        assert!(compare([1.0, 2.0], [1.0], EXACT).is_err());
        assert_eq!(compare([f64::NAN, f64::INFINITY], [f64::NAN, f64::INFINITY], EXACT), Ok(()));
        assert!(
            compare([f64::NEG_INFINITY], [f64::INFINITY], Tolerance { relative: 1.0, absolute: 1.0 })
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn the_tolerance_is_kept(want in -1e6..1e6_f64, off in -2.0..2.0_f64, relative in 1e-6..1e-1_f64) {
            let allowed = relative * want.abs();
            prop_assume!((off.abs() - 1.0).abs() > 1e-3 && allowed > 1e-6);
            let same = compare([want + off * allowed], [want], Tolerance { relative, absolute: 0.0 });
            prop_assert_eq!(same.is_ok(), off.abs() < 1.0);
        }
    }

    #[test]
    fn a_panic_is_a_failure() {
        let failure = guarded::<()>(|| panic!("out of {}", "luck")).unwrap_err();
        assert_eq!(failure.0, "it panicked: out of luck");
    }
}
