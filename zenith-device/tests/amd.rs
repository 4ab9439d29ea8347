//! AMD's GPUs, from the files of a machine that has them.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its machine fails")]

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use zenith_device::{Discovery, Join, Kind, Settings, Source, Vendor, discover};

struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
            .with("sys/devices/system/cpu/cpu0/online", "1")
            .with("sys/devices/system/cpu/online", "0-1")
            .with("sys/devices/system/node/node0/cpulist", "0")
            .with("sys/devices/system/node/node1/cpulist", "1")
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A GPU on the bus.
    fn on_bus(self, bus: u8, node: &str) -> Self {
        let device = format!("sys/bus/pci/devices/0000:{bus:02x}:00.0");
        self.with(&format!("{device}/class"), "0x120000\n")
            .with(&format!("{device}/vendor"), "0x1002\n")
            .with(&format!("{device}/device"), "0x74a1\n")
            .with(&format!("{device}/numa_node"), &format!("{node}\n"))
    }

    /// A GPU that amdgpu drives.
    fn driven(self, card: u32, bus: u8) -> Self {
        let device = format!("sys/class/drm/card{card}/device");
        self.with(
            &format!("{device}/uevent"),
            &format!("DRIVER=amdgpu\nPCI_CLASS=120000\nPCI_SLOT_NAME=0000:{bus:02x}:00.0\n"),
        )
        .with(&format!("{device}/product_name"), "AMD Instinct MI300X OAM\n")
        .with(&format!("{device}/unique_id"), &format!("{bus:016x}\n"))
        .with(&format!("{device}/mem_info_vram_total"), "206141652992\n")
        .with(&format!("{device}/mem_info_vram_used"), "297127936\n")
        .with(&format!("{device}/pp_dpm_sclk"), "0: 132Mhz *\n1: 2100Mhz \n")
        .with(&format!("{device}/pp_dpm_mclk"), "0: 900Mhz \n1: 1300Mhz *\n")
        .with(&format!("{device}/ras/umc_err_count"), "ue: 0\nce: 3\n")
        .with(&format!("{device}/ras/gfx_err_count"), "ue: 1\nce: 2\n")
        .with(&format!("{device}/ras/features"), "feature mask: 0x1\n")
    }

    /// The same GPU as the compute driver knows it, joined to other nodes.
    fn node(mut self, node: u32, bus: u32, links: &[(u32, u32)]) -> Self {
        let folder = format!("sys/class/kfd/kfd/topology/nodes/{node}");
        for (number, (kind, to)) in links.iter().enumerate() {
            let text = format!("type {kind}\nnode_from {node}\nnode_to {to}\nweight 15\n");
            self = self.with(&format!("{folder}/io_links/{number}/properties"), &text);
        }
        let properties = format!(
            "cpu_cores_count 0\nsimd_count 1216\ngfx_target_version 90402\nvendor_id 4098\nlocation_id {}\ndomain 0\n",
            bus << 8
        );
        self.with(&format!("{folder}/properties"), &properties)
    }

    fn discover(&self) -> Discovery {
        let nvml = Some(PathBuf::from("/nonexistent/libnvidia-ml.so.1"));
        discover(&Settings { nvml, root: self.0.path().to_owned() })
    }
}

#[test]
fn gpus_and_what_joins_them() {
    let machine = Machine::new()
        .on_bus(0x0c, "0")
        .on_bus(0x9b, "1")
        .on_bus(0x5d, "0")
        .driven(10, 0x0c)
        .driven(2, 0x9b)
        .driven(3, 0x5d)
        .with("sys/class/drm/card2-DP-1/device/uevent", "DRIVER=amdgpu\n")
        .with("sys/class/drm/card0/device/uevent", "DRIVER=ast\nPCI_SLOT_NAME=0000:03:00.0\n")
        .with(
            "sys/class/kfd/kfd/topology/nodes/0/properties",
            "cpu_cores_count 96\nsimd_count 0\nlocation_id 0\n",
        )
        .node(1, 0x0c, &[(2, 0), (11, 2)])
        .node(2, 0x9b, &[(2, 0), (11, 1)])
        .node(3, 0x5d, &[(2, 0)]);
    let found = machine.discover();
    let addresses: Vec<_> = found.gpus.iter().map(|gpu| gpu.pci.as_deref().unwrap()).collect();
    assert_eq!(addresses, ["0000:0c:00.0", "0000:5d:00.0", "0000:9b:00.0"]);
    let gpu = &found.gpus[2];
    assert_eq!((gpu.source, &gpu.vendor, gpu.index), (Source::Amdgpu, &Vendor::Amd, Some(2)));
    assert_eq!(
        (gpu.model.as_deref(), gpu.uuid.as_deref()),
        (Some("AMD Instinct MI300X OAM"), Some("000000000000009b"))
    );
    assert_eq!((gpu.numa_node, gpu.gfx.as_deref()), (Some(1), Some("gfx942")));
    let memory = gpu.memory.unwrap();
    assert_eq!((memory.total_bytes, memory.free_bytes), (206_141_652_992, Some(205_844_525_056)));
    assert_eq!((gpu.clocks.sm_mhz, gpu.clocks.max_sm_mhz), (Some(132), Some(2100)));
    assert_eq!((gpu.clocks.memory_mhz, gpu.clocks.max_memory_mhz), (Some(1300), Some(1300)));
    let ecc = gpu.ecc.unwrap();
    assert_eq!((ecc.enabled, ecc.corrected, ecc.uncorrected), (None, Some(5), Some(1)));
    assert_eq!(found.interconnect.groups, [[0, 2]]);
    assert_eq!(found.interconnect.between(0, 1).unwrap().join, Some(Join::Apart));
    let finding = found.sources.iter().find(|finding| finding.source == Source::Amdgpu).unwrap();
    assert_eq!(finding.kind, Kind::Answered { gpus: 3 });
}

#[test]
fn a_gpu_without_the_driver_asks_for_it() {
    let found = Machine::new().on_bus(0x0c, "-1").discover();
    let gpu = &found.gpus[0];
    assert_eq!((gpu.source, &gpu.vendor, gpu.numa_node, gpu.memory), (Source::Pci, &Vendor::Amd, None, None));
    let finding = found.sources.iter().find(|finding| finding.source == Source::Amdgpu).unwrap();
    assert!(finding.is_trouble() && finding.hint.as_ref().unwrap().contains("modprobe amdgpu"));
}

#[test]
fn what_the_files_do_not_say_is_unknown() {
    let machine = Machine::new()
        .with("sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:0c:00.0\n")
        .with("sys/class/drm/card0/device/mem_info_vram_used", "many\n")
        .with("sys/class/drm/card0/device/pp_dpm_sclk", "no clocks here\n")
        .with("sys/class/drm/card0/device/ras/umc_err_count", "ue: ?\n");
    let found = machine.discover();
    let gpu = &found.gpus[0];
    assert_eq!((gpu.memory, gpu.clocks.sm_mhz, gpu.ecc), (None, None, None));
    assert_eq!((&gpu.model, &gpu.uuid, &gpu.gfx), (&None, &None, &None));
}

#[test]
fn nothing_is_no_trouble() {
    let found = Machine::new().discover();
    assert!(found.gpus.is_empty() && found.interconnect.pairs.is_empty());
    assert_eq!(found.sources.len(), 3);
    assert!(found.sources.iter().all(|finding| !finding.is_trouble()), "{:?}", found.sources);
}
