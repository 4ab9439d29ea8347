//! GPUs that fall ill under a controller and an agent that are real, with a stand-in for NVIDIA's library: what becomes of the work,
//! and what every door shows.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use zenith_fakenvml::{Code, Event, Script, install, rewrite};
use zenith_proto::v1;
use zenith_proto::v1::JobState;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

use crate::http;
use crate::process::{Process, program};
use crate::server::{PATIENCE, State, in_state, submitting, work};

/// A controller and an agent as processes, and eight GPUs.
struct Cluster {
    folder: TempDir,
    library: PathBuf,
    controller: Process,
    agent: Child,
}

impl Cluster {
    async fn start(state: &State, script: &Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = install(folder.path(), script).unwrap();
        let controller = Process::start(state.path(), &[]);
        let agent = agent(&controller, &folder.path().join("agent"), &library);
        let cluster = Self { folder, library, controller, agent };
        cluster.node_with(|node| node["contact"] == "up").await;
        cluster
    }

    /// A gang that stays until the test is over.
    fn staying(&self, gpus: u32) -> v1::SubmitRequest {
        let script = format!("while test -d {}; do sleep 0.1; done", self.folder.path().display());
        let command = vec!["sh".to_owned(), "-c".to_owned(), script];
        submitting(v1::Submission { command, ..work(gpus) })
    }

    fn say(&self, script: &Script) {
        rewrite(&self.library, script).unwrap();
    }

    /// The node, as REST shows it, as soon as it is so.
    async fn node_with(&self, is_it: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let asking = async {
            loop {
                let nodes = http::get(self.controller.rest, "/v1/nodes").await.json();
                match nodes["nodes"].get(0).filter(|node| is_it(node)) {
                    Some(node) => return node.clone(),
                    None => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, asking).await.expect("the node should be so by now")
    }

    async fn client(&self) -> SchedulerServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.controller.grpc)).unwrap();
        SchedulerServiceClient::new(endpoint.connect().await.unwrap())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

fn agent(controller: &Process, state: &Path, library: &Path) -> Child {
    let mut command = Command::new(program());
    command.args(["agent", "--name", "a", "--cpus", "64", "--controller", &controller.grpc.to_string()]);
    command.arg("--state").arg(state).env("ZENITH_NVML", library).stderr(Stdio::null());
    command.spawn().unwrap()
}

async fn gpus_of(client: &mut SchedulerServiceClient<Channel>, job: u64) -> Vec<u32> {
    client.get(v1::GetRequest { job }).await.unwrap().into_inner().slices[0].gpus.clone()
}

const FELL_OFF: &str = "Xid 79: the GPU fell off the bus (reboot the node)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_xid_drains_one_gpu_while_a_job_runs_elsewhere() {
    let (state, mut script) = (State::new(), Script::eight());
    let cluster = Cluster::start(&state, &script).await;
    let mut client = cluster.client().await;
    let node = cluster.node_with(|node| node["gpus"].as_array().unwrap().len() == 8).await;
    assert_eq!(node["gpus"][0]["model"], "NVIDIA H100 80GB HBM3");
    assert_eq!(node["gpus"][0]["memory_mib"], 80 << 10);
    let job = client.submit(cluster.staying(1)).await.unwrap().into_inner().job;
    in_state(&mut client, job, JobState::Running).await;
    let held = gpus_of(&mut client, job).await[0];
    let other = (held + 3) % 8;

    script.events = vec![Event::Xid { gpu: other as usize, number: 79 }];
    cluster.say(&script);
    let node = cluster.node_with(|node| node["gpus_ill"] != serde_json::json!([])).await;
    assert_eq!(node["ill"], serde_json::json!([{"gpu": other, "reason": FELL_OFF}]));
    assert_eq!((&node["drained"], &node["gpus_ill"]), (&false.into(), &serde_json::json!([other])));
    let shown = client.cluster(v1::ClusterRequest {}).await.unwrap().into_inner().nodes.remove(0);
    assert_eq!(shown.ill, [v1::IllGpu { gpu: other, reason: FELL_OFF.to_owned() }]);

    // What needs all of them waits and says for which; what needs the others runs.
    let all = client.submit(cluster.staying(8)).await.unwrap().into_inner().job;
    let why = client.why(v1::WhyRequest { job: all }).await.unwrap().into_inner();
    assert_eq!(why.code, "gpus_ill");
    assert_eq!(why.reason, format!("GPU {other} of node a is ill ({FELL_OFF})"));
    assert_eq!(why.unblocked_by, "the repair of GPUs, or a smaller request");
    let six = client.submit(cluster.staying(6)).await.unwrap().into_inner().job;
    in_state(&mut client, six, JobState::Running).await;
    assert!(!gpus_of(&mut client, six).await.contains(&other));
    let untouched = client.get(v1::GetRequest { job }).await.unwrap().into_inner().job.unwrap();
    assert_eq!((untouched.state(), untouched.attempt), (JobState::Running, 1));

    // The device comes back.
    script.gpus[other as usize].fault = Code::GpuIsLost;
    cluster.say(&script);
    cluster.node_with(|node| node["ill"][0]["reason"].as_str().unwrap().contains("; it fell off")).await;
    script.gpus[other as usize].fault = Code::Success;
    cluster.say(&script);
    let node = cluster.node_with(|node| node["gpus_ill"] == serde_json::json!([])).await;
    assert_eq!(node["ill"], serde_json::json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_leaves_a_gpu_that_is_ill_and_stays_on_one_that_is_degraded() {
    let (state, mut script) = (State::new(), Script::two_pairs());
    let cluster = Cluster::start(&state, &script).await;
    let mut client = cluster.client().await;
    let job = client.submit(cluster.staying(1)).await.unwrap().into_inner().job;
    in_state(&mut client, job, JobState::Running).await;
    let first = gpus_of(&mut client, job).await[0];

    script.events.push(Event::Xid { gpu: first as usize, number: 63 });
    cluster.say(&script);
    let node = cluster.node_with(|node| node["gpus_ill"] == serde_json::json!([first])).await;
    assert!(node["ill"][0]["reason"].as_str().unwrap().starts_with("Xid 63: "), "{node}");
    let detail = client.get(v1::GetRequest { job }).await.unwrap().into_inner();
    assert_eq!(detail.job.unwrap().attempt, 1, "it works on");

    script.events.push(Event::Xid { gpu: first as usize, number: 48 });
    cluster.say(&script);
    let moved = async {
        loop {
            let detail = client.get(v1::GetRequest { job }).await.unwrap().into_inner();
            if detail.job.as_ref().is_some_and(|job| job.attempt == 2 && job.state() == JobState::Running) {
                return detail;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let detail = timeout(PATIENCE, moved).await.unwrap();
    assert!(!detail.slices[0].gpus.contains(&first));
    let note = detail.notes.iter().find(|note| note.contains("Xid 48")).unwrap();
    assert!(note.starts_with(&format!("GPU {first} of node a fell ill: ")), "{note}");
}
