//! What is said when the library is absent, broken, old or refuses.

use std::fs;
use std::path::PathBuf;

use zenith_device::health::Watch;
use zenith_device::{Kind, Settings, Source, discover};
use zenith_fakenvml::{Code, Gpu, Script};

use crate::{Machine, install_in, nvml};

/// The kind of the only finding about NVML.
fn only(machine: &Machine) -> (Kind, Option<String>) {
    let found = machine.discover();
    assert!(found.gpus.iter().all(|gpu| gpu.source != Source::Nvml), "{:?}", found.gpus);
    assert_eq!(found.driver, None);
    let findings = nvml(&found);
    assert_eq!(findings.len(), 1, "{findings:?}");
    let watch = Watch::open(&machine.settings());
    let kind = findings[0].kind.clone();
    if kind != Kind::Absent {
        assert_eq!(watch.unwrap_err(), *findings[0], "both say the same");
    }
    (kind, findings[0].hint.clone())
}

#[test]
fn no_library_is_no_trouble_without_a_gpu() {
    let machine = Machine::with_bytes(None);
    assert_eq!(only(&machine), (Kind::Absent, None));
    assert!(!machine.discover().sources.iter().any(|finding| finding.is_trouble()));
}

#[test]
fn no_library_beside_a_gpu_asks_for_a_driver() {
    let machine = Machine::with_bytes(None).with_pci("0000:3b:00.0", "0x10de", "0");
    let (kind, hint) = only(&machine);
    assert_eq!(kind, Kind::Absent);
    assert!(hint.unwrap().contains("install NVIDIA's driver"));
    let found = machine.discover();
    assert_eq!((found.gpus.len(), found.gpus[0].source), (1, Source::Pci));
    assert!(nvml(&found)[0].is_trouble());
}

#[test]
fn no_library_over_a_loaded_driver_is_a_container_without_gpus() {
    let machine = Machine::with_bytes(None).with("proc/driver/nvidia/version", "NVRM version: 580.82.07\n");
    assert!(only(&machine).1.unwrap().contains("--gpus all"));
}

#[test]
fn a_name_that_the_loader_does_not_find_is_absent() {
    let machine = Machine::with_bytes(None);
    let settings = Settings { nvml: Some(PathBuf::from("libno-such-nvml.so.1")), ..machine.settings() };
    assert_eq!(nvml(&discover(&settings))[0].kind, Kind::Absent);
}

#[test]
fn a_text_file_is_no_library() {
    let (kind, hint) = only(&Machine::with_bytes(Some(b"this is no library\n")));
    assert!(matches!(&kind, Kind::NotALibrary { reason } if !reason.is_empty()), "{kind:?}");
    assert!(hint.unwrap().contains("reinstall"));
}

#[test]
fn half_a_library_is_no_library() {
    let whole = tempfile::tempdir().unwrap();
    let bytes = fs::read(install_in(whole.path(), &Script::eight())).unwrap();
    let (kind, _) = only(&Machine::with_bytes(Some(&bytes[..200])));
    assert!(matches!(kind, Kind::NotALibrary { .. }), "{kind:?}");
}

#[test]
fn a_library_that_is_another_one_lacks_the_first_symbol() {
    let machine = Machine::lacking(&Script::eight(), &["nvmlInit_v2"]);
    let (kind, hint) = only(&machine);
    assert_eq!(kind, Kind::SymbolsMissing { names: vec!["nvmlInit_v2"], usable: false });
    assert!(hint.unwrap().contains("not its management library"));
}

#[test]
fn a_start_that_fails_says_why() {
    for (init, expected) in [
        (Code::DriverNotLoaded, Kind::DriverNotLoaded),
        (Code::LibRmVersionMismatch, Kind::DriverMismatch),
        (Code::NoPermission, Kind::NoPermission),
        (Code::Unknown, Kind::InitFailed { reason: "an internal driver error occurred".to_owned() }),
    ] {
        let (kind, hint) = only(&Machine::new(&Script { init, ..Script::eight() }));
        assert_eq!(kind, expected);
        assert!(hint.is_some(), "{expected:?}");
    }
}

