//! What the stand-in is: its devices, how fast they copy, and what goes wrong. What a written script leaves out is in order.

use serde::{Deserialize, Serialize};

/// A driver and its devices. Codes are those of `CUresult`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// What `cuInit` answers.
    pub init: u32,
    /// The version of CUDA it is made for: 13000 is 13.0.
    pub version: i32,
    /// The devices.
    pub devices: Vec<Device>,
    /// Virtual nanoseconds that pass with every call.
    pub call_ns: u64,
    /// What page-locking memory of the caller's answers.
    pub register: u32,
    /// What asking for page-locked memory answers.
    pub host_alloc: u32,
    /// What goes wrong with copies.
    pub faults: Vec<Fault>,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// The bus of its PCI address.
    pub bus: u32,
    /// Its memory in bytes; what goes beyond is refused.
    pub memory: u64,
    /// Bytes per microsecond from and to page-locked memory, each direction for itself.
    pub bytes_per_us: u64,
    /// Its compute capability.
    pub capability: (i32, i32),
    /// Its multiprocessors.
    pub multiprocessors: i32,
}

/// Something that goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The copy with this number (from 0, over all streams) is refused when it is asked for.
    Refused {
        /// Which copy.
        copy: u64,
        /// With what.
        code: u32,
    },
    /// The copy with this number breaks while it runs: it arrives only in part, and every later call answers with the code.
    Breaks {
        /// Which copy.
        copy: u64,
        /// With what.
        code: u32,
    },
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Census {
    /// Primary contexts that are retained.
    pub contexts: u64,
    /// Streams.
    pub streams: u64,
    /// Events.
    pub events: u64,
    /// Blocks of device memory.
    pub device_blocks: u64,
    /// Blocks of page-locked memory that the driver gave.
    pub host_blocks: u64,
    /// Ranges of the caller's memory that are page-locked.
    pub registered: u64,
    /// Copies that were asked for so far.
    pub copies: u64,
    /// Virtual nanoseconds so far.
    pub now_ns: u64,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            init: 0,
            version: 13_000,
            devices: vec![Device::default()],
            call_ns: 1_000,
            register: 0,
            host_alloc: 0,
            faults: Vec::new(),
        }
    }
}

impl Default for Device {
    fn default() -> Self {
        Self {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            bus: 0x1b,
            memory: 64 << 20,
            bytes_per_us: 50_000,
            capability: (9, 0),
            multiprocessors: 132,
        }
    }
}
