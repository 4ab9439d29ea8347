//! What is known of a GPU, as data. Whatever the machine does not tell is `None`.

use std::fmt;

use serde::Serialize;

use crate::finding::Source;

/// Who made a GPU.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
    /// Another one, by its PCI id.
    Other(String),
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gpu {
    /// Who told of it. Only the PCI bus: no driver knows it, so nothing can run on it.
    pub source: Source,
    /// Its number at that source; NVML's is CUDA's with `CUDA_DEVICE_ORDER=PCI_BUS_ID`. `None` on the PCI bus.
    pub index: Option<u32>,
    /// Who made it.
    pub vendor: Vendor,
    /// Its name.
    pub model: Option<String>,
    /// The identity that stays with it: NVIDIA's UUID, AMD's unique id.
    pub uuid: Option<String>,
    /// Domain, bus, device and function, as in `0000:3b:00.0`.
    pub pci: Option<String>,
    /// The memory node of the host it is attached to.
    pub numa_node: Option<u32>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// How it is cut into instances; `None` where it cannot be.
    pub mig: Option<Mig>,
    /// How fast it runs.
    pub clocks: Clocks,
    /// What its error correction counted; `None` where it has none.
    pub ecc: Option<Ecc>,
    /// Rows of memory that were replaced by spare ones.
    pub remapped_rows: Option<RemappedRows>,
    /// NVIDIA's compute capability.
    pub compute_capability: Option<ComputeCapability>,
    /// AMD's name of the instruction set, such as `gfx942`.
    pub gfx: Option<String>,
    /// NVLinks that are up; `None` where it has none.
    pub nvlinks: Option<u32>,
}

/// Memory of a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What nobody has taken.
    pub free_bytes: Option<u64>,
}

/// How a GPU is cut into instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mig {
    /// Whether it is cut now: then work goes to its instances, not to itself.
    pub enabled: bool,
    /// Whether it will be after its next reset.
    pub pending: bool,
    /// The instances that work can be given to.
    pub instances: Vec<MigInstance>,
}

/// An instance of a GPU that is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MigInstance {
    /// What CUDA_VISIBLE_DEVICES takes.
    pub uuid: String,
    /// Its name, which has its profile in it, such as `3g.40gb`.
    pub model: Option<String>,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// Its multiprocessors.
    pub multiprocessors: Option<u32>,
    /// Slices of the GPU that it has.
    pub gpu_slices: Option<u32>,
    /// Slices of those that compute.
    pub compute_slices: Option<u32>,
}

/// Clocks in MHz.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Clocks {
    /// Of the multiprocessors, now.
    pub sm_mhz: Option<u32>,
    /// Of the multiprocessors, at most.
    pub max_sm_mhz: Option<u32>,
    /// Of the memory, now.
    pub memory_mhz: Option<u32>,
    /// Of the memory, at most.
    pub max_memory_mhz: Option<u32>,
}

/// What error correction counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ecc {
    /// Whether it is on; `None` where the driver only counts.
    pub enabled: Option<bool>,
    /// Corrected since the driver was loaded.
    pub corrected: Option<u64>,
    /// Not corrected since the driver was loaded.
    pub uncorrected: Option<u64>,
    /// Corrected since the GPU was made.
    pub lifetime_corrected: Option<u64>,
    /// Not corrected since the GPU was made.
    pub lifetime_uncorrected: Option<u64>,
}

/// Rows of memory that were replaced by spare ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RemappedRows {
    /// For errors that could be corrected.
    pub corrected: Option<u64>,
    /// For errors that could not.
    pub uncorrected: Option<u64>,
    /// Whether a replacement waits for the next reset.
    pub pending: Option<bool>,
    /// Whether a replacement ever failed: there are no spare rows left.
    pub failed: Option<bool>,
}

/// NVIDIA's compute capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ComputeCapability {
    /// Before the point.
    pub major: u32,
    /// After the point.
    pub minor: u32,
}

/// Versions of what drives NVIDIA's GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// Of the driver, such as `580.82.07`.
    pub version: Option<String>,
    /// Of NVML.
    pub nvml: Option<String>,
    /// The newest CUDA the driver can run, such as `13.0`.
    pub cuda: Option<String>,
}

impl Gpu {
    /// A GPU of which nothing else is known.
    pub(crate) fn unknown(source: Source, vendor: Vendor) -> Self {
        Self {
            source,
            index: None,
            vendor,
            model: None,
            uuid: None,
            pci: None,
            numa_node: None,
            memory: None,
            mig: None,
            clocks: Clocks::default(),
            ecc: None,
            remapped_rows: None,
            compute_capability: None,
            gfx: None,
            nvlinks: None,
        }
    }

    /// Whether a driver knows it, so that work can run on it.
    #[must_use]
    pub fn has_driver(&self) -> bool {
        self.source != Source::Pci
    }
}

impl Vendor {
    /// The vendor with a PCI id as the kernel writes it, such as `0x10de`.
    pub(crate) fn of_pci(id: &str) -> Self {
        match id {
            "0x10de" => Self::Nvidia,
            "0x1002" => Self::Amd,
            "0x8086" => Self::Intel,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
            Self::Other(id) => id,
        })
    }
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
