//! A sample's tensor where the host has put it: read, or changed in place. Owns no memory.

use std::fmt;

use crate::element::mismatch;
use crate::shape::Shape;
use crate::{DType, Element, Error, memory};

/// The tensor a plugin is called with. Elements lie row-major without gaps.
///
/// It may be written to: a plugin that returns `()` says that the changed tensor is its result.
pub struct View<'a> {
    dtype: DType,
    shape: Shape,
    bytes: &'a mut [u8],
}

impl<'a> View<'a> {
    /// A tensor in somebody's memory.
    ///
    /// # Errors
    /// If there are more than eight axes, or `bytes` has another length than such a tensor.
    pub fn new(dtype: DType, shape: &[usize], bytes: &'a mut [u8]) -> Result<Self, Error> {
        let shape = Shape::new(shape)?;
        if shape.bytes(dtype.size())? != bytes.len() {
            return Err(Error::new(
                Error::INPUT,
                "the tensor's memory does not have the length of its shape",
            ));
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// A tensor whose memory is known to have the length of its shape.
    pub(crate) fn of(dtype: DType, shape: Shape, bytes: &'a mut [u8]) -> Self {
        Self { dtype, shape, bytes }
    }

    /// The element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Elements along each axis; none for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.shape.axes()
    }

    /// The tensor's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
    }

    /// The tensor's bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::INPUT`] if the tensor has another element type than `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], Error> {
        let elements = (self.dtype == T::DTYPE).then(|| memory::elements(self.bytes)).flatten();
        elements.ok_or_else(|| mismatch(T::DTYPE, self.dtype))
    }

    /// The elements, to be written.
    ///
    /// # Errors
    /// As [`View::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], Error> {
        let elements = (self.dtype == T::DTYPE).then(|| memory::elements_mut(self.bytes)).flatten();
        elements.ok_or_else(|| mismatch(T::DTYPE, self.dtype))
    }

    /// Gives the tensor another shape. It may have fewer elements than before: then the first ones remain.
    ///
    /// # Errors
    /// If the shape has more elements than there are.
    pub fn reshape(&mut self, shape: &[usize]) -> Result<(), Error> {
        let shape = Shape::new(shape)?;
        let len = shape.bytes(self.dtype.size())?;
        if len > self.bytes.len() {
            let text = format!("{:?} has more elements than the tensor", shape.axes());
            return Err(Error::new(Error::OUTPUT, text));
        }
        self.bytes = &mut std::mem::take(&mut self.bytes)[..len];
        self.shape = shape;
        Ok(())
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape())
            .finish_non_exhaustive()
    }
}
