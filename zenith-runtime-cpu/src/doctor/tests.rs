//! Findings about made-up machines.

use std::fs;

use super::*;
use crate::numa::{NumaNode, PciDevice};

fn machine() -> Topology {
    Topology {
        cpus: "0-3".parse().unwrap(),
        allowed_cpus: "0-3".parse().unwrap(),
        allowed_nodes: "0".parse().unwrap(),
        numa_nodes: vec![node(0, "0-3")],
        ..Topology::default()
    }
}

fn node(id: u32, cpus: &str) -> NumaNode {
    NumaNode {
        id,
        cpus: cpus.parse().unwrap(),
        memory_bytes: 1 << 30,
        distances: Vec::new(),
        nearest_cpus: cpus.parse().unwrap(),
    }
}

fn gpu(numa_node: Option<u32>) -> PciDevice {
    PciDevice {
        address: "0000:3b:00.0".into(),
        class: "0x030200".into(),
        vendor: "0x10de".into(),
        device: "0x2330".into(),
        numa_node,
        local_cpus: "0-3".parse().unwrap(),
    }
}

fn find(
    name: &str,
    files: &[(&str, &str)],
    topology: &Topology,
    io_uring: io::Result<()>,
) -> (State, String, Option<String>) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let findings = examine(root.path(), topology, &Probes { io_uring });
    let finding = findings.into_iter().find(|finding| finding.name == name).unwrap();
    (finding.state, finding.value, finding.fix)
}

/// The state and text of a finding about an ordinary machine with these files.
fn with(name: &str, files: &[(&str, &str)]) -> (State, String) {
    let (state, value, fix) = find(name, files, &machine(), Ok(()));
    assert_eq!(fix.is_some(), state != State::Good, "{name}: a fix for what is not good");
    (state, value)
}

#[test]
fn this_machine_is_examined_without_panic() {
    let findings = examine_host(&Topology::host().unwrap());
    assert_eq!(findings.len(), 12);
    for finding in findings {
        assert!(!finding.value.is_empty(), "{finding}");
        assert_eq!(finding.fix.is_some(), finding.state != State::Good, "{finding}");
    }
}

#[test]
fn processors_that_may_not_be_used_limit() {
    let mut topology = machine();
    assert_eq!(find("processors", &[], &topology, Ok(())).0, State::Good);
    topology.offline_cpus = "4".parse().unwrap();
    assert_eq!(find("processors", &[], &topology, Ok(())).0, State::Note);
    topology.allowed_cpus = "1-2".parse().unwrap();
    let (state, value, _) = find("processors", &[], &topology, Ok(()));
    assert_eq!((state, &*value), (State::Limit, "2 of 4 online ones allowed (1-2)"));
}

