//! AMD's GPUs as the kernel's driver tells of them in sysfs: `class/drm` what a GPU is, `class/kfd` how GPUs are joined.
//! It needs none of AMD's libraries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use zenith_runtime_cpu::numa::Topology;

use crate::discovery::Told;
use crate::finding::{Finding, Kind, Source};
use crate::gpu::{Clocks, Ecc, Gpu, Memory, Vendor};
use crate::interconnect::{Join, Pair};

/// The kernel's number for a link of Infinity Fabric between GPUs.
const XGMI: &str = "11";

const NO_DRIVER: &str =
    "an AMD GPU is on the PCI bus and has no driver: modprobe amdgpu (dmesg says why it does not)";

/// What the compute driver knows of a GPU.
#[derive(Debug)]
struct Node {
    number: u32,
    gfx: Option<String>,
    /// Nodes at the other end of its fabric links.
    joined: Vec<u32>,
}

/// What amdgpu tells of the GPUs of the machine below `root`.
pub(crate) fn tell(root: &Path, topology: &Topology) -> Told {
    let nodes = compute_nodes(root);
    let mut gpus: Vec<Gpu> = entries(&root.join("sys/class/drm"))
        .into_iter()
        // Connectors have a dash in their names.
        .filter(|(name, _)| name.strip_prefix("card").is_some_and(|number| number.parse::<u32>().is_ok()))
        .filter_map(|(_, path)| gpu(&path.join("device")))
        .collect();
    gpus.sort_by(|one, other| one.pci.cmp(&other.pci));
    for (index, gpu) in gpus.iter_mut().enumerate() {
        gpu.index = u32::try_from(index).ok();
        gpu.gfx = gpu.pci.as_ref().and_then(|address| nodes.get(address)?.gfx.clone());
    }
    let pairs = pairs(&gpus, &nodes);
    let on_bus = topology.gpus().any(|device| Vendor::of_pci(&device.vendor) == Vendor::Amd);
    let finding = match gpus.len() {
        0 => Finding::new(Source::Amdgpu, Kind::Absent, on_bus.then_some(NO_DRIVER)),
        count => Finding::new(Source::Amdgpu, Kind::Answered { gpus: count }, None),
    };
    Told { gpus, pairs, driver: None, findings: vec![finding] }
}

/// The GPU behind a device folder, when amdgpu drives it.
fn gpu(device: &Path) -> Option<Gpu> {
    let uevent = text(&device.join("uevent"))?;
    let setting = |name: &str| uevent.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    if setting("DRIVER") != Some("amdgpu") {
        return None;
    }
    let number = |file: &str| text(&device.join(file))?.parse::<u64>().ok();
    let memory = number("mem_info_vram_total").map(|total_bytes| Memory {
        total_bytes,
        free_bytes: number("mem_info_vram_used").and_then(|used| total_bytes.checked_sub(used)),
    });
    let (sm_mhz, max_sm_mhz) = clock(device, "pp_dpm_sclk");
    let (memory_mhz, max_memory_mhz) = clock(device, "pp_dpm_mclk");
    Some(Gpu {
        model: text(&device.join("product_name")).filter(|name| !name.is_empty()),
        uuid: text(&device.join("unique_id")).filter(|id| !id.is_empty()),
        pci: setting("PCI_SLOT_NAME").map(str::to_owned),
        memory,
        clocks: Clocks { sm_mhz, max_sm_mhz, memory_mhz, max_memory_mhz },
        ecc: ecc(device),
        ..Gpu::unknown(Source::Amdgpu, Vendor::Amd)
    })
}

/// The clock now and the highest one, from lines such as `1: 1700Mhz *`.
fn clock(device: &Path, file: &str) -> (Option<u32>, Option<u32>) {
    let lines = text(&device.join(file)).unwrap_or_default();
    let steps: Vec<(u32, bool)> = lines
        .lines()
        .filter_map(|line| {
            let (_, step) = line.split_once(':')?;
            let (mhz, rest) = step.trim().split_once("Mhz")?;
            Some((mhz.trim().parse().ok()?, rest.contains('*')))
        })
        .collect();
    let now = steps.iter().find(|(_, is_now)| *is_now).map(|&(mhz, _)| mhz);
    (now, steps.iter().map(|&(mhz, _)| mhz).max())
}

