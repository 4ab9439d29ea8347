//! Multiplying matrices on processors: the operation, and candidates that are real.
//!
//! `c[m, n] = a[m, k] * b[k, n]`, dimensions `m`, `n`, `k`, operands `a`, `b`, `c` of one type, `float32` or `float64`.

mod backend;
mod reference;
mod workload;

use std::sync::Arc;

pub use backend::{Backend, MatmulCandidate, Matrix, Scalar};
pub use workload::MatmulWorkload;

use super::bucket::{Buckets, Rule};
use super::candidate::{AddError, Candidates, Failure, Workload};
use super::key::{Family, KeyError, Layout, Name, Problem};

/// The operation's name.
pub const OP: &str = "matmul";
/// The version of its meaning.
pub const SCHEMA: u32 = 1;
/// The type of elements of 4 bytes.
pub const FLOAT32: &str = "float32";
/// The type of elements of 8 bytes.
pub const FLOAT64: &str = "float64";

/// Spans per doubling of a size. A multiplication's speed depends on each size alike, so all have the same rule.
const STEPS: u32 = 4;

/// Multiplying `[m, k]` by `[k, n]`, with the layouts of `a`, `b` and `c`.
///
/// # Errors
/// When `dtype` is no name.
pub fn problem(dtype: &str, [m, n, k]: [u64; 3], layouts: [Layout; 3]) -> Result<Problem, KeyError> {
    let family = Family { layouts: layouts.to_vec(), ..Family::plain(OP, SCHEMA, &[dtype; 3])? };
    Problem::new(family, vec![(Name::new("m")?, m), (Name::new("n")?, n), (Name::new("k")?, k)])
}

/// The rules for sizes.
#[must_use]
pub fn buckets() -> Buckets {
    Buckets::all(Rule::Octave(STEPS))
}

/// Operands for `problem`, of its type, sizes and layouts; the same for everybody.
///
/// # Errors
/// When it is no multiplication, of other types, of layouts without memory of their own, or too large.
pub fn workload(problem: &Problem) -> Result<Box<dyn Workload>, Failure> {
    workload::workload(problem)
}

/// All candidates that are built in; the default is `gemm` on all processors.
///
/// # Errors
/// Never, but for a fault in this list.
pub fn candidates() -> Result<Candidates, AddError> {
    let [default, others @ ..] = Backend::ALL;
    let mut candidates = Candidates::new(Arc::new(MatmulCandidate::new(default)), buckets());
    for backend in others {
        candidates.add(Arc::new(MatmulCandidate::new(backend)))?;
    }
    Ok(candidates)
}
