//! A controller and two agents with fake GPUs as processes, which can be killed and started again. Judges nothing.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::{Channel, Endpoint};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

use crate::work::Work;

/// GPUs of each node.
const GPUS: &str = "4";

/// What can be killed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Controller,
    Agent(usize),
    Nursery(usize),
    Supervisor,
    Rank,
}

pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
    controller: Option<Child>,
    agents: [Option<Child>; 2],
    channel: Channel,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("work")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let channel = endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy();
        let mut cluster = Self { folder, port, controller: None, agents: [None, None], channel };
        cluster.start_what_is_missing();
        cluster
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Leaves everything for whoever looks for the cause, and says where.
    pub(crate) fn keep(&mut self) -> String {
        self.folder.disable_cleanup(true);
        self.folder.path().display().to_string()
    }

    pub(crate) fn client(&self) -> SchedulerServiceClient<Channel> {
        SchedulerServiceClient::new(self.channel.clone())
    }

    pub(crate) fn start_what_is_missing(&mut self) {
        let (root, grpc) = (self.folder.path().to_owned(), format!("127.0.0.1:{}", self.port));
        if self.controller.is_none() {
            let state = root.join("controller");
            let mut arguments = vec!["--no-agent", "--grpc", &grpc, "--rest", "127.0.0.1:0", "--state"];
            arguments.push(state.to_str().unwrap());
            self.controller = Some(spawn(&root, "controller", &arguments));
        }
        for (index, agent) in self.agents.iter_mut().enumerate() {
            if agent.is_none() {
                let (name, state) = (format!("node{index}"), root.join(format!("agent{index}")));
                let state = state.to_str().unwrap();
                let arguments = [
                    "agent",
                    "--controller",
                    &grpc,
                    "--name",
                    &name,
                    "--gpus",
                    GPUS,
                    "--cpus",
                    "64",
                    "--state",
                    state,
                ];
                *agent = Some(spawn(&root, &name, &arguments));
            }
        }
    }

    /// Kills something; nothing where there is none of it at the moment.
    pub(crate) fn kill(&mut self, target: Target, work: &mut Work, choice: u64) {
        match target {
            Target::Controller => end(&mut self.controller),
            Target::Agent(index) => end(&mut self.agents[index]),
            Target::Nursery(index) => {
                let agent = self.agents[index].as_ref().map(Child::id);
                agent.and_then(nursery_of).into_iter().for_each(kill);
            }
            Target::Rank | Target::Supervisor => {
                let living = work.living();
                if living.is_empty() {
                    return;
                }
                let (job, process) = living[(choice % living.len() as u64) as usize];
                work.killed(job);
                match target {
                    Target::Rank => kill(process),
                    _ => parent_of(process).into_iter().for_each(kill),
                }
            }
        }
    }

    pub(crate) async fn jobs(&self) -> Vec<v1::Job> {
        let mut stream = self.client().list(v1::ListRequest::default()).await.unwrap().into_inner();
        let mut jobs = Vec::new();
        while let Some(page) = stream.message().await.unwrap() {
            jobs.extend(page.jobs);
        }
        jobs
    }

    pub(crate) async fn nodes(&self) -> Vec<v1::Node> {
        self.client().cluster(v1::ClusterRequest {}).await.unwrap().into_inner().nodes
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.agents.iter_mut().for_each(end);
        end(&mut self.controller);
    }
}

fn spawn(root: &Path, name: &str, arguments: &[&str]) -> Child {
    let log = File::options().create(true).append(true).open(root.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_zenith-scheduler"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.env("XDG_DATA_HOME", root).spawn().unwrap()
}

fn end(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        process.kill().unwrap();
        process.wait().unwrap();
    }
}

fn kill(process: u32) {
    // It may have ended by itself in the meantime.
    let _ = kill_process(Pid::from_raw(process as i32).unwrap(), Signal::KILL);
}

/// The process that an agent has its ranks started by.
fn nursery_of(agent: u32) -> Option<u32> {
    let is_it = |process: &u32| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        parent_of(*process) == Some(agent) && line.split(|byte| *byte == 0).any(|word| word == b"nursery")
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_it)
}

fn parent_of(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let parent: u32 = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?;
    (parent > 1).then_some(parent)
}
