//! A controller in the middle of a network and an agent at each of its ends, and work on them whose ranks note in a file when
//! they begin and end. Judges nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

use crate::namespaces::Network;

/// How long anything may take that has to come. Decides nothing but how soon a failure is one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Where gRPC is served: nobody else is in this network.
const PORT: u16 = 50051;

const SCRIPT: &str = r#"
echo "start $ZENITH_JOB_ID $ZENITH_ATTEMPT $RANK $ZENITH_NODE_NAME $$" >> "$0"
sleep "$1"
echo "end $ZENITH_JOB_ID $ZENITH_ATTEMPT $RANK $ZENITH_NODE_NAME $$" >> "$0"
"#;

/// What a rank noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) is_start: bool,
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    pub(crate) rank: u32,
    pub(crate) node: String,
    pub(crate) process: u32,
}

/// Everything that runs.
pub(crate) struct Cluster {
    pub(crate) network: Network,
    folder: tempfile::TempDir,
    processes: Vec<Child>,
    client: SchedulerServiceClient<Channel>,
}

impl Cluster {
    /// A controller with these timers, and so many nodes of so many GPUs, all of them up.
    pub(crate) async fn start(nodes: usize, gpus: &str, timers: &[&str]) -> Self {
        let network = Network::new(nodes);
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("controller");
        let mut token = scheduler();
        token.args(["token", "add", "nodes", "--agent", "--state"]).arg(&state);
        let token = token.output().unwrap();
        assert!(token.status.success(), "{token:?}");
        let file = folder.path().join("token");
        fs::write(&file, token.stdout).unwrap();

        let mut controller = scheduler();
        let grpc = format!("0.0.0.0:{PORT}");
        controller.args(["--no-agent", "--insecure", "--grpc", &grpc, "--rest", "127.0.0.1:0", "--state"]);
        controller.arg(&state).args(timers);
        let mut processes = vec![spawn(controller, folder.path(), "controller")];
        for node in 0..nodes {
            let (name, middle) = (format!("node{node}"), format!("{}:{PORT}", network.middle(node)));
            let mut agent = scheduler();
            agent.args(["agent", "--controller", &middle, "--name", &name, "--gpus", gpus, "--cpus", "64"]);
            agent
                .args(["--insecure", "--token-file"])
                .arg(&file)
                .arg("--state")
                .arg(folder.path().join(&name));
            processes.push(network.at(node, || spawn(agent, folder.path(), &name)));
        }
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{PORT}")).unwrap();
        let channel = endpoint.timeout(PATIENCE).connect_lazy();
        let client = SchedulerServiceClient::new(channel);
        let mut cluster = Self { network, folder, processes, client };
        for node in 0..nodes {
            cluster.until_contact(node, v1::NodeContact::Up).await;
        }
        cluster
    }

    pub(crate) fn client(&self) -> SchedulerServiceClient<Channel> {
        self.client.clone()
    }

    /// Submits work that takes so many seconds.
    pub(crate) async fn submit(&mut self, resources: v1::Resources, seconds: u32) -> u64 {
        let journal = self.journal_path().to_str().unwrap().to_owned();
        let words = ["/bin/sh", "-c", SCRIPT, &journal, &seconds.to_string()];
        let command = words.map(str::to_owned).to_vec();
        let submission = v1::Submission { resources: Some(resources), command, ..v1::Submission::default() };
        let request = v1::SubmitRequest { submission: Some(submission), idempotency_key: String::new() };
        self.client.submit(request).await.unwrap().into_inner().job
    }

    fn journal_path(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    pub(crate) fn journal(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.journal_path()).unwrap_or_default();
        text.lines().map(|text| line(text).unwrap()).collect()
    }

    pub(crate) async fn jobs(&mut self) -> BTreeMap<u64, v1::Job> {
        let mut pages = self.client.list(v1::ListRequest::default()).await.unwrap().into_inner();
        let mut jobs = BTreeMap::new();
        while let Some(page) = pages.message().await.unwrap() {
            jobs.extend(page.jobs.into_iter().map(|job| (job.id, job)));
        }
        jobs
    }

    pub(crate) async fn nodes(&mut self) -> Vec<v1::Node> {
        // Before the controller listens nobody answers.
        match self.client.cluster(v1::ClusterRequest {}).await {
            Ok(cluster) => cluster.into_inner().nodes,
            Err(_) => Vec::new(),
        }
    }

    /// Waits until a node is seen so; how long that took.
    pub(crate) async fn until_contact(&mut self, node: usize, contact: v1::NodeContact) -> Duration {
        let (begin, name) = (Instant::now(), format!("node{node}"));
        loop {
            let nodes = self.nodes().await;
            let is_it = |node: &&v1::Node| node.spec.as_ref().is_some_and(|spec| spec.name == name);
            if nodes.iter().find(is_it).is_some_and(|node| node.contact() == contact) {
                return begin.elapsed();
            }
            self.go_on(begin, &format!("{name} to be {contact:?}"));
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the journal is as wanted.
    pub(crate) async fn until_journal(&mut self, what: &str, wanted: impl Fn(&[Line]) -> bool) -> Duration {
        let begin = Instant::now();
        while !wanted(&self.journal()) {
            self.go_on(begin, what);
            sleep(Duration::from_millis(20)).await;
        }
        begin.elapsed()
    }

    /// Waits until every job has ended and no node holds anything.
    pub(crate) async fn until_idle(&mut self) {
        let begin = Instant::now();
        loop {
            let nodes = self.nodes().await;
            let is_idle = |node: &v1::Node| node.jobs.is_empty() && node.gpus_used.is_empty();
            let ended = |job: &v1::Job| job.ended_ms.is_some();
            if nodes.iter().all(is_idle) && self.jobs().await.values().all(ended) {
                return;
            }
            self.go_on(begin, "the end of everything");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn go_on(&mut self, begin: Instant, what: &str) {
        if begin.elapsed() > PATIENCE {
            self.folder.disable_cleanup(true);
            panic!("waited {PATIENCE:?} for {what}; see {}", self.folder.path().display());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
        }
    }
}

fn scheduler() -> Command {
    Command::new(env!("CARGO_BIN_EXE_zenith-scheduler"))
}

fn spawn(mut command: Command, folder: &Path, name: &str) -> Child {
    let log = File::create(folder.join(format!("{name}.log"))).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).env("XDG_DATA_HOME", folder);
    command.spawn().unwrap()
}

fn line(text: &str) -> Option<Line> {
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, job, attempt, rank, node, process] = words[..] else { return None };
    Some(Line {
        is_start: kind == "start",
        job: job.parse().ok()?,
        attempt: attempt.parse().ok()?,
        rank: rank.parse().ok()?,
        node: node.to_owned(),
        process: process.parse().ok()?,
    })
}