#[test]
fn a_gpu_that_fell_off_the_bus_does_not_take_the_others_along() {
    let mut script = Script::two_pairs();
    script.gpus[1].fault = Code::GpuIsLost;
    script.gpus[2].fault = Code::NoPermission;
    let found = Machine::new(&script).discover();
    let indices: Vec<_> = found.gpus.iter().map(|gpu| gpu.index).collect();
    assert_eq!(indices, [Some(0), Some(3)]);
    let kinds: Vec<_> = nvml(&found).into_iter().map(|finding| finding.kind.clone()).collect();
    assert_eq!(kinds[..2], [Kind::Answered { gpus: 2 }, Kind::GpuLost { gpu: 1 }]);
    assert!(matches!(kinds[2], Kind::GpuUnreadable { gpu: 2, .. }), "{kinds:?}");
    assert_eq!(found.interconnect.pairs.len(), 1, "places are of the list, not numbers of NVML");
}

#[test]
fn an_old_library_is_used_as_far_as_it_goes() {
    let old = ["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetFieldValues", "nvmlDeviceGetP2PStatus"];
    let found = Machine::lacking(&Script::eight(), &old).discover();
    assert_eq!(found.gpus.len(), 8);
    assert_eq!((found.gpus[0].memory, found.gpus[0].remapped_rows), (None, None));
    assert!(found.gpus[0].uuid.is_some());
    assert_eq!(found.interconnect.pairs[0].join, None, "whether the fabric joins them cannot be known");
    let Kind::SymbolsMissing { names, usable: true } = &nvml(&found)[1].kind else {
        panic!("{:?}", found.sources);
    };
    assert_eq!(names.len(), 3);
    assert!(nvml(&found)[1].is_trouble());
}

#[test]
fn a_library_without_addresses_does_not_double_its_gpus() {
    let script = Script { gpus: vec![Gpu::numbered(0)], ..Script::empty() };
    let machine =
        Machine::lacking(&script, &["nvmlDeviceGetPciInfo_v3"]).with_pci("0000:10:00.0", "0x10de", "0");
    let found = machine.discover();
    assert_eq!((found.gpus.len(), &found.gpus[0].pci), (1, &None));
}

/// Each entry point that is used, missing on its own: never a panic, and a finding that names it.
#[test]
fn no_missing_symbol_panics() {
    const ESSENTIAL: [&str; 4] =
        ["nvmlInit_v2", "nvmlShutdown", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2"];
    const OTHERS: [&str; 26] = [
        "nvmlSystemGetDriverVersion",
        "nvmlSystemGetNVMLVersion",
        "nvmlSystemGetCudaDriverVersion_v2",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetPciInfo_v3",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMaxMigDeviceCount",
        "nvmlDeviceGetMigDeviceHandleByIndex",
        "nvmlDeviceGetAttributes_v2",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetMaxClockInfo",
        "nvmlDeviceGetEccMode",
        "nvmlDeviceGetTotalEccErrors",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetNvLinkState",
        "nvmlDeviceGetNvLinkRemotePciInfo_v2",
        "nvmlDeviceGetP2PStatus",
        "nvmlDeviceGetTopologyCommonAncestor",
        "nvmlEventSetCreate",
        "nvmlEventSetFree",
        "nvmlEventSetWait_v2",
        "nvmlDeviceRegisterEvents",
        "nvmlDeviceGetSupportedEventTypes",
    ];
    let mut script = Script::two_pairs();
    script.gpus[0] = script.gpus[0].clone().cut();
    for symbol in ESSENTIAL {
        let (kind, _) = only(&Machine::lacking(&script, &[symbol]));
        assert_eq!(kind, Kind::SymbolsMissing { names: vec![symbol], usable: false });
    }
    for symbol in OTHERS {
        let machine = Machine::lacking(&script, &[symbol]);
        let found = machine.discover();
        assert_eq!(found.gpus.len(), 4, "{symbol}");
        assert_eq!(nvml(&found)[1].kind, Kind::SymbolsMissing { names: vec![symbol], usable: true });
        let watch = Watch::open(&machine.settings()).unwrap();
        let mut monitor = watch.monitor().unwrap();
        monitor.wait(std::time::Duration::ZERO);
        assert_eq!(monitor.health().len(), 4, "{symbol}");
    }
}

#[test]
fn a_machine_whose_sysfs_is_hidden_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let library = install_in(folder.path(), &Script::eight());
    let found = discover(&Settings { nvml: Some(library), root: folder.path().to_owned() });
    assert_eq!((found.gpus.len(), found.gpus[0].numa_node), (8, None));
    let bus = found.sources.iter().find(|finding| finding.source == Source::Pci).unwrap();
    assert!(matches!(bus.kind, Kind::Unreadable { .. }) && bus.is_trouble(), "{bus:?}");
}
