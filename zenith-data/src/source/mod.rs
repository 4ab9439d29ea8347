//! Where samples come from. A [`Source`] knows how many there are and what each becomes; its [`Filler`]s (one per
//! worker) write samples straight into their slots of a batch slab.

pub mod blobs;
pub mod cache_dir;
pub mod detect;
pub mod folder;
pub mod image;
pub mod image_cache;
pub mod open;
mod picture_column;
pub mod staged;
pub mod subset;
pub mod table;

pub use self::open::{OpenOptions, open};

use std::path::PathBuf;

use crate::pipeline::slots::Slots;
use crate::transform::chain::Account;
use crate::transform::custom::{TensorRef, Yield};
use crate::{DType, Result, SampleError, Schema};

/// A sample to be delivered: its index in the source and the key of its randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleKey {
    /// Index in the source.
    pub sample: u64,
    /// The loader's seed.
    pub seed: u64,
    /// The epoch it is read in.
    pub epoch: u64,
}

/// A set of samples, read by index from many threads.
pub trait Source: Send + Sync {
    /// How many samples there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What one sample becomes.
    fn schema(&self) -> &Schema;

    /// A number that changes when the data changes; a saved position is refused on another one.
    fn fingerprint(&self) -> u64;

    /// A worker's own reader, with its scratch memory.
    fn filler(&self) -> Result<Box<dyn Filler>>;

    /// How many samples one unit of work should hold: 1 where a sample costs a millisecond (pictures), a batch where
    /// it costs nanoseconds (rows).
    fn grain(&self) -> Grain;

    /// Runs of samples that are cheap to read together (row groups), as the ends of each run, and how many samples a
    /// reader's window may hold; `None` where every sample is equally near.
    fn blocks(&self) -> Option<(&[u64], u64)> {
        None
    }

    /// Whether the first field holds decoded pictures, and a transform is applied to it.
    fn pictures(&self) -> bool {
        false
    }

    /// Names of the label's classes, where there are any.
    fn classes(&self) -> Option<&[String]> {
        None
    }

    /// How many samples may become of one. Where that is not exactly one, a filler says so of each slot through
    /// [`Slots::became`], and the pipeline packs what is left into full batches.
    fn parts(&self) -> Yield {
        Yield::One
    }

    /// A number that changes when what samples are split into may be something else, so that a place inside of a split
    /// sample means nothing; `None` where no sample is split.
    fn splitting(&self) -> Option<u64> {
        None
    }

    /// How many processes can read the source side by side, each within its part of the memory budget, without decoding
    /// the same [blocks](Source::blocks) again and again; `None` for any number.
    fn readers(&self) -> Option<u64> {
        None
    }

    /// From here on this process is one of `readers` that share the memory budget.
    fn share(&self, readers: u64) {
        let _ = readers;
    }

    /// Whether fillers can give samples whose first field has a shape of its own: [`Filler::fill_loose`].
    fn is_loose(&self) -> bool {
        false
    }

    /// The file that a sample comes from, where there is one.
    fn path(&self, _sample: u64) -> Option<PathBuf> {
        None
    }

    /// What the transforms brought by somebody else did so far, in their order.
    fn accounts(&self) -> Vec<Account> {
        Vec::new()
    }

    /// Facts for the report: (name, value), such as where bytes came from or how often a cache was hit.
    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// What is done in another way than asked, or slower than it could be, a sentence each. The same thing is said in the
    /// same words however often it is asked for, so that a report says it once.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The size of a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// One sample: decoding dominates.
    Sample,
    /// So many samples: each costs some microseconds.
    Run(usize),
    /// The whole batch: copying dominates.
    Batch,
}

/// What one worker spent on one unit of work, in nanoseconds and bytes; the report adds these up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Waiting for or copying from storage.
    pub read_ns: u64,
    /// Decoding.
    pub decode_ns: u64,
    /// Transforming and writing into the slot.
    pub transform_ns: u64,
    /// Bytes read from the source.
    pub bytes: u64,
}

/// One worker's way to fill slots. Not shared between threads.
pub trait Filler: Send {
    /// Writes `keys[i]` into slot `i` of `slots`, for every i. On a bad sample returns its position in `keys` and the
    /// reason; the caller may go on behind it with a shorter run.
    ///
    /// # Errors
    /// The position of the first sample that could not be delivered, and why.
    fn fill(
        &mut self,
        keys: &[SampleKey],
        slots: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), (usize, SampleError)>;

    /// Writes the one sample `key` with whatever shape its first field has into `first`, and its other fields into slot 0
    /// of `rest`.
    ///
    /// # Errors
    /// Why it cannot be delivered; always where [`Source::is_loose`] is false.
    fn fill_loose(
        &mut self,
        key: &SampleKey,
        first: &mut Loose,
        rest: &mut Slots<'_>,
        spent: &mut Spent,
    ) -> Result<(), SampleError> {
        let _ = (first, rest, spent);
        let reason = "samples of this source have one shape".to_owned();
        Err(SampleError { sample: key.sample, path: None, offset: None, reason, transform: None })
    }

    /// Says what this filler will be asked for next, in order and completely, so that the bytes can be on the way; what
    /// was said before and is not among it is wanted no more. A hint.
    fn read_ahead(&mut self, _upcoming: &[SampleKey]) {}

    /// Says that any of the source's fillers will be asked for samples like these in a while, so that the
    /// [blocks](Source::blocks) they lie in can be brought. A hint.
    fn announce(&mut self, _later: &[SampleKey]) {}
}

/// The first field of one sample, with a shape of its own. Its memory is used again and again.
#[derive(Clone, Debug)]
pub struct Loose {
    /// Element type.
    pub dtype: DType,
    /// Elements along each axis.
    pub shape: Vec<usize>,
    bytes: Vec<u8>,
    len: usize,
}

impl Loose {
    /// Without elements.
    #[must_use]
    pub const fn new() -> Self {
        Self { dtype: DType::UInt8, shape: Vec::new(), bytes: Vec::new(), len: 0 }
    }

    /// Sets type and shape; the bytes, to be written, are unspecified (old ones, never uninitialised memory).
    pub fn reset(&mut self, dtype: DType, shape: &[usize]) -> &mut [u8] {
        self.dtype = dtype;
        self.shape.clear();
        self.shape.extend_from_slice(shape);
        self.len = shape.iter().product::<usize>() * dtype.size();
        if self.bytes.len() < self.len {
            self.bytes.resize(self.len, 0);
        }
        &mut self.bytes[..self.len]
    }

    /// The tensor.
    #[must_use]
    pub fn tensor(&self) -> TensorRef<'_> {
        TensorRef { dtype: self.dtype, shape: &self.shape, bytes: &self.bytes[..self.len] }
    }
}

impl Default for Loose {
    fn default() -> Self {
        Self::new()
    }
}
