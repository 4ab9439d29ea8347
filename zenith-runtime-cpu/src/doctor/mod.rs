//! What limits this machine, and what would lift each limit. It only looks; it changes nothing and prints nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::Serialize;

use crate::limits::{self, meminfo};
use crate::numa::Topology;
use crate::numa::display::size;
use crate::numa::files::Root;

/// Locked memory that suffices for registered buffers and pinned slabs.
const ENOUGH_LOCKED_BYTES: u64 = 1 << 30;
/// Open files that suffice for many readers.
const ENOUGH_FILES: u64 = 4096;

/// How a fact is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Works, and could be better.
    Note,
    /// Limits what this machine could do.
    Limit,
}

/// One fact about the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub name: &'static str,
    /// How it is to be taken.
    pub state: State,
    /// What was found.
    pub value: String,
    /// What would improve it; a command where there is one.
    pub fix: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Good => "good",
            State::Note => "note",
            State::Limit => "limit",
        };
        write!(f, "{state:<5} {}: {}", self.name, self.value)?;
        match &self.fix {
            Some(fix) => write!(f, " -> {fix}"),
            None => Ok(()),
        }
    }
}

/// What can only be found out by trying.
#[derive(Debug)]
pub struct Probes {
    /// Whether an `io_uring` can be set up.
    pub io_uring: io::Result<()>,
}

impl Probes {
    /// Tries it in this process.
    #[must_use]
    pub fn here() -> Self {
        Self { io_uring: io_uring::IoUring::new(2).map(drop) }
    }
}

/// All findings about this machine.
#[must_use]
pub fn examine_host(topology: &Topology) -> Vec<Finding> {
    examine(Path::new("/"), topology, &Probes::here())
}

/// All findings about the machine whose files lie below `root`.
#[must_use]
pub fn examine(root: &Path, topology: &Topology, probes: &Probes) -> Vec<Finding> {
    let root = Root(root);
    vec![
        processors(topology),
        cpu_quota(root, topology),
        governor(root, topology),
        memory_nodes(root, topology),
        memory_limit(root),
        swap(root),
        hugepages(root),
        transparent_hugepages(root),
        locked_memory(root),
        open_files(root),
        io_uring(root, probes),
        gpus(topology),
    ]
}

fn good(name: &'static str, value: impl Into<String>) -> Finding {
    Finding { name, state: State::Good, value: value.into(), fix: None }
}

fn note(name: &'static str, value: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { name, state: State::Note, value: value.into(), fix: Some(fix.into()) }
}

fn limit(name: &'static str, value: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { state: State::Limit, ..note(name, value, fix) }
}

fn processors(topology: &Topology) -> Finding {
    const NAME: &str = "processors";
    let (allowed, online) = (topology.allowed_cpus.len(), topology.cpus.len());
    if allowed < online {
        let value = format!("{allowed} of {online} online ones allowed ({})", topology.allowed_cpus);
        return limit(
            NAME,
            value,
            "start it with more: taskset -c, docker --cpuset-cpus, Slurm --cpus-per-task",
        );
    }
    if topology.offline_cpus.is_empty() {
        good(NAME, format!("{online} online, all allowed"))
    } else {
        let value = format!(
            "{online} online, all allowed, {} switched off ({})",
            topology.offline_cpus.len(),
            topology.offline_cpus
        );
        note(NAME, value, "echo 1 > /sys/devices/system/cpu/cpuN/online")
    }
}

fn cpu_quota(root: Root<'_>, topology: &Topology) -> Finding {
    const NAME: &str = "cpu quota";
    let processors = limits::cpu_quota(root).unwrap_or(f64::INFINITY);
    let allowed = topology.allowed_cpus.len();
    if processors < allowed as f64 {
        limit(
            NAME,
            format!("{processors:.1} processors' time for {allowed} processors"),
            "raise it: docker --cpus, Kubernetes resources.limits.cpu, systemd CPUQuota",
        )
    } else {
        good(NAME, "none below the processors allowed")
    }
}

