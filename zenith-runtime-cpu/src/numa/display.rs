//! A topology for people.

use std::collections::BTreeMap;
use std::fmt;

use super::{PciDevice, PciKind, Topology};

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} online ({})", count(self.cpus.len(), "processor"), self.cpus)?;
        if self.allowed_cpus != self.cpus {
            write!(f, ", {} allowed ({})", self.allowed_cpus.len(), self.allowed_cpus)?;
        }
        if !self.offline_cpus.is_empty() {
            write!(f, ", {} offline ({})", self.offline_cpus.len(), self.offline_cpus)?;
        }
        writeln!(f)?;
        for package in &self.packages {
            writeln!(f, "package {}: cpus {}", package.id, package.cpus)?;
        }
        for kind in &self.core_kinds {
            writeln!(f, "cores of kind {}: cpus {}", kind.name, kind.cpus)?;
        }
        let mut caches: BTreeMap<(u32, &str, u64), usize> = BTreeMap::new();
        for cache in &self.caches {
            *caches.entry((cache.level, &cache.kind, cache.bytes)).or_default() += 1;
        }
        for ((level, kind, bytes), number) in caches {
            writeln!(f, "L{level} {}: {number} x {}", kind.to_lowercase(), size(bytes))?;
        }
        for node in &self.numa_nodes {
            match node.memory_bytes {
                0 => write!(f, "node {}: memory unknown, ", node.id)?,
                bytes => write!(f, "node {}: {}, ", node.id, size(bytes))?,
            }
            if node.cpus.is_empty() {
                write!(f, "memory only")?;
                if !node.nearest_cpus.is_empty() {
                    write!(f, ", nearest cpus {}", node.nearest_cpus)?;
                }
            } else {
                write!(f, "cpus {}", node.cpus)?;
            }
            if !self.allowed_nodes.contains(node.id) {
                write!(f, ", not allowed")?;
            }
            if self.numa_nodes.len() > 1 && !node.distances.is_empty() {
                write!(f, ", distances")?;
                for distance in &node.distances {
                    write!(f, " {distance}")?;
                }
            }
            writeln!(f)?;
        }
        for device in &self.pci {
            if let Some(name) = name_of(device) {
                write!(f, "{name} {} ({}:{})", device.address, device.vendor, device.device)?;
                match self.node_of(device) {
                    Some(node) => writeln!(f, ": node {node}")?,
                    None => writeln!(f, ": node unknown")?,
                }
            }
        }
        let others = self.pci.iter().filter(|device| name_of(device).is_none()).count();
        if others > 0 {
            writeln!(f, "{} on the PCI bus", count(others, "other device"))?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

fn name_of(device: &PciDevice) -> Option<&'static str> {
    match device.kind() {
        PciKind::Gpu => Some("gpu"),
        PciKind::Nvme => Some("nvme"),
        PciKind::Network => Some("network"),
        PciKind::Other => None,
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A size in bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
        _ if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        _ => format!("{} KiB", bytes >> 10),
    }
}
