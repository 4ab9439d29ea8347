//! What a running scheduler takes: from nothing to a job's first output, from a submission to the first instruction of its
//! rank, launches without a pause, memory at rest, a list of a long queue. Whole processes of the release build, as a user has
//! them; prints one JSON object. `cargo bench -p zenith-scheduler --bench service`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports, and stops where it cannot go on"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

type Client = SchedulerServiceClient<Channel>;

/// The processes of one cluster, in a folder of its own.
struct Cluster {
    folder: tempfile::TempDir,
    processes: Vec<Child>,
    port: u16,
    lines: mpsc::Receiver<(String, Instant)>,
}

impl Cluster {
    /// A controller that listens to nobody yet.
    fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let fifo = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // Open for writing too, so that the end of one writer is not the end of all.
            let file = File::options().read(true).write(true).open(fifo).unwrap();
            for line in BufReader::new(file).lines() {
                let _ = sender.send((line.unwrap(), Instant::now()));
            }
        });
        Self { folder, processes: Vec::new(), port, lines }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&mut self, log: &str, arguments: &[&str]) {
        let log = File::create(self.path(&format!("{log}.log"))).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_zenith-scheduler"));
        command.args(arguments).env("RUST_LOG", "warn").env("XDG_DATA_HOME", self.folder.path());
        self.processes.push(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// The embedded default: a controller with an agent in it.
    fn embedded(&mut self, gpus: &str) {
        let (grpc, state) = (format!("127.0.0.1:{}", self.port), self.path("state"));
        let state = state.to_str().unwrap().to_owned();
        self.spawn(
            "all",
            &["--grpc", &grpc, "--rest", "127.0.0.1:0", "--gpus", gpus, "--cpus", "64", "--state", &state],
        );
    }

    fn controller(&mut self) {
        let (grpc, state) = (format!("127.0.0.1:{}", self.port), self.path("state"));
        let state = state.to_str().unwrap().to_owned();
        self.spawn(
            "controller",
            &["--no-agent", "--grpc", &grpc, "--rest", "127.0.0.1:0", "--state", &state],
        );
    }

    fn agent(&mut self, name: &str, gpus: &str) {
        let (grpc, state) = (format!("127.0.0.1:{}", self.port), self.path(name));
        let state = state.to_str().unwrap().to_owned();
        self.spawn(
            name,
            &[
                "agent",
                "--controller",
                &grpc,
                "--name",
                name,
                "--gpus",
                gpus,
                "--cpus",
                "96",
                "--state",
                &state,
            ],
        );
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{}", self.port)).unwrap();
        loop {
            if let Ok(channel) = endpoint.connect().await {
                return Client::new(channel);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// A client, once so many nodes are up.
    async fn ready(&self, nodes: usize) -> Client {
        let mut client = self.client().await;
        loop {
            let cluster = client.cluster(v1::ClusterRequest {}).await.unwrap().into_inner();
            if cluster.nodes.iter().filter(|node| node.contact() == v1::NodeContact::Up).count() == nodes {
                return client;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Work whose ranks say that they are there.
    fn saying(&self, gpus: u32) -> v1::Submission {
        let fifo = self.path("fifo").to_str().unwrap().to_owned();
        let command = ["/bin/sh", "-c", "echo $ZENITH_JOB_ID > \"$0\"", &fifo].map(str::to_owned).to_vec();
        let resources = v1::Resources { gpus: Some(gpus), ..v1::Resources::default() };
        v1::Submission { resources: Some(resources), command, ..v1::Submission::default() }
    }

    /// Resident memory of a process, in MiB.
    fn resident(&self, process: usize) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.processes[process].id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

async fn submit(client: &mut Client, submission: v1::Submission) -> u64 {
    let request = v1::SubmitRequest { submission: Some(submission), idempotency_key: String::new() };
    client.submit(request).await.unwrap().into_inner().job
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// From the start of a scheduler that has never run here to the first output of its first job, in milliseconds.
async fn cold(rounds: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut cluster = Cluster::prepare();
        let begin = Instant::now();
        cluster.embedded("1");
        let mut client = cluster.client().await;
        submit(&mut client, cluster.saying(1)).await;
        let (_, at) = cluster.lines.recv_timeout(Duration::from_secs(30)).unwrap();
        times.push((at - begin).as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// From the call to the last of a gang's ranks being there, in milliseconds, one gang after the other.
async fn latency(cluster: &Cluster, client: &mut Client, gpus: u32, rounds: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        let job = submit(client, cluster.saying(gpus)).await;
        let mut last = begin;
        for _ in 0..gpus {
            let (line, at) = cluster.lines.recv_timeout(Duration::from_secs(30)).unwrap();
            assert_eq!(line, job.to_string());
            last = at;
        }
        times.push((last - begin).as_secs_f64() * 1e3);
        let mut watch = client.watch(v1::WatchRequest { jobs: vec![job] }).await.unwrap().into_inner();
        while watch.message().await.unwrap().is_some() {}
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Jobs submitted one by one over several connections and run to their end, a second.
async fn sustained(cluster: &Cluster, jobs: u64) -> f64 {
    const CALLERS: u64 = 16;
    let begin = Instant::now();
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut client = cluster.client().await;
        callers.push(tokio::spawn(async move {
            let resources = v1::Resources { gpus: Some(0), cpus: 1, ..v1::Resources::default() };
            for _ in 0..jobs / CALLERS {
                let command = vec!["/bin/true".to_owned()];
                let submission =
                    v1::Submission { resources: Some(resources), command, ..v1::Submission::default() };
                submit(&mut client, submission).await;
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let mut client = cluster.client().await;
    loop {
        let answer = client.cluster(v1::ClusterRequest {}).await.unwrap().into_inner();
        let open = answer.counts.iter().filter(|count| count.state() != v1::JobState::Completed);
        if open.map(|count| count.jobs).sum::<u64>() == 0 {
            return jobs as f64 / begin.elapsed().as_secs_f64();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Milliseconds for the whole list of a long queue, as a client has it.
async fn listing(client: &mut Client, jobs: u32, rounds: usize) -> Vec<f64> {
    let resources = v1::Resources { gpus: Some(64), gpus_per_node: None, ..v1::Resources::default() };
    let command = vec!["/bin/true".to_owned()];
    let array =
        v1::Submission { resources: Some(resources), command, count: jobs, ..v1::Submission::default() };
    submit(client, array).await;
    let mut times = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        let request =
            v1::ListRequest { states: vec![v1::JobState::Queued.into()], ..v1::ListRequest::default() };
        let mut stream = client.list(request).await.unwrap().into_inner();
        let mut seen = 0;
        while let Some(page) = stream.message().await.unwrap() {
            seen += page.jobs.len();
        }
        assert_eq!(seen, jobs as usize);
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Processor seconds that a process and its children that are gone have used.
fn processor_seconds(process: &Child) -> f64 {
    let stat = fs::read_to_string(Path::new("/proc").join(process.id().to_string()).join("stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11..15].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo bench` and `cargo test --benches` hand over arguments that mean nothing here.
    let mut figures: BTreeMap<&str, f64> = BTreeMap::new();
    let cold = cold(5).await;
    figures.insert("cold start to first output, ms", quantile(&cold, 0.5));
    eprintln!("cold {cold:?}");

    let mut cluster = Cluster::prepare();
    cluster.controller();
    cluster.agent("alone", "8");
    let mut client = cluster.ready(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    figures.insert("controller at rest, MiB", cluster.resident(0));
    figures.insert("agent at rest, MiB", cluster.resident(1));
    let times = latency(&cluster, &mut client, 1, 300).await;
    figures.insert("submit to exec p50, ms", quantile(&times, 0.5));
    figures.insert("submit to exec p99, ms", quantile(&times, 0.99));
    let rate = sustained(&cluster, 10_000).await;
    figures.insert("launches a second over 10,000 jobs", rate);
    figures.insert("controller, processor seconds for them", processor_seconds(&cluster.processes[0]));
    figures.insert("agent, processor seconds for them", processor_seconds(&cluster.processes[1]));
    let times = listing(&mut client, 100_000, 7).await;
    figures.insert("list of 100,000 queued jobs, ms", quantile(&times, 0.5));
    figures.insert("controller with 100,000 queued jobs, MiB", cluster.resident(0));
    drop(cluster);

    let mut cluster = Cluster::prepare();
    cluster.controller();
    (0..4).for_each(|node| cluster.agent(&format!("n{node}"), "8"));
    let mut client = cluster.ready(4).await;
    let times = latency(&cluster, &mut client, 32, 60).await;
    figures.insert("gang of 4 nodes x 8 GPUs p50, ms", quantile(&times, 0.5));
    figures.insert("gang of 4 nodes x 8 GPUs p90, ms", quantile(&times, 0.9));
    println!("{}", serde_json::to_string_pretty(&figures).unwrap());
}
