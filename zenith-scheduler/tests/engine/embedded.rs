//! The built-in engine: a controller within the test, and agents as processes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use zenith_scheduler::api::Api;
use zenith_scheduler::api::auth::{Auth, Tokens};
use zenith_scheduler::api::server::{Entrance, serve_grpc};
use zenith_scheduler::controller::{self, Handle, Running, Settings};
use zenith_scheduler::core::node::Contact;
use zenith_scheduler::engine::{Embedded, Engine};
use zenith_scheduler::policy::Policy;

use crate::fixture::Fixture;
use crate::work::soon;

/// A controller and its agents.
pub(crate) struct Built {
    folder: tempfile::TempDir,
    gpus: u32,
    address: SocketAddr,
    controller: Option<Controller>,
    agents: Vec<Option<Child>>,
}

struct Controller {
    handle: Handle,
    close: watch::Sender<bool>,
    door: JoinHandle<()>,
    running: Running,
}

impl Controller {
    async fn start(store: &Path, tokens: &Path, address: SocketAddr) -> (Self, SocketAddr) {
        let policy = Policy { reserve_cpus: 0, reserve_memory_mib: 0, ..Policy::default() };
        let settings = Settings { policy, room: 0, ..Settings::default() };
        let (handle, running) = controller::start(store, settings).unwrap();
        let (api, close) = Api::new(handle.clone(), Auth::new(Tokens::at(tokens)));
        let entrance = Entrance::open(address, None).await.unwrap();
        let address = entrance.address();
        let door = tokio::spawn(async move { serve_grpc(api, entrance).await.unwrap() });
        (Self { handle, close, door, running }, address)
    }

    async fn stop(self) {
        let Self { handle, close, door, running } = self;
        close.send(true).unwrap();
        soon(door).await.unwrap();
        drop(handle);
        tokio::task::spawn_blocking(move || running.join()).await.unwrap();
    }
}

impl Built {
    fn store(&self) -> PathBuf {
        self.folder.path().join("controller.redb")
    }

    fn controller(&self) -> &Controller {
        self.controller.as_ref().expect("it runs between the calls of a test")
    }

    fn agent(&self, node: u32) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zenith-scheduler"));
        command.args(["agent", "--cpus", "64", "--memory", "100000", "--rack", "r"]);
        command.args(["--gpus", &self.gpus.to_string(), "--name", &format!("node{node}")]);
        command.args(["--controller", &self.address.to_string()]);
        command.arg("--state").arg(self.folder.path().join(format!("agent{node}")));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Waits until so many nodes are in sight.
    async fn until_up(&self, nodes: usize) {
        let handle = &self.controller().handle;
        soon(async {
            loop {
                let up = handle.call(|turn| {
                    let nodes = turn.core().cluster().nodes().iter();
                    Ok(nodes.filter(|node| node.contact == Contact::Up && turn.is_connected(node.id)).count())
                });
                if up.await.unwrap() == nodes {
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn up(&self) -> usize {
        self.agents.iter().flatten().count()
    }
}

impl Fixture for Built {
    const MORE_THAN_A_LAG: u32 = 1100;

    async fn start(nodes: u32, gpus: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("work")).unwrap();
        let store = folder.path().join("controller.redb");
        let any = "127.0.0.1:0".parse().unwrap();
        let (controller, address) = Controller::start(&store, folder.path(), any).await;
        let mut built = Self { folder, gpus, address, controller: Some(controller), agents: Vec::new() };
        built.agents = (0..nodes).map(|node| Some(built.agent(node))).collect();
        built.until_up(nodes as usize).await;
        built
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::new(Embedded::new(self.controller().handle.clone()))
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn crash(&mut self) {
        // What is on the disk now is what a power failure would leave; what is written on the way down is thrown away.
        let (store, left) = (self.store(), self.folder.path().join("left.redb"));
        fs::copy(&store, &left).unwrap();
        if let Some(controller) = self.controller.take() {
            controller.stop().await;
        }
        fs::rename(&left, &store).unwrap();
        let (controller, _) = Controller::start(&store, self.folder.path(), self.address).await;
        self.controller = Some(controller);
        self.until_up(self.up()).await;
    }

    async fn lose_node(&mut self, node: u32) {
        let mut agent = self.agents[node as usize].take().expect("a node is lost once");
        agent.kill().unwrap();
        agent.wait().unwrap();
        self.until_up(self.up()).await;
    }

    async fn find_node(&mut self, node: u32) {
        self.agents[node as usize] = Some(self.agent(node));
        self.until_up(self.up()).await;
    }
}

impl Drop for Built {
    fn drop(&mut self) {
        // Supervisors outlive them, and end with their ranks, which end when the folder is gone.
        for agent in self.agents.iter_mut().flatten() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}
