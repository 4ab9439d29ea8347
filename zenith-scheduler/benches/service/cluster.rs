//! The processes of one cluster in a folder of its own, and waiting for what they do: for nothing longer than [`PATIENCE`].
//! What does not come in time ends the benchmark with what every process wrote.

use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

pub(crate) type Client = SchedulerServiceClient<Channel>;

/// The longest wait for anything that is on its way.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often what nobody tells of is looked at.
const GLANCE: Duration = Duration::from_millis(2);

/// Lines of a log that are shown when something does not come.
const SHOWN: usize = 30;

/// Words of ranks that wait to be heard.
const UNHEARD: usize = 4096;

/// What every rank says when it begins.
pub(crate) const SAY: &str = r#"echo "$ZENITH_JOB_ID $ZENITH_ATTEMPT $ZENITH_RESTART_COUNT $$ $ZENITH_NODE_NAME $ZENITH_CHECKPOINT_DIR" > "$0""#;

/// A rank's word, and when it was heard.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    pub(crate) restarts: u32,
    pub(crate) process: i32,
    pub(crate) node: String,
    pub(crate) checkpoint: String,
    pub(crate) at: Instant,
}

struct Process {
    name: String,
    child: Child,
}

/// The processes of one cluster.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
    processes: Vec<Process>,
    port: u16,
    words: mpsc::Receiver<Said>,
}

