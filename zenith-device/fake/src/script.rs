//! What the stand-in tells: a machine's GPUs, their faults, and the errors that they will report. In a written script, what
//! is left out is as with a GPU in good health.

use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// What starting the library answers.
    pub init: Code,
    /// Version of the driver.
    pub driver: String,
    /// Version of CUDA, as NVML writes it: 13000 is 13.0.
    pub cuda: i32,
    /// The GPUs.
    pub gpus: Vec<Gpu>,
    /// What the GPUs report, in order, once somebody listens.
    pub events: Vec<Event>,
    /// Milliseconds that starting takes.
    pub init_ms: u64,
    /// Whoever waits for errors waits in vain, whatever time they gave, for as long as this holds.
    pub hung: bool,
}

/// What NVML answers to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "these are NVML's own names")]
pub enum Code {
    #[default]
    Success,
    Uninitialized,
    InvalidArgument,
    NotSupported,
    NoPermission,
    NotFound,
    InsufficientSize,
    DriverNotLoaded,
    Timeout,
    GpuIsLost,
    ResetRequired,
    LibRmVersionMismatch,
    Unknown,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// The bus of its PCI address; the domain is 0, the device 0.
    pub bus: u32,
    /// Which socket it is attached to.
    pub socket: u32,
    /// Which PCIe switch it is attached to.
    pub switch: u32,
    /// All of its memory.
    pub memory_total: u64,
    /// What is free of it.
    pub memory_free: u64,
    /// Its compute capability.
    pub capability: (i32, i32),
    /// Its clocks.
    pub clocks: Clocks,
    /// How it is cut; `None` where it cannot be.
    pub mig: Option<Mig>,
    /// Its NVLinks; empty where it has none.
    pub links: Vec<Link>,
    /// Its error correction; `None` where it has none.
    pub ecc: Option<Ecc>,
    /// Its remapped rows; `None` where it cannot remap.
    pub rows: Option<Rows>,
    /// What the driver asks for, by NVML's number; `None` where the driver is too old to ask.
    pub recovery: Option<u32>,
    /// Whether it reports errors.
    pub has_events: bool,
    /// What its performance counters say of the intervals between samples, again and again; empty where it has none.
    pub busy: Vec<Busy>,
    /// What registering for its errors answers.
    pub register: Code,
    /// What every call for it answers instead of its own, unless this is success.
    pub fault: Code,
}

/// Clocks in MHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clocks {
    /// Multiprocessors, now.
    pub sm: u32,
    /// Multiprocessors, at most.
    pub max_sm: u32,
    /// Memory, now.
    pub memory: u32,
    /// Memory, at most.
    pub max_memory: u32,
}

/// How a GPU is cut into instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    /// Whether it is.
    pub enabled: bool,
    /// Whether it will be.
    pub pending: bool,
    /// Slots for instances; some of them are empty.
    pub slots: Vec<Option<Instance>>,
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Its memory in MiB.
    pub memory_mib: u64,
    /// Its multiprocessors.
    pub multiprocessors: u32,
    /// Its slices of the GPU.
    pub gpu_slices: u32,
    /// Its slices that compute.
    pub compute_slices: u32,
}

/// Where an NVLink leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Nowhere: it is down.
    Down,
    /// To another GPU.
    Gpu(usize),
    /// To a switch, by the bus of its address.
    Switch(u32),
    /// To where the driver does not say.
    Unsaid,
}

/// What error correction counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ecc {
    /// Whether it is on.
    pub enabled: bool,
    /// Corrected, since the driver was loaded.
    pub corrected: u64,
    /// Not corrected, since the driver was loaded.
    pub uncorrected: u64,
    /// Corrected, ever.
    pub lifetime_corrected: u64,
    /// Not corrected, ever.
    pub lifetime_uncorrected: u64,
}