#[test]
fn the_smallest_quota_counts() {
    const V2: (&str, &str) = ("proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    const MEMBER: (&str, &str) = ("proc/self/cgroup", "0::/a/b\n");
    let quota = |inner, outer| {
        with(
            "cpu quota",
            &[V2, MEMBER, ("sys/fs/cgroup/a/b/cpu.max", inner), ("sys/fs/cgroup/a/cpu.max", outer)],
        )
    };
    assert_eq!(quota("max 100000", "max 100000").0, State::Good);
    assert_eq!(quota("400000 100000", "max 100000").0, State::Good, "as much as there is");
    let limited = (State::Limit, "1.5 processors' time for 4 processors".to_owned());
    assert_eq!(quota("max 100000", "150000 100000"), limited);
    let version_1 = with(
        "cpu quota",
        &[
            ("proc/mounts", "cgroup /cg cgroup rw,cpu,cpuacct 0 0\n"),
            ("proc/self/cgroup", "3:cpu,cpuacct:/\n"),
            ("cg/cpu.cfs_quota_us", "150000"),
            ("cg/cpu.cfs_period_us", "100000"),
        ],
    );
    assert_eq!(version_1, limited);
    let unlimited = with(
        "cpu quota",
        &[
            ("proc/mounts", "cgroup /cg cgroup rw,cpu 0 0\n"),
            ("proc/self/cgroup", "3:cpu:/\n"),
            ("cg/cpu.cfs_quota_us", "-1"),
            ("cg/cpu.cfs_period_us", "100000"),
        ],
    );
    assert_eq!(unlimited.0, State::Good);
}

#[test]
fn memory_is_what_the_cgroup_leaves() {
    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\n");
    let (state, value) = with("memory", &[MEMINFO]);
    assert_eq!((state, &*value), (State::Good, "8.0 GiB, 4.0 GiB available"));
    let limited = |bytes| {
        with(
            "memory",
            &[
                MEMINFO,
                ("proc/mounts", "cgroup2 /cg cgroup2 rw 0 0\n"),
                ("proc/self/cgroup", "0::/\n"),
                ("cg/memory.max", bytes),
            ],
        )
    };
    assert_eq!(limited("536870912"), (State::Limit, "512 MiB of 8.0 GiB allowed by the cgroup".into()));
    assert_eq!(limited("max").0, State::Good);
    assert_eq!(limited("9223372036854771712").0, State::Good);
}

#[test]
fn pages_and_limits_are_read() {
    let huge = "sys/kernel/mm/hugepages/hugepages-2048kB";
    assert_eq!(with("hugepages", &[]).0, State::Note);
    assert_eq!(
        with(
            "hugepages",
            &[(&format!("{huge}/nr_hugepages"), "64"), (&format!("{huge}/free_hugepages"), "60")]
        ),
        (State::Good, "2 MiB: 60 of 64 free".into())
    );
    let thp = |text| with("transparent hugepages", &[("sys/kernel/mm/transparent_hugepage/enabled", text)]);
    assert_eq!(thp("always [madvise] never\n"), (State::Good, "madvise".into()));
    assert_eq!(thp("always madvise [never]\n"), (State::Limit, "never".into()));
    assert_eq!(with("transparent hugepages", &[]).0, State::Limit);
    let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
        Max open files            1024                 1048576              files\n\
        Max locked memory         8388608              8388608              bytes\n";
    assert_eq!(with("open files", &[("proc/self/limits", limits)]), (State::Limit, "1024".into()));
    assert_eq!(
        with("locked memory", &[("proc/self/limits", limits)]),
        (State::Limit, "8 MiB; few buffers can be registered or pinned".into())
    );
    assert_eq!(
        with("locked memory", &[("proc/self/limits", "Max locked memory   unlimited  unlimited bytes")]),
        (State::Good, "unlimited".into())
    );
    let swap = [("proc/meminfo", "SwapTotal: 2048 kB\nSwapFree: 1024 kB\n")];
    assert_eq!(with("swap", &swap), (State::Note, "1 MiB of 2 MiB in use".into()));
    assert_eq!(with("swap", &[]), (State::Good, "none".into()));
}

#[test]
fn a_governor_that_saves_power_is_noted() {
    let governor =
        |text| with("cpu governor", &[("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", text)]);
    assert_eq!(governor("performance\n").0, State::Good);
    assert_eq!(governor("powersave\n"), (State::Note, "powersave".into()));
}

#[test]
fn io_uring_says_why_not() {
    let failed = |error, files: &[(&str, &str)]| {
        let (state, value, fix) =
            find("io_uring", files, &machine(), Err(io::Error::from_raw_os_error(error)));
        assert_eq!(state, State::Limit);
        assert!(value.ends_with("pread"), "{value}");
        fix.unwrap()
    };
    assert_eq!(with("io_uring", &[]), (State::Good, "works".into()));
    assert!(failed(libc::ENOSYS, &[]).contains("5.11"));
    assert!(failed(libc::EPERM, &[]).contains("seccomp"));
    assert_eq!(
        failed(libc::EPERM, &[("proc/sys/kernel/io_uring_disabled", "2\n")]),
        "sysctl kernel.io_uring_disabled=0"
    );
}

#[test]
fn nodes_and_gpus_belong_together() {
    let mut topology = machine();
    topology.pci = vec![gpu(None)];
    assert_eq!(find("gpus", &[], &topology, Ok(())).0, State::Good, "one node is every device's");
    topology.numa_nodes = vec![node(0, "0-1"), node(1, "2-3")];
    assert_eq!(find("gpus", &[], &topology, Ok(())).0, State::Note);
    topology.pci = vec![gpu(Some(1))];
    let (state, value, _) = find("gpus", &[], &topology, Ok(()));
    assert_eq!((state, &*value), (State::Good, "0000:3b:00.0 (0x10de:0x2330) on node 1"));
    assert_eq!(find("memory nodes", &[], &topology, Ok(())).0, State::Limit, "only node 0 allowed");
    topology.allowed_nodes = "0-1".parse().unwrap();
    assert_eq!(find("memory nodes", &[], &topology, Ok(())).0, State::Good);
    let balancing = [("proc/sys/kernel/numa_balancing", "1\n")];
    assert_eq!(find("memory nodes", &balancing, &topology, Ok(())).0, State::Note);
}
