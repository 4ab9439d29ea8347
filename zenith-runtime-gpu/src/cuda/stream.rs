//! Streams and events: what happens in which order on a device.
#![expect(unsafe_code, reason = "calls the driver")]

use std::ptr;
use std::time::Duration;

use super::context::Context;
use super::error::Error;
use super::symbols::{Handle, check};

/// `CU_STREAM_NON_BLOCKING`: not held up by the default stream.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DEFAULT` and `CU_EVENT_DISABLE_TIMING`, which is cheaper.
const TIMED: u32 = 0;
const UNTIMED: u32 = 2;
const NOT_READY: u32 = 600;

/// A queue of work on a device. Destroying it ends nothing: the driver finishes what it was given.
#[derive(Debug)]
pub struct Stream {
    context: Context,
    handle: Handle,
}

/// A mark in a stream.
#[derive(Debug)]
pub struct Event {
    context: Context,
    handle: Handle,
    timed: bool,
}

// SAFETY: handles are names for the driver, whose functions may be called from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above; the driver locks for itself.
unsafe impl Sync for Stream {}
// SAFETY: as for streams.
unsafe impl Send for Event {}
// SAFETY: as for streams.
unsafe impl Sync for Event {}

impl Stream {
    /// A new stream.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(context: &Context) -> Result<Self, Error> {
        let mut handle = ptr::null_mut();
        let current = context.enter()?;
        // SAFETY: a handle of ours to write into.
        unsafe { check("cuStreamCreate", (current.functions.stream_create)(&raw mut handle, NON_BLOCKING))? };
        drop(current);
        Ok(Self { context: context.clone(), handle })
    }

    /// The context it is of.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    pub(super) const fn handle(&self) -> Handle {
        self.handle
    }

    /// What is asked of this stream from now on begins after the event's newest mark.
    ///
    /// # Errors
    /// What the driver says.
    pub fn wait(&self, event: &Event) -> Result<(), Error> {
        let current = self.context.enter()?;
        // SAFETY: both live.
        unsafe { check("cuStreamWaitEvent", (current.functions.stream_wait)(self.handle, event.handle, 0)) }
    }

    /// Blocks until everything that was asked of it is done.
    ///
    /// # Errors
    /// What the driver says, also of work that failed.
    pub fn synchronize(&self) -> Result<(), Error> {
        let current = self.context.enter()?;
        // SAFETY: the stream lives.
        unsafe { check("cuStreamSynchronize", (current.functions.stream_synchronize)(self.handle)) }
    }

    /// Whether everything that was asked of it is done.
    ///
    /// # Errors
    /// What the driver says, also of work that failed.
    pub fn is_idle(&self) -> Result<bool, Error> {
        let current = self.context.enter()?;
        // SAFETY: the stream lives.
        ready("cuStreamQuery", unsafe { (current.functions.stream_query)(self.handle) })
    }
}

impl Event {
    /// A mark that orders.
    ///
    /// # Errors
    /// What the driver says.
    pub fn new(context: &Context) -> Result<Self, Error> {
        Self::with(context, false)
    }

    /// A mark that orders and has a time.
    ///
    /// # Errors
    /// What the driver says.
    pub fn timed(context: &Context) -> Result<Self, Error> {
        Self::with(context, true)
    }

    fn with(context: &Context, timed: bool) -> Result<Self, Error> {
        let mut handle = ptr::null_mut();
        let current = context.enter()?;
        let flags = if timed { TIMED } else { UNTIMED };
        // SAFETY: a handle of ours to write into.
        unsafe { check("cuEventCreate", (current.functions.event_create)(&raw mut handle, flags))? };
        drop(current);
        Ok(Self { context: context.clone(), handle, timed })
    }

    /// Marks the place in `stream` behind everything asked of it so far. An earlier mark is forgotten.
    ///
    /// # Errors
    /// What the driver says.
    pub fn record(&self, stream: &Stream) -> Result<(), Error> {
        let current = self.context.enter()?;
        // SAFETY: both live.
        unsafe { check("cuEventRecord", (current.functions.event_record)(self.handle, stream.handle)) }
    }

    /// Whether the newest mark has been reached; true for an event without one.
    ///
    /// # Errors
    /// What the driver says, also of work that failed.
    pub fn is_reached(&self) -> Result<bool, Error> {
        // SAFETY: the event lives.
        ready("cuEventQuery", unsafe { (self.context.functions().event_query)(self.handle) })
    }

    /// Blocks until the newest mark has been reached.
    ///
    /// # Errors
    /// What the driver says, also of work that failed.
    pub fn synchronize(&self) -> Result<(), Error> {
        // SAFETY: the event lives.
        unsafe { check("cuEventSynchronize", (self.context.functions().event_synchronize)(self.handle)) }
    }

    /// The device's time between an earlier mark and this one; `None` unless both are timed and have been reached.
    ///
    /// # Errors
    /// What the driver says, also of work that failed.
    pub fn since(&self, earlier: &Self) -> Result<Option<Duration>, Error> {
        if !self.timed || !earlier.timed || !self.is_reached()? || !earlier.is_reached()? {
            return Ok(None);
        }
        let mut milliseconds = 0_f32;
        // SAFETY: both live, and a number of ours to write into.
        let status = unsafe {
            (self.context.functions().event_elapsed)(&raw mut milliseconds, earlier.handle, self.handle)
        };
        check("cuEventElapsedTime", status)?;
        Ok(Some(Duration::from_nanos((f64::from(milliseconds.max(0.0)) * 1e6).round() as u64)))
    }
}

fn ready(call: &'static str, status: u32) -> Result<bool, Error> {
    if status == NOT_READY { Ok(false) } else { check(call, status).map(|()| true) }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: made once, by `new`, and used by nobody any more.
        let destroyed =
            unsafe { check("cuStreamDestroy", (self.context.functions().stream_destroy)(self.handle)) };
        if let Err(error) = destroyed {
            tracing::debug!(%error, "a stream was not destroyed in order");
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made once, by `with`, and used by nobody any more; the driver keeps marks that streams still wait for.
        let destroyed =
            unsafe { check("cuEventDestroy", (self.context.functions().event_destroy)(self.handle)) };
        if let Err(error) = destroyed {
            tracing::debug!(%error, "an event was not destroyed in order");
        }
    }
}
