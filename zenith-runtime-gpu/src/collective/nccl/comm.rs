//! A rank's communicator: NCCL's collectives on a stream.
#![expect(unsafe_code, reason = "hands addresses of device memory to a foreign library")]

use std::ffi::{c_int, c_void};
use std::ptr;

use super::NcclError;
use super::library::{Library, RawComm, RawId};
use crate::collective::{Dtype, ReduceOp};

/// Bytes of an identity.
pub(super) const ID_BYTES: usize = 128;

/// The identity of a group of ranks, to be brought from the rank that made it to all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniqueId([u8; ID_BYTES]);

impl UniqueId {
    /// The identity with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; ID_BYTES] {
        &self.0
    }
}

/// One rank on one GPU.
#[derive(Debug)]
pub struct Comm {
    library: Library,
    raw: RawComm,
}

// SAFETY: NCCL lets a communicator be used from any thread, one at a time, which `&mut self` sees to.
unsafe impl Send for Comm {}

/// Memory of a GPU and the stream in which it is worked on, as a framework tells them.
#[derive(Clone, Copy, Debug)]
pub struct OnStream {
    /// Where the operands lie.
    pub send: *const c_void,
    /// Where the results go; may be where the operands are.
    pub receive: *mut c_void,
    /// Elements, as NCCL counts them for the call.
    pub count: usize,
    /// Their type.
    pub dtype: Dtype,
    /// A `cudaStream_t`.
    pub stream: *mut c_void,
}

impl Comm {
    /// Meets the other ranks on the current device of this thread. Waits until all have come.
    ///
    /// # Errors
    /// When there is no GPU, or NCCL finds no way between the ranks.
    pub fn init(library: &Library, id: &UniqueId, rank: u32, world: u32) -> Result<Self, NcclError> {
        let mut raw: RawComm = ptr::null_mut();
        let number = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        // SAFETY: writes one pointer, which lives; the id goes by value.
        let code =
            unsafe { (library.api.comm_init_rank)(&raw mut raw, number(world), RawId(id.0), number(rank)) };
        library.check("ncclCommInitRank", code)?;
        Ok(Self { library: library.clone(), raw })
    }

    /// Combines the elements of all ranks, everywhere.
    ///
    /// # Safety
    /// The addresses are of this communicator's device, hold `count` elements, and live until the stream has done the work.
    ///
    /// # Errors
    /// When NCCL refuses.
    pub unsafe fn all_reduce(&mut self, on: &OnStream, op: ReduceOp) -> Result<(), NcclError> {
        let (dtype, op) = (dtype_code(on.dtype), op_code(op));
        // SAFETY: the caller's promise, handed on.
        let code = unsafe {
            (self.library.api.all_reduce)(on.send, on.receive, on.count, dtype, op, self.raw, on.stream)
        };
        self.library.check("ncclAllReduce", code)
    }

    /// Combines the elements of all ranks, each rank `count` of them.
    ///
    /// # Safety
    /// As for [`all_reduce`](Self::all_reduce); `send` holds `count` times the number of ranks.
    ///
    /// # Errors
    /// When NCCL refuses.
    pub unsafe fn reduce_scatter(&mut self, on: &OnStream, op: ReduceOp) -> Result<(), NcclError> {
        let (dtype, op) = (dtype_code(on.dtype), op_code(op));
        // SAFETY: the caller's promise, handed on.
        let code = unsafe {
            (self.library.api.reduce_scatter)(on.send, on.receive, on.count, dtype, op, self.raw, on.stream)
        };
        self.library.check("ncclReduceScatter", code)
    }

    /// Every rank's `count` elements, everywhere.
    ///
    /// # Safety
    /// As for [`all_reduce`](Self::all_reduce); `receive` has room for `count` times the number of ranks.
    ///
    /// # Errors
    /// When NCCL refuses.
    pub unsafe fn all_gather(&mut self, on: &OnStream) -> Result<(), NcclError> {
        let dtype = dtype_code(on.dtype);
        // SAFETY: the caller's promise, handed on.
        let code = unsafe {
            (self.library.api.all_gather)(on.send, on.receive, on.count, dtype, self.raw, on.stream)
        };
        self.library.check("ncclAllGather", code)
    }

    /// The elements of rank `root`, everywhere.
    ///
    /// # Safety
    /// As for [`all_reduce`](Self::all_reduce).
    ///
    /// # Errors
    /// When NCCL refuses.
    pub unsafe fn broadcast(&mut self, on: &OnStream, root: u32) -> Result<(), NcclError> {
        let (dtype, root) = (dtype_code(on.dtype), c_int::try_from(root).unwrap_or(c_int::MAX));
        // SAFETY: the caller's promise, handed on.
        let code = unsafe {
            (self.library.api.broadcast)(on.send, on.receive, on.count, dtype, root, self.raw, on.stream)
        };
        self.library.check("ncclBroadcast", code)
    }

    /// Whether the work given so far goes on well.
    ///
    /// # Errors
    /// What broke it.
    pub fn check(&mut self) -> Result<(), NcclError> {
        let mut state = 0;
        // SAFETY: the communicator lives; writes one int, which lives.
        let code = unsafe { (self.library.api.comm_async_error)(self.raw, &raw mut state) };
        self.library.check("ncclCommGetAsyncError", code)?;
        self.library.check("a collective", state)
    }

    /// Ends it at once, also where other ranks will never answer.
    ///
    /// # Errors
    /// When NCCL cannot; what it holds is then lost.
    pub fn abort(mut self) -> Result<(), NcclError> {
        let raw = std::mem::replace(&mut self.raw, ptr::null_mut());
        // SAFETY: the communicator lives and is not used again: its pointer is gone.
        let code = unsafe { (self.library.api.comm_abort)(raw) };
        self.library.check("ncclCommAbort", code)
    }
}

impl Drop for Comm {
    fn drop(&mut self) {
        if self.raw.is_null() {
            return;
        }
        // SAFETY: the communicator lives and is not used again.
        let code = unsafe { (self.library.api.comm_destroy)(self.raw) };
        if let Err(error) = self.library.check("ncclCommDestroy", code) {
            tracing::warn!(%error, "an NCCL communicator did not end well");
        }
    }
}

const fn dtype_code(dtype: Dtype) -> c_int {
    match dtype {
        Dtype::U8 => 1,
        Dtype::I32 => 2,
        Dtype::I64 => 4,
        Dtype::F16 => 6,
        Dtype::F32 => 7,
        Dtype::F64 => 8,
        Dtype::Bf16 => 9,
    }
}

const fn op_code(op: ReduceOp) -> c_int {
    match op {
        ReduceOp::Sum => 0,
        ReduceOp::Max => 2,
        ReduceOp::Min => 3,
        ReduceOp::Avg => 4,
    }
}
