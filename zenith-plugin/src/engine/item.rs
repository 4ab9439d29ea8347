//! What goes into an engine and what comes out: tensors that own their bytes, so that they can cross threads.

use std::fmt;

use zenith_data::DType;
use zenith_data::transform::custom::TensorRef;

use crate::PluginError;

/// A sample on its way into the engine. Its bytes may belong to anything, a buffer of Python's for instance; the engine
/// only reads them, and gives the item back to be dropped where it came from.
pub struct Item {
    /// Element type.
    pub dtype: DType,
    /// Elements along each axis.
    pub shape: Vec<usize>,
    bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
    /// All the randomness that plugins have for this sample: 64 bits.
    pub random: u64,
}

impl Item {
    /// A sample with the elements `bytes`, row-major and without gaps.
    pub fn new(
        dtype: DType,
        shape: Vec<usize>,
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        random: u64,
    ) -> Self {
        Self { dtype, shape, bytes: Box::new(bytes), random }
    }

    /// The sample as plugins see it.
    #[must_use]
    pub fn tensor(&self) -> TensorRef<'_> {
        TensorRef { dtype: self.dtype, shape: &self.shape, bytes: (*self.bytes).as_ref() }
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item").field("dtype", &self.dtype).field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// A tensor that came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Element type.
    pub dtype: DType,
    /// Elements along each axis.
    pub shape: Vec<usize>,
    /// The elements in the machine's byte order, row-major, without gaps.
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub(super) fn copied(tensor: TensorRef<'_>) -> Self {
        Self { dtype: tensor.dtype, shape: tensor.shape.to_vec(), bytes: tensor.bytes.to_vec() }
    }
}

/// A sample that went through, or failed to.
#[derive(Debug)]
pub struct Done {
    /// What went in.
    pub item: Item,
    /// What came out: none for a sample that was dropped, several for one that was split.
    pub result: Result<Vec<Tensor>, PluginError>,
}
