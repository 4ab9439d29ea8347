//! Transforms that somebody else brings: one sample's tensor in, none, one or several out. The contract only; what
//! carries it out (a WebAssembly plugin, for instance) lives in crates above this one.

use std::error::Error;

use crate::DType;

/// Any error of a transform; its text is a lower-case fragment.
pub type TransformFault = Box<dyn Error + Send + Sync>;

/// A tensor in somebody's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorRef<'a> {
    /// Element type.
    pub dtype: DType,
    /// Elements along each axis.
    pub shape: &'a [usize],
    /// The elements in the machine's byte order, row-major, without gaps.
    pub bytes: &'a [u8],
}

/// What programs are told of a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// The cause in a word; empty where the transform has none for it.
    pub kind: &'static str,
    /// The transform's own code, where it gave one.
    pub code: Option<i32>,
}

impl Cause {
    /// What a transform gave does not fit what was asked of it.
    pub const UNFIT: Self = Self { kind: "unfit", code: None };
}

/// How many tensors become of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yield {
    /// Exactly one.
    One,
    /// One, or none: the transform is a filter.
    AtMostOne,
    /// Any number: the transform splits samples.
    Any,
}

/// What a transform gives its results to, in their order. The tensor is only lent.
pub type Take<'a> = &'a mut dyn FnMut(TensorRef<'_>) -> Result<(), TransformFault>;

/// A transform of single samples, shared by all workers.
pub trait Transform: Send + Sync {
    /// The name under which reports and errors speak of it.
    fn name(&self) -> &str;

    /// How many tensors become of one.
    fn yields(&self) -> Yield;

    /// A number that changes when the transform may give something else for the same sample: with its code and with its
    /// configuration.
    fn fingerprint(&self) -> u64;

    /// What programs are told of a fault of this transform or of one of its workers.
    fn cause(&self, fault: &TransformFault) -> Cause {
        let _ = fault;
        Cause::default()
    }

    /// One worker's own means of applying it.
    ///
    /// # Errors
    /// What keeps it from being made.
    fn worker(&self) -> Result<Box<dyn TransformWorker>, TransformFault>;
}

/// One worker's way to apply a [`Transform`]. Not shared between threads.
pub trait TransformWorker: Send {
    /// Applies the transform to one sample. `random` is all the randomness it may use: 64 bits that are a pure function
    /// of (seed, epoch, sample, place of the transform).
    ///
    /// # Errors
    /// What is wrong with the sample or the transform; also what `take` refused.
    fn apply(&mut self, input: TensorRef<'_>, random: u64, take: Take<'_>) -> Result<(), TransformFault>;

    /// Whether [`TransformWorker::apply_batch`] is there.
    fn takes_batches(&self) -> bool {
        false
    }

    /// Applies the transform to samples stacked along the first axis, giving one tensor with the same first axis and the
    /// values that [`TransformWorker::apply`] would give. `random` is that of the first sample.
    ///
    /// # Errors
    /// As [`TransformWorker::apply`]; always where [`TransformWorker::takes_batches`] is false.
    fn apply_batch(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: Take<'_>,
    ) -> Result<(), TransformFault> {
        let _ = (input, random, take);
        Err("the transform takes single samples only".into())
    }
}
