//! The slots of a ring: memory for values, found by ever-growing indices. Who may touch which slot is the ring's
//! business.
#![expect(unsafe_code, reason = "moves values in and out of uninitialised memory")]

use std::mem::MaybeUninit;

use crate::sync::cell::UnsafeCell;

pub(super) struct Slots<T> {
    cells: Box<[UnsafeCell<MaybeUninit<T>>]>,
    mask: usize,
}

// SAFETY: the ring hands values from one thread to another and never shares one, so `T: Send` is enough.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above; each slot is touched by one end at a time.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Slots<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let count = capacity.next_power_of_two();
        let cells = (0..count)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect();
        Slots {
            cells,
            mask: count - 1,
        }
    }

    /// Moves a value into slot `index`.
    ///
    /// # Safety
    /// The slot holds no value and the other end does not touch it.
    #[inline(always)]
    pub(super) unsafe fn write(&self, index: usize, value: T) {
        // SAFETY: the mask keeps the index inside `cells`, whose length is `mask + 1`.
        let cell = unsafe { self.cells.get_unchecked(index & self.mask) };
        // SAFETY: by contract nobody else touches this slot now.
        cell.with_mut(|slot| unsafe { slot.write(MaybeUninit::new(value)) });
    }

    /// Moves the value out of slot `index`.
    ///
    /// # Safety
    /// The slot holds a value, which is not read again, and the other end does not touch it.
    #[inline(always)]
    pub(super) unsafe fn read(&self, index: usize) -> T {
        // SAFETY: as in `write`.
        let cell = unsafe { self.cells.get_unchecked(index & self.mask) };
        // SAFETY: by contract the slot is initialised and nobody else touches it now.
        cell.with(|slot| unsafe { slot.read().assume_init() })
    }

    /// Copies values into the slots from `index` on.
    ///
    /// # Safety
    /// As [`Slots::write`], for all of these slots.
    #[cfg(not(loom))]
    pub(super) unsafe fn copy_in(&self, index: usize, values: &[T])
    where
        T: Copy,
    {
        let start = index & self.mask;
        let (front, back) = values.split_at(values.len().min(self.cells.len() - start));
        let cells = self.cells.as_ptr().cast::<T>().cast_mut();
        // SAFETY: cells have the layout of `T` and may be written through a shared reference; `front` fits between
        // `start` and the end, `back` (at most one round in all, by contract) before `start`.
        unsafe {
            cells
                .add(start)
                .copy_from_nonoverlapping(front.as_ptr(), front.len());
            cells.copy_from_nonoverlapping(back.as_ptr(), back.len());
        }
    }

    /// Copies values out of the slots from `index` on.
    ///
    /// # Safety
    /// As [`Slots::read`], for all of these slots.
    #[cfg(not(loom))]
    pub(super) unsafe fn copy_out(&self, index: usize, values: &mut [T])
    where
        T: Copy,
    {
        let start = index & self.mask;
        let split = values.len().min(self.cells.len() - start);
        let (front, back) = values.split_at_mut(split);
        let cells = self.cells.as_ptr().cast::<T>();
        // SAFETY: as in `copy_in`, and by contract all these slots are initialised.
        unsafe {
            cells
                .add(start)
                .copy_to_nonoverlapping(front.as_mut_ptr(), front.len());
            cells.copy_to_nonoverlapping(back.as_mut_ptr(), back.len());
        }
    }

    /// The same one by one: loom's cells are not contiguous values.
    ///
    /// # Safety
    /// As [`Slots::write`], for all of these slots.
    #[cfg(loom)]
    pub(super) unsafe fn copy_in(&self, index: usize, values: &[T])
    where
        T: Copy,
    {
        for (at, value) in values.iter().enumerate() {
            // SAFETY: passed on.
            unsafe { self.write(index.wrapping_add(at), *value) };
        }
    }

    /// The same one by one: loom's cells are not contiguous values.
    ///
    /// # Safety
    /// As [`Slots::read`], for all of these slots.
    #[cfg(loom)]
    pub(super) unsafe fn copy_out(&self, index: usize, values: &mut [T])
    where
        T: Copy,
    {
        for (at, value) in values.iter_mut().enumerate() {
            // SAFETY: passed on.
            *value = unsafe { self.read(index.wrapping_add(at)) };
        }
    }
}
