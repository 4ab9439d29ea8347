//! Why the driver cannot be used, or what it refused; a variant per cause.

use std::fmt;

/// What came of a call, by the driver's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

const OUT_OF_MEMORY: u32 = 2;

/// Numbers that are met, with the driver's names and what would help.
const KNOWN: [(u32, &str, Option<&str>); 25] = [
    (1, "CUDA_ERROR_INVALID_VALUE", None),
    (OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", None),
    (3, "CUDA_ERROR_NOT_INITIALIZED", Some("a forked process cannot use CUDA: start it with spawn")),
    (4, "CUDA_ERROR_DEINITIALIZED", Some("the process is ending")),
    (
        34,
        "CUDA_ERROR_STUB_LIBRARY",
        Some("the loader finds the toolkit's stub: leave lib64/stubs out of LD_LIBRARY_PATH"),
    ),
    (46, "CUDA_ERROR_DEVICE_UNAVAILABLE", Some("another process has the device for itself")),
    (
        100,
        "CUDA_ERROR_NO_DEVICE",
        Some("CUDA_VISIBLE_DEVICES may hide the devices; nvidia-smi says which there are"),
    ),
    (101, "CUDA_ERROR_INVALID_DEVICE", None),
    (201, "CUDA_ERROR_INVALID_CONTEXT", None),
    (214, "CUDA_ERROR_ECC_UNCORRECTABLE", Some("the device's memory is at fault: drain the node")),
    (304, "CUDA_ERROR_OPERATING_SYSTEM", None),
    (400, "CUDA_ERROR_INVALID_HANDLE", None),
    (600, "CUDA_ERROR_NOT_READY", None),
    (700, "CUDA_ERROR_ILLEGAL_ADDRESS", Some("some kernel wrote out of bounds: compute-sanitizer finds it")),
    (702, "CUDA_ERROR_LAUNCH_TIMEOUT", None),
    (710, "CUDA_ERROR_ASSERT", None),
    (712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", None),
    (713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", None),
    (716, "CUDA_ERROR_MISALIGNED_ADDRESS", None),
    (719, "CUDA_ERROR_LAUNCH_FAILED", None),
    (800, "CUDA_ERROR_NOT_PERMITTED", None),
    (801, "CUDA_ERROR_NOT_SUPPORTED", None),
    (
        802,
        "CUDA_ERROR_SYSTEM_NOT_READY",
        Some("the fabric manager is not running: systemctl start nvidia-fabricmanager"),
    ),
    (
        803,
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        Some("the driver was updated beneath running programs: reboot"),
    ),
    (999, "CUDA_ERROR_UNKNOWN", Some("dmesg may say more")),
];

impl Code {
    /// The driver's name, where it is a number that Zenith knows.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.known().map(|(_, name, _)| *name)
    }

    fn known(self) -> Option<&'static (u32, &'static str, Option<&'static str>)> {
        KNOWN.iter().find(|(number, ..)| *number == self.0)
    }

    /// Whether the context is of no use after it: every later call answers the same.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(self.0, 4 | 46 | 214 | 700 | 702 | 710 | 714..=719 | 999)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known() {
            Some((number, name, Some(hint))) => write!(f, "{name} ({number}; {hint})"),
            Some((number, name, None)) => write!(f, "{name} ({number})"),
            None => write!(f, "CUresult {}", self.0),
        }
    }
}

/// Why something could not be done on a device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no driver.
    #[error("there is no CUDA driver on this machine (no {name})")]
    Absent {
        /// What was looked for.
        name: String,
    },
    /// The driver's library exists and the loader refuses it.
    #[error("the CUDA driver cannot be loaded: {reason}; reinstalling NVIDIA's driver would help")]
    NotALibrary {
        /// What the loader says.
        reason: String,
    },
    /// The library lacks functions.
    #[error("the CUDA driver is too old, or another library: it lacks {}", names.join(", "))]
    SymbolsMissing {
        /// Which ones.
        names: Vec<&'static str>,
    },
    /// It does not start.
    #[error("the CUDA driver does not start: {code}")]
    Init {
        /// What it says.
        code: Code,
    },
    /// There is no device of this number.
    #[error("there is no CUDA device {device}: {}", count_words(*count))]
    NoSuchDevice {
        /// The number that was asked for.
        device: u32,
        /// How many there are.
        count: u32,
    },
    /// A device has not enough memory left.
    #[error("no {bytes} bytes of device memory are left ({free} are free)")]
    OutOfDeviceMemory {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes that were free then; 0 where not even that could be asked.
        free: usize,
    },
    /// Host memory cannot be page-locked.
    #[error(
        "{bytes} bytes cannot be page-locked: {code}; a higher limit of locked memory (ulimit -l) may help"
    )]
    NotLocked {
        /// Bytes asked for.
        bytes: usize,
        /// What the driver says.
        code: Code,
    },
    /// A range that does not lie in its memory.
    #[error("bytes {start}..{end} do not lie in {len} bytes of {what}")]
    OutOfRange {
        /// Which memory.
        what: &'static str,
        /// The first byte.
        start: usize,
        /// Behind the last byte.
        end: usize,
        /// Bytes there are.
        len: usize,
    },
    /// A call was refused, or something that was asked for earlier has failed.
    #[error("{call}: {code}")]
    Call {
        /// Which call.
        call: &'static str,
        /// What the driver says.
        code: Code,
    },
}

impl Error {
    /// Whether the context is of no use after it.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        match self {
            Self::Call { code, .. } => code.is_fatal(),
            _ => false,
        }
    }

    pub(super) const fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Call { code: Code(OUT_OF_MEMORY), .. })
    }

    /// The driver's code, where there is one.
    #[must_use]
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Call { code, .. } | Self::Init { code } | Self::NotLocked { code, .. } => Some(*code),
            _ => None,
        }
    }
}

fn count_words(count: u32) -> String {
    match count {
        0 => "there are none; CUDA_VISIBLE_DEVICES may hide them".to_owned(),
        1 => "there is one, device 0".to_owned(),
        count => format!("there are {count}, from 0 on"),
    }
}
