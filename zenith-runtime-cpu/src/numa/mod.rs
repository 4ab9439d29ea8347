//! What the machine looks like: processors, memory nodes, caches, devices. Facts only; nothing here changes anything.
//!
//! Everything is read from `sys` and `proc` below a root that can be exchanged, so that any machine's files can be
//! looked at. Machines with one socket, and kernels that know no memory nodes, are ordinary: they have one node.

mod cpu_set;
pub(crate) mod display;
pub(crate) mod files;
mod sysfs;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use cpu_set::{CpuSet, ParseCpuSetError};

use crate::thread;

/// Distance of a node to itself, in the kernel's unit (10 is local, 20 twice as far).
pub const LOCAL_DISTANCE: u32 = 10;

/// The parts of a machine that matter for placing threads and memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Processors that are online.
    pub cpus: CpuSet,
    /// Sockets, by id. Empty where the kernel does not say.
    pub packages: Vec<Package>,
    /// Memory nodes, by id; at least one.
    pub numa_nodes: Vec<NumaNode>,
    /// Devices on the PCI bus, by address.
    pub pci: Vec<PciDevice>,
    /// Online processors this process may use: the cgroup's cpuset and, on the live machine, the affinity mask.
    pub allowed_cpus: CpuSet,
    /// Memory nodes this process may take memory from.
    pub allowed_nodes: CpuSet,
    /// Processors that exist but are switched off.
    pub offline_cpus: CpuSet,
    /// Caches, by level, type and first processor.
    pub caches: Vec<Cache>,
    /// On hybrid machines the kinds of cores, the slowest first; else empty.
    pub core_kinds: Vec<CoreKind>,
    /// What is odd about this machine's description and how it was taken.
    pub notes: Vec<String>,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Package {
    /// The firmware's number; they may be sparse.
    pub id: i64,
    /// Its online processors.
    pub cpus: CpuSet,
}

/// A memory node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NumaNode {
    /// The kernel's number; they may be sparse.
    pub id: u32,
    /// Its online processors; a memory-only node has none.
    pub cpus: CpuSet,
    /// Its memory; 0 where the kernel does not say.
    pub memory_bytes: u64,
    /// Distances to all nodes, in the order of [`Topology::numa_nodes`]; empty where the kernel does not say.
    pub distances: Vec<u32>,
    /// The processors nearest to its memory: its own, or for a memory-only node those the firmware names or the
    /// distances tell. Empty where nothing tells them apart.
    pub nearest_cpus: CpuSet,
}

/// A device on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PciDevice {
    /// Domain, bus, device and function, as in `0000:3b:00.0`.
    pub address: String,
    /// Class code as the kernel writes it; `0x0302..` is a 3D controller, `0x0108..` an NVMe drive.
    pub class: String,
    /// Vendor id as the kernel writes it; `0x10de` is NVIDIA.
    pub vendor: String,
    /// Device id as the kernel writes it.
    pub device: String,
    /// The node it is attached to; `None` where the firmware does not say.
    pub numa_node: Option<u32>,
    /// The processors near it; all of them where the firmware does not say.
    #[serde(skip)]
    pub local_cpus: CpuSet,
}

/// What a PCI device is good for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PciKind {
    /// A graphics or compute accelerator of a vendor that makes them (class 03 or 12).
    Gpu,
    /// An NVMe drive (class 0108).
    Nvme,
    /// A network adapter (class 02).
    Network,
    /// Anything else.
    Other,
}

/// A cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// 1, 2, 3, ...
    pub level: u32,
    /// `Data`, `Instruction` or `Unified`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its size.
    pub bytes: u64,
    /// The online processors that share it.
    pub cpus: CpuSet,
}

/// Cores of one kind on a hybrid machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CoreKind {
    /// What distinguishes them, such as `cpu_core` or `capacity 1024`.
    pub name: String,
    /// The processors.
    pub cpus: CpuSet,
}