/// Errors that all of its blocks counted (`ras/umc_err_count` for the memory, and so on).
fn ecc(device: &Path) -> Option<Ecc> {
    let counts: Vec<String> = entries(&device.join("ras"))
        .into_iter()
        .filter(|(name, _)| name.ends_with("_err_count"))
        .filter_map(|(_, path)| text(&path))
        .collect();
    let sum = |kind: &str| {
        let mut found = counts.iter().flat_map(|text| text.lines()).filter_map(|line| {
            let (name, count) = line.split_once(':')?;
            (name.trim() == kind).then(|| count.trim().parse::<u64>().ok())?
        });
        let first = found.next()?;
        Some(found.fold(first, u64::saturating_add))
    };
    let (corrected, uncorrected) = (sum("ce"), sum("ue"));
    corrected.or(uncorrected)?;
    Some(Ecc {
        // The driver counts without saying whether the memory corrects.
        enabled: None,
        corrected,
        uncorrected,
        lifetime_corrected: None,
        lifetime_uncorrected: None,
    })
}

/// The compute driver's nodes that are GPUs, by address.
fn compute_nodes(root: &Path) -> BTreeMap<String, Node> {
    let nodes = entries(&root.join("sys/class/kfd/kfd/topology/nodes"));
    nodes
        .into_iter()
        .filter_map(|(name, path)| {
            let properties = text(&path.join("properties"))?;
            let value = |name: &str| property(&properties, name)?.parse::<u64>().ok();
            // Nodes of processors have no units that compute like a GPU's.
            if value("simd_count")? == 0 {
                return None;
            }
            let (domain, location) = (value("domain").unwrap_or(0), value("location_id")?);
            let address = format!(
                "{domain:04x}:{:02x}:{:02x}.{:x}",
                location >> 8 & 0xff,
                location >> 3 & 0x1f,
                location & 7
            );
            let joined = entries(&path.join("io_links"))
                .into_iter()
                .filter_map(|(_, link)| {
                    let properties = text(&link.join("properties"))?;
                    let is_fabric = property(&properties, "type") == Some(XGMI);
                    if is_fabric { property(&properties, "node_to")?.parse().ok() } else { None }
                })
                .collect();
            let gfx = value("gfx_target_version").filter(|&version| version > 0).map(gfx);
            Some((address, Node { number: name.parse().ok()?, gfx, joined }))
        })
        .collect()
}

/// `90402` is `gfx942`: two digits for each part, and the last one is written in hexadecimal.
fn gfx(version: u64) -> String {
    format!("gfx{}{}{:x}", version / 10_000, version / 100 % 100, version % 100)
}

fn pairs(gpus: &[Gpu], nodes: &BTreeMap<String, Node>) -> Vec<Pair> {
    let node = |gpu: &Gpu| gpu.pci.as_ref().and_then(|address| nodes.get(address));
    let mut pairs = Vec::new();
    for first in 0..gpus.len() {
        for second in first + 1..gpus.len() {
            let join = match (node(&gpus[first]), node(&gpus[second])) {
                (Some(one), Some(other)) => {
                    let is_joined = one.joined.contains(&other.number) || other.joined.contains(&one.number);
                    Some(if is_joined { Join::Xgmi } else { Join::Apart })
                }
                // The compute driver does not know both of them.
                _ => None,
            };
            pairs.push(Pair { first, second, ancestor: None, join });
        }
    }
    pairs
}

/// The value of a line such as `simd_count 440`.
fn property<'a>(properties: &'a str, name: &str) -> Option<&'a str> {
    properties.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then_some(value.trim())
    })
}

/// The text of a small file without the white space around it; attributes that a GPU has not are missing or refuse.
fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The names and paths in a folder, sorted; none when it is missing.
fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    found.sort();
    found
}
