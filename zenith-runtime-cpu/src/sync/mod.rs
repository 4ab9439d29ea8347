//! The one door to atomics, cells and blocking: the standard library's types, or loom's under `--cfg loom`.
//!
//! Code that is to be model-checked names only what is re-exported here. Channels and locks for control paths are not
//! its business: those use the standard library directly.

mod gate;
#[cfg(not(loom))]
mod park;
#[cfg(loom)]
#[path = "park_loom.rs"]
mod park;

pub use gate::{Gate, Key};

#[cfg(loom)]
pub(crate) use loom::{hint, sync::atomic};
#[cfg(not(loom))]
pub(crate) use std::{hint, sync::atomic};

/// A cell whose accesses loom can check.
pub(crate) mod cell {
    #[cfg(loom)]
    pub(crate) use loom::cell::UnsafeCell;

    /// `std::cell::UnsafeCell` behind loom's interface.
    #[cfg(not(loom))]
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    #[cfg(not(loom))]
    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline(always)]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
