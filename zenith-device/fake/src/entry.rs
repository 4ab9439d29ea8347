//! NVML's entry points, as its header has them. What they answer is decided elsewhere; here are only C's types.
//!
//! Arguments that C passes as pointers to one value are `Option<&mut T>`, which is the same to C; the caller promises
//! what `nvml.h` asks for, that they are null or valid.
#![expect(
    unsafe_code,
    reason = "C calls these by name, and passes text and arrays as a pointer and a length"
)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{mem, ptr, slice, thread};

use nvml_wrapper_sys::bindings::{
    field_id, nvmlDevice_t, nvmlDeviceAttributes_t, nvmlEventData_t, nvmlEventSet_t,
    nvmlEventTypeDoubleBitEccError, nvmlEventTypeXidCriticalError, nvmlFieldValue_t, nvmlMemory_v2_t,
    nvmlPciInfo_t, nvmlReturn_t, nvmlValue_t,
};

use crate::install::script_of;
use crate::script::{Code, Event, Gpu, Link};
use crate::state::{self, Handle, State};

/// Numbers of `nvml.h` that are not worth an import each.
const CORRECTED: c_uint = 0;
const VOLATILE: c_uint = 0;
const CLOCK_SM: c_uint = 1;
const CLOCK_MEMORY: c_uint = 2;
const P2P_NVLINK: c_uint = 2;
const P2P_OK: c_uint = 0;
const P2P_NOT_SUPPORTED: c_uint = 5;
const VALUE_UNSIGNED_INT: c_uint = 1;

/// How often the script is looked at while somebody waits for errors.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) fn code(answer: Result<(), Code>) -> nvmlReturn_t {
    match answer.err().unwrap_or_default() {
        Code::Success => 0,
        Code::Uninitialized => 1,
        Code::InvalidArgument => 2,
        Code::NotSupported => 3,
        Code::NoPermission => 4,
        Code::NotFound => 6,
        Code::InsufficientSize => 7,
        Code::DriverNotLoaded => 9,
        Code::Timeout => 10,
        Code::GpuIsLost => 15,
        Code::ResetRequired => 16,
        Code::LibRmVersionMismatch => 18,
        Code::Unknown => 999,
    }
}

/// Answers a call: what `value` gives goes to where the caller wants it.
pub(crate) fn answer<T>(
    to: Option<&mut T>,
    value: impl FnOnce(&mut State) -> Result<T, Code>,
) -> nvmlReturn_t {
    code(state::with(|state| {
        *to.ok_or(Code::InvalidArgument)? = value(state)?;
        Ok(())
    }))
}

/// Answers a call with two values.
fn answer_two<T>(
    to: (Option<&mut T>, Option<&mut T>),
    values: impl FnOnce(&mut State) -> Result<(T, T), Code>,
) -> nvmlReturn_t {
    code(state::with(|state| {
        let (one, other) = (to.0.ok_or(Code::InvalidArgument)?, to.1.ok_or(Code::InvalidArgument)?);
        (*one, *other) = values(state)?;
        Ok(())
    }))
}

/// Answers a call with a text that ends in a zero byte.
fn answer_text(
    to: *mut c_char,
    length: c_uint,
    text: impl FnOnce(&mut State) -> Result<String, Code>,
) -> nvmlReturn_t {
    code(state::with(|state| {
        let text = text(state)?;
        if to.is_null() {
            return Err(Code::InvalidArgument);
        }
        // SAFETY: the caller of these functions passes a buffer of `length` bytes, which no one else has meanwhile.
        let buffer = unsafe { slice::from_raw_parts_mut(to.cast::<u8>(), length as usize) };
        let bytes = text.as_bytes();
        if bytes.len() >= buffer.len() {
            return Err(Code::InsufficientSize);
        }
        buffer[..bytes.len()].copy_from_slice(bytes);
        buffer[bytes.len()] = 0;
        Ok(())
    }))
}

pub(crate) fn pointer<T>(handle: usize) -> *mut T {
    ptr::without_provenance_mut(handle)
}

fn pci(bus: u32, device_id: u32) -> nvmlPciInfo_t {
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus,
        device: 0,
        pciDeviceId: device_id,
        pciSubSystemId: 0,
        busId: [0; 32],
    };
    for (to, from) in info.busId.iter_mut().zip(format!("00000000:{bus:02X}:00.0").bytes()) {
        *to = from.cast_signed() as c_char;
    }
    info
}

