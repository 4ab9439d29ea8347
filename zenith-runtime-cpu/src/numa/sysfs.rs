//! Reads a [`Topology`] from the files of a machine.

use std::collections::BTreeMap;
use std::path::Path;

use super::files::Root;
use super::{Cache, CoreKind, CpuSet, LOCAL_DISTANCE, NumaNode, Package, PciDevice, Topology, TopologyError};
use crate::cgroup;

const CPU: &str = "sys/devices/system/cpu";
const NODE: &str = "sys/devices/system/node";
const PCI: &str = "sys/bus/pci/devices";

pub(super) fn read(root: &Path) -> Result<Topology, TopologyError> {
    let root = Root(root);
    let present: CpuSet = root.numbered(CPU, "cpu")?.into_iter().collect();
    let cpus = online_cpus(root, &present)?;
    if cpus.is_empty() {
        return Err(TopologyError::NoProcessors { root: root.0.to_path_buf() });
    }
    let mut notes = Vec::new();
    let numa_nodes = numa_nodes(root, &cpus, &mut notes)?;
    let node_ids: CpuSet = numa_nodes.iter().map(|node| node.id).collect();
    Ok(Topology {
        packages: packages(root, &cpus)?,
        pci: pci(root, &numa_nodes, &mut notes)?,
        allowed_cpus: cpuset(root, "cpus")?.map_or_else(|| cpus.clone(), |set| set.intersection(&cpus)),
        allowed_nodes: cpuset(root, "mems")?
            .map_or_else(|| node_ids.clone(), |set| set.intersection(&node_ids)),
        offline_cpus: present.difference(&cpus),
        caches: caches(root, &cpus)?,
        core_kinds: core_kinds(root, &cpus)?,
        cpus,
        numa_nodes,
        notes,
    })
}

/// What devices are attached to, and nothing that takes a read for each processor.
pub(super) fn read_devices(root: &Path) -> Result<Topology, TopologyError> {
    let root = Root(root);
    let present: CpuSet = root.numbered(CPU, "cpu")?.into_iter().collect();
    let cpus = online_cpus(root, &present)?;
    if cpus.is_empty() {
        return Err(TopologyError::NoProcessors { root: root.0.to_path_buf() });
    }
    let mut notes = Vec::new();
    let numa_nodes = numa_nodes(root, &cpus, &mut notes)?;
    Ok(Topology {
        pci: pci(root, &numa_nodes, &mut notes)?,
        allowed_cpus: cpus.clone(),
        allowed_nodes: numa_nodes.iter().map(|node| node.id).collect(),
        offline_cpus: present.difference(&cpus),
        cpus,
        numa_nodes,
        notes,
        ..Topology::default()
    })
}

/// What the cgroup's cpuset allows of `what`; `None` where it limits nothing.
fn cpuset(root: Root<'_>, what: &str) -> Result<Option<CpuSet>, TopologyError> {
    let settings =
        cgroup::settings(root, "cpuset", &format!("cpuset.{what}.effective"), &format!("cpuset.{what}"));
    // A group that sets nothing has what the group above it has.
    let Some(setting) = settings.into_iter().find(|setting| !setting.text.is_empty()) else {
        return Ok(None);
    };
    setting.text.parse().map(Some).map_err(|error| root.malformed(&setting.path, format!("{error}")))
}

fn online_cpus(root: Root<'_>, present: &CpuSet) -> Result<CpuSet, TopologyError> {
    if let Some(online) = root.list(&format!("{CPU}/online"))? {
        return Ok(online);
    }
    // Old kernels have no list of all; the first processor often has no switch of its own.
    let mut online = CpuSet::new();
    for cpu in present.iter() {
        if root.value::<u32>(&format!("{CPU}/cpu{cpu}/online"))? != Some(0) {
            online.insert(cpu);
        }
    }
    Ok(online)
}

fn packages(root: Root<'_>, cpus: &CpuSet) -> Result<Vec<Package>, TopologyError> {
    let mut packages: BTreeMap<i64, CpuSet> = BTreeMap::new();
    for cpu in cpus.iter() {
        if let Some(id) = root.value(&format!("{CPU}/cpu{cpu}/topology/physical_package_id"))? {
            packages.entry(id).or_default().insert(cpu);
        }
    }
    Ok(packages.into_iter().map(|(id, cpus)| Package { id, cpus }).collect())
}

