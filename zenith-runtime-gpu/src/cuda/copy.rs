//! Copies that own both their ends until they are done, so that no memory can go, or be written, while a copy runs.
#![expect(unsafe_code, reason = "calls the driver, which reads and writes memory behind its back")]

use std::sync::Arc;

use zenith_runtime_cpu::buffer::Lease;

use super::error::Error;
use super::memory::{DeviceMemory, PinnedMemory};
use super::stream::{Event, Stream};
use super::symbols::check;

/// Host memory that a device may read while its owner is moved about.
///
/// # Safety
/// [`bytes`](HostBytes::bytes) gives the same range each time, which stays where it is when the owner is moved, and which
/// nobody writes while the owner cannot be reached.
pub unsafe trait HostBytes: Send + 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

// SAFETY: on the heap, and owned.
unsafe impl HostBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: the driver's memory, and owned.
unsafe impl HostBytes for PinnedMemory {
    fn bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

// SAFETY: a slab's memory, which its pool lends to one lease at a time. It is written through a raw pointer only by those
// who make sure that nobody reads, and a finished batch is written no more.
unsafe impl HostBytes for Arc<Lease> {
    fn bytes(&self) -> &[u8] {
        self.as_slice()
    }
}

/// A copy to a device under way. Dropping it waits for its end; forgetting it leaks both ends.
#[derive(Debug)]
pub struct Upload<H: HostBytes> {
    /// `None` only while it is being taken apart.
    host: Option<H>,
    device: Arc<DeviceMemory>,
    done: Event,
}

impl<H: HostBytes> Upload<H> {
    /// Copies all of `host` to the beginning of `device`, behind everything asked of `stream` so far.
    ///
    /// # Errors
    /// When they do not fit, and what the driver says.
    pub fn begin(stream: &Stream, host: H, device: Arc<DeviceMemory>) -> Result<Self, Error> {
        let len = host.bytes().len();
        if len > device.len() {
            return Err(Error::OutOfRange { what: "device memory", start: 0, end: len, len: device.len() });
        }
        let done = Event::new(stream.context())?;
        let current = stream.context().enter()?;
        // SAFETY: `len` bytes lie at both ends, as was just seen, and both stay until the copy is done: this object holds
        // them, and lets go of them only behind `done`, or below behind the end of the stream.
        let status = unsafe {
            (current.functions.copy_up)(device.address(), host.bytes().as_ptr().cast(), len, stream.handle())
        };
        drop(current);
        check("cuMemcpyHtoDAsync", status)?;
        if let Err(error) = done.record(stream) {
            // Nothing says any more when it is done, except that the stream is empty.
            stream.synchronize()?;
            return Err(error);
        }
        Ok(Self { host: Some(host), device, done })
    }

    /// Marks its end.
    #[must_use]
    pub const fn done(&self) -> &Event {
        &self.done
    }

    /// The device's memory, for those who wait for [`done`](Self::done) on the device.
    #[must_use]
    pub const fn device(&self) -> &Arc<DeviceMemory> {
        &self.device
    }

    /// Blocks until it is done; the host's memory, which can be used again.
    ///
    /// # Errors
    /// What the driver says of it. The host's memory is freed then.
    pub fn wait(mut self) -> Result<H, Error> {
        self.done.synchronize()?;
        Ok(self.host.take().expect("a copy under way has its host memory"))
    }
}

impl<H: HostBytes> Drop for Upload<H> {
    fn drop(&mut self) {
        if self.host.is_some()
            && let Err(error) = self.done.synchronize()
        {
            // A context that broke has ended its copies.
            tracing::debug!(%error, "a copy ended badly");
        }
    }
}

impl Stream {
    /// Copies the first `len` bytes of `device` into memory that is new, and waits for it. For checks and small results.
    ///
    /// # Errors
    /// When there are fewer, and what the driver says.
    pub fn download(&self, device: &DeviceMemory, len: usize) -> Result<Vec<u8>, Error> {
        if len > device.len() {
            return Err(Error::OutOfRange { what: "device memory", start: 0, end: len, len: device.len() });
        }
        let mut host = vec![0; len];
        let copied = self.context().enter().and_then(|current| {
            // SAFETY: `len` bytes lie at both ends, and nobody else has either until the copy is done, which is waited for
            // below also when it fails.
            let status = unsafe {
                (current.functions.copy_down)(host.as_mut_ptr().cast(), device.address(), len, self.handle())
            };
            check("cuMemcpyDtoHAsync", status)
        });
        self.synchronize()?;
        copied?;
        Ok(host)
    }
}
