//! The description of a machine below a root: lists and masks of processors, and a small tree of sysfs, procfs and
//! cgroup files whose contents are the lines of the input.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zenith_runtime_cpu::numa::{CpuSet, Topology};

/// The files, in the order of the lines of the input; a line that is a single minus removes its file.
const FILES: [&str; 27] = [
    "sys/devices/system/cpu/online",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings",
    "sys/devices/system/cpu/cpu1/topology/thread_siblings_list",
    "sys/devices/system/cpu/cpu1/online",
    "sys/devices/system/cpu/cpu1/cpu_capacity",
    "sys/devices/system/cpu/cpu0/cache/index0/level",
    "sys/devices/system/cpu/cpu0/cache/index0/type",
    "sys/devices/system/cpu/cpu0/cache/index0/size",
    "sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_map",
    "sys/devices/system/node/online",
    "sys/devices/system/node/possible",
    "sys/devices/system/node/node0/cpumap",
    "sys/devices/system/node/node0/cpulist",
    "sys/devices/system/node/node0/meminfo",
    "sys/devices/system/node/node0/distance",
    "sys/devices/system/node/node1/cpulist",
    "sys/devices/system/node/node1/meminfo",
    "sys/devices/system/node/node1/distance",
    "sys/devices/cpu_core/cpus",
    "sys/bus/pci/devices/0000:3b:00.0/numa_node",
    "sys/bus/pci/devices/0000:3b:00.0/class",
    "sys/bus/pci/devices/0000:3b:00.0/local_cpulist",
    "proc/meminfo",
    "proc/self/cgroup",
    "proc/self/mountinfo",
    "sys/fs/cgroup/cpuset.cpus.effective",
];

fn root() -> &'static Path {
    static ROOT: OnceLock<tempfile::TempDir> = OnceLock::new();
    ROOT.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for file in FILES {
            let folder = dir.path().join(file);
            fs::create_dir_all(folder.parent().expect("a folder")).expect("a folder");
        }
        dir
    })
    .path()
}

fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        sets(text);
    }
    let root = root();
    let mut lines = input.split(|&byte| byte == b'\n');
    for file in FILES {
        let path = root.join(file);
        match lines.next() {
            None | Some(b"-") => {
                let _ = fs::remove_file(path);
            }
            Some(line) => {
                // Files of several lines are written with tabs for their ends.
                let text: Vec<u8> = line.iter().map(|&b| if b == b'\t' { b'\n' } else { b }).collect();
                fs::write(path, text).expect("a file");
            }
        }
    }
    let Ok(topology) = Topology::read(root) else {
        return;
    };
    assert!(!topology.numa_nodes.is_empty(), "a machine without memory");
    assert!(topology.allowed_cpus.is_subset(&topology.cpus));
    let text = topology.to_string();
    assert!(!text.is_empty());
    for node in &topology.numa_nodes {
        assert!(node.cpus.is_subset(&topology.cpus));
        let near = topology.nodes_by_distance(node.id);
        assert_eq!(near.len(), topology.numa_nodes.len());
        assert_eq!(near[0].id, node.id);
        if let Some(cpus) = topology.cpus_near(node.id, 3) {
            assert!(cpus.is_subset(&topology.allowed_cpus));
        }
    }
});

/// What holds for every text that is a list or a mask.
fn sets(text: &str) {
    for set in [text.parse::<CpuSet>(), CpuSet::from_mask(text)]
        .into_iter()
        .flatten()
    {
        assert_eq!(set.to_string().parse().as_ref(), Ok(&set));
        assert_eq!(set.iter().count(), set.len());
        assert_eq!(set.is_empty(), set.first().is_none());
    }
}
