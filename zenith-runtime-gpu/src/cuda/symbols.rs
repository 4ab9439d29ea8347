//! The driver's functions by name. All of them are there, or the library is not used.
#![expect(unsafe_code, reason = "takes functions of a loaded library by name")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::path::Path;

use super::error::{Code, Error};

/// Streams, events and contexts are opaque to us.
pub(super) type Handle = *mut c_void;
/// Addresses of device memory.
pub(super) type Address = u64;
type Status = c_uint;

/// The name under which NVIDIA's driver installs it.
const SONAME: &str = "libcuda.so.1";

macro_rules! functions {
    ($($name:ident: $symbol:literal ($($argument:ty),*);)*) => {
        /// The functions. The library behind them stays loaded for good, since a driver cannot be unloaded.
        #[derive(Debug)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Functions {
            fn of(library: &libloading::Library) -> Result<Self, Error> {
                let mut missing: Vec<&'static str> = Vec::new();
                // SAFETY: the types are those of `cuda.h` for these names.
                $(let $name = unsafe {
                    library.get::<unsafe extern "C" fn($($argument),*) -> Status>(concat!($symbol, "\0").as_bytes())
                }
                .map(|function| *function)
                .map_err(|_| missing.push($symbol));)*
                match ($($name,)*) {
                    ($(Ok($name),)*) => Ok(Self { $($name,)* }),
                    _ => Err(Error::SymbolsMissing { names: missing }),
                }
            }
        }
    };
}

functions! {
    init: "cuInit" (c_uint);
    driver_version: "cuDriverGetVersion" (*mut c_int);
    device_count: "cuDeviceGetCount" (*mut c_int);
    device_get: "cuDeviceGet" (*mut c_int, c_int);
    device_name: "cuDeviceGetName" (*mut c_char, c_int, c_int);
    device_pci: "cuDeviceGetPCIBusId" (*mut c_char, c_int, c_int);
    device_memory: "cuDeviceTotalMem_v2" (*mut usize, c_int);
    device_attribute: "cuDeviceGetAttribute" (*mut c_int, c_int, c_int);
    context_retain: "cuDevicePrimaryCtxRetain" (*mut Handle, c_int);
    context_release: "cuDevicePrimaryCtxRelease_v2" (c_int);
    context_push: "cuCtxPushCurrent_v2" (Handle);
    context_pop: "cuCtxPopCurrent_v2" (*mut Handle);
    memory_info: "cuMemGetInfo_v2" (*mut usize, *mut usize);
    memory_alloc: "cuMemAlloc_v2" (*mut Address, usize);
    memory_free: "cuMemFree_v2" (Address);
    host_alloc: "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    host_free: "cuMemFreeHost" (*mut c_void);
    host_register: "cuMemHostRegister_v2" (*mut c_void, usize, c_uint);
    host_unregister: "cuMemHostUnregister" (*mut c_void);
    copy_up: "cuMemcpyHtoDAsync_v2" (Address, *const c_void, usize, Handle);
    copy_down: "cuMemcpyDtoHAsync_v2" (*mut c_void, Address, usize, Handle);
    stream_create: "cuStreamCreate" (*mut Handle, c_uint);
    stream_destroy: "cuStreamDestroy_v2" (Handle);
    stream_synchronize: "cuStreamSynchronize" (Handle);
    stream_query: "cuStreamQuery" (Handle);
    stream_wait: "cuStreamWaitEvent" (Handle, Handle, c_uint);
    event_create: "cuEventCreate" (*mut Handle, c_uint);
    event_destroy: "cuEventDestroy_v2" (Handle);
    event_record: "cuEventRecord" (Handle, Handle);
    event_query: "cuEventQuery" (Handle);
    event_synchronize: "cuEventSynchronize" (Handle);
    event_elapsed: "cuEventElapsedTime" (*mut f32, Handle, Handle);
}

impl Functions {
    /// Loads the library at `path`, or where the loader finds it.
    pub(super) fn load(path: Option<&Path>) -> Result<Self, Error> {
        let name = path.unwrap_or_else(|| Path::new(SONAME));
        // SAFETY: a driver's library may be loaded at any time; what else lies under this name is the user's choice.
        let library =
            unsafe { libloading::Library::new(name) }.map_err(|error| refused(&error.to_string(), name))?;
        let functions = Self::of(&library)?;
        // Its threads and handlers would run on in memory that is gone.
        std::mem::forget(library);
        Ok(functions)
    }
}

/// The loader has words only. Of a path it can be seen whether there is something; of a name, its words begin with the
/// file that was not found, which may also be another one that the library needs.
fn refused(words: &str, name: &Path) -> Error {
    let shown = name.display().to_string();
    let absent = if name.components().count() > 1 {
        !name.exists()
    } else {
        words.contains("No such file") && words.contains(&format!("{shown}:"))
    };
    if absent { Error::Absent { name: shown } } else { Error::NotALibrary { reason: words.to_owned() } }
}

/// A call's status as a result.
pub(super) fn check(call: &'static str, status: Status) -> Result<(), Error> {
    if status == 0 { Ok(()) } else { Err(Error::Call { call, code: Code(status) }) }
}
