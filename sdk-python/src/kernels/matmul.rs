//! The runtime's own multiplications over the memory of arrays of torch and NumPy, without a copy.
#![expect(
    unsafe_code,
    reason = "the libraries take addresses, which are those of arrays that the caller holds"
)]

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use zenith_runtime_gpu::kernel::candidate::Candidate;
use zenith_runtime_gpu::kernel::matmul::{Backend, MatmulCandidate, Matrix, Scalar};

use super::look::{View, view};

/// DLPack's code of floats, and its type of the processor.
const FLOAT: u8 = 2;
const CPU: i32 = 1;

/// An operand's elements: the bytes from the first to behind the last.
fn extent(view: &View<'_>, strides: &[i64]) -> std::ops::Range<i128> {
    let width = i128::from(view.dtype.1 / 8);
    let reach =
        view.shape.iter().zip(strides).map(|(&n, &stride)| i128::from(stride) * (i128::from(n) - 1) * width);
    let (low, high) = reach.fold((0, width), |(low, high), reach| (low + reach.min(0), high + reach.max(0)));
    let address = view.data as usize as i128;
    address + low..address + high
}

struct Operand<'a> {
    view: View<'a>,
    strides: Vec<i64>,
}

impl<'a> Operand<'a> {
    fn of(object: &'a Bound<'_, PyAny>) -> PyResult<Self> {
        // SAFETY: the caller holds the array during the call, and this does not outlive it.
        let view = unsafe { view(object.py(), object.as_ptr()) };
        let view = view.ok_or_else(|| PyTypeError::new_err("an operand is no array of torch or NumPy"))?;
        let strides = view.strides_in_elements();
        let strides =
            strides.ok_or_else(|| PyTypeError::new_err("an operand's elements are not whole apart"))?;
        if view.shape.len() != 2 || view.device.0 != CPU {
            return Err(PyTypeError::new_err("an operand is no matrix in the processor's memory"));
        }
        Ok(Self { view, strides })
    }

    fn matrix<T>(&self) -> Matrix<T> {
        Matrix {
            address: self.view.data.cast(),
            rows: self.view.shape[0] as usize,
            cols: self.view.shape[1] as usize,
            row_stride: self.strides[0] as isize,
            col_stride: self.strides[1] as isize,
        }
    }

    /// Whether no two of its elements are the same: one row lies behind the other, or one column.
    fn is_distinct(&self) -> bool {
        let ([rows, cols], [row, col]) =
            ([self.view.shape[0], self.view.shape[1]], [self.strides[0], self.strides[1]]);
        (col >= 1 && row >= cols.saturating_mul(col)) || (row >= 1 && col >= rows.saturating_mul(row))
    }
}

/// `out = a @ b` by the library that `backend` names.
#[pyfunction]
pub(crate) fn matmul_into(
    py: Python<'_>,
    backend: &str,
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let backend = Backend::named(backend)
        .ok_or_else(|| PyValueError::new_err(format!("`{backend}` is no library that multiplies")))?;
    let (a, b, c) = (Operand::of(a)?, Operand::of(b)?, Operand::of(out)?);
    let (rows, cols, depth) = (c.view.shape[0], c.view.shape[1], a.view.shape[1]);
    if a.view.shape[0] != rows || b.view.shape != [depth, cols] {
        return Err(PyValueError::new_err("the sizes of the operands do not fit"));
    }
    if rows == 0 || cols == 0 || depth == 0 {
        return Err(PyValueError::new_err("there is nothing to multiply"));
    }
    if a.view.dtype != b.view.dtype || a.view.dtype != c.view.dtype {
        return Err(PyTypeError::new_err("the operands are of different types"));
    }
    let apart = |operand: &Operand<'_>| {
        let (own, other) = (extent(&c.view, &c.strides), extent(&operand.view, &operand.strides));
        own.end <= other.start || other.end <= own.start
    };
    if !c.view.writeable || !c.is_distinct() || !apart(&a) || !apart(&b) {
        return Err(PyValueError::new_err("the result has no memory of its own that can be written"));
    }
    match a.view.dtype {
        (FLOAT, 32) => multiply::<f32>(py, backend, &a, &b, &c),
        (FLOAT, 64) => multiply::<f64>(py, backend, &a, &b, &c),
        _ => return Err(PyTypeError::new_err("the elements are neither float32 nor float64")),
    }
    Ok(())
}

/// Addresses that another thread than the interpreter's may use.
struct Lent<T>([Matrix<T>; 3]);

// SAFETY: the arrays are held by the caller, who waits; nobody else is told of the addresses.
unsafe impl<T> Send for Lent<T> {}

fn multiply<T: Scalar>(py: Python<'_>, backend: Backend, a: &Operand<'_>, b: &Operand<'_>, c: &Operand<'_>) {
    let lent = Lent([a.matrix::<T>(), b.matrix(), c.matrix()]);
    py.detach(move || {
        let Lent([a, b, c]) = { lent };
        // SAFETY: sizes fit, types are `T`'s, and `c` shares no memory with `a`, `b` or itself: all was checked by the only
        // caller. Arrays are held by that caller; that nobody writes to them meanwhile is asked of users by torch and NumPy alike.
        unsafe { backend.multiply(a, b, c) };
    });
}

/// The libraries that multiply, the default first, each with what its measurements depend on.
#[pyfunction]
pub(crate) fn matmul_backends() -> Vec<(&'static str, Vec<(String, String)>)> {
    let libraries = |backend| {
        let deps = MatmulCandidate::new(backend).env_deps();
        deps.into_iter().map(|library| (library.name, library.version)).collect()
    };
    Backend::ALL.into_iter().map(|backend| (backend.name(), libraries(backend))).collect()
}
