//! Asking every source for GPUs and putting together what they say.

use std::env;
use std::path::{Path, PathBuf};

use serde::Serialize;
use zenith_runtime_cpu::numa::{PciDevice, Topology};

use crate::finding::{Finding, Kind, Source};
use crate::gpu::{Driver, Gpu, Vendor};
use crate::interconnect::{Interconnect, Pair};
use crate::{amd, nvml};

/// The environment variable that names another library than the machine's `libnvidia-ml.so.1`.
pub const NVML_VARIABLE: &str = "ZENITH_NVML";

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// NVIDIA's management library; `None`: `libnvidia-ml.so.1`, wherever the loader finds it.
    pub nvml: Option<PathBuf>,
    /// The folder that `sys` and `proc` lie in.
    pub root: PathBuf,
}

/// The GPUs of a machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Discovery {
    /// All GPUs: NVIDIA's in the order of their numbers, AMD's by address, then those that no driver knows.
    pub gpus: Vec<Gpu>,
    /// How they are joined.
    pub interconnect: Interconnect,
    /// Versions of NVIDIA's driver; `None` where NVML does not work.
    pub driver: Option<Driver>,
    /// What came of asking each source; at least one finding of each.
    pub sources: Vec<Finding>,
}

/// What a source that answers says. Pairs have places in `gpus`.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) driver: Option<Driver>,
    pub(crate) findings: Vec<Finding>,
}

impl Settings {
    /// This machine, with the library that `ZENITH_NVML` names, if it names one.
    #[must_use]
    pub fn host() -> Self {
        let nvml = env::var_os(NVML_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        Self { nvml, root: PathBuf::from("/") }
    }
}

/// The GPUs of the machine that `settings` name.
///
/// It always answers: what is absent, broken or too old is a finding of its source. Where NVIDIA's driver has put its
/// GPUs to sleep (no process uses them and persistence mode is off), NVML wakes them first, and that is seconds, not
/// milliseconds.
#[must_use]
pub fn discover(settings: &Settings) -> Discovery {
    let (topology, unread) = match Topology::of_devices(&settings.root) {
        Ok(topology) => (topology, None),
        Err(error) => (Topology::default(), Some(error)),
    };
    let mut told = nvml::tell(settings.nvml.as_deref());
    hint_at_hidden_gpus(&settings.root, &topology, &mut told);
    let mut sources = told.findings;
    let (mut gpus, mut pairs) = (told.gpus, told.pairs);

    let amd = amd::tell(&settings.root, &topology);
    let shift = gpus.len();
    pairs.extend(amd.pairs.into_iter().map(|pair| Pair {
        first: pair.first + shift,
        second: pair.second + shift,
        ..pair
    }));
    gpus.extend(amd.gpus);
    sources.extend(amd.findings);

    // A GPU whose driver does not tell its address may be any of its vendor's.
    let known = |device: &&PciDevice| {
        gpus.iter().any(|gpu| match &gpu.pci {
            Some(address) => *address == device.address,
            None => gpu.vendor == Vendor::of_pci(&device.vendor),
        })
    };
    let others: Vec<Gpu> = topology.gpus().filter(|device| !known(device)).map(on_bus).collect();
    sources.push(match unread {
        None => Finding::new(Source::Pci, Kind::Answered { gpus: topology.gpus().count() }, None),
        Some(error) => Finding::new(
            Source::Pci,
            Kind::Unreadable { reason: error.to_string() },
            Some(
                "GPUs without a driver cannot be seen, and memory nodes of GPUs are unknown: mount /sys into the sandbox",
            ),
        ),
    });
    gpus.extend(others);
    for gpu in &mut gpus {
        let device = topology.pci.iter().find(|device| Some(&device.address) == gpu.pci.as_ref());
        gpu.numa_node = device.and_then(|device| topology.node_of(device));
    }
    Discovery { interconnect: Interconnect::new(gpus.len(), pairs), gpus, driver: told.driver, sources }
}

/// A GPU of which only the bus tells.
fn on_bus(device: &PciDevice) -> Gpu {
    Gpu { pci: Some(device.address.clone()), ..Gpu::unknown(Source::Pci, Vendor::of_pci(&device.vendor)) }
}

/// Where there is no library, says what that means for the GPUs that the bus and the kernel have.
fn hint_at_hidden_gpus(root: &Path, topology: &Topology, told: &mut Told) {
    let Some(finding) = told.findings.iter_mut().find(|finding| finding.kind == Kind::Absent) else {
        return;
    };
    if root.join("proc/driver/nvidia/version").exists() {
        finding.hint = Some(
            "the kernel has NVIDIA's driver and its library is missing: in a container, start it with --gpus all \
             (NVIDIA Container Toolkit, NVIDIA_DRIVER_CAPABILITIES=compute,utility); else install the driver's libraries"
                .to_owned(),
        );
    } else if topology.gpus().any(|device| Vendor::of_pci(&device.vendor) == Vendor::Nvidia) {
        finding.hint =
            Some("an NVIDIA GPU is on the PCI bus and has no driver: install NVIDIA's driver".to_owned());
    }
}
