//! What is found where the library works.

use serde_json::json;
use zenith_device::{Ancestor, ComputeCapability, Join, Kind, Memory, Source, Vendor};
use zenith_fakenvml::{Gpu, Link, Script};

use crate::{Machine, nvml};

#[test]
fn eight_gpus_with_all_they_tell() {
    let mut script = Script::eight();
    script.gpus[2].ecc.as_mut().unwrap().corrected = 7;
    script.gpus[2].rows.as_mut().unwrap().uncorrected = 1;
    let machine =
        Machine::new(&script).with_pci("0000:12:00.0", "0x10de", "0").with_pci("0000:17:00.0", "0x10de", "1");
    let found = machine.discover();
    assert_eq!(found.gpus.len(), 8);
    let gpu = &found.gpus[2];
    assert_eq!((gpu.source, gpu.index, &gpu.vendor), (Source::Nvml, Some(2), &Vendor::Nvidia));
    assert_eq!(gpu.model.as_deref(), Some("NVIDIA H100 80GB HBM3"));
    assert_eq!(gpu.uuid.as_deref(), Some("GPU-00000002-0000-4000-8000-000000000000"));
    assert_eq!((gpu.pci.as_deref(), gpu.numa_node), (Some("0000:12:00.0"), Some(0)));
    assert_eq!((found.gpus[7].numa_node, found.gpus[0].numa_node), (Some(1), None));
    assert_eq!(gpu.memory, Some(Memory { total_bytes: 80 << 30, free_bytes: Some(79 << 30) }));
    assert_eq!(gpu.compute_capability, Some(ComputeCapability { major: 9, minor: 0 }));
    assert_eq!((gpu.clocks.sm_mhz, gpu.clocks.max_sm_mhz), (Some(345), Some(1980)));
    assert_eq!((gpu.clocks.memory_mhz, gpu.clocks.max_memory_mhz), (Some(2619), Some(2619)));
    let ecc = gpu.ecc.unwrap();
    assert_eq!((ecc.enabled, ecc.corrected, ecc.uncorrected), (Some(true), Some(7), Some(0)));
    let rows = gpu.remapped_rows.unwrap();
    assert_eq!((rows.corrected, rows.uncorrected, rows.pending), (Some(0), Some(1), Some(false)));
    assert_eq!(gpu.nvlinks, Some(18));
    let driver = found.driver.as_ref().unwrap();
    assert_eq!((driver.version.as_deref(), driver.cuda.as_deref()), (Some("580.82.07"), Some("13.0")));
    assert_eq!(nvml(&found)[0].kind, Kind::Answered { gpus: 8 });
    assert!(found.sources.iter().all(|finding| !finding.is_trouble()), "{:?}", found.sources);
}

#[test]
fn switches_join_all_and_pcie_tells_the_distance() {
    let found = Machine::new(&Script::eight()).discover();
    assert_eq!(found.interconnect.groups, [[0, 1, 2, 3, 4, 5, 6, 7]]);
    assert_eq!(found.interconnect.pairs.len(), 28);
    let between = |one, other| found.interconnect.between(one, other).unwrap();
    assert_eq!(between(0, 1).ancestor, Some(Ancestor::PcieSwitch));
    assert_eq!(between(3, 0).ancestor, Some(Ancestor::NumaNode));
    assert_eq!(between(0, 7).ancestor, Some(Ancestor::System));
    assert_eq!(between(0, 7).join, Some(Join::NvSwitch { links: 18 }));
}

#[test]
fn links_of_their_own_join_pairs() {
    let found = Machine::new(&Script::two_pairs()).discover();
    assert_eq!(found.interconnect.groups, [[0, 1], [2, 3]]);
    let join = |one, other| found.interconnect.between(one, other).unwrap().join;
    assert_eq!((join(2, 3), join(1, 2)), (Some(Join::NvLink { links: 4 }), Some(Join::Apart)));
}

#[test]
fn links_that_are_down_join_nothing() {
    let mut script = Script::two_pairs();
    script.gpus[0].links = vec![Link::Down; 4];
    script.gpus[1].links = vec![Link::Down; 4];
    script.gpus[3].links[0] = Link::Down;
    let found = Machine::new(&script).discover();
    assert_eq!(found.interconnect.groups, [[2, 3]]);
    let links: Vec<_> = found.gpus.iter().map(|gpu| gpu.nvlinks).collect();
    assert_eq!(links, [Some(0), Some(0), Some(4), Some(3)]);
}