/// Why there is no topology.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// Below the root lies no description of processors.
    #[error("{}: no processors are described here (expected sys/devices/system/cpu)", root.display())]
    NoProcessors {
        /// The root.
        root: PathBuf,
    },
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file says something else than such files say.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Topology {
    /// The topology whose `sys` and `proc` lie below `root`.
    ///
    /// # Errors
    /// [`TopologyError`] when there is none, or when it cannot be understood. Missing parts are no error.
    pub fn read(root: &Path) -> Result<Self, TopologyError> {
        sysfs::read(root)
    }

    /// What devices are attached to: the processors online, the memory nodes and the PCI bus below `root`.
    ///
    /// Packages, caches and kinds of cores are left out, and control groups are not asked: on large machines these are
    /// thousands of reads, and who looks for a device has no use for them.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn of_devices(root: &Path) -> Result<Self, TopologyError> {
        sysfs::read_devices(root)
    }

    /// The topology of this machine as the calling thread may use it.
    ///
    /// Where `/sys` is hidden, as in some sandboxes, it is one node with the processors this thread may use, and
    /// [`notes`](Self::notes) says so.
    ///
    /// # Errors
    /// [`TopologyError`] when the description cannot be read or understood.
    pub fn host() -> Result<Self, TopologyError> {
        let affinity = thread::allowed_cpus()
            .map_err(|source| TopologyError::Io { path: "sched_getaffinity".into(), source })?;
        let mut topology = match Self::read(Path::new("/")) {
            Ok(topology) => topology,
            Err(TopologyError::NoProcessors { .. }) => Self::unknown(affinity.clone()),
            Err(error) => return Err(error),
        };
        topology.allowed_cpus = topology.allowed_cpus.intersection(&affinity);
        Ok(topology)
    }

    fn unknown(cpus: CpuSet) -> Self {
        let node = NumaNode {
            id: 0,
            cpus: cpus.clone(),
            memory_bytes: 0,
            distances: vec![LOCAL_DISTANCE],
            nearest_cpus: cpus.clone(),
        };
        Self {
            allowed_cpus: cpus.clone(),
            allowed_nodes: [0].into_iter().collect(),
            cpus,
            numa_nodes: vec![node],
            notes: vec!["/sys describes no processors; taken from the affinity mask".to_owned()],
            ..Self::default()
        }
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: u32) -> Option<&NumaNode> {
        self.numa_nodes.iter().find(|node| node.id == id)
    }

    /// The nodes from the nearest to the farthest from node `id`, itself first; empty when there is no such node.
    #[must_use]
    pub fn nodes_by_distance(&self, id: u32) -> Vec<&NumaNode> {
        let Some(origin) = self.node(id) else {
            return Vec::new();
        };
        let distance = |index: usize, node: &NumaNode| match origin.distances.get(index) {
            // Whatever firmware says of others, the node itself is first.
            _ if node.id == id => None,
            Some(&distance) => Some(distance),
            None => Some(u32::MAX),
        };
        let mut nodes: Vec<(Option<u32>, &NumaNode)> =
            self.numa_nodes.iter().enumerate().map(|(index, node)| (distance(index, node), node)).collect();
        nodes.sort_by_key(|&(distance, node)| (distance, node.id));
        nodes.into_iter().map(|(_, node)| node).collect()
    }

    /// Where `workers` threads that work on memory of node `id` should run; `None`: wherever the system likes.
    ///
    /// All of them get the same set: the allowed processors of that node (of a memory-only node, those nearest to it),
    /// widened by the next nearest nodes until there is a processor for each. Nothing is gained by pinning, and so
    /// nothing is pinned, when the set would hold every allowed processor: on machines with one node, with more
    /// workers than processors, and where the node is unknown.
    #[must_use]
    pub fn cpus_near(&self, id: u32, workers: usize) -> Option<CpuSet> {
        let mut near = CpuSet::new();
        for node in self.nodes_by_distance(id) {
            if near.len() >= workers.max(1) {
                break;
            }
            near = near.union(&node.nearest_cpus.intersection(&self.allowed_cpus));
        }
        (near.len() >= workers.max(1) && near != self.allowed_cpus).then_some(near)
    }

    /// The node a device is attached to: as the firmware says, else the only node, else the one whose processors are
    /// the device's.
    #[must_use]
    pub fn node_of(&self, device: &PciDevice) -> Option<u32> {
        match (device.numa_node, &self.numa_nodes[..]) {
            (Some(node), _) => Some(node),
            (None, [only]) => Some(only.id),
            (None, nodes) => nodes
                .iter()
                .find(|node| !node.cpus.is_empty() && node.cpus == device.local_cpus)
                .map(|node| node.id),
        }
    }

    /// The GPUs and other accelerators.
    pub fn gpus(&self) -> impl Iterator<Item = &PciDevice> {
        self.pci.iter().filter(|device| device.kind() == PciKind::Gpu)
    }
}

impl PciDevice {
    /// What it is good for here.
    #[must_use]
    pub fn kind(&self) -> PciKind {
        let class = self.class.trim_start_matches("0x");
        // Virtual and management graphics adapters have the class of a GPU and none of its use.
        let makes_gpus = matches!(&*self.vendor, "0x10de" | "0x1002" | "0x8086" | "0x1da3" | "0x1ae0");
        match class.get(..2) {
            Some("03" | "12") if makes_gpus => PciKind::Gpu,
            Some("01") if class.starts_with("0108") => PciKind::Nvme,
            Some("02") => PciKind::Network,
            _ => PciKind::Other,
        }
    }
}

#[cfg(test)]
mod tests;