fn governor(root: Root<'_>, topology: &Topology) -> Finding {
    const NAME: &str = "cpu governor";
    let mut governors: BTreeMap<String, usize> = BTreeMap::new();
    for cpu in topology.allowed_cpus.iter() {
        let path = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
        if let Some(governor) = root.text(&path) {
            *governors.entry(governor).or_default() += 1;
        }
    }
    let names: Vec<&str> = governors.keys().map(String::as_str).collect();
    match names[..] {
        [] => good(NAME, "none here; the clock is the host's or the firmware's"),
        ["performance"] => good(NAME, "performance"),
        _ => note(NAME, names.join(", "), "cpupower frequency-set -g performance"),
    }
}

fn memory_nodes(root: Root<'_>, topology: &Topology) -> Finding {
    const NAME: &str = "memory nodes";
    let nodes = topology.numa_nodes.len();
    if nodes == 1 {
        return good(NAME, "1, nothing to place");
    }
    let denied = topology.numa_nodes.iter().filter(|node| !topology.allowed_nodes.contains(node.id)).count();
    if denied > 0 {
        return limit(
            NAME,
            format!(
                "{nodes}, of which {} allowed ({})",
                topology.allowed_nodes.len(),
                topology.allowed_nodes
            ),
            "start it with more: numactl -m, docker --cpuset-mems",
        );
    }
    if root.text("proc/sys/kernel/numa_balancing").is_some_and(|mode| mode != "0") {
        return note(
            NAME,
            format!("{nodes}, and the kernel moves pages between them by itself"),
            "sysctl kernel.numa_balancing=0 (memory is placed already)",
        );
    }
    good(NAME, format!("{nodes}"))
}

fn memory_limit(root: Root<'_>) -> Finding {
    const NAME: &str = "memory";
    let total = meminfo(root, "MemTotal");
    let available = meminfo(root, "MemAvailable").unwrap_or(0);
    let limited = limits::memory_limit(root).filter(|&bytes| total.is_none_or(|total| bytes < total));
    match (limited, total) {
        (Some(bytes), total) => limit(
            NAME,
            format!("{} of {} allowed by the cgroup", size(bytes), total.map_or("?".into(), size)),
            "raise it: docker --memory, Kubernetes resources.limits.memory, Slurm --mem",
        ),
        (None, Some(total)) => good(NAME, format!("{}, {} available", size(total), size(available))),
        (None, None) => note(NAME, "unknown", "make /proc/meminfo readable"),
    }
}

fn swap(root: Root<'_>) -> Finding {
    const NAME: &str = "swap";
    let total = meminfo(root, "SwapTotal").unwrap_or(0);
    let used = total.saturating_sub(meminfo(root, "SwapFree").unwrap_or(0));
    if used > 0 {
        note(
            NAME,
            format!("{} of {} in use", size(used), size(total)),
            "free memory, or sysctl vm.swappiness=1",
        )
    } else {
        good(NAME, if total == 0 { "none" } else { "not in use" })
    }
}

fn hugepages(root: Root<'_>) -> Finding {
    const NAME: &str = "hugepages";
    let count = |size: &str, file: &str| -> Option<u64> {
        root.text(&format!("sys/kernel/mm/hugepages/hugepages-{size}/{file}"))?.parse().ok()
    };
    let described: Vec<String> = [("2 MiB", "2048kB"), ("1 GiB", "1048576kB")]
        .into_iter()
        .filter_map(|(label, size)| {
            let total = count(size, "nr_hugepages").filter(|&total| total > 0)?;
            Some(format!("{label}: {} of {total} free", count(size, "free_hugepages").unwrap_or(0)))
        })
        .collect();
    if described.is_empty() {
        note(
            NAME,
            "none reserved; transparent ones serve instead",
            "sysctl vm.nr_hugepages=256 (512 MiB in pages of 2 MiB)",
        )
    } else {
        good(NAME, described.join(", "))
    }
}