impl Cluster {
    /// A folder and a port, and nobody at it yet.
    pub(crate) fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (sender, words) = mpsc::channel(UNHEARD);
        std::thread::spawn(move || listen(&fifo, &sender));
        Self { folder, processes: Vec::new(), port, words }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn spawn(&mut self, name: &str, arguments: &[&str]) {
        let state = self.path(name);
        let log = File::create(self.log(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zenith-scheduler"));
        command.args(arguments).arg("--state").arg(state).env("XDG_DATA_HOME", self.folder.path());
        if std::env::var_os("RUST_LOG").is_none() {
            command.env("RUST_LOG", "warn");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        self.processes.push(Process { name: name.to_owned(), child });
    }

    fn log(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.log"))
    }

    /// The embedded default: a controller with an agent in it.
    pub(crate) fn embedded(&mut self, gpus: &str) {
        let grpc = self.address();
        self.spawn("all", &["--grpc", &grpc, "--rest", "127.0.0.1:0", "--gpus", gpus, "--cpus", "64"]);
    }

    pub(crate) fn controller(&mut self, more: &[&str]) {
        let grpc = self.address();
        let arguments = [&["--no-agent", "--grpc", &grpc, "--rest", "127.0.0.1:0"], more].concat();
        self.spawn("controller", &arguments);
    }

    pub(crate) fn agent(&mut self, name: &str, gpus: &str) {
        let grpc = self.address();
        self.spawn(name, &["agent", "--controller", &grpc, "--name", name, "--gpus", gpus, "--cpus", "96"]);
    }

    /// A client, as soon as somebody answers.
    pub(crate) async fn client(&mut self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address())).unwrap();
        let connected = async {
            loop {
                if let Ok(channel) = endpoint.connect().await {
                    return Ok::<_, Status>(Client::new(channel));
                }
                sleep(GLANCE).await;
            }
        };
        self.within("a connection to the controller", connected).await
    }

    /// A client, once so many nodes are up.
    pub(crate) async fn ready(&mut self, nodes: usize) -> Client {
        let client = self.client().await;
        let up = |node: &v1::Node| node.contact() == v1::NodeContact::Up;
        let all =
            |cluster: &v1::ClusterResponse| cluster.nodes.iter().filter(|node| up(node)).count() == nodes;
        self.once(&client, &format!("{nodes} nodes that are up"), all).await;
        client
    }

    /// The cluster, and when it was seen, once it is as `wanted`.
    pub(crate) async fn once(
        &mut self,
        client: &Client,
        what: &str,
        wanted: impl Fn(&v1::ClusterResponse) -> bool,
    ) -> (v1::ClusterResponse, Instant) {
        let mut client = client.clone();
        let seen = async {
            loop {
                let cluster = client.cluster(v1::ClusterRequest {}).await?.into_inner();
                if wanted(&cluster) {
                    return Ok::<_, Status>((cluster, Instant::now()));
                }
                sleep(GLANCE).await;
            }
        };
        self.within(what, seen).await
    }

    /// What a rank says next.
    pub(crate) async fn said(&mut self) -> Said {
        match timeout(PATIENCE, self.words.recv()).await {
            Ok(Some(said)) => said,
            Ok(None) => self.give_up("a rank's word: nobody listens any more"),
            Err(_) => self.give_up("a rank's word"),
        }
    }

    /// The words of all ranks of one attempt; words of others are passed over.
    pub(crate) async fn said_by_all(&mut self, job: u64, attempt: u32, ranks: u32) -> Vec<Said> {
        let mut said: Vec<Said> = Vec::new();
        while said.len() < ranks as usize {
            let word = self.said().await;
            if (word.job, word.attempt) == (job, attempt) {
                said.push(word);
            }
        }
        said
    }

    pub(crate) async fn submit(&mut self, client: &Client, submission: v1::Submission) -> u64 {
        let mut client = client.clone();
        let request = v1::SubmitRequest { submission: Some(submission), idempotency_key: String::new() };
        self.within("an answer to a submission", client.submit(request)).await.into_inner().job
    }

    /// Waits for the end of a job.
    pub(crate) async fn ended(&mut self, client: &Client, job: u64) {
        let mut client = client.clone();
        let watched = async {
            let mut changes = client.watch(v1::WatchRequest { jobs: vec![job] }).await?.into_inner();
            while changes.message().await?.is_some() {}
            Ok::<_, Status>(())
        };
        self.within(&format!("the end of job {job}"), watched).await;
    }

    /// Ends every job, so that no process of one is left when the cluster is gone.
    pub(crate) async fn clear(&mut self, client: &Client) {
        let mut caller = client.clone();
        let cancelled = async {
            let mut pages = caller.list(v1::ListRequest::default()).await?.into_inner();
            let mut jobs = Vec::new();
            while let Some(page) = pages.message().await? {
                jobs.extend(page.jobs.iter().map(|job| job.id));
            }
            caller.cancel(v1::JobsRequest { jobs }).await
        };
        self.within("an answer to a cancellation", cancelled).await;
        let empty = |cluster: &v1::ClusterResponse| cluster.nodes.iter().all(|node| node.jobs.is_empty());
        self.once(client, "nodes without jobs", empty).await;
    }

    /// What comes of waiting for something that has to come, and to be well.
    pub(crate) async fn within<T, E: Display>(
        &mut self,
        what: &str,
        waiting: impl Future<Output = Result<T, E>>,
    ) -> T {
        match timeout(PATIENCE, waiting).await {
            Ok(Ok(value)) => value,
            Ok(Err(error)) => self.give_up(&format!("{what}: {error}")),
            Err(_) => self.give_up(what),
        }
    }

    /// Ends the benchmark: what was waited for, and what every process said.
    pub(crate) fn give_up(&mut self, what: &str) -> ! {
        let mut account = format!("waited {PATIENCE:?} at most for {what}");
        for place in 0..self.processes.len() {
            let Process { name, child } = &mut self.processes[place];
            let state = match child.try_wait() {
                Ok(None) => "runs".to_owned(),
                Ok(Some(status)) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let name = name.clone();
            let log = fs::read_to_string(self.log(&name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            account.push_str(&format!("\n--- {name}: {state}\n{shown}"));
        }
        panic!("{account}");
    }

    /// Sends a signal to a process of the cluster itself.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        let process = self.processes.iter().find(|process| process.name == name).unwrap();
        kill(process.child.id() as i32, signal);
    }

    /// Resident memory of a process, in MiB.
    pub(crate) fn resident(&self, name: &str) -> f64 {
        let status = self.proc(name, "status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }

    /// Processor seconds that a process and its children that are gone have used.
    pub(crate) fn processor_seconds(&self, name: &str) -> f64 {
        let stat = self.proc(name, "stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11..15].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }

    fn proc(&self, name: &str, file: &str) -> String {
        let process = self.processes.iter().find(|process| process.name == name).unwrap();
        fs::read_to_string(format!("/proc/{}/{file}", process.child.id())).unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for Process { child, .. } in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends a signal to a process that lives.
pub(crate) fn kill(process: i32, signal: Signal) {
    kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
}

/// Hears what ranks say for as long as somebody wants to know.
fn listen(fifo: &Path, sender: &mpsc::Sender<Said>) {
    // Open for writing too, so that the end of one writer is not the end of all.
    let file = File::options().read(true).write(true).open(fifo).unwrap();
    for line in BufReader::new(file).lines() {
        let (line, at) = (line.unwrap(), Instant::now());
        let words: Vec<&str> = line.split(' ').collect();
        let [job, attempt, restarts, process, node, checkpoint] = words[..] else {
            panic!("no rank says {line:?}")
        };
        let said = Said {
            job: job.parse().unwrap(),
            attempt: attempt.parse().unwrap(),
            restarts: restarts.parse().unwrap(),
            process: process.parse().unwrap(),
            node: node.to_owned(),
            checkpoint: checkpoint.to_owned(),
            at,
        };
        if sender.blocking_send(said).is_err() {
            return;
        }
    }
}