#[unsafe(no_mangle)]
extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    // SAFETY: zero is a value of each of its fields, which are pointers.
    let mut info: libc::Dl_info = unsafe { mem::zeroed() };
    // An address that no symbol has, so that every symbol can be hidden from the loader.
    // SAFETY: any address may be asked about, and the answer is written into `info` alone.
    let found = unsafe { libc::dladdr(code as *const c_void, &raw mut info) };
    if found == 0 || info.dli_fname.is_null() {
        return code(Err(Code::Unknown));
    }
    // SAFETY: the loader's name of this library, which ends in a zero byte and lives as long as the library is loaded.
    let library = unsafe { CStr::from_ptr(info.dli_fname) };
    code(state::start(script_of(Path::new(OsStr::from_bytes(library.to_bytes())))))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    code(state::stop())
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    answer_text(version, length, |state| Ok(state.script.driver.clone()))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetNVMLVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    answer_text(version, length, |state| Ok(format!("{}.{}", state.script.cuda / 1000, state.script.driver)))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: Option<&mut c_int>) -> nvmlReturn_t {
    answer(version, |state| Ok(state.script.cuda))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCount_v2(count: Option<&mut c_uint>) -> nvmlReturn_t {
    answer(count, |state| c_uint::try_from(state.script.gpus.len()).map_err(|_| Code::Unknown))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    device: Option<&mut nvmlDevice_t>,
) -> nvmlReturn_t {
    answer(device, |state| {
        let handle = State::handle_of_gpu(index as usize);
        state.gpu(handle)?;
        Ok(pointer(handle))
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetName(device: nvmlDevice_t, name: *mut c_char, length: c_uint) -> nvmlReturn_t {
    answer_text(name, length, |state| {
        Ok(match state.handle(device.addr())? {
            Handle::Gpu(_, gpu) => gpu.name.clone(),
            Handle::Instance(instance) => instance.name.clone(),
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetUUID(device: nvmlDevice_t, uuid: *mut c_char, length: c_uint) -> nvmlReturn_t {
    answer_text(uuid, length, |state| {
        Ok(match state.handle(device.addr())? {
            Handle::Gpu(_, gpu) => gpu.uuid.clone(),
            Handle::Instance(instance) => instance.uuid.clone(),
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetPciInfo_v3(
    device: nvmlDevice_t,
    info: Option<&mut nvmlPciInfo_t>,
) -> nvmlReturn_t {
    answer(info, |state| Ok(pci(state.gpu(device.addr())?.1.bus, 0x2330_10de)))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMemoryInfo_v2(
    device: nvmlDevice_t,
    memory: Option<&mut nvmlMemory_v2_t>,
) -> nvmlReturn_t {
    answer(memory, |state| {
        let (total, free) = match state.handle(device.addr())? {
            Handle::Gpu(_, gpu) => (gpu.memory_total, gpu.memory_free),
            Handle::Instance(instance) => (instance.memory_mib << 20, instance.memory_mib << 20),
        };
        Ok(nvmlMemory_v2_t { version: 2, total, reserved: 0, free, used: total - free })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: Option<&mut c_uint>,
    pending: Option<&mut c_uint>,
) -> nvmlReturn_t {
    answer_two((current, pending), |state| {
        let mig = state.gpu(device.addr())?.1.mig.as_ref().ok_or(Code::NotSupported)?;
        Ok((mig.enabled.into(), mig.pending.into()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMaxMigDeviceCount(
    device: nvmlDevice_t,
    count: Option<&mut c_uint>,
) -> nvmlReturn_t {
    answer(count, |state| {
        let slots = state.gpu(device.addr())?.1.mig.as_ref().map_or(0, |mig| mig.slots.len());
        c_uint::try_from(slots).map_err(|_| Code::Unknown)
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    instance: Option<&mut nvmlDevice_t>,
) -> nvmlReturn_t {
    answer(instance, |state| {
        let handle = State::handle_of_instance(state.gpu(device.addr())?.0, index as usize);
        state.handle(handle)?;
        Ok(pointer(handle))
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetAttributes_v2(
    device: nvmlDevice_t,
    attributes: Option<&mut nvmlDeviceAttributes_t>,
) -> nvmlReturn_t {
    answer(attributes, |state| {
        let Handle::Instance(instance) = state.handle(device.addr())? else {
            return Err(Code::NotSupported);
        };
        Ok(nvmlDeviceAttributes_t {
            multiprocessorCount: instance.multiprocessors,
            sharedCopyEngineCount: 1,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: instance.gpu_slices,
            computeInstanceSliceCount: instance.compute_slices,
            memorySizeMB: instance.memory_mib,
        })
    })
}

fn clock(
    device: nvmlDevice_t,
    to: Option<&mut c_uint>,
    pick: impl FnOnce(&Gpu) -> Option<u32>,
) -> nvmlReturn_t {
    answer(to, |state| pick(state.gpu(device.addr())?.1).ok_or(Code::NotSupported))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    kind: c_uint,
    mhz: Option<&mut c_uint>,
) -> nvmlReturn_t {
    clock(device, mhz, |gpu| match kind {
        CLOCK_SM => Some(gpu.clocks.sm),
        CLOCK_MEMORY => Some(gpu.clocks.memory),
        _ => None,
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetMaxClockInfo(
    device: nvmlDevice_t,
    kind: c_uint,
    mhz: Option<&mut c_uint>,
) -> nvmlReturn_t {
    clock(device, mhz, |gpu| match kind {
        CLOCK_SM => Some(gpu.clocks.max_sm),
        CLOCK_MEMORY => Some(gpu.clocks.max_memory),
        _ => None,
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetEccMode(
    device: nvmlDevice_t,
    current: Option<&mut c_uint>,
    pending: Option<&mut c_uint>,
) -> nvmlReturn_t {
    answer_two((current, pending), |state| {
        let ecc = state.gpu(device.addr())?.1.ecc.ok_or(Code::NotSupported)?;
        Ok((ecc.enabled.into(), ecc.enabled.into()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    error: c_uint,
    counter: c_uint,
    count: Option<&mut c_ulonglong>,
) -> nvmlReturn_t {
    answer(count, |state| {
        let ecc = state.gpu(device.addr())?.1.ecc.ok_or(Code::NotSupported)?;
        Ok(match (error == CORRECTED, counter == VOLATILE) {
            (true, true) => ecc.corrected,
            (false, true) => ecc.uncorrected,
            (true, false) => ecc.lifetime_corrected,
            (false, false) => ecc.lifetime_uncorrected,
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    code(state::with(|state| {
        let gpu = state.gpu(device.addr())?.1;
        let count = usize::try_from(count).map_err(|_| Code::InvalidArgument)?;
        if values.is_null() {
            return Err(Code::InvalidArgument);
        }
        // SAFETY: the caller passes an array of `count` fields, which no one else has meanwhile.
        for field in unsafe { slice::from_raw_parts_mut(values, count) } {
            let value = match field.fieldId {
                field_id::NVML_FI_DEV_REMAPPED_COR => gpu.rows.map(|rows| rows.corrected),
                field_id::NVML_FI_DEV_REMAPPED_UNC => gpu.rows.map(|rows| rows.uncorrected),
                field_id::NVML_FI_DEV_REMAPPED_PENDING => gpu.rows.map(|rows| rows.pending.into()),
                field_id::NVML_FI_DEV_REMAPPED_FAILURE => gpu.rows.map(|rows| rows.failed.into()),
                field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => gpu.recovery,
                _ => None,
            };
            field.valueType = VALUE_UNSIGNED_INT;
            field.nvmlReturn = code(value.map(drop).ok_or(Code::NotSupported));
            field.value = nvmlValue_t { uiVal: value.unwrap_or_default() };
        }
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: Option<&mut c_int>,
    minor: Option<&mut c_int>,
) -> nvmlReturn_t {
    answer_two((major, minor), |state| Ok(state.gpu(device.addr())?.1.capability))
}

/// A link of a GPU; a GPU without NVLink has no answers, one past its last link an error.
fn link(state: &State, device: nvmlDevice_t, number: c_uint) -> Result<Link, Code> {
    let links = &state.gpu(device.addr())?.1.links;
    if links.is_empty() {
        return Err(Code::NotSupported);
    }
    links.get(number as usize).copied().ok_or(Code::InvalidArgument)
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetNvLinkState(
    device: nvmlDevice_t,
    number: c_uint,
    is_active: Option<&mut c_uint>,
) -> nvmlReturn_t {
    answer(is_active, |state| Ok((link(state, device, number)? != Link::Down).into()))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetNvLinkRemotePciInfo_v2(
    device: nvmlDevice_t,
    number: c_uint,
    info: Option<&mut nvmlPciInfo_t>,
) -> nvmlReturn_t {
    answer(info, |state| match link(state, device, number)? {
        Link::Gpu(gpu) => Ok(pci(state.script.gpus.get(gpu).ok_or(Code::NotFound)?.bus, 0x2330_10de)),
        Link::Switch(bus) => Ok(pci(bus, 0x22a3_10de)),
        Link::Down | Link::Unsaid => Err(Code::NotSupported),
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetP2PStatus(
    one: nvmlDevice_t,
    other: nvmlDevice_t,
    index: c_uint,
    status: Option<&mut c_uint>,
) -> nvmlReturn_t {
    answer(status, |state| {
        let ((first, one), (second, other)) = (state.gpu(one.addr())?, state.gpu(other.addr())?);
        let is_cut = |gpu: &Gpu| gpu.mig.as_ref().is_some_and(|mig| mig.enabled);
        let switched =
            |gpu: &Gpu| gpu.links.iter().any(|link| matches!(link, Link::Switch(_) | Link::Unsaid));
        let joined = one.links.contains(&Link::Gpu(second))
            || other.links.contains(&Link::Gpu(first))
            || (switched(one) && switched(other));
        let reaches = index == P2P_NVLINK && joined && !is_cut(one) && !is_cut(other);
        Ok(if reaches { P2P_OK } else { P2P_NOT_SUPPORTED })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    one: nvmlDevice_t,
    other: nvmlDevice_t,
    level: Option<&mut c_uint>,
) -> nvmlReturn_t {
    answer(level, |state| {
        let (one, other) = (state.gpu(one.addr())?.1, state.gpu(other.addr())?.1);
        Ok(match (one.switch == other.switch, one.socket == other.socket) {
            (true, _) => 10,
            (false, true) => 40,
            (false, false) => 50,
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetCreate(set: Option<&mut nvmlEventSet_t>) -> nvmlReturn_t {
    answer(set, |_| Ok(pointer(1)))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetFree(_set: nvmlEventSet_t) -> nvmlReturn_t {
    code(state::with(|state| {
        state.listen_no_more();
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceGetSupportedEventTypes(
    device: nvmlDevice_t,
    types: Option<&mut c_ulonglong>,
) -> nvmlReturn_t {
    answer(types, |state| {
        let all = nvmlEventTypeXidCriticalError | nvmlEventTypeDoubleBitEccError;
        Ok(if state.gpu(device.addr())?.1.has_events { all.into() } else { 0 })
    })
}

#[unsafe(no_mangle)]
extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    _types: c_ulonglong,
    _set: nvmlEventSet_t,
) -> nvmlReturn_t {
    code(state::with(|state| {
        let (number, gpu) = state.gpu(device.addr())?;
        if gpu.register != Code::Success {
            return Err(gpu.register);
        }
        state.listen(number);
        Ok(())
    }))
}

#[unsafe(no_mangle)]
extern "C" fn nvmlEventSetWait_v2(
    _set: nvmlEventSet_t,
    data: Option<&mut nvmlEventData_t>,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let end = Instant::now() + Duration::from_millis(timeout_ms.into());
    let event = loop {
        // Not under the lock while it waits: others may ask meanwhile.
        let told = state::with(|state| {
            let hung = state.is_hung();
            Ok((hung, if hung { None } else { state.next_event() }))
        });
        match told {
            Ok((_, Some(event))) => break event,
            Ok((false, None)) if end <= Instant::now() => return code(Err(Code::Timeout)),
            Ok(_) => thread::sleep(LOOK_AGAIN),
            Err(error) => return code(Err(error)),
        }
    };
    answer(data, |_| {
        let (gpu, kind, number) = match event {
            Event::Xid { gpu, number } => (gpu, nvmlEventTypeXidCriticalError, number),
            Event::DoubleBit { gpu } => (gpu, nvmlEventTypeDoubleBitEccError, 0),
        };
        Ok(nvmlEventData_t {
            device: pointer(State::handle_of_gpu(gpu)),
            eventType: kind.into(),
            eventData: number,
            gpuInstanceId: 0,
            computeInstanceId: 0,
        })
    })
}
