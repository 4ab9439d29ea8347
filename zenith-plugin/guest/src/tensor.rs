//! A tensor that a plugin makes. Its memory comes from earlier tensors and goes to later ones.

use std::fmt;

use crate::element::mismatch;
use crate::memory::Buffer;
use crate::shape::Shape;
use crate::{DType, Element, Error, View, memory};

/// A tensor that a plugin makes and returns. Elements lie row-major without gaps.
///
/// Dropped tensors leave their memory to the next ones, so making one costs no allocation after the first calls.
pub struct Tensor {
    dtype: DType,
    shape: Shape,
    buffer: Buffer,
}

impl Tensor {
    /// A tensor whose elements are all 0.
    ///
    /// # Errors
    /// [`Error::OUTPUT`] if there are more than eight axes or not enough memory.
    pub fn zeros<T: Element>(shape: &[usize]) -> Result<Self, Error> {
        let mut tensor = Self::empty::<T>(shape)?;
        tensor.bytes_mut().fill(0);
        Ok(tensor)
    }

    /// A tensor whose elements are not set: 0, or left over from an earlier tensor. For plugins that write every
    /// element.
    ///
    /// # Errors
    /// As [`Tensor::zeros`].
    pub fn empty<T: Element>(shape: &[usize]) -> Result<Self, Error> {
        Self::empty_of(T::DTYPE, shape)
    }

    /// As [`Tensor::empty`], where the element type is known only when the plugin runs.
    ///
    /// # Errors
    /// As [`Tensor::zeros`].
    pub fn empty_of(dtype: DType, shape: &[usize]) -> Result<Self, Error> {
        let shape = Shape::new(shape)?;
        let buffer = Buffer::new(shape.bytes(dtype.size())?)?;
        Ok(Self { dtype, shape, buffer })
    }

    /// A tensor of these elements.
    ///
    /// # Errors
    /// As [`Tensor::zeros`]; also if the number of elements is not that of the shape.
    pub fn from_slice<T: Element>(shape: &[usize], elements: &[T]) -> Result<Self, Error> {
        let mut tensor = Self::empty::<T>(shape)?;
        let place = tensor.as_mut_slice::<T>()?;
        if place.len() != elements.len() {
            let text = format!("{} elements do not have the shape {shape:?}", elements.len());
            return Err(Error::new(Error::OUTPUT, text));
        }
        place.copy_from_slice(elements);
        Ok(tensor)
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
        self.buffer.bytes()
    }

    /// The tensor's bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.buffer.bytes_mut()
    }

    /// The elements.
    ///
    /// # Errors
    /// [`Error::INPUT`] if the tensor has another element type than `T`.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], Error> {
        let elements = (self.dtype == T::DTYPE).then(|| memory::elements(self.bytes())).flatten();
        elements.ok_or_else(|| mismatch(T::DTYPE, self.dtype))
    }

    /// The elements, to be written.
    ///
    /// # Errors
    /// As [`Tensor::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], Error> {
        let dtype = self.dtype;
        let elements = (dtype == T::DTYPE).then(|| memory::elements_mut(self.bytes_mut())).flatten();
        elements.ok_or_else(|| mismatch(T::DTYPE, dtype))
    }

    /// The tensor as a plugin is given one.
    pub fn view(&mut self) -> View<'_> {
        View::of(self.dtype, self.shape, self.buffer.bytes_mut())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor")
            .field("dtype", &self.dtype)
            .field("shape", &self.shape())
            .finish_non_exhaustive()
    }
}
