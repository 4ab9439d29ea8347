//! Operands of a multiplication, made of the problem alone, and the judge of what candidates leave. Everybody who makes them gets the
//! same.
#![expect(unsafe_code, reason = "it gives the addresses of its operands to candidates")]

use std::any::Any;

use super::backend::Scalar;
use super::reference::{Dense, Reference};
use super::{FLOAT32, FLOAT64};
use crate::kernel::candidate::{Failure, Judgement, Rejection, Workload};
use crate::kernel::host::HostTensor;
use crate::kernel::key::{Layout, Name, Problem};
use crate::kernel::select::gate::{Element, Guarded};

/// The gap between rows or columns of a padded layout, in elements.
const GAP: usize = 16;
/// The most elements that operands may have together.
const MAX_ELEMENTS: u64 = 1 << 32;

/// Operands of a multiplication in the host's memory.
#[derive(Debug)]
pub struct MatmulWorkload<T> {
    a: Operand<T>,
    b: Operand<T>,
    c: Operand<T>,
    /// Of the inputs as they were made.
    digests: [u64; 2],
    /// Computed when it is first needed.
    reference: Option<Reference>,
}

#[derive(Debug)]
struct Operand<T> {
    memory: Guarded<T>,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// Operands for `problem`, of its type, sizes and layouts.
///
/// # Errors
/// When it is no multiplication, of other types, of layouts that none of these is, or too large.
pub(super) fn workload(problem: &Problem) -> Result<Box<dyn Workload>, Failure> {
    match problem.family().dtypes.first().map(Name::as_str) {
        Some(FLOAT32) => Ok(Box::new(MatmulWorkload::<f32>::new(problem)?)),
        Some(FLOAT64) => Ok(Box::new(MatmulWorkload::<f64>::new(problem)?)),
        other => {
            Err(Failure(format!("there are no operands of {other:?}: {FLOAT32} and {FLOAT64} would work")))
        }
    }
}

/// A number with all bits mixed.
pub(super) fn mix(number: u64) -> u64 {
    // The finaliser of MurmurHash3, on a sequence that has no zero.
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ (bits >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ (bits >> 33)
}

impl<T: Element> Operand<T> {
    fn new(rows: usize, cols: usize, layout: Layout) -> Result<Self, Failure> {
        let (row_stride, col_stride) = match layout {
            Layout::Rows => (cols, 1),
            Layout::PaddedRows => (cols + GAP, 1),
            Layout::Columns => (1, rows),
            Layout::PaddedColumns => (1, rows + GAP),
            Layout::Broadcast | Layout::Strided => {
                return Err(Failure(format!("there are no operands of layout {layout}")));
            }
        };
        // Gaps are behind every line but the last.
        let len =
            if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + (cols - 1) * col_stride + 1 };
        Ok(Self { memory: Guarded::new(len), rows, cols, row_stride, col_stride })
    }

    /// Fills it with values from -1 to 1.
    fn fill(&mut self, seed: u64) {
        for (place, element) in self.memory.elements_mut().iter_mut().enumerate() {
            let fraction = (mix(place as u64 ^ (seed << 48)) >> 11) as f64 / (1_u64 << 53) as f64;
            *element = T::nearest(2.0 * fraction - 1.0);
        }
    }

    fn digest(&self) -> u64 {
        self.memory
            .elements()
            .iter()
            .fold(0, |digest: u64, element| digest.rotate_left(5).wrapping_mul(31) ^ element.bits())
    }

    fn dense(&self) -> Dense {
        let elements = self.memory.elements();
        let row = |row: usize| {
            (0..self.cols).map(move |col| elements[row * self.row_stride + col * self.col_stride].value())
        };
        Dense { rows: self.rows, cols: self.cols, elements: (0..self.rows).flat_map(row).collect() }
    }

    fn tensor(&self, dtype: &Name) -> HostTensor {
        let sizes = vec![self.rows as u64, self.cols as u64];
        let strides = vec![self.row_stride as i64, self.col_stride as i64];
        // SAFETY: the memory has elements of this type at all places of these sizes and strides, initialised, each place another
        // element; it is used otherwise only by the workload's methods, and freed with the workload.
        unsafe { HostTensor::new(self.memory.address().cast(), dtype.clone(), sizes, strides) }
    }

    /// Whether the gaps between lines are as they were.
    fn check_gaps(&self) -> Result<(), Rejection> {
        let (lines, length, pitch) = if self.col_stride == 1 {
            (self.rows, self.cols, self.row_stride)
        } else {
            (self.cols, self.rows, self.col_stride)
        };
        if pitch == length {
            return Ok(());
        }
        for line in 0..lines.saturating_sub(1) {
            let gap = &self.memory.elements()[line * pitch + length..(line + 1) * pitch];
            if gap.iter().any(|element| element.bits() != T::POISON.bits()) {
                return Err(Rejection::OutOfBounds {
                    detail: format!("the gap behind line {line} of the output was changed"),
                });
            }
        }
        Ok(())
    }
}

impl<T: Scalar> MatmulWorkload<T> {
    /// Operands for `problem`.
    ///
    /// # Errors
    /// When it is no multiplication of this type, of layouts that none of these is, or too large.
    pub fn new(problem: &Problem) -> Result<Self, Failure> {
        let size = |name: &str| {
            problem.dim(name).ok_or_else(|| Failure(format!("{problem} has no dimension {name}")))
        };
        let (m, n, k) = (size("m")?, size("n")?, size("k")?);
        let all = m.saturating_mul(k).saturating_add(k.saturating_mul(n)).saturating_add(m.saturating_mul(n));
        if all > MAX_ELEMENTS {
            return Err(Failure(format!("{problem} has more than {MAX_ELEMENTS} elements")));
        }
        let &[layout_a, layout_b, layout_c] = problem.family().layouts.as_slice() else {
            return Err(Failure(format!("{problem} has not three operands")));
        };
        let [m, n, k] = [m, n, k].map(|size| size as usize);
        let mut a = Operand::new(m, k, layout_a)?;
        let mut b = Operand::new(k, n, layout_b)?;
        a.fill(1);
        b.fill(2);
        let digests = [a.digest(), b.digest()];
        Ok(Self { a, b, c: Operand::new(m, n, layout_c)?, digests, reference: None })
    }
}

impl<T: Scalar> Workload for MatmulWorkload<T> {
    fn poison(&mut self) -> Result<(), Failure> {
        self.c.memory.poison();
        Ok(())
    }

    fn judge(&mut self) -> Result<(), Judgement> {
        self.c.memory.check()?;
        self.c.check_gaps()?;
        for (operand, before, name) in [(&self.a, self.digests[0], "a"), (&self.b, self.digests[1], "b")] {
            operand.memory.check()?;
            if operand.digest() != before {
                return Err(
                    Rejection::OutOfBounds { detail: format!("the operand {name} was changed") }.into()
                );
            }
        }
        let epsilon = T::EPSILON_VALUE;
        let reference =
            self.reference.get_or_insert_with(|| Reference::new(&self.a.dense(), &self.b.dense(), epsilon));
        let (elements, rows, cols) = (self.c.memory.elements(), self.c.row_stride, self.c.col_stride);
        Ok(reference.check(|row, col| elements[row * rows + col * cols].value())?)
    }

    fn host(&mut self) -> Option<Vec<HostTensor>> {
        let dtype = Name::new(T::NAME).ok()?;
        Some([&self.a, &self.b, &self.c].map(|operand| operand.tensor(&dtype)).to_vec())
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
