//! The libraries that multiply matrices on processors, behind one face. Which of them is the fastest is not known here.
#![expect(unsafe_code, reason = "the libraries take addresses, and so does this")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use gemm::{Parallelism, gemm};

use super::{FLOAT32, FLOAT64, OP, SCHEMA};
use crate::kernel::candidate::{Candidate, CandidateId, Failure, Prepared, Workload};
use crate::kernel::environment::Library;
use crate::kernel::host::HostTensor;
use crate::kernel::key::{Determinism, Problem};
use crate::kernel::select::gate::Element;

/// The version of what stands between the libraries and this crate.
const VERSION: &str = "1";

/// A library and how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// `gemm` on all processors, as far as it finds that worthwhile.
    Gemm,
    /// `gemm` on one.
    GemmSerial,
    /// `faer` on all processors.
    Faer,
    /// `faer` on one.
    FaerSerial,
    /// `matrixmultiply` on one.
    MatrixMultiply,
}

/// A matrix somewhere in memory.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<T> {
    /// Its first element.
    pub address: *mut T,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from a row to the next.
    pub row_stride: isize,
    /// Elements from a column to the next.
    pub col_stride: isize,
}

/// A type of elements that all libraries multiply.
pub trait Scalar: Element + faer::traits::ComplexField {
    /// Its name in keys.
    const NAME: &'static str;

    /// The distance from 1 to the next greater value.
    const EPSILON_VALUE: f64;

    /// One.
    const ONE: Self;

    /// Zero.
    const ZERO: Self;

    /// By `matrixmultiply`.
    ///
    /// # Safety
    /// As [`Backend::multiply`].
    unsafe fn matrixmultiply(a: Matrix<Self>, b: Matrix<Self>, c: Matrix<Self>);
}

macro_rules! scalar {
    ($type:ty, $name:expr, $multiply:path) => {
        impl Scalar for $type {
            const NAME: &'static str = $name;
            const EPSILON_VALUE: f64 = <$type>::EPSILON as f64;
            const ONE: Self = 1.0;
            const ZERO: Self = 0.0;

            unsafe fn matrixmultiply(a: Matrix<Self>, b: Matrix<Self>, c: Matrix<Self>) {
                // SAFETY: sizes and strides are the matrices' own, whose elements the caller promises to be there.
                unsafe {
                    $multiply(
                        a.rows,
                        a.cols,
                        b.cols,
                        1.0,
                        a.address,
                        a.row_stride,
                        a.col_stride,
                        b.address,
                        b.row_stride,
                        b.col_stride,
                        0.0,
                        c.address,
                        c.row_stride,
                        c.col_stride,
                    );
                }
            }
        }
    };
}

scalar!(f32, FLOAT32, matrixmultiply::sgemm);
scalar!(f64, FLOAT64, matrixmultiply::dgemm);

impl<T> Matrix<T> {
    /// The matrix that a tensor of two dimensions is; its type is the caller's word.
    fn of(tensor: &HostTensor) -> Option<Self> {
        let (&[rows, cols], &[row_stride, col_stride]) = (tensor.sizes(), tensor.strides()) else {
            return None;
        };
        Some(Self {
            address: tensor.address().as_ptr().cast(),
            rows: rows.try_into().ok()?,
            cols: cols.try_into().ok()?,
            row_stride: row_stride.try_into().ok()?,
            col_stride: col_stride.try_into().ok()?,
        })
    }
}

impl Backend {
    /// All of them, the default first.
    pub const ALL: [Self; 5] =
        [Self::Gemm, Self::GemmSerial, Self::Faer, Self::FaerSerial, Self::MatrixMultiply];

    /// The candidate's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemm => "gemm",
            Self::GemmSerial => "gemm.serial",
            Self::Faer => "faer",
            Self::FaerSerial => "faer.serial",
            Self::MatrixMultiply => "matrixmultiply",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// The libraries that it is made of.
    fn libraries(self) -> Vec<Library> {
        match self {
            Self::Gemm | Self::GemmSerial => vec![Library::new("gemm", "0.19.0")],
            Self::Faer | Self::FaerSerial => vec![Library::new("faer", "0.24.4")],
            Self::MatrixMultiply => vec![Library::new("matrixmultiply", "0.3.11")],
        }
    }