fn numa_nodes(
    root: Root<'_>,
    cpus: &CpuSet,
    notes: &mut Vec<String>,
) -> Result<Vec<NumaNode>, TopologyError> {
    let mut ids: CpuSet = root.numbered(NODE, "node")?.into_iter().collect();
    if let Some(online) = root.list(&format!("{NODE}/online"))? {
        ids = ids.intersection(&online);
    }
    let mut nodes = Vec::new();
    let mut taken = CpuSet::new();
    for id in ids.iter() {
        let directory = format!("{NODE}/node{id}");
        let own = root
            .mask_or_list(&format!("{directory}/cpumap"), &format!("{directory}/cpulist"))?
            .unwrap_or_default()
            .intersection(cpus);
        let shared = own.intersection(&taken);
        if !shared.is_empty() {
            notes.push(format!(
                "memory node {id} is ignored: it claims processors {shared}, which belong to another node"
            ));
            continue;
        }
        taken = taken.union(&own);
        nodes.push(NumaNode {
            id,
            memory_bytes: mem_total(root, &format!("{directory}/meminfo")).unwrap_or(0),
            distances: distances(root, &directory)?,
            nearest_cpus: own.clone(),
            cpus: own,
        });
    }
    if nodes.is_empty() {
        return Ok(vec![NumaNode {
            id: 0,
            cpus: cpus.clone(),
            memory_bytes: mem_total(root, "proc/meminfo").unwrap_or(0),
            distances: vec![LOCAL_DISTANCE],
            nearest_cpus: cpus.clone(),
        }]);
    }
    fit_distances(root, &ids, &mut nodes, notes)?;
    for index in 0..nodes.len() {
        if nodes[index].cpus.is_empty() {
            nodes[index].nearest_cpus = nearest_cpus(root, &nodes, index)?;
        }
    }
    Ok(nodes)
}

