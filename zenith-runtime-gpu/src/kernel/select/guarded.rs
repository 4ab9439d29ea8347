//! Memory between guard zones, which candidates write through an address. Everything here goes through that one address too, so
//! that a candidate may keep it.
#![expect(unsafe_code, reason = "candidates write to the memory through its address while this owns it")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::slice;

use super::gate::{Element, GUARD_BYTES, OUTPUT_ALIGNMENT};
use crate::kernel::candidate::Rejection;

/// Elements between two guard zones, in one block of memory, aligned to [`OUTPUT_ALIGNMENT`].
#[derive(Debug)]
pub struct Guarded<T> {
    block: NonNull<T>,
    len: usize,
}

impl<T: Element> Guarded<T> {
    const GUARD: usize = GUARD_BYTES / size_of::<T>();

    /// `len` elements, all poison.
    ///
    /// # Panics
    /// When so many elements are more than any memory has.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the guard zones make the layout greater than zero.
        let Some(block) = NonNull::new(unsafe { alloc(layout) }.cast::<T>()) else {
            handle_alloc_error(layout)
        };
        for place in 0..Self::total(len) {
            // SAFETY: the block has so many elements, aligned for more than `T`.
            unsafe { block.add(place).write(T::POISON) };
        }
        Self { block, len }
    }

    fn total(len: usize) -> usize {
        len.saturating_add(2 * Self::GUARD)
    }

    fn layout(len: usize) -> Layout {
        let layout =
            Layout::array::<T>(Self::total(len)).and_then(|layout| layout.align_to(OUTPUT_ALIGNMENT));
        layout.unwrap_or_else(|_| panic!("{len} elements are more than any memory has"))
    }

    /// Where the elements are. Valid for reads and writes while this lives and nobody uses it otherwise; [`GUARD_BYTES`] before and
    /// behind the elements are memory of this block too.
    #[must_use]
    pub fn address(&self) -> NonNull<T> {
        // SAFETY: the guard zone before the elements is part of the block.
        unsafe { self.block.add(Self::GUARD) }
    }

    /// The elements.
    #[must_use]
    pub fn elements(&self) -> &[T] {
        // SAFETY: `len` elements are there, initialised by `new`; `self` is borrowed, so the address is not written through.
        unsafe { slice::from_raw_parts(self.address().as_ptr(), self.len) }
    }

    /// The elements.
    pub fn elements_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed for nobody else.
        unsafe { slice::from_raw_parts_mut(self.address().as_ptr(), self.len) }
    }

    fn block(&self) -> &[T] {
        // SAFETY: the whole block is initialised by `new`; `self` is borrowed, so the address is not written through.
        unsafe { slice::from_raw_parts(self.block.as_ptr(), Self::total(self.len)) }
    }

    /// Fills everything with poison, the guard zones too.
    pub fn poison(&mut self) {
        // SAFETY: the whole block is initialised, and `self` is borrowed for nobody else.
        unsafe { slice::from_raw_parts_mut(self.block.as_ptr(), Self::total(self.len)) }.fill(T::POISON);
    }

    /// Whether the guard zones are as they were.
    ///
    /// # Errors
    /// Where the nearest damage is.
    pub fn check(&self) -> Result<(), Rejection> {
        let damaged = |(_, element): &(usize, &T)| element.bits() != T::POISON.bits();
        let (before, rest) = self.block().split_at(Self::GUARD);
        let before = before.iter().rev().enumerate().find(damaged).map(|(place, _)| place + 1);
        let behind = rest[self.len..].iter().enumerate().find(damaged).map(|(place, _)| place + 1);
        let detail = match (before, behind) {
            (Some(count), _) => format!("the output's memory {count} elements before its begin was changed"),
            (None, Some(count)) => format!("the output's memory {count} elements behind its end was changed"),
            (None, None) => return Ok(()),
        };
        Err(Rejection::OutOfBounds { detail })
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let total = self.len.saturating_add(2 * (GUARD_BYTES / size_of::<T>()));
        if let Ok(layout) = Layout::array::<T>(total).and_then(|layout| layout.align_to(OUTPUT_ALIGNMENT)) {
            // SAFETY: this is the layout that the block was allocated with, which was valid then; elements need no drop.
            unsafe { dealloc(self.block.as_ptr().cast(), layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_write_is_found<T: Element>() {
        const LEN: usize = 37;
        let mut output = Guarded::<T>::new(LEN);
        assert_eq!(output.address().as_ptr().align_offset(OUTPUT_ALIGNMENT), 0);
        output.elements_mut().fill(T::nearest(1.0));
        assert_eq!(output.check(), Ok(()));
        let guard = (GUARD_BYTES / size_of::<T>()) as isize;
        for place in (-guard..0).chain(LEN as isize..LEN as isize + guard) {
            output.poison();
            // SAFETY: the guard zones are memory of the block.
            unsafe { output.address().offset(place).write(T::nearest(0.0)) };
            let Err(Rejection::OutOfBounds { detail }) = output.check() else { panic!("{place}") };
            let distance = if place < 0 { -place } else { place - LEN as isize + 1 };
            assert!(detail.contains(&format!("memory {distance} elements")), "{detail}");
        }
    }

    #[test]
    fn a_write_anywhere_in_the_guards_is_found() {
        every_write_is_found::<f32>();
        every_write_is_found::<f64>();
    }
}
