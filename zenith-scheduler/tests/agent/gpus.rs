//! GPUs that an agent finds by itself, with a stand-in for NVIDIA's library: what it says of them, what it does when the library
//! is broken or hangs, and what becomes of the list when it returns to running work.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zenith_fakenvml::{Code, Event, Script, install, rewrite};
use zenith_proto::v1;

use crate::controller::{Agent, Controller, Node, shell, text};

/// A machine of files: two sockets with four processors and a memory node each, and the GPUs that the script tells of.
struct Machine {
    folder: TempDir,
    library: PathBuf,
}

impl Machine {
    fn new(script: &Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = install(folder.path(), script).unwrap();
        let machine = Self { folder, library };
        machine.write("devices/system/cpu/online", "0-7");
        machine.write("devices/system/node/node0/cpulist", "0-3");
        machine.write("devices/system/node/node1/cpulist", "4-7");
        for (index, gpu) in script.gpus.iter().enumerate() {
            let device = format!("bus/pci/devices/0000:{:02x}:00.0", gpu.bus);
            for (file, text) in [("class", "0x030200"), ("vendor", "0x10de"), ("device", "0x2330")] {
                machine.write(&format!("{device}/{file}"), text);
            }
            machine.write(&format!("{device}/numa_node"), &(index / (script.gpus.len() / 2)).to_string());
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join("sys").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn say(&self, script: &Script) {
        rewrite(&self.library, script).unwrap();
    }

    async fn join(&self, controller: &Controller, state: &Path, options: &[&str]) -> (Node, Agent) {
        let root = self.folder.path().to_str().unwrap();
        let options = [&["--device-root", root], options].concat();
        let agent = Agent::with_library(controller, state, &options, &self.library);
        (controller.node().await, agent)
    }
}

/// A GPU of a job.
fn on_gpu(gpu: u32, start: v1::Start) -> v1::Start {
    v1::Start { slice: Some(v1::Slice { gpus: vec![gpu], ..Default::default() }), ..start }
}

/// The first line with these words, and the agent no more.
async fn line_with(mut agent: Agent, words: &'static str) -> String {
    tokio::task::spawn_blocking(move || agent.line_with(words)).await.unwrap()
}

#[tokio::test]
async fn a_node_tells_of_the_gpus_that_it_finds() {
    let machine = Machine::new(&Script::two_pairs());
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, _agent) = machine.join(&controller, state.path(), &[]).await;
    let gpus = node.register.spec.clone().unwrap().gpus;
    assert_eq!(gpus.iter().map(|gpu| gpu.numa).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert_eq!(gpus.iter().map(|gpu| gpu.nvlink).collect::<Vec<_>>(), [0, 0, 1, 1]);
    for gpu in &gpus {
        assert_eq!((gpu.model.as_str(), gpu.memory_mib), ("NVIDIA H100 80GB HBM3", Some(80 << 10)));
    }
    node.gpus_are(|gpus| gpus.len() == 4 && gpus.values().all(|gpu| gpu.healthy)).await;
    node.start(on_gpu(2, shell(1, "echo $CUDA_DEVICE_ORDER $CUDA_VISIBLE_DEVICES"))).await;
    node.life(1).await;
    let (out, ..) = node.logs(v1::ReadLog { request: 1, job: 1, attempt: 1, ..Default::default() }).await;
    assert_eq!(out, "PCI_BUS_ID 2\n");
}

#[tokio::test]
async fn a_declaration_wins() {
    let machine = Machine::new(&Script::two_pairs());
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (node, _agent) = machine.join(&controller, state.path(), &["--gpus", "3"]).await;
    let gpus = node.register.spec.unwrap().gpus;
    assert_eq!(gpus.iter().map(|gpu| gpu.model.as_str()).collect::<Vec<_>>(), ["declared"; 3]);
}

#[tokio::test]
async fn a_broken_library_is_a_warning_and_no_gpus() {
    let machine = Machine::new(&Script::two_pairs());
    fs::write(&machine.library, "this is no library").unwrap();
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, agent) = machine.join(&controller, state.path(), &[]).await;
    assert_eq!(node.register.spec.clone().unwrap().gpus, []);
    node.start(shell(1, "exit 3")).await;
    assert_eq!(node.life(1).await, ["0 started", "0 code 3", "gone"]);
    let line = line_with(agent, "GPUs may be missing").await;
    assert!(line.contains("cannot be loaded") && line.contains("reinstall NVIDIA's driver"), "{line}");
}

#[tokio::test]
async fn a_library_that_hangs_from_the_start_keeps_nobody_waiting() {
    let machine = Machine::new(&Script { init_ms: 3_600_000, ..Script::two_pairs() });
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, agent) = machine.join(&controller, state.path(), &["--gpu-patience", "1"]).await;
    assert_eq!(node.register.spec.clone().unwrap().gpus, []);
    node.start(shell(1, "exit 3")).await;
    assert_eq!(node.life(1).await, ["0 started", "0 code 3", "gone"]);
    let line = line_with(agent, "do not answer within 1 seconds").await;
    assert!(line.contains("--gpus"), "{line}");
}

