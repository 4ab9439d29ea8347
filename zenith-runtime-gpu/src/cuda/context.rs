//! The primary context of a device, retained, and being current on a thread for the time of a call.
#![expect(unsafe_code, reason = "calls the driver")]

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use super::driver::Driver;
use super::error::Error;
use super::symbols::{Functions, Handle, check};

/// A primary context. Clones are handles of the same; it is released with the last of them and of what was made in it.
#[derive(Clone, Debug)]
pub struct Context {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    functions: Arc<Functions>,
    device: c_int,
    handle: Handle,
}

// SAFETY: the driver's functions may be called from any thread, and the handle is nothing but a name for them.
unsafe impl Send for Held {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Held {}

/// The context is this thread's current one until it is dropped.
pub(super) struct Current<'a> {
    pub(super) functions: &'a Functions,
    /// What is current belongs to a thread.
    _thread: PhantomData<*const ()>,
}

impl Context {
    pub(super) fn retain(driver: &Driver, device: c_int) -> Result<Self, Error> {
        let functions = Arc::clone(&driver.functions);
        let mut handle = ptr::null_mut();
        // SAFETY: a handle of ours to write into, and a device that the driver gave.
        unsafe { check("cuDevicePrimaryCtxRetain", (functions.context_retain)(&raw mut handle, device))? };
        Ok(Self { held: Arc::new(Held { functions, device, handle }) })
    }

    /// Makes it current on this thread for as long as the answer lives.
    pub(super) fn enter(&self) -> Result<Current<'_>, Error> {
        let functions = &*self.held.functions;
        // SAFETY: the context is retained for as long as `held` lives.
        unsafe { check("cuCtxPushCurrent", (functions.context_push)(self.held.handle))? };
        Ok(Current { functions, _thread: PhantomData })
    }

    /// The functions, for calls that need no current context.
    pub(super) fn functions(&self) -> &Functions {
        &self.held.functions
    }

    /// Bytes of device memory: (free, all).
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(usize, usize), Error> {
        let (mut free, mut all) = (0, 0);
        let current = self.enter()?;
        // SAFETY: numbers of ours to write into.
        unsafe {
            check("cuMemGetInfo", (current.functions.memory_info)(&raw mut free, &raw mut all))?;
        }
        Ok((free, all))
    }

    /// Whether both are of the same device.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.held.handle == other.held.handle
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // SAFETY: retained once, by `retain`, and everything made in it holds it.
        let released =
            unsafe { check("cuDevicePrimaryCtxRelease", (self.functions.context_release)(self.device)) };
        if let Err(error) = released {
            tracing::debug!(%error, "a context was not released");
        }
    }
}

impl Drop for Current<'_> {
    fn drop(&mut self) {
        let mut popped = ptr::null_mut();
        // SAFETY: a handle of ours to write into; what is popped is what `enter` pushed: this type cannot leave its
        // thread, and they are dropped in the reverse of their order.
        let status = unsafe { check("cuCtxPopCurrent", (self.functions.context_pop)(&raw mut popped)) };
        if let Err(error) = status {
            tracing::debug!(%error, "a context was not popped");
        }
    }
}