    fn is_serial(self) -> bool {
        !matches!(self, Self::Gemm | Self::Faer)
    }

    /// `c = a * b`.
    ///
    /// # Safety
    /// The elements of `a` and `b` are initialised and not written meanwhile; those of `c` are initialised, used by nobody else, no
    /// two of them are the same and none is one of `a`'s or `b`'s. `a` has as many rows as `c`, `b` as many columns as `c`, and `a`
    /// as many columns as `b` has rows.
    #[inline]
    pub unsafe fn multiply<T: Scalar>(self, a: Matrix<T>, b: Matrix<T>, c: Matrix<T>) {
        match self {
            Self::Gemm => {
                let threads = if has_threads() { Parallelism::Rayon(0) } else { Parallelism::None };
                // SAFETY: the caller's promise.
                unsafe { by_gemm(a, b, c, threads) };
            }
            Self::GemmSerial => {
                // SAFETY: the caller's promise.
                unsafe { by_gemm(a, b, c, Parallelism::None) };
            }
            Self::Faer => {
                let threads = if has_threads() { Par::rayon(0) } else { Par::Seq };
                // SAFETY: the caller's promise.
                unsafe { by_faer(a, b, c, threads) };
            }
            Self::FaerSerial => {
                // SAFETY: the caller's promise.
                unsafe { by_faer(a, b, c, Par::Seq) };
            }
            Self::MatrixMultiply => {
                // SAFETY: the caller's promise.
                unsafe { T::matrixmultiply(a, b, c) };
            }
        }
    }
}

/// Whether this process may use the pool of threads: it has begun it, or nobody has. A forked child has the pool and none of its
/// threads, and would wait for them for ever.
fn has_threads() -> bool {
    static BEGUN_BY: AtomicU32 = AtomicU32::new(0);
    let myself = std::process::id();
    match BEGUN_BY.compare_exchange(0, myself, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => true,
        Err(process) => process == myself,
    }
}

