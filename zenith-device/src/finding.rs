//! What came of asking a source for GPUs: a kind that programs can tell apart, and a hint for people.

use std::fmt;

use serde::Serialize;

/// Who can tell of GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// NVIDIA's management library.
    Nvml,
    /// AMD's kernel driver, through sysfs.
    Amdgpu,
    /// The PCI bus, through sysfs: which devices there are, and nothing more.
    Pci,
}

/// What came of asking a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Who was asked.
    pub source: Source,
    /// What came of it.
    #[serde(flatten)]
    pub kind: Kind,
    /// What would help; `None` where nothing is wrong or nothing is known to help.
    pub hint: Option<String>,
}

/// What came of asking a source; a variant per cause.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// It answered.
    #[error("tells of {gpus} {}", if *gpus == 1 { "GPU" } else { "GPUs" })]
    Answered {
        /// GPUs it told of.
        gpus: usize,
    },
    /// It is not on this machine.
    #[error("not on this machine")]
    Absent,
    /// The library exists and the loader refuses it.
    #[error("cannot be loaded: {reason}")]
    NotALibrary {
        /// What the loader says.
        reason: String,
    },
    /// The library lacks entry points: it is another library, or one of an older driver.
    #[error("{} {}", if *usable { "is old: it lacks" } else { "cannot be used: it lacks" }, names.join(", "))]
    SymbolsMissing {
        /// What it lacks.
        names: Vec<&'static str>,
        /// Whether it was used nevertheless; then the values behind these names are unknown.
        usable: bool,
    },
    /// The library is there, and the kernel's driver is not.
    #[error("the driver is not loaded")]
    DriverNotLoaded,
    /// The library and the kernel's driver are of different versions.
    #[error("the library and the loaded driver are of different versions")]
    DriverMismatch,
    /// This user may not ask.
    #[error("not allowed for this user")]
    NoPermission,
    /// The library's start failed for another reason.
    #[error("does not start: {reason}")]
    InitFailed {
        /// What it says.
        reason: String,
    },
    /// It started and does not even count its GPUs.
    #[error("does not answer: {reason}")]
    NoAnswer {
        /// What it says.
        reason: String,
    },
    /// A GPU is not reachable any more: it fell off the bus.
    #[error("GPU {gpu} fell off the bus")]
    GpuLost {
        /// Its number.
        gpu: u32,
    },
    /// A GPU cannot be asked.
    #[error("GPU {gpu} cannot be asked: {reason}")]
    GpuUnreadable {
        /// Its number.
        gpu: u32,
        /// What the source says.
        reason: String,
    },
    /// A file cannot be read or understood.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// Which one, and why.
        reason: String,
    },
}

impl Finding {
    pub(crate) fn new(source: Source, kind: Kind, hint: Option<&str>) -> Self {
        Self { source, kind, hint: hint.map(str::to_owned) }
    }

    /// Whether something is wrong that a person should know of. A source that is absent is no trouble, unless there is
    /// a hint: then a GPU on the bus waits for it.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self.kind {
            Kind::Answered { .. } => false,
            Kind::Absent => self.hint.is_some(),
            _ => true,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvml => "NVML",
            Self::Amdgpu => "amdgpu",
            Self::Pci => "PCI bus",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.kind)
    }
}
