//! The shape of a tensor, held in place. Knows no memory.

use crate::Error;

/// Axes a tensor may have.
pub const MAX_RANK: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    rank: usize,
    axes: [usize; MAX_RANK],
}

impl Shape {
    pub(crate) fn new(axes: &[usize]) -> Result<Self, Error> {
        if axes.len() > MAX_RANK {
            return Err(Error::new(
                Error::OUTPUT,
                format!("a tensor of {} axes; at most 8 are possible", axes.len()),
            ));
        }
        let mut shape = Self { rank: axes.len(), axes: [0; MAX_RANK] };
        shape.axes[..axes.len()].copy_from_slice(axes);
        Ok(shape)
    }

    pub(crate) fn axes(&self) -> &[usize] {
        &self.axes[..self.rank]
    }

    /// Bytes of a tensor of elements of `size` bytes.
    pub(crate) fn bytes(&self, size: usize) -> Result<usize, Error> {
        let product = self.axes().iter().try_fold(size, |product, &axis| product.checked_mul(axis));
        product.filter(|&bytes| isize::try_from(bytes).is_ok()).ok_or_else(|| {
            Error::new(Error::OUTPUT, format!("a tensor of shape {:?} is too large", self.axes()))
        })
    }
}