fn transparent_hugepages(root: Root<'_>) -> Finding {
    const NAME: &str = "transparent hugepages";
    let modes = root.text("sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    let mode = modes.split_once('[').and_then(|(_, rest)| Some(rest.split_once(']')?.0));
    match mode {
        Some(mode @ ("always" | "madvise")) => good(NAME, mode),
        Some(mode) => limit(NAME, mode, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled"),
        None => limit(NAME, "this kernel has none", "use a kernel with CONFIG_TRANSPARENT_HUGEPAGE"),
    }
}

fn locked_memory(root: Root<'_>) -> Finding {
    const NAME: &str = "locked memory";
    const FIX: &str = "ulimit -l unlimited, systemd LimitMEMLOCK=infinity, docker --ulimit memlock=-1";
    match soft_limit(root, "Max locked memory") {
        Some(Soft::Unlimited) => good(NAME, "unlimited"),
        Some(Soft::At(bytes)) if bytes >= ENOUGH_LOCKED_BYTES => good(NAME, size(bytes)),
        Some(Soft::At(bytes)) => {
            limit(NAME, format!("{}; few buffers can be registered or pinned", size(bytes)), FIX)
        }
        None => note(NAME, "unknown", "make /proc/self/limits readable"),
    }
}

fn open_files(root: Root<'_>) -> Finding {
    const NAME: &str = "open files";
    match soft_limit(root, "Max open files") {
        Some(Soft::Unlimited) => good(NAME, "unlimited"),
        Some(Soft::At(files)) if files >= ENOUGH_FILES => good(NAME, files.to_string()),
        Some(Soft::At(files)) => limit(NAME, files.to_string(), "ulimit -n 65536"),
        None => note(NAME, "unknown", "make /proc/self/limits readable"),
    }
}

enum Soft {
    Unlimited,
    At(u64),
}

fn soft_limit(root: Root<'_>, name: &str) -> Option<Soft> {
    let limits = root.text("proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(Soft::Unlimited),
        number => number.parse().ok().map(Soft::At),
    }
}

fn io_uring(root: Root<'_>, probes: &Probes) -> Finding {
    const NAME: &str = "io_uring";
    let error = match &probes.io_uring {
        Ok(()) => return good(NAME, "works"),
        Err(error) => error,
    };
    let disabled = root.text("proc/sys/kernel/io_uring_disabled").filter(|mode| mode != "0");
    let (why, fix) = match (disabled, error.raw_os_error()) {
        (Some(mode), _) => {
            (format!("kernel.io_uring_disabled is {mode}"), "sysctl kernel.io_uring_disabled=0")
        }
        (None, Some(libc::ENOSYS)) => ("this kernel has none".to_owned(), "use Linux 5.11 or newer"),
        (None, Some(libc::EPERM | libc::EACCES)) => (
            "forbidden, probably by a seccomp profile".to_owned(),
            "docker --security-opt seccomp=PROFILE with io_uring_setup, io_uring_enter, io_uring_register",
        ),
        (None, Some(libc::ENOMEM)) => {
            ("not enough locked memory for a ring".to_owned(), "ulimit -l unlimited")
        }
        _ => (error.to_string(), "see dmesg"),
    };
    limit(NAME, format!("{why}; files are read with pread"), fix)
}

fn gpus(topology: &Topology) -> Finding {
    const NAME: &str = "gpus";
    let gpus: Vec<String> = topology
        .gpus()
        .map(|gpu| match topology.node_of(gpu) {
            Some(node) => format!("{} ({}:{}) on node {node}", gpu.address, gpu.vendor, gpu.device),
            None => format!("{} ({}:{}) on an unknown node", gpu.address, gpu.vendor, gpu.device),
        })
        .collect();
    if gpus.is_empty() {
        good(NAME, "none on the PCI bus")
    } else if topology.gpus().any(|gpu| topology.node_of(gpu).is_none()) {
        note(NAME, gpus.join(", "), "set ZENITH_NODE to the node the GPU is attached to")
    } else {
        good(NAME, gpus.join(", "))
    }
}

#[cfg(test)]
mod tests;