/// The first "MemTotal" of a meminfo file, in bytes; nodes write "Node 0 MemTotal:", the whole machine "MemTotal:".
fn mem_total(root: Root<'_>, path: &str) -> Option<u64> {
    let text = root.text(path)?;
    let (_, rest) = text.split_once("MemTotal:")?;
    let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

fn distances(root: Root<'_>, directory: &str) -> Result<Vec<u32>, TopologyError> {
    let path = format!("{directory}/distance");
    let text = root.text(&path).unwrap_or_default();
    text.split_whitespace()
        .map(|number| number.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| root.malformed(&path, format!("{text:?} is no row of distances")))
}

/// The kernel's rows have a column for every node it has online; keeps the columns of the nodes that were taken.
fn fit_distances(
    root: Root<'_>,
    ids: &CpuSet,
    nodes: &mut [NumaNode],
    notes: &mut Vec<String>,
) -> Result<(), TopologyError> {
    let taken: CpuSet = nodes.iter().map(|node| node.id).collect();
    let possible = root.list(&format!("{NODE}/possible"))?.unwrap_or_default();
    for node in nodes {
        // A node that went offline may have kept its column in rows that were written earlier.
        let columns = [ids, &possible].into_iter().find(|set| set.len() == node.distances.len());
        if let Some(columns) = columns {
            let row = columns.iter().zip(&node.distances);
            node.distances =
                row.filter(|(id, _)| taken.contains(*id)).map(|(_, &distance)| distance).collect();
        } else if !node.distances.is_empty() {
            notes.push(format!(
                "distances of memory node {} are ignored: {} columns for {} nodes",
                node.id,
                node.distances.len(),
                ids.len()
            ));
            node.distances.clear();
        }
    }
    Ok(())
}

/// The processors nearest to a memory-only node: those that the firmware names as its initiators, else those of the
/// nodes at the smallest distance; none when these are all nodes alike.
fn nearest_cpus(root: Root<'_>, nodes: &[NumaNode], index: usize) -> Result<CpuSet, TopologyError> {
    // Class 1 names the processors that reach the memory best; class 0 may name devices instead.
    let mut initiators = Vec::new();
    for class in ["access1", "access0"] {
        if initiators.is_empty() {
            let directory = format!("{NODE}/node{}/{class}/initiators", nodes[index].id);
            initiators = root.numbered(&directory, "node")?;
        }
    }
    let with_cpus = || nodes.iter().enumerate().filter(|(_, node)| !node.cpus.is_empty());
    let of = |near: &dyn Fn(usize, &NumaNode) -> bool| {
        with_cpus()
            .filter(|&(i, node)| near(i, node))
            .fold(CpuSet::new(), |set, (_, node)| set.union(&node.cpus))
    };
    let named = of(&|_, node| initiators.contains(&node.id));
    if !named.is_empty() {
        return Ok(named);
    }
    let row = &nodes[index].distances;
    let smallest = with_cpus().filter_map(|(i, _)| row.get(i)).min();
    let near = of(&|i, _| row.get(i) == smallest);
    let all = of(&|_, _| true);
    Ok(if near == all && with_cpus().count() > 1 { CpuSet::new() } else { near })
}

fn caches(root: Root<'_>, cpus: &CpuSet) -> Result<Vec<Cache>, TopologyError> {
    let mut caches: BTreeMap<(u32, String, u32), Cache> = BTreeMap::new();
    for cpu in cpus.iter() {
        let directory = format!("{CPU}/cpu{cpu}/cache");
        for index in root.numbered(&directory, "index")? {
            let entry = format!("{directory}/index{index}");
            let Some(level) = root.value(&format!("{entry}/level"))? else {
                continue;
            };
            let kind = root.text(&format!("{entry}/type")).unwrap_or_default();
            let mut shared = root
                .mask_or_list(&format!("{entry}/shared_cpu_map"), &format!("{entry}/shared_cpu_list"))?
                .unwrap_or_default()
                .intersection(cpus);
            if !shared.contains(cpu) {
                // Itanium's firmware leaves the maps of its outer caches empty; a core shares them at least.
                shared = core_of(root, cpu)?.intersection(cpus);
                shared.insert(cpu);
            }
            let first = shared.first().unwrap_or(cpu);
            caches.entry((level, kind.clone(), first)).or_insert_with(|| Cache {
                level,
                kind,
                bytes: root.text(&format!("{entry}/size")).and_then(|size| size_bytes(&size)).unwrap_or(0),
                cpus: shared,
            });
        }
    }
    Ok(caches.into_values().collect())
}

/// The processors of the same core.
fn core_of(root: Root<'_>, cpu: u32) -> Result<CpuSet, TopologyError> {
    let directory = format!("{CPU}/cpu{cpu}/topology");
    let core = root.mask_or_list(
        &format!("{directory}/thread_siblings"),
        &format!("{directory}/thread_siblings_list"),
    )?;
    Ok(core.unwrap_or_default())
}

/// Reads `32768`, `512K`, `8M`.
fn size_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text[digits.len()..].chars().next() {
        None => 1,
        Some('K' | 'k') => 1 << 10,
        Some('M' | 'm') => 1 << 20,
        Some('G' | 'g') => 1 << 30,
        Some(_) => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// Kinds of cores: by the kernel's device for each kind, else by capacity, else by base frequency.
fn core_kinds(root: Root<'_>, cpus: &CpuSet) -> Result<Vec<CoreKind>, TopologyError> {
    let mut kinds = Vec::new();
    for name in ["cpu_lowpower", "cpu_atom", "cpu_core"] {
        let set = root.list(&format!("sys/devices/{name}/cpus"))?.unwrap_or_default().intersection(cpus);
        if !set.is_empty() {
            kinds.push(CoreKind { name: name.to_owned(), cpus: set });
        }
    }
    if kinds.len() > 1 {
        return Ok(kinds);
    }
    for (file, name) in [("cpu_capacity", "capacity"), ("cpufreq/base_frequency", "base frequency in kHz")] {
        let mut by_value: BTreeMap<u64, CpuSet> = BTreeMap::new();
        for cpu in cpus.iter() {
            if let Some(value) = root.value(&format!("{CPU}/cpu{cpu}/{file}"))? {
                by_value.entry(value).or_default().insert(cpu);
            }
        }
        if by_value.len() > 1 {
            return Ok(by_value
                .into_iter()
                .map(|(value, cpus)| CoreKind { name: format!("{name} {value}"), cpus })
                .collect());
        }
    }
    Ok(Vec::new())
}

fn pci(root: Root<'_>, nodes: &[NumaNode], notes: &mut Vec<String>) -> Result<Vec<PciDevice>, TopologyError> {
    let mut devices = Vec::new();
    for address in root.entries(PCI)? {
        let directory = format!("{PCI}/{address}");
        // The kernel writes -1 for "unknown".
        let stated: Option<u32> =
            root.value::<i64>(&format!("{directory}/numa_node"))?.and_then(|node| u32::try_from(node).ok());
        let numa_node = stated.filter(|&id| nodes.iter().any(|node| node.id == id));
        if let (Some(stated), None) = (stated, numa_node) {
            notes.push(format!("device {address} names memory node {stated}, which does not exist"));
        }
        let text = |file: &str| root.text(&format!("{directory}/{file}")).unwrap_or_default();
        devices.push(PciDevice {
            class: text("class"),
            vendor: text("vendor"),
            device: text("device"),
            numa_node,
            local_cpus: root
                .mask_or_list(&format!("{directory}/local_cpus"), &format!("{directory}/local_cpulist"))?
                .unwrap_or_default(),
            address,
        });
    }
    Ok(devices)
}
