//! How NVIDIA's GPUs are joined: NVLinks, switches, and where their ways over PCIe meet.

use std::collections::BTreeMap;

use nvml_wrapper::enum_wrappers::device::{P2pCapabilitiesIndex, P2pStatus, TopologyLevel};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::device::address;
use crate::gpu::Gpu;
use crate::interconnect::{Ancestor, Join, Pair};

/// Links that a GPU has at most, as NVML numbers them.
const MOST_LINKS: u32 = 18;

/// Where the NVLinks of one GPU lead that are up.
#[derive(Debug, Default)]
struct Links {
    /// To devices, by address.
    to: BTreeMap<String, u32>,
    /// To where the driver does not say; to a switch, as far as anybody knows.
    to_unknown: u32,
}

impl Links {
    fn up(&self) -> u32 {
        self.to.values().sum::<u32>() + self.to_unknown
    }

    /// Links that lead to none of `gpus`: to switches.
    fn to_switches(&self, gpus: &[Gpu]) -> u32 {
        let is_gpu = |address: &String| gpus.iter().any(|gpu| gpu.pci.as_ref() == Some(address));
        let named = self.to.iter().filter(|(address, _)| !is_gpu(address)).map(|(_, links)| links);
        named.sum::<u32>() + self.to_unknown
    }
}

/// What each pair of `devices` has between it; `gpus` are the same ones, and learn how many of their links are up.
pub(super) fn pairs(nvml: &Nvml, devices: &[Device<'_>], gpus: &mut [Gpu]) -> Vec<Pair> {
    let links: Vec<Option<Links>> = devices.iter().map(links_of).collect();
    for (gpu, links) in gpus.iter_mut().zip(&links) {
        gpu.nvlinks = links.as_ref().map(Links::up);
    }
    let mut pairs = Vec::new();
    for first in 0..devices.len() {
        for second in first + 1..devices.len() {
            pairs.push(Pair {
                first,
                second,
                // The wrapper takes the other one by value.
                ancestor: gpus[second].index.and_then(|index| {
                    let other = nvml.device_by_index(index).ok()?;
                    devices[first].topology_common_ancestor(other).ok().map(ancestor)
                }),
                join: join(
                    gpus,
                    (first, second),
                    (&links[first], &links[second]),
                    devices[first].p2p_status(&devices[second], P2pCapabilitiesIndex::NvLink),
                ),
            });
        }
    }
    pairs
}

/// The links of a GPU that are up; `None` when it has no NVLink or the library does not tell.
fn links_of(device: &Device<'_>) -> Option<Links> {
    let mut links = Links::default();
    for number in 0..MOST_LINKS {
        let link = device.link_wrapper_for(number);
        match link.is_active() {
            Ok(true) => match link.remote_pci_info() {
                Ok(remote) => *links.to.entry(address(&remote)).or_default() += 1,
                Err(_) => links.to_unknown += 1,
            },
            Ok(false) => {}
            // Past the last one.
            Err(NvmlError::InvalidArg) => break,
            Err(_) if number == 0 => return None,
            Err(_) => break,
        }
    }
    Some(links)
}

/// The links between two GPUs. That both have links to switches is not enough: a fabric can be partitioned, and a GPU
/// that is cut into instances gives its links up; then the driver says that they do not reach each other.
fn join(
    gpus: &[Gpu],
    (first, second): (usize, usize),
    links: (&Option<Links>, &Option<Links>),
    reach: Result<P2pStatus, NvmlError>,
) -> Option<Join> {
    let (Some(one), Some(other)) = links else {
        // What has no NVLink cannot be joined by one; what the library does not tell is unknown.
        return match reach {
            Ok(P2pStatus::Ok) | Err(_) => None,
            Ok(_) => Some(Join::Apart),
        };
    };
    let direct = gpus[second].pci.as_ref().and_then(|address| one.to.get(address)).copied().unwrap_or(0);
    let direct =
        direct.max(gpus[first].pci.as_ref().and_then(|address| other.to.get(address)).copied().unwrap_or(0));
    let switched = one.to_switches(gpus).min(other.to_switches(gpus));
    match (direct, switched, reach) {
        (0, 0, _) => Some(Join::Apart),
        (1.., _, Ok(P2pStatus::Ok) | Err(_)) => Some(Join::NvLink { links: direct }),
        (0, 1.., Ok(P2pStatus::Ok)) => Some(Join::NvSwitch { links: switched }),
        (0, 1.., Err(_)) => None,
        (_, _, Ok(_)) => Some(Join::Apart),
    }
}

fn ancestor(level: TopologyLevel) -> Ancestor {
    match level {
        TopologyLevel::Internal => Ancestor::Board,
        TopologyLevel::Single => Ancestor::PcieSwitch,
        TopologyLevel::Multiple => Ancestor::PcieSwitches,
        TopologyLevel::HostBridge => Ancestor::HostBridge,
        TopologyLevel::Node => Ancestor::NumaNode,
        TopologyLevel::System => Ancestor::System,
    }
}