/// # Safety
/// As [`Backend::multiply`].
unsafe fn by_gemm<T: Scalar>(a: Matrix<T>, b: Matrix<T>, c: Matrix<T>, parallelism: Parallelism) {
    // SAFETY: sizes and strides are the matrices' own, whose elements the caller promises to be there.
    unsafe {
        gemm(
            c.rows,
            c.cols,
            a.cols,
            c.address,
            c.col_stride,
            c.row_stride,
            false,
            a.address,
            a.col_stride,
            a.row_stride,
            b.address,
            b.col_stride,
            b.row_stride,
            T::ZERO,
            T::ONE,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// # Safety
/// As [`Backend::multiply`].
unsafe fn by_faer<T: Scalar>(a: Matrix<T>, b: Matrix<T>, c: Matrix<T>, par: Par) {
    // SAFETY: the caller promises that the elements are there, initialised, and that `c`'s are nobody else's meanwhile.
    let (a, b, c) = unsafe {
        (
            MatRef::from_raw_parts(a.address.cast_const(), a.rows, a.cols, a.row_stride, a.col_stride),
            MatRef::from_raw_parts(b.address.cast_const(), b.rows, b.cols, b.row_stride, b.col_stride),
            MatMut::from_raw_parts_mut(c.address, c.rows, c.cols, c.row_stride, c.col_stride),
        )
    };
    matmul(c, Accum::Replace, a, b, T::ONE, par);
}

/// A backend as a candidate.
#[derive(Debug)]
pub struct MatmulCandidate {
    backend: Backend,
    id: CandidateId,
}

/// What is compiled is this file and the libraries; the libraries are told apart by their versions.
static SOURCE: LazyLock<String> = LazyLock::new(|| CandidateId::hash(include_str!("backend.rs")));

impl MatmulCandidate {
    /// The candidate of a backend.
    ///
    /// # Panics
    /// Never: the names are constants that are names.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        let id = CandidateId::new(backend.name(), VERSION, &SOURCE);
        let id = id.unwrap_or_else(|error| panic!("{error}"));
        Self { backend, id }
    }

    /// Its backend.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }
}

impl Candidate for MatmulCandidate {
    fn id(&self) -> &CandidateId {
        &self.id
    }

    fn supports(&self, problem: &Problem) -> Result<(), String> {
        let family = problem.family();
        let dims: Vec<&str> = problem.dims().iter().map(|(name, _)| name.as_str()).collect();
        let dtypes: Vec<&str> = family.dtypes.iter().map(|dtype| dtype.as_str()).collect();
        if family.op.name.as_str() != OP || family.op.schema != SCHEMA || dims != ["m", "n", "k"] {
            return Err(format!("it is {OP}@{SCHEMA} with the dimensions m, n and k"));
        }
        if dtypes != [FLOAT32; 3] && dtypes != [FLOAT64; 3] {
            return Err(format!("it takes {FLOAT32} or {FLOAT64}, the same for all"));
        }
        if family.math.as_str() != "ieee" || family.epilogue.as_str() != "none" {
            return Err("it has IEEE arithmetic and nothing fused".to_owned());
        }
        if family.determinism == Determinism::Required && !self.backend.is_serial() {
            return Err("on several processors it does not promise equal bits".to_owned());
        }
        Ok(())
    }

    fn env_deps(&self) -> Vec<Library> {
        self.backend.libraries()
    }

    fn prepare(&self, problem: &Problem, workload: &mut dyn Workload) -> Result<Box<dyn Prepared>, Failure> {
        let host =
            workload.host().ok_or_else(|| Failure("it needs operands in the host's memory".to_owned()))?;
        if host.iter().all(|tensor| tensor.dtype().as_str() == FLOAT32) {
            Ok(Box::new(Ready::<f32>::new(self.backend, problem, &host)?))
        } else if host.iter().all(|tensor| tensor.dtype().as_str() == FLOAT64) {
            Ok(Box::new(Ready::<f64>::new(self.backend, problem, &host)?))
        } else {
            Err(Failure(format!("it takes {FLOAT32} or {FLOAT64}, the same for all")))
        }
    }
}

/// A backend on one workload's operands.
struct Ready<T> {
    backend: Backend,
    a: Matrix<T>,
    b: Matrix<T>,
    c: Matrix<T>,
}

impl<T: Scalar> Ready<T> {
    fn new(backend: Backend, problem: &Problem, host: &[HostTensor]) -> Result<Self, Failure> {
        let shapes = || Failure(format!("the operands are not those of {problem}"));
        let [a, b, c] = host else { return Err(shapes()) };
        let (a, b, c) = Matrix::of(a)
            .zip(Matrix::of(b))
            .zip(Matrix::of(c))
            .map(|((a, b), c)| (a, b, c))
            .ok_or_else(shapes)?;
        if a.rows != c.rows || b.cols != c.cols || a.cols != b.rows {
            return Err(shapes());
        }
        Ok(Self { backend, a, b, c })
    }
}

impl<T: Scalar> Prepared for Ready<T> {
    fn run(&mut self, calls: u64) -> Result<(), Failure> {
        for _ in 0..calls {
            // SAFETY: the shapes were compared; that the elements are there and `c`'s are nobody else's was promised with each
            // `HostTensor`, for as long as the workload lives, which is longer than this.
            unsafe { self.backend.multiply(self.a, self.b, self.c) };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_that_are_built() {
        let lock = include_str!("../../../../Cargo.lock");
        for library in Backend::ALL.into_iter().flat_map(Backend::libraries) {
            let entry = format!("name = \"{}\"\nversion = \"{}\"\n", library.name, library.version);
            assert!(lock.contains(&entry), "{library:?} is not what Cargo.lock has");
        }
    }

    #[test]
    fn backends_are_found_by_name() {
        for backend in Backend::ALL {
            assert_eq!(Backend::named(backend.name()), Some(backend));
        }
        assert_eq!(Backend::named("abacus"), None);
    }
}