#[test]
fn a_fabric_whose_far_end_is_not_said_is_one_of_switches() {
    let gpus = (0..2).map(|gpu| Gpu { links: vec![Link::Unsaid; 18], ..Gpu::numbered(gpu) }).collect();
    let found = Machine::new(&Script { gpus, ..Script::empty() }).discover();
    assert_eq!(found.interconnect.pairs[0].join, Some(Join::NvSwitch { links: 18 }));
}

#[test]
fn a_gpu_that_is_cut_has_instances_and_leaves_the_fabric() {
    let mut script = Script::eight();
    script.gpus[5] = script.gpus[5].clone().cut();
    let found = Machine::new(&script).discover();
    let mig = found.gpus[5].mig.as_ref().unwrap();
    assert!(mig.enabled && mig.pending);
    assert_eq!(mig.instances.len(), 2, "empty slots are no instances");
    let instance = &mig.instances[0];
    assert_eq!(instance.model.as_deref(), Some("NVIDIA H100 80GB HBM3 MIG 3g.40gb"));
    assert_eq!(instance.uuid, "MIG-00000001-0000-5000-8000-000000000015");
    assert_eq!((instance.memory_bytes, instance.multiprocessors), (Some(40_448 << 20), Some(48)));
    assert_eq!((instance.gpu_slices, instance.compute_slices), (Some(3), Some(3)));
    assert_eq!(found.interconnect.groups, [[0, 1, 2, 3, 4, 6, 7]]);
    let whole = found.gpus[0].mig.as_ref().unwrap();
    assert!(!whole.enabled && whole.instances.is_empty());
}

#[test]
fn what_a_small_gpu_lacks_is_unknown_and_not_zero() {
    let small = Gpu {
        mig: None,
        ecc: None,
        rows: None,
        recovery: None,
        clocks: zenith_fakenvml::Clocks { sm: u32::MAX, ..Gpu::numbered(0).clocks },
        ..Gpu::numbered(0)
    };
    let found = Machine::new(&Script { gpus: vec![small], ..Script::empty() }).discover();
    let gpu = &found.gpus[0];
    assert_eq!((&gpu.mig, gpu.ecc, gpu.remapped_rows, gpu.nvlinks), (&None, None, None, None));
    assert_eq!((gpu.clocks.sm_mhz, gpu.clocks.max_sm_mhz), (None, Some(1980)), "NVML's -1 is no clock");
    assert!(found.interconnect.groups.is_empty());
}

#[test]
fn gpus_without_a_driver_are_seen_on_the_bus() {
    let machine = Machine::new(&Script { gpus: vec![Gpu::numbered(0)], ..Script::empty() })
        .with_pci("0000:10:00.0", "0x10de", "0")
        .with_pci("0000:65:00.0", "0x8086", "1");
    let found = machine.discover();
    assert_eq!(found.gpus.len(), 2);
    let other = &found.gpus[1];
    assert_eq!((other.source, &other.vendor, other.numa_node), (Source::Pci, &Vendor::Intel, Some(1)));
    assert!(!other.has_driver() && other.memory.is_none() && other.index.is_none());
}

#[test]
fn the_json_has_the_keys_that_others_read() {
    let machine = Machine::new(&Script::two_pairs());
    let found = serde_json::to_value(machine.discover()).unwrap();
    assert_eq!(found["gpus"][1]["pci"], "0000:11:00.0");
    assert_eq!(found["gpus"][1]["source"], "nvml");
    assert_eq!(found["gpus"][1]["vendor"], "nvidia");
    assert_eq!(found["gpus"][1]["compute_capability"], json!({"major": 9, "minor": 0}));
    assert_eq!(found["interconnect"]["groups"], json!([[0, 1], [2, 3]]));
    assert_eq!(
        found["interconnect"]["pairs"][0],
        json!({"first": 0, "second": 1, "ancestor": "pcie_switch", "join": {"kind": "nv_link", "links": 4}})
    );
    assert_eq!(found["sources"][0], json!({"source": "nvml", "kind": "answered", "gpus": 4, "hint": null}));
}
