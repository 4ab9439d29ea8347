//! Topologies of small made-up machines.

use std::fs;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A machine made of files.
struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// Processors `cpus`, all in package `package`.
    fn cpus(mut self, package: i64, cpus: std::ops::Range<u32>) -> Self {
        for cpu in cpus {
            self = self.with(
                &format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"),
                &format!("{package}\n"),
            );
        }
        self
    }

    fn online(self, list: &str) -> Self {
        self.with("sys/devices/system/cpu/online", &format!("{list}\n"))
    }

    fn node(self, id: u32, cpus: &str, gib: u64, distances: &str) -> Self {
        let kib = gib << 20;
        self.with(&format!("sys/devices/system/node/node{id}/cpulist"), &format!("{cpus}\n"))
            .with(
                &format!("sys/devices/system/node/node{id}/meminfo"),
                &format!("\nNode {id} MemTotal:  {kib} kB\nNode {id} MemFree: 12 kB\n"),
            )
            .with(&format!("sys/devices/system/node/node{id}/distance"), &format!("{distances}\n"))
    }

    fn pci(self, address: &str, class: &str, vendor: &str, node: &str) -> Self {
        let directory = format!("sys/bus/pci/devices/{address}");
        self.with(&format!("{directory}/class"), &format!("{class}\n"))
            .with(&format!("{directory}/vendor"), &format!("{vendor}\n"))
            .with(&format!("{directory}/device"), "0x2330\n")
            .with(&format!("{directory}/numa_node"), &format!("{node}\n"))
    }

    fn read(&self) -> Topology {
        Topology::read(self.0.path()).unwrap()
    }
}

fn set(list: &str) -> CpuSet {
    list.parse().unwrap()
}

fn two_nodes() -> Machine {
    Machine::new()
        .cpus(0, 0..4)
        .cpus(1, 4..8)
        .online("0-7")
        .node(0, "0-3", 16, "10 21")
        .node(1, "4-7", 32, "21 10")
        .with("sys/devices/system/node/online", "0-1\n\0")
}

#[test]
fn a_machine_without_nodes_is_one_node() {
    let topology = Machine::new()
        .cpus(0, 0..2)
        .online("0-1")
        .with("proc/meminfo", "MemTotal:        280840 kB\nMemFree: 1 kB\n")
        .read();
    assert_eq!(
        topology.numa_nodes,
        [NumaNode {
            id: 0,
            cpus: set("0-1"),
            memory_bytes: 280_840 * 1024,
            distances: vec![10],
            nearest_cpus: set("0-1"),
        }]
    );
    assert_eq!(topology.cpus_near(0, 1), None, "pinning to everything is no pinning");
    assert!(topology.notes.is_empty());
}