/// Remapped rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// For errors that were corrected.
    pub corrected: u32,
    /// For errors that were not.
    pub uncorrected: u32,
    /// Whether some wait for a reset.
    pub pending: bool,
    /// Whether one failed.
    pub failed: bool,
}

/// What was busy in an interval, in per cent; what is left out is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Busy {
    /// Multiprocessors.
    pub sm: Option<f64>,
    /// Tensor cores.
    pub tensor: Option<f64>,
    /// Memory.
    pub memory: Option<f64>,
    /// Taking the sample at the interval's end answers this.
    pub fault: Code,
}

/// Something that a GPU reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An error.
    Xid {
        /// Which GPU.
        gpu: usize,
        /// Its number; 999 is "unknown".
        number: u64,
    },
    /// A memory error of two bits.
    DoubleBit {
        /// Which GPU.
        gpu: usize,
    },
}

/// A machine without GPUs.
impl Default for Script {
    fn default() -> Self {
        Self::empty()
    }
}

/// The first GPU of a machine.
impl Default for Gpu {
    fn default() -> Self {
        Self::numbered(0)
    }
}

impl Script {
    /// A machine without GPUs.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            init: Code::Success,
            driver: "580.82.07".to_owned(),
            cuda: 13_000,
            gpus: Vec::new(),
            events: Vec::new(),
            init_ms: 0,
            hung: false,
        }
    }

    /// Eight GPUs in two sockets, two behind each PCIe switch, all joined by NVLink switches.
    #[must_use]
    pub fn eight() -> Self {
        let gpus = (0..8)
            .map(|gpu| Gpu {
                links: (0..18).map(|link| Link::Switch(0xa0 + link % 4)).collect(),
                ..Gpu::numbered(gpu)
            })
            .collect();
        Self { gpus, ..Self::empty() }
    }

    /// Four GPUs in two pairs, each pair joined by four NVLinks of its own.
    #[must_use]
    pub fn two_pairs() -> Self {
        let gpus =
            (0..4).map(|gpu| Gpu { links: vec![Link::Gpu(gpu ^ 1); 4], ..Gpu::numbered(gpu) }).collect();
        Self { gpus, ..Self::empty() }
    }
}

impl Gpu {
    /// A GPU with all that a large one has, except NVLinks.
    #[must_use]
    pub fn numbered(gpu: usize) -> Self {
        let number = u32::try_from(gpu).unwrap_or(u32::MAX);
        Self {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            uuid: format!("GPU-{gpu:08x}-0000-4000-8000-000000000000"),
            bus: 0x10 + number,
            socket: number / 4,
            switch: number / 2,
            memory_total: 80 << 30,
            memory_free: 79 << 30,
            capability: (9, 0),
            clocks: Clocks { sm: 345, max_sm: 1980, memory: 2619, max_memory: 2619 },
            mig: Some(Mig { enabled: false, pending: false, slots: Vec::new() }),
            links: Vec::new(),
            ecc: Some(Ecc { enabled: true, ..Ecc::default() }),
            rows: Some(Rows::default()),
            recovery: Some(0),
            has_events: true,
            busy: Vec::new(),
            register: Code::Success,
            fault: Code::Success,
        }
    }

    /// The same GPU, cut into an instance of three slices and one of a single slice, with empty slots around them.
    #[must_use]
    pub fn cut(mut self) -> Self {
        let instance = |profile: &str, number: u32, memory_mib, slices| {
            Some(Instance {
                name: format!("{} MIG {profile}", self.name),
                uuid: format!("MIG-{number:08x}-0000-5000-8000-{:012x}", self.bus),
                memory_mib,
                multiprocessors: 16 * slices,
                gpu_slices: slices,
                compute_slices: slices,
            })
        };
        let slots =
            vec![None, instance("3g.40gb", 1, 40_448, 3), None, instance("1g.10gb", 2, 9_856, 1), None];
        self.mig = Some(Mig { enabled: true, pending: true, slots });
        self
    }
}
