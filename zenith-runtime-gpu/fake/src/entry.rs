//! The driver's entry points, as `cuda.h` has them. What they answer is decided elsewhere; here are only C's types.
//!
//! Arguments that C passes as pointers to one value are `Option<&mut T>`, which is the same to C; the caller promises
//! that they are null or valid. Handles are numbers in the guise of pointers.
#![expect(unsafe_code, reason = "C calls these by name, and passes text as a pointer and a length")]

use std::cell::RefCell;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{mem, ptr, slice};

use crate::install::script_of;
use crate::script::Census;
use crate::state::{self, INVALID_CONTEXT, INVALID_VALUE, NOT_READY, State};

type Result32 = u32;

thread_local! {
    /// This thread's contexts; the last one is the current one.
    static CURRENT: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn code(answer: Result<(), u32>) -> Result32 {
    answer.err().unwrap_or(0)
}

fn answer<T>(to: Option<&mut T>, value: impl FnOnce(&mut State) -> Result<T, u32>) -> Result32 {
    code(state::with(|state| {
        *to.ok_or(INVALID_VALUE)? = value(state)?;
        Ok(())
    }))
}

fn handle(pointer: *mut c_void) -> u64 {
    pointer.addr() as u64
}

fn pointer(handle: u64) -> *mut c_void {
    ptr::without_provenance_mut(handle as usize)
}

/// The device of this thread's current context.
fn current(state: &State) -> Result<u64, u32> {
    let context = CURRENT.with_borrow(|stack| stack.last().copied()).ok_or(INVALID_CONTEXT)?;
    state.device_of(context)
}

#[unsafe(no_mangle)]
extern "C" fn zenith_fakecuda_census(census: Option<&mut Census>) {
    if let Some(census) = census {
        *census = state::census();
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> Result32 {
    // SAFETY: zero is a value of each of its fields, which are pointers.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // An address that no symbol has, so that every symbol can be hidden from the loader.
    // SAFETY: any address may be asked about, and the answer is written into `info` alone.
    let found = unsafe { libc::dladdr(code as *const c_void, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: the loader's name of this library, which ends in a zero byte and lives as long as the library is loaded.
    let library = unsafe { CStr::from_ptr(info.dli_fname) };
    code(state::start(&script_of(Path::new(OsStr::from_bytes(library.to_bytes())))))
}

#[unsafe(no_mangle)]
extern "C" fn cuDriverGetVersion(version: Option<&mut c_int>) -> Result32 {
    answer(version, |state| Ok(state.script.version))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: Option<&mut c_int>) -> Result32 {
    answer(count, |state| c_int::try_from(state.script.devices.len()).map_err(|_| INVALID_VALUE))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: Option<&mut c_int>, ordinal: c_int) -> Result32 {
    answer(device, |state| state.device(ordinal).map(|_| ordinal))
}

fn text(to: *mut c_char, length: c_int, text: impl FnOnce(&State) -> Result<String, u32>) -> Result32 {
    code(state::with(|state| {
        let text = text(state)?;
        let length = usize::try_from(length).map_err(|_| INVALID_VALUE)?;
        if to.is_null() || text.len() >= length {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller passes a buffer of `length` bytes, which no one else has meanwhile.
        let buffer = unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), length) };
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        buffer[text.len()] = 0;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> Result32 {
    text(name, length, |state| Ok(state.device(device)?.1.name.clone()))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetPCIBusId(address: *mut c_char, length: c_int, device: c_int) -> Result32 {
    text(address, length, |state| Ok(format!("0000:{:02X}:00.0", state.device(device)?.1.bus)))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceTotalMem_v2(bytes: Option<&mut usize>, device: c_int) -> Result32 {
    answer(bytes, |state| Ok(state.device(device)?.1.memory as usize))
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetAttribute(value: Option<&mut c_int>, attribute: c_int, device: c_int) -> Result32 {
    answer(value, |state| {
        let device = state.device(device)?.1;
        match attribute {
            16 => Ok(device.multiprocessors),
            38 => Ok(50 << 20),
            40 => Ok(3),
            75 => Ok(device.capability.0),
            76 => Ok(device.capability.1),
            _ => Err(INVALID_VALUE),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRetain(context: Option<&mut *mut c_void>, device: c_int) -> Result32 {
    answer(context, |state| state.retain(device).map(pointer))
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Result32 {
    code(state::give_back(|state| state.release(device)))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: *mut c_void) -> Result32 {
    let retained = state::ask(|state| state.device_of(handle(context)));
    code(retained.map(|_| CURRENT.with_borrow_mut(|stack| stack.push(handle(context)))))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(context: Option<&mut *mut c_void>) -> Result32 {
    let popped = CURRENT.with_borrow_mut(Vec::pop);
    if let (Some(to), Some(popped)) = (context, popped) {
        *to = pointer(popped);
    }
    if popped.is_some() { 0 } else { INVALID_CONTEXT }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: Option<&mut usize>, total: Option<&mut usize>) -> Result32 {
    code(state::with(|state| {
        let device = current(state)?;
        *free.ok_or(INVALID_VALUE)? = state.free_bytes(device) as usize;
        *total.ok_or(INVALID_VALUE)? = state.total_bytes(device) as usize;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(address: Option<&mut u64>, bytes: usize) -> Result32 {
    answer(address, |state| {
        let device = current(state)?;
        state.allocate(device, bytes as u64)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> Result32 {
    code(state::give_back(|state| state.free(address)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(start: Option<&mut *mut c_void>, bytes: usize, _flags: c_uint) -> Result32 {
    answer(start, |state| {
        current(state)?;
        state.allocate_host(bytes as u64).map(|address| address as *mut c_void)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(start: *mut c_void) -> Result32 {
    code(state::give_back(|state| state.free_host(handle(start))))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostRegister_v2(start: *mut c_void, bytes: usize, _flags: c_uint) -> Result32 {
    code(state::with(|state| {
        current(state)?;
        state.register(handle(start), bytes as u64)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostUnregister(start: *mut c_void) -> Result32 {
    code(state::give_back(|state| state.unregister(handle(start))))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: *mut c_void,
) -> Result32 {
    code(state::with(|state| state.copy(true, (from as u64, to), bytes as u64, handle(stream))))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: *mut c_void,
) -> Result32 {
    code(state::with(|state| state.copy(false, (from, to as u64), bytes as u64, handle(stream))))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(stream: Option<&mut *mut c_void>, _flags: c_uint) -> Result32 {
    answer(stream, |state| {
        let device = current(state)?;
        Ok(pointer(state.add_stream(device)))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: *mut c_void) -> Result32 {
    code(state::give_back(|state| state.remove_stream(handle(stream))))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: *mut c_void) -> Result32 {
    code(state::with(|state| state.finish_stream(handle(stream))))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(stream: *mut c_void) -> Result32 {
    let idle = state::with(|state| state.is_idle(handle(stream)));
    code(idle.and_then(|idle| if idle { Ok(()) } else { Err(NOT_READY) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: *mut c_void, event: *mut c_void, _flags: c_uint) -> Result32 {
    code(state::with(|state| state.wait(handle(stream), handle(event))))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(event: Option<&mut *mut c_void>, _flags: c_uint) -> Result32 {
    answer(event, |state| {
        let device = current(state)?;
        Ok(pointer(state.add_event(device)))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> Result32 {
    code(state::give_back(|state| state.remove_event(handle(event))))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: *mut c_void, stream: *mut c_void) -> Result32 {
    code(state::with(|state| state.record(handle(event), handle(stream))))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: *mut c_void) -> Result32 {
    let happened = state::with(|state| state.has_happened(handle(event)));
    code(happened.and_then(|happened| if happened { Ok(()) } else { Err(NOT_READY) }))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: *mut c_void) -> Result32 {
    code(state::with(|state| state.finish_event(handle(event))))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime(ms: Option<&mut f32>, start: *mut c_void, end: *mut c_void) -> Result32 {
    answer(ms, |state| state.between(handle(start), handle(end)))
}
