//! What the machine has: its name, processors, memory, NUMA nodes. Reads small files of the kernel's; the NUMA nodes below a
//! folder that can be exchanged.

use std::fs;
use std::path::Path;

use super::error::Error;
use super::nursery::plan::NumaNode;

/// The host's name.
///
/// # Errors
/// The host has none that is text.
pub(crate) fn name() -> Result<String, Error> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() {
        return Err(Error::Machine { what: "the name", why: "it is empty".to_owned(), option: "--name" });
    }
    Ok(name)
}

/// Processors this process may use.
///
/// # Errors
/// The system does not say.
pub(crate) fn cpus() -> Result<u32, Error> {
    let unknown = |why| Error::Machine { what: "the number of processors", why, option: "--cpus" };
    let count = std::thread::available_parallelism().map_err(|error| unknown(error.to_string()))?;
    u32::try_from(count.get()).map_err(|error| unknown(error.to_string()))
}

/// Memory of the machine.
///
/// # Errors
/// The system does not say.
pub(crate) fn memory_mib() -> Result<u64, Error> {
    let unknown = |why: String| Error::Machine { what: "the memory", why, option: "--memory" };
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).map_err(|error| unknown(format!("{path}: {error}")))?;
    total_kib(&text).map(|kib| kib / 1024).ok_or_else(|| unknown(format!("{path} has no MemTotal")))
}

fn total_kib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The NUMA nodes that have processors, by number. None where the folder says nothing.
pub(crate) fn numa(folder: &Path) -> Vec<NumaNode> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut nodes: Vec<NumaNode> = entries
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let cpus = list(fs::read_to_string(entry.path().join("cpulist")).ok()?.trim())?;
            (!cpus.is_empty()).then_some(NumaNode { id, cpus })
        })
        .collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

/// The same without the processors that this process may not use, and so without the nodes that have no others: what it starts
/// is not to have more than it has itself.
pub(crate) fn usable_numa(folder: &Path) -> Vec<NumaNode> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    within(numa(folder), allowed(&status).as_deref())
}

fn allowed(status: &str) -> Option<Vec<u32>> {
    list(status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim())
}

fn within(mut nodes: Vec<NumaNode>, allowed: Option<&[u32]>) -> Vec<NumaNode> {
    if let Some(allowed) = allowed {
        nodes.iter_mut().for_each(|node| node.cpus.retain(|cpu| allowed.contains(cpu)));
    }
    nodes.retain(|node| !node.cpus.is_empty());
    nodes
}

/// Processors a list may name: as many as the kernel can be built for.
const MOST_CPUS: u32 = 8192;

/// The numbers of a list as the kernel writes it: "0-3,8,10-11".
fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST_CPUS {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(list("0-3,8,10-11"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(list(""), Some(vec![]));
        for wrong in ["3-1", "a", "0-", "0-4294967295"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nodes_without_processors_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        for (node, cpus) in [("node1", "2-3\n"), ("node0", "0-1\n"), ("node2", "\n"), ("power", "9\n")] {
            fs::create_dir(root.path().join(node)).unwrap();
            fs::write(root.path().join(node).join("cpulist"), cpus).unwrap();
        }
        let expected = [NumaNode { id: 0, cpus: vec![0, 1] }, NumaNode { id: 1, cpus: vec![2, 3] }];
        assert_eq!(numa(root.path()), expected);
        assert_eq!(numa(&root.path().join("absent")), []);
    }

    #[test]
    fn processors_that_are_not_ours_are_left_out() {
        assert_eq!(allowed("Cpus_allowed:\tff\nCpus_allowed_list:\t0-1,6\n"), Some(vec![0, 1, 6]));
        assert_eq!(allowed("Name:\tx\n"), None);
        let nodes = || [(0, [0, 1]), (1, [2, 3])].map(|(id, cpus)| NumaNode { id, cpus: cpus.to_vec() });
        assert_eq!(within(nodes().to_vec(), Some(&[1])), [NumaNode { id: 0, cpus: vec![1] }]);
        assert_eq!(within(nodes().to_vec(), None), nodes());
    }

    #[test]
    fn this_machine_says_what_it_has() {
        assert!(!name().unwrap().is_empty());
        assert!(cpus().unwrap() >= 1);
        assert!(memory_mib().unwrap() > 0);
        assert_eq!(total_kib("MemFree: 1 kB\nMemTotal:       24689424 kB\n"), Some(24_689_424));
    }
}
