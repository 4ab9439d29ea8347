//! The slots of a ring: memory for values, found by ever-growing indices. Who may touch which slot is the ring's
//! business.
#![expect(unsafe_code, reason = "moves values in and out of uninitialised memory")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, slice_from_raw_parts_mut};

use crate::sync::cell::UnsafeCell;

/// Both ends keep a copy, so that the way to a slot stays in registers. The memory lives until [`Slots::free`].
pub(super) struct Slots<T> {
    first: NonNull<UnsafeCell<MaybeUninit<T>>>,
    mask: usize,
}

// SAFETY: the ring hands values from one thread to another and never shares one, so `T: Send` is enough.
unsafe impl<T: Send> Send for Slots<T> {}
// SAFETY: as above; each slot is touched by one end at a time.
unsafe impl<T: Send> Sync for Slots<T> {}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slots<T> {}

impl<T> Slots<T> {
    /// Slots for at least `capacity` values, on cache lines of their own.
    ///
    /// # Panics
    /// When the address space has no room for them.
    pub(super) fn allocate(capacity: usize) -> Self {
        // Wrapped to nothing, the mask would let every index through.
        let count = capacity.checked_next_power_of_two().expect("a ring smaller than half the address space");
        let layout = Self::layout(count);
        let first: NonNull<UnsafeCell<MaybeUninit<T>>> = if layout.size() == 0 {
            NonNull::dangling()
        } else {
            // SAFETY: the layout has a size.
            let memory = unsafe { alloc(layout) };
            NonNull::new(memory.cast()).unwrap_or_else(|| handle_alloc_error(layout))
        };
        for at in 0..count {
            // SAFETY: `at` is one of the `count` cells just allocated (or of no size).
            unsafe { first.add(at).write(UnsafeCell::new(MaybeUninit::uninit())) };
        }
        Slots { first, mask: count - 1 }
    }

    /// Gives the memory back; values in it are not dropped.
    ///
    /// # Safety
    /// No copy of this is used any more.
    pub(super) unsafe fn free(self) {
        let count = self.mask + 1;
        let layout = Self::layout(count);
        // SAFETY: `allocate` made these cells and, if they have a size, this memory; nobody uses it any more.
        unsafe {
            slice_from_raw_parts_mut(self.first.as_ptr(), count).drop_in_place();
            if layout.size() > 0 {
                dealloc(self.first.as_ptr().cast(), layout);
            }
        }
    }

    fn layout(count: usize) -> Layout {
        Layout::array::<UnsafeCell<MaybeUninit<T>>>(count)
            .and_then(|layout| layout.align_to(128))
            .expect("a ring smaller than half the address space")
    }

    /// Moves a value into slot `index`.
    ///
    /// # Safety
    /// The slot holds no value and the other end does not touch it.
    #[inline(always)]
    pub(super) unsafe fn write(&self, index: usize, value: T) {
        // SAFETY: the mask keeps the index among the `mask + 1` cells, which live until `free`.
        let cell = unsafe { self.first.add(index & self.mask).as_ref() };
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
        let cell = unsafe { self.first.add(index & self.mask).as_ref() };
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
        let (front, back) = values.split_at(values.len().min(self.mask + 1 - start));
        let cells = self.first.as_ptr().cast::<T>();
        // SAFETY: cells have the layout of `T` and may be written through a shared reference; `front` fits between
        // `start` and the end, `back` (at most one round in all, by contract) before `start`.
        unsafe {
            cells.add(start).copy_from_nonoverlapping(front.as_ptr(), front.len());
            // Even an empty copy is a call.
            if !back.is_empty() {
                cells.copy_from_nonoverlapping(back.as_ptr(), back.len());
            }
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
        let split = values.len().min(self.mask + 1 - start);
        let (front, back) = values.split_at_mut(split);
        let cells = self.first.as_ptr().cast::<T>();
        // SAFETY: as in `copy_in`, and by contract all these slots are initialised.
        unsafe {
            cells.add(start).copy_to_nonoverlapping(front.as_mut_ptr(), front.len());
            if !back.is_empty() {
                cells.copy_to_nonoverlapping(back.as_mut_ptr(), back.len());
            }
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
