//! Device memory, and host memory that a device reads by itself: page-locked, given by the driver or by the system.
#![expect(unsafe_code, reason = "calls the driver, and owns memory that it gives")]

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::{fmt, slice};

use zenith_runtime_cpu::allocator::{Block, HostMemory, MemoryError, SystemMemory};

use super::context::Context;
use super::error::{Code, Error};
use super::symbols::{Address, check};

/// `CU_MEMHOSTALLOC_PORTABLE` and `CU_MEMHOSTREGISTER_PORTABLE`: page-locked for every context.
const PORTABLE: u32 = 1;

/// Memory of a device.
#[derive(Debug)]
pub struct DeviceMemory {
    context: Context,
    address: Address,
    len: usize,
}

impl DeviceMemory {
    /// Takes `len` bytes; at least one.
    ///
    /// # Errors
    /// [`Error::OutOfDeviceMemory`] when there is not so much left, else what the driver says.
    pub fn new(context: &Context, len: usize) -> Result<Self, Error> {
        let mut address = 0;
        let current = context.enter()?;
        // SAFETY: a number of ours to write into.
        let taken =
            unsafe { check("cuMemAlloc", (current.functions.memory_alloc)(&raw mut address, len.max(1))) };
        drop(current);
        match taken {
            Ok(()) => Ok(Self { context: context.clone(), address, len }),
            Err(error) if error.is_out_of_memory() => {
                let free = context.memory().map_or(0, |(free, _)| free);
                Err(Error::OutOfDeviceMemory { bytes: len, free })
            }
            Err(error) => Err(error),
        }
    }

    /// The address on the device.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// Number of bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The context it is of.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        let freed = self.context.enter().and_then(|current| {
            // SAFETY: taken once, by `new`; the driver frees after what still runs.
            unsafe { check("cuMemFree", (current.functions.memory_free)(self.address)) }
        });
        if let Err(error) = freed {
            tracing::debug!(%error, "device memory was not freed in order");
        }
    }
}

/// Page-locked host memory that the driver gave. On which memory node it lies is the driver's choice; see
/// [`LockedMemory`] for one's own.
pub struct PinnedMemory {
    context: Context,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it owns its memory, which is bound to no thread.
unsafe impl Send for PinnedMemory {}
// SAFETY: a shared reference gives read access only.
unsafe impl Sync for PinnedMemory {}

impl PinnedMemory {
    /// `len` zeroed bytes.
    ///
    /// # Errors
    /// [`Error::NotLocked`] when the driver or the system refuses.
    pub fn new(context: &Context, len: usize) -> Result<Self, Error> {
        let mut start: *mut c_void = ptr::null_mut();
        let current = context.enter()?;
        // SAFETY: an address of ours to write into.
        let status = unsafe { (current.functions.host_alloc)(&raw mut start, len.max(1), PORTABLE) };
        drop(current);
        let start = NonNull::new(start.cast::<u8>()).filter(|_| status == 0);
        let start = start.ok_or(Error::NotLocked { bytes: len, code: Code(status) })?;
        // SAFETY: `len` bytes that the driver has just given us.
        unsafe { start.as_ptr().write_bytes(0, len) };
        Ok(Self { context: context.clone(), start, len })
    }

    /// The bytes.
    #[must_use]
    pub const fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes from `start` are ours.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to write.
    #[must_use]
    pub const fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl fmt::Debug for PinnedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} page-locked bytes", self.len)
    }
}

impl Drop for PinnedMemory {
    fn drop(&mut self) {
        // SAFETY: given once, by the driver, and used by nobody any more: copies own their ends.
        let freed = unsafe {
            check("cuMemFreeHost", (self.context.functions().host_free)(self.start.as_ptr().cast()))
        };
        if let Err(error) = freed {
            tracing::debug!(%error, "page-locked memory was not freed in order");
        }
    }
}

/// The system's memory, page-locked for a device: blocks for slabs on a memory node of one's choice.
///
/// A block that cannot be page-locked is an error and no pageable block.
#[derive(Clone, Debug)]
pub struct LockedMemory {
    /// Which device's context.
    pub context: Context,
    /// Which pages, on which node.
    pub memory: SystemMemory,
}

impl HostMemory for LockedMemory {
    fn allocate(&self, bytes: usize) -> Result<Block, MemoryError> {
        let mut block = self.memory.allocate(bytes)?;
        match Locked::new(&self.context, &block) {
            Ok(locked) => block.attach(Box::new(locked)),
            Err(error) => return Err(MemoryError::Locked { bytes, reason: error.to_string() }),
        }
        Ok(block)
    }

    fn describe(&self) -> String {
        format!("{}, page-locked for a CUDA device", self.memory.describe())
    }
}

/// A block is page-locked for as long as this lives. The block keeps it, and frees itself only behind it.
struct Locked {
    context: Context,
    start: usize,
}

impl Locked {
    fn new(context: &Context, block: &Block) -> Result<Self, Error> {
        let start = block.as_ptr();
        let current = context.enter()?;
        // SAFETY: `footprint` bytes from `start` are the block's own, and stay until this is dropped.
        let status = unsafe { (current.functions.host_register)(start.cast(), block.footprint(), PORTABLE) };
        drop(current);
        if status != 0 {
            return Err(Error::NotLocked { bytes: block.footprint(), code: Code(status) });
        }
        Ok(Self { context: context.clone(), start: start.expose_provenance() })
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let start = ptr::with_exposed_provenance_mut::<c_void>(self.start);
        let unlocked = self.context.enter().and_then(|current| {
            // SAFETY: registered once, by `new`, and the block is still there.
            unsafe { check("cuMemHostUnregister", (current.functions.host_unregister)(start)) }
        });
        if let Err(error) = unlocked {
            tracing::debug!(%error, "memory was not unlocked in order");
        }
    }
}
