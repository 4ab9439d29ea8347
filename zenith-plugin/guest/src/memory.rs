//! Memory of tensors: aligned, always initialised, and kept for the next tensor when one is dropped, so that a plugin
//! stops allocating after its first calls. Also the one place where bytes become typed slices.
#![expect(
    unsafe_code,
    reason = "bytes are seen as elements and blocks as bytes; every pattern of bits is a value of each"
)]

use std::cell::RefCell;

use crate::{Element, Error};

/// Buffers that are kept. A plugin that splits one sample into more tensors than this allocates for the rest.
const KEPT: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Block([u8; 16]);

thread_local! {
    static FREE: RefCell<Vec<Vec<Block>>> = const { RefCell::new(Vec::new()) };
}

/// Aligned memory that comes from the buffers given back and returns to them.
pub(crate) struct Buffer {
    blocks: Vec<Block>,
    len: usize,
}

impl Buffer {
    /// `len` bytes, zero or left over from an earlier buffer.
    pub(crate) fn new(len: usize) -> Result<Self, Error> {
        let needed = len.div_ceil(size_of::<Block>());
        let mut blocks = FREE.with_borrow_mut(|free| take(free, needed));
        if blocks.len() < needed {
            // Freed first: growing it in place would copy what nobody needs.
            blocks = Vec::new();
            if blocks.try_reserve_exact(needed).is_err() {
                return Err(Error::new(Error::OUTPUT, format!("no memory for a tensor of {len} bytes")));
            }
            blocks.resize(needed, Block([0; 16]));
        }
        Ok(Self { blocks, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `new` made at least `len` bytes of blocks, each of 16 initialised bytes without padding.
        unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the blocks are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), self.len) }
    }
}

/// The smallest buffer that suffices, or else the largest.
fn take(free: &mut Vec<Vec<Block>>, needed: usize) -> Vec<Block> {
    let fits = |at: &usize| free[*at].len() >= needed;
    let best = (0..free.len())
        .filter(fits)
        .min_by_key(|&at| free[at].len())
        .or_else(|| (0..free.len()).max_by_key(|&at| free[at].len()));
    best.map(|at| free.swap_remove(at)).unwrap_or_default()
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        // At the end of a thread there may be nobody left to keep it; then it is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if !blocks.is_empty() && free.len() < KEPT {
                free.push(blocks);
            }
        });
    }
}

/// The bytes as elements; `None` if they are not aligned or not whole elements.
pub(crate) fn elements<T: Element>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: `Element` is sealed, and every pattern of bits is a value of the types that have it.
    let (before, elements, after) = unsafe { bytes.align_to::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

/// As [`elements`], to be written.
pub(crate) fn elements_mut<T: Element>(bytes: &mut [u8]) -> Option<&mut [T]> {
    // SAFETY: as in `elements`; the types have no padding either, so the bytes stay initialised.
    let (before, elements, after) = unsafe { bytes.align_to_mut::<T>() };
    (before.is_empty() && after.is_empty()).then_some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_fitting_buffer_comes_back() {
        let places: Vec<_> = [100, 1000, 10].map(|len| Buffer::new(len).unwrap()).into_iter().collect();
        let hundred = places[0].bytes().as_ptr();
        drop(places);
        let mut again = Buffer::new(60).unwrap();
        assert_eq!(again.bytes().as_ptr(), hundred);
        assert_eq!(again.bytes_mut().len(), 60);
        assert!(again.bytes().as_ptr().cast::<Block>().is_aligned());
    }

    #[test]
    fn buffers_kept_are_bounded() {
        drop((0..KEPT + 10).map(|_| Buffer::new(16).unwrap()).collect::<Vec<_>>());
        assert_eq!(FREE.with_borrow(Vec::len), KEPT);
    }

    #[test]
    fn elements_are_whole_and_aligned() {
        let buffer = Buffer::new(16).unwrap();
        let bytes = buffer.bytes();
        assert_eq!(elements::<u32>(bytes).map(<[u32]>::len), Some(4));
        assert!(elements::<u32>(&bytes[..15]).is_none());
        assert!(elements::<u32>(&bytes[1..5]).is_none());
        assert_eq!(elements::<f64>(&bytes[..0]).map(<[f64]>::len), Some(0));
    }
}