#[tokio::test]
async fn a_library_that_hangs_later_drains_and_ends_nothing() {
    let machine = Machine::new(&Script::two_pairs());
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, _agent) = machine.join(&controller, state.path(), &["--gpu-patience", "3"]).await;
    node.gpus_are(|gpus| gpus.len() == 4 && gpus.values().all(|gpu| gpu.healthy)).await;
    machine.say(&Script { hung: true, ..Script::two_pairs() });
    let is_silent = |gpu: &v1::GpuHealth| !gpu.healthy && gpu.degraded && gpu.reason.contains("3 seconds");
    node.gpus_are(|gpus| gpus.values().all(is_silent)).await;
    node.start(shell(1, "exit 3")).await;
    assert_eq!(node.life(1).await, ["0 started", "0 code 3", "gone"]);
    machine.say(&Script::two_pairs());
    node.gpus_are(|gpus| gpus.values().all(|gpu| gpu.healthy)).await;
}

#[tokio::test]
async fn errors_are_told_of_one_gpu_and_taken_back_when_it_was_repaired() {
    let mut script = Script::two_pairs();
    let machine = Machine::new(&script);
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, _agent) = machine.join(&controller, state.path(), &[]).await;
    script.events = vec![Event::Xid { gpu: 1, number: 31 }, Event::Xid { gpu: 3, number: 79 }];
    script.gpus[0].rows.as_mut().unwrap().pending = true;
    machine.say(&script);
    node.gpus_are(|gpus| gpus.len() == 4 && !gpus[&3].healthy && !gpus[&0].healthy).await;
    let last = |gpu| node.gpus.iter().rfind(|health| health.gpu == gpu).unwrap();
    assert_eq!(last(3).reason, "Xid 79: the GPU fell off the bus (reboot the node)");
    assert!(!last(3).degraded && last(0).degraded, "{:?}", node.gpus);
    assert!(last(1).healthy && last(2).healthy, "{:?}", node.gpus);
    // It does not answer while it is reset, and then it does.
    script.gpus[3].fault = Code::GpuIsLost;
    script.gpus[0].rows.as_mut().unwrap().pending = false;
    machine.say(&script);
    node.gpus_are(|gpus| gpus[&3].reason.contains("; it fell off the bus") && gpus[&0].healthy).await;
    script.gpus[3].fault = Code::Success;
    machine.say(&script);
    node.gpus_are(|gpus| gpus.values().all(|gpu| gpu.healthy)).await;
}

#[tokio::test]
async fn a_gpu_that_is_lost_from_the_start_keeps_its_number_and_gets_nothing() {
    let mut script = Script::two_pairs();
    script.gpus[1].fault = Code::GpuIsLost;
    let machine = Machine::new(&script);
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, _agent) = machine.join(&controller, state.path(), &[]).await;
    assert_eq!(node.register.spec.clone().unwrap().gpus.len(), 4);
    node.gpus_are(|gpus| gpus.len() == 4).await;
    let ill: Vec<u32> = node.gpus.iter().filter(|gpu| !gpu.healthy).map(|gpu| gpu.gpu).collect();
    assert_eq!(ill, [1]);
    // Beside it CUDA's numbers are not sure.
    node.start(on_gpu(2, shell(1, "echo $CUDA_VISIBLE_DEVICES"))).await;
    node.life(1).await;
    let (out, ..) = node.logs(v1::ReadLog { request: 1, job: 1, attempt: 1, ..Default::default() }).await;
    assert_eq!(out.trim(), script.gpus[2].uuid);
    machine.say(&Script::two_pairs());
    node.gpus_are(|gpus| gpus.values().all(|gpu| gpu.healthy)).await;
}

#[tokio::test]
async fn an_agent_that_returns_to_running_work_keeps_its_list() {
    let machine = Machine::new(&Script::two_pairs());
    let (controller, state) = (Controller::new().await, tempfile::tempdir().unwrap());
    let (mut node, mut agent) = machine.join(&controller, state.path(), &[]).await;
    let spec = node.register.spec.clone().unwrap();
    node.start(on_gpu(2, shell(1, "sleep 600"))).await;
    // It is not acknowledged, so that it is said again.
    assert_eq!(text(&node.report().await), "0 started");
    agent.kill();
    drop(node);
    fs::write(&machine.library, "this is no library").unwrap();
    let (mut node, mut agent) = machine.join(&controller, state.path(), &[]).await;
    assert_eq!(node.register.spec, Some(spec), "the controller takes back no other node while work runs");
    node.started(1).await;
    let is_missing = |gpu: &v1::GpuHealth| !gpu.healthy && gpu.degraded && gpu.reason.contains("no driver");
    node.gpus_are(|gpus| gpus.len() == 4 && gpus.values().all(is_missing)).await;
    node.signal(1, true).await;
    assert_eq!(node.life(1).await, ["0 signal 9", "gone"]);
    // Once everything is acknowledged there is nothing to keep it for.
    node.signal(2, true).await;
    assert_eq!(node.life(2).await, ["gone"]);
    agent.kill();
    drop(node);
    let (node, _agent) = machine.join(&controller, state.path(), &[]).await;
    assert_eq!(node.register.spec.unwrap().gpus, []);
}
