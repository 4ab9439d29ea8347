//! NVIDIA's management library, loaded at run time: opening it, and a typed reason where that fails.
//!
//! The wrapper's handles call `nvmlShutdown` and `nvmlEventSetFree` when they are dropped, and panic where the library
//! has no such function. So a library without them is not used, or used without events.

pub(crate) mod device;
pub(crate) mod handle;
mod links;

use std::mem;
use std::path::Path;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use crate::discovery::Told;
use crate::finding::{Finding, Kind, Source};
use crate::gpu::Driver;

/// The name under which NVIDIA's driver installs it.
const SONAME: &str = "libnvidia-ml.so.1";

const BROKEN: &str = "reinstall NVIDIA's driver: what the loader finds as its library is something else, or of another processor";
const OLD: &str = "update NVIDIA's driver: its library is older than these calls (R525 has them all)";
const FOREIGN: &str = "reinstall NVIDIA's driver: this is not its management library, or not all of it";
const NOT_LOADED: &str = "load the kernel's driver: modprobe nvidia (dmesg says why it does not), and nvidia-modprobe for /dev/nvidia*";
const MISMATCH: &str =
    "the driver was updated beneath running programs: reboot, or unload and load the nvidia modules";
const FORBIDDEN: &str =
    "let this user read and write /dev/nvidiactl and /dev/nvidia*; in a container, pass the devices in";
const LOST: &str = "reboot the node; if it comes again, reseat the GPU and check its power and its riser";
const UNREADABLE: &str = "nvidia-smi -q says more; in a container, the device may not be passed in";
const DEAD: &str = "run nvidia-smi and read dmesg for NVRM messages; a reboot often helps";

/// A library that was started and will be shut down.
#[derive(Debug)]
pub(crate) struct Library {
    pub(crate) nvml: Nvml,
    /// What it lacks of all that is used here.
    pub(crate) missing: Vec<&'static str>,
}

/// The names among these that the library lacks.
macro_rules! missing {
    ($library:expr; $($name:ident)*) => {{
        let library = $library;
        let mut names: Vec<&'static str> = Vec::new();
        $(if library.$name.is_err() { names.push(stringify!($name)); })*
        names
    }};
}

impl Library {
    /// Loads and starts the library at `path`, or where the loader finds it.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Kind> {
        let started = match path {
            None => Nvml::init(),
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        };
        let nvml = started.map_err(|error| why_not_started(&error, path))?;
        let essential = missing!(nvml.lib();
            nvmlShutdown nvmlDeviceGetCount_v2 nvmlDeviceGetHandleByIndex_v2);
        if !essential.is_empty() {
            if essential.contains(&"nvmlShutdown") {
                // Dropping it would panic; it stays loaded.
                mem::forget(nvml);
            }
            return Err(Kind::SymbolsMissing { names: essential, usable: false });
        }
        let missing = missing!(nvml.lib();
            nvmlSystemGetDriverVersion nvmlSystemGetNVMLVersion nvmlSystemGetCudaDriverVersion_v2
            nvmlDeviceGetName nvmlDeviceGetUUID nvmlDeviceGetPciInfo_v3 nvmlDeviceGetMemoryInfo_v2
            nvmlDeviceGetMigMode nvmlDeviceGetMaxMigDeviceCount nvmlDeviceGetMigDeviceHandleByIndex
            nvmlDeviceGetAttributes_v2 nvmlDeviceGetClockInfo nvmlDeviceGetMaxClockInfo nvmlDeviceGetEccMode
            nvmlDeviceGetTotalEccErrors nvmlDeviceGetFieldValues nvmlDeviceGetCudaComputeCapability
            nvmlDeviceGetNvLinkState nvmlDeviceGetNvLinkRemotePciInfo_v2 nvmlDeviceGetP2PStatus
            nvmlDeviceGetTopologyCommonAncestor nvmlEventSetCreate nvmlEventSetFree nvmlEventSetWait_v2
            nvmlDeviceRegisterEvents nvmlDeviceGetSupportedEventTypes);
        Ok(Self { nvml, missing })
    }

    /// Whether it has all that waiting for events takes.
    pub(crate) fn has_events(&self) -> bool {
        const NEEDED: [&str; 5] = [
            "nvmlEventSetCreate",
            "nvmlEventSetFree",
            "nvmlEventSetWait_v2",
            "nvmlDeviceRegisterEvents",
            "nvmlDeviceGetSupportedEventTypes",
        ];
        !NEEDED.iter().any(|name| self.missing.contains(name))
    }

    /// What it lacks of the performance counters.
    pub(crate) fn missing_counters(&self) -> Vec<&'static str> {
        missing!(self.nvml.lib();
            nvmlGpmQueryDeviceSupport nvmlGpmSampleAlloc nvmlGpmSampleFree nvmlGpmSampleGet nvmlGpmMetricsGet
            nvmlDeviceGetPciInfo_v3)
    }

    fn driver(&self) -> Driver {
        Driver {
            version: self.nvml.sys_driver_version().ok(),
            nvml: self.nvml.sys_nvml_version().ok(),
            cuda: self.nvml.sys_cuda_driver_version().ok().map(|version| {
                format!(
                    "{}.{}",
                    nvml_wrapper::cuda_driver_version_major(version),
                    nvml_wrapper::cuda_driver_version_minor(version)
                )
            }),
        }
    }
}

