//! How long the list of a long queue takes, as a program has it and as the command prints it; and how long the command takes to
//! simulate recorded work.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tonic::Status;
use zenith_proto::v1;

use crate::cluster::{Client, Cluster, PATIENCE};

/// How often it is looked whether a command has ended.
const GLANCE: Duration = Duration::from_micros(200);

/// Fills the queue with work that fits nowhere.
pub(crate) async fn fill(cluster: &mut Cluster, client: &Client, jobs: u32) {
    let resources = v1::Resources { gpus: Some(64), ..v1::Resources::default() };
    let command = vec!["/bin/true".to_owned()];
    let array =
        v1::Submission { resources: Some(resources), command, count: jobs, ..v1::Submission::default() };
    cluster.submit(client, array).await;
}

/// Milliseconds for the whole list, as a client has it.
pub(crate) async fn listing(cluster: &mut Cluster, client: &Client, jobs: usize, rounds: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut client = client.clone();
        let begin = Instant::now();
        let request =
            v1::ListRequest { states: vec![v1::JobState::Queued.into()], ..v1::ListRequest::default() };
        let listed = async {
            let mut pages = client.list(request).await?.into_inner();
            let mut seen = 0;
            while let Some(page) = pages.message().await? {
                seen += page.jobs.len();
            }
            Ok::<_, Status>(seen)
        };
        let seen = cluster.within("the list of a long queue", listed).await;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
        assert_eq!(seen, jobs);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Milliseconds for `zenith job ls` from its start to its end.
pub(crate) async fn printing(cluster: &mut Cluster, zenith: &Path, jobs: usize, rounds: usize) -> Vec<f64> {
    let (address, printed) = (cluster.address(), cluster.path("printed"));
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut command = Command::new(zenith);
        command.args(["job", "ls", "--controller", &address]);
        times.push(timed(cluster, &mut command, &printed).await);
        let lines = BufReader::new(File::open(&printed).unwrap()).lines().count();
        assert_eq!(lines, jobs + 1, "a line for each job, and the head");
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Milliseconds for `zenith cluster simulate` of a trace from its start to its end: with the policy that is the default, and
/// with all of them.
pub(crate) async fn simulating(zenith: &Path, trace: &Path, policies: &[&str], rounds: usize) -> Vec<f64> {
    let mut cluster = Cluster::prepare();
    let printed = cluster.path("printed");
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut command = Command::new(zenith);
        command.args(["cluster", "simulate"]).arg(trace).args(policies);
        times.push(timed(&mut cluster, &mut command, &printed).await);
        assert!(File::open(&printed).unwrap().metadata().unwrap().len() > 0);
    }
    times.sort_by(f64::total_cmp);
    times
}

/// Milliseconds that a command takes whose output goes to a file.
async fn timed(cluster: &mut Cluster, command: &mut Command, printed: &Path) -> f64 {
    let out = File::create(printed).unwrap();
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(out).spawn().unwrap();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            let took = begin.elapsed();
            assert!(status.success(), "{command:?}: {status}");
            return took.as_secs_f64() * 1e3;
        }
        if begin.elapsed() > PATIENCE {
            let _ = child.kill();
            cluster.give_up(&format!("the end of {command:?}"));
        }
        sleep(GLANCE).await;
    }
}

/// The command, which lies beside the scheduler.
pub(crate) fn command() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_zenith-scheduler")).with_file_name("zenith");
    assert!(path.exists(), "{} is missing: cargo build --release -p zenith-cli", path.display());
    path
}