#[test]
fn the_json_has_the_keys_that_others_read() {
    let topology = two_nodes().pci("0000:3b:00.0", "0x030200", "0x10de", "1").read();
    let found = serde_json::to_value(&topology).unwrap();
    assert_eq!(found["cpus"], json!([0, 1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(found["packages"], json!([{"id": 0, "cpus": [0, 1, 2, 3]}, {"id": 1, "cpus": [4, 5, 6, 7]}]));
    let node = &found["numa_nodes"][1];
    assert_eq!(
        (&node["id"], &node["cpus"], &node["memory_bytes"], &node["distances"]),
        (&json!(1), &json!([4, 5, 6, 7]), &json!(32_u64 << 30), &json!([21, 10]))
    );
    assert_eq!(
        found["pci"],
        json!([{"address": "0000:3b:00.0", "class": "0x030200", "vendor": "0x10de", "device": "0x2330", "numa_node": 1}])
    );
}

#[test]
fn offline_processors_belong_to_nothing() {
    let topology = two_nodes().online("0-2,5-7").read();
    assert_eq!((&topology.cpus, &topology.offline_cpus), (&set("0-2,5-7"), &set("3-4")));
    assert_eq!(topology.packages[0].cpus, set("0-2"));
    assert_eq!(topology.numa_nodes[1].cpus, set("5-7"));
}

#[test]
fn old_kernels_switch_processors_one_by_one() {
    let machine = Machine::new()
        .cpus(0, 0..3)
        .with("sys/devices/system/cpu/cpu1/online", "0\n")
        .with("sys/devices/system/cpu/cpu2/online", "1\n");
    assert_eq!(machine.read().cpus, set("0,2"));
}

#[test]
fn a_node_is_nearest_to_itself_whatever_firmware_says_of_others() {
    let topology = two_nodes().node(0, "0-3", 16, "10 0").node(1, "4-7", 32, "0 10").read();
    for (node, order) in [(0, [0, 1]), (1, [1, 0])] {
        assert_eq!(topology.nodes_by_distance(node).iter().map(|near| near.id).collect::<Vec<_>>(), order);
    }
}

#[test]
fn a_memory_only_node_has_no_processors_but_neighbours() {
    let machine = two_nodes()
        .node(0, "0-3", 16, "10 21 17")
        .node(1, "4-7", 32, "21 10 28")
        .node(4, "", 128, "17 28 10")
        .with("sys/devices/system/node/online", "0-1,4");
    let topology = machine.read();
    let node = topology.node(4).unwrap();
    assert_eq!((node.memory_bytes, &node.cpus, &node.nearest_cpus), (128 << 30, &CpuSet::new(), &set("0-3")));
    let ids: Vec<u32> = topology.nodes_by_distance(4).iter().map(|node| node.id).collect();
    assert_eq!(ids, [4, 0, 1]);
    assert_eq!(topology.cpus_near(4, 2), Some(set("0-3")));
    // The firmware's word comes before the distances.
    let named = machine.with("sys/devices/system/node/node4/access1/initiators/node1/x", "");
    assert_eq!(named.read().node(4).unwrap().nearest_cpus, set("4-7"));
}

#[test]
fn sparse_numbers_are_kept() {
    let topology = Machine::new()
        .cpus(36, 0..1)
        .cpus(65_537, 100..101)
        .online("0,100")
        .node(3, "0", 1, "10 40")
        .node(72, "100", 1, "40 10")
        .read();
    let packages: Vec<i64> = topology.packages.iter().map(|package| package.id).collect();
    assert_eq!(packages, [36, 65_537]);
    assert_eq!(topology.node(72).unwrap().distances, [40, 10]);
    assert!(topology.node(0).is_none());
    assert_eq!(topology.cpus_near(72, 1), Some(set("100")));
    assert_eq!(topology.cpus_near(0, 1), None);
}

#[test]
fn a_row_that_still_knows_an_offline_node_is_fitted() {
    let topology = Machine::new()
        .cpus(0, 0..2)
        .online("0-1")
        .node(1, "0-1", 1, "21 10")
        .with("sys/devices/system/node/possible", "0-1")
        .read();
    assert_eq!(topology.numa_nodes[0].distances, [10]);
}

#[test]
fn a_row_that_fits_nothing_is_ignored_and_noted() {
    let topology = two_nodes().node(1, "4-7", 32, "21 10 30 40").read();
    assert!(topology.node(1).unwrap().distances.is_empty());
    assert!(topology.notes[0].contains("4 columns for 2 nodes"), "{:?}", topology.notes);
}

#[test]
fn nodes_that_claim_the_same_processors_are_ignored_and_noted() {
    let topology = two_nodes().node(1, "0-7", 32, "10 10").read();
    assert_eq!(topology.numa_nodes.len(), 1);
    assert_eq!(topology.numa_nodes[0].distances, [10]);
    assert!(topology.notes[0].contains("node 1 is ignored"), "{:?}", topology.notes);
}

#[test]
fn devices_have_the_node_the_firmware_names() {
    let topology = two_nodes()
        .pci("0000:3b:00.0", "0x030200", "0x10de", "1")
        .pci("0000:5e:00.0", "0x010802", "0x144d", "-1")
        .pci("0000:00:02.0", "0x030000", "0x1a03", "0")
        .pci("0000:99:00.0", "0x020000", "0x15b3", "7")
        .with("sys/bus/pci/devices/0000:5e:00.0/local_cpulist", "0-3")
        .read();
    let summary: Vec<_> = topology
        .pci
        .iter()
        .map(|device| (&device.address[5..7], device.kind(), device.numa_node, topology.node_of(device)))
        .collect();
    assert_eq!(
        summary,
        [
            ("00", PciKind::Other, Some(0), Some(0)),
            ("3b", PciKind::Gpu, Some(1), Some(1)),
            ("5e", PciKind::Nvme, None, Some(0)),
            ("99", PciKind::Network, None, None),
        ]
    );
    assert_eq!(topology.gpus().count(), 1);
    assert!(topology.notes[0].contains("memory node 7"), "{:?}", topology.notes);
}

#[test]
fn devices_have_the_same_nodes_where_nothing_else_is_read() {
    let machine = two_nodes().pci("0000:3b:00.0", "0x030200", "0x10de", "1");
    let (all, devices) = (machine.read(), Topology::of_devices(machine.0.path()).unwrap());
    assert_eq!((&devices.pci, &devices.numa_nodes), (&all.pci, &all.numa_nodes));
    assert!(devices.packages.is_empty() && devices.caches.is_empty());
    assert!(matches!(Topology::of_devices(Machine::new().0.path()), Err(TopologyError::NoProcessors { .. })));
}

#[test]
fn threads_stay_near_until_there_are_too_many() {
    let mut topology = two_nodes().read();
    assert_eq!(topology.cpus_near(1, 4), Some(set("4-7")));
    assert_eq!(topology.cpus_near(1, 5), None, "both nodes are all there is");
    topology.allowed_cpus = set("0-2,5");
    assert_eq!(topology.cpus_near(1, 1), Some(set("5")));
    assert_eq!(topology.cpus_near(1, 2), None, "widened to all that is allowed");
    assert_eq!(topology.cpus_near(0, 3), Some(set("0-2")));
    assert_eq!(topology.cpus_near(0, 100), None);
}

#[test]
fn cgroups_limit_what_is_allowed() {
    let version_2 = two_nodes()
        .with("proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
        .with("proc/self/cgroup", "0::/user.slice/job\n")
        .with("sys/fs/cgroup/user.slice/cpuset.cpus.effective", "1-2,9\n")
        .with("sys/fs/cgroup/user.slice/cpuset.mems.effective", "0\n");
    assert_eq!(version_2.read().allowed_cpus, set("1-2"));
    assert_eq!(version_2.read().allowed_nodes, set("0"));
    let version_1 = two_nodes()
        .with(
            "proc/mounts",
            "tmpfs /sys/fs/cgroup tmpfs ro 0 0\ncgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n",
        )
        .with("proc/self/cgroup", "4:cpuset:/docker/abc\n3:cpu,cpuacct:/other\n")
        .with("sys/fs/cgroup/cpuset/cpuset.cpus", "4-5\n");
    assert_eq!(version_1.read().allowed_cpus, set("4-5"), "the container's own group is the top");
    let before = two_nodes()
        .with("proc/mounts", "none /dev/cpuset cpuset rw 0 0\n")
        .with("proc/self/cpuset", "/batch\n")
        .with("dev/cpuset/batch/cpus", "7\n")
        .with("dev/cpuset/cpus", "0-7\n");
    assert_eq!(before.read().allowed_cpus, set("7"));
    let outside = two_nodes()
        .with("proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n")
        .with("proc/self/cgroup", "0::/../../elsewhere\n");
    assert_eq!(outside.read().allowed_cpus, set("0-7"), "no limit that can be seen");
}

#[test]
fn caches_are_counted_once() {
    let mut machine = two_nodes();
    for cpu in 0..8 {
        let directory = format!("sys/devices/system/cpu/cpu{cpu}/cache/index3");
        machine = machine
            .with(&format!("{directory}/level"), "3\n")
            .with(&format!("{directory}/type"), "Unified\n")
            .with(&format!("{directory}/size"), "32768K\n")
            .with(
                &format!("{directory}/shared_cpu_map"),
                if cpu < 4 { "0f\n" } else { "00000000,000000f0\n" },
            );
    }
    let caches = machine.read().caches;
    assert_eq!(caches.len(), 2);
    assert_eq!((caches[1].level, caches[1].bytes, &caches[1].cpus), (3, 32 << 20, &set("4-7")));
}

#[test]
fn hybrid_cores_are_told_apart() {
    let by_device = two_nodes()
        .with("sys/devices/cpu_core/cpus", "0-3\n")
        .with("sys/devices/cpu_atom/cpus", "4-7\n")
        .read();
    assert_eq!(
        by_device.core_kinds,
        [
            CoreKind { name: "cpu_atom".into(), cpus: set("4-7") },
            CoreKind { name: "cpu_core".into(), cpus: set("0-3") }
        ]
    );
    let mut by_capacity = two_nodes();
    for cpu in 0..8 {
        by_capacity = by_capacity.with(
            &format!("sys/devices/system/cpu/cpu{cpu}/cpu_capacity"),
            if cpu == 7 { "1024" } else { "718" },
        );
    }
    assert_eq!(by_capacity.read().core_kinds[1].cpus, set("7"));
    assert!(two_nodes().read().core_kinds.is_empty());
}

#[test]
fn what_is_no_machine_is_an_error_that_names_the_place() {
    let empty = Machine::new();
    let error = Topology::read(empty.0.path()).unwrap_err();
    assert!(matches!(&error, TopologyError::NoProcessors { root } if root == empty.0.path()), "{error}");
    assert!(Topology::read(Path::new("/nonexistent")).is_err());
    for (path, text) in [
        ("sys/devices/system/cpu/online", "0-x"),
        ("sys/devices/system/node/node0/distance", "10 far"),
        ("sys/devices/system/cpu/cpu0/topology/physical_package_id", "first"),
        ("sys/devices/system/cpu/online", "0-4000000000"),
    ] {
        let machine = two_nodes().with(path, text);
        let error = Topology::read(machine.0.path()).unwrap_err();
        assert!(
            matches!(&error, TopologyError::Malformed { path: named, .. } if named.ends_with(path)),
            "{error}"
        );
    }
}

#[test]
fn a_large_list_is_read() {
    let topology = Machine::new().online("0-8191").node(0, "0-8191", 1, "10").read();
    assert_eq!(topology.cpus.len(), 8192);
    assert_eq!(topology.numa_nodes[0].cpus.to_string(), "0-8191");
}

#[test]
fn this_machine_can_be_read_and_shown() {
    let topology = Topology::host().unwrap();
    assert!(!topology.allowed_cpus.is_empty());
    assert!(topology.allowed_cpus.is_subset(&topology.cpus));
    let shown = topology.to_string();
    assert!(shown.contains("online") && shown.contains("node "), "{shown}");
}

#[test]
fn people_see_what_matters() {
    let shown = two_nodes()
        .online("0-6")
        .pci("0000:3b:00.0", "0x030200", "0x10de", "1")
        .pci("0000:5e:00.0", "0x010802", "0x144d", "-1")
        .pci("0000:00:00.0", "0x060000", "0x8086", "0")
        .read()
        .to_string();
    let expected = "7 processors online (0-6), 1 offline (7)\n\
        package 0: cpus 0-3\n\
        package 1: cpus 4-6\n\
        node 0: 16.0 GiB, cpus 0-3, distances 10 21\n\
        node 1: 32.0 GiB, cpus 4-6, distances 21 10\n\
        gpu 0000:3b:00.0 (0x10de:0x2330): node 1\n\
        nvme 0000:5e:00.0 (0x144d:0x2330): node unknown\n\
        1 other device on the PCI bus\n";
    assert_eq!(shown, expected);
}