/// What NVML tells of this machine's GPUs.
pub(crate) fn tell(path: Option<&Path>) -> Told {
    let library = match Library::open(path) {
        Ok(library) => library,
        Err(kind) => return Told { findings: vec![finding(kind)], ..Told::default() },
    };
    let count = match library.nvml.device_count() {
        Ok(count) => count,
        Err(error) => {
            let kind = Kind::NoAnswer { reason: error.to_string() };
            return Told { findings: vec![finding(kind)], ..Told::default() };
        }
    };
    let mut findings = Vec::new();
    let mut gpus = Vec::new();
    let mut devices = Vec::new();
    for index in 0..count {
        match library
            .nvml
            .device_by_index(index)
            .and_then(|device| Ok((device::gpu(&device, index)?, device)))
        {
            Ok((gpu, device)) => {
                gpus.push(gpu);
                devices.push(device);
            }
            Err(error) => findings.push(finding(unreachable_gpu(index, &error))),
        }
    }
    let pairs = links::pairs(&library.nvml, &devices, &mut gpus);
    if !library.missing.is_empty() {
        findings.insert(0, finding(Kind::SymbolsMissing { names: library.missing.clone(), usable: true }));
    }
    findings.insert(0, finding(Kind::Answered { gpus: gpus.len() }));
    Told { gpus, pairs, driver: Some(library.driver()), findings }
}

/// A kind with the hint that belongs to it.
pub(crate) fn finding(kind: Kind) -> Finding {
    let hint = match &kind {
        Kind::NotALibrary { .. } => Some(BROKEN),
        Kind::SymbolsMissing { usable: true, .. } => Some(OLD),
        Kind::SymbolsMissing { usable: false, .. } => Some(FOREIGN),
        Kind::DriverNotLoaded => Some(NOT_LOADED),
        Kind::DriverMismatch => Some(MISMATCH),
        Kind::NoPermission => Some(FORBIDDEN),
        Kind::GpuLost { .. } => Some(LOST),
        Kind::GpuUnreadable { .. } => Some(UNREADABLE),
        Kind::InitFailed { .. } | Kind::NoAnswer { .. } => Some(DEAD),
        Kind::Answered { .. } | Kind::Absent | Kind::Unreadable { .. } => None,
    };
    Finding::new(Source::Nvml, kind, hint)
}

/// Why a GPU cannot be asked.
pub(crate) fn unreachable_gpu(gpu: u32, error: &NvmlError) -> Kind {
    match error {
        NvmlError::GpuLost => Kind::GpuLost { gpu },
        other => Kind::GpuUnreadable { gpu, reason: other.to_string() },
    }
}

fn why_not_started(error: &NvmlError, path: Option<&Path>) -> Kind {
    match error {
        NvmlError::LibloadingError(error) => why_not_loaded(&error.to_string(), path),
        NvmlError::FailedToLoadSymbol(_) => {
            Kind::SymbolsMissing { names: vec!["nvmlInit_v2"], usable: false }
        }
        NvmlError::DriverNotLoaded => Kind::DriverNotLoaded,
        NvmlError::LibRmVersionMismatch => Kind::DriverMismatch,
        NvmlError::NoPermission => Kind::NoPermission,
        other => Kind::InitFailed { reason: other.to_string() },
    }
}

/// The loader has words only. Of a path we can see ourselves whether there is something; of a name, the loader's words
/// begin with the file that was not found, which may also be another one that the library needs.
fn why_not_loaded(words: &str, path: Option<&Path>) -> Kind {
    let absent = match path {
        Some(path) if path.components().count() > 1 => !path.exists(),
        Some(path) => is_not_found(words, &path.to_string_lossy()),
        None => is_not_found(words, SONAME),
    };
    if absent { Kind::Absent } else { Kind::NotALibrary { reason: words.to_owned() } }
}

fn is_not_found(words: &str, name: &str) -> bool {
    words.contains("No such file") && words.contains(&format!("{name}:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_told_from_one_that_needs_another() {
        let own = "libnvidia-ml.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(why_not_loaded(own, None), Kind::Absent);
        let musl = "Error loading shared library libnvidia-ml.so.1: No such file or directory";
        assert_eq!(why_not_loaded(musl, None), Kind::Absent);
        let other = "libelf.so.1: cannot open shared object file: No such file or directory";
        assert_eq!(why_not_loaded(other, None), Kind::NotALibrary { reason: other.to_owned() });
        let foreign = "libnvidia-ml.so.1: wrong ELF class: ELFCLASS32";
        assert_eq!(why_not_loaded(foreign, None), Kind::NotALibrary { reason: foreign.to_owned() });
        let path = Path::new("/nonexistent/libnvidia-ml.so.1");
        assert_eq!(why_not_loaded("whatever", Some(path)), Kind::Absent);
    }
}
