//! How soon work starts, and how much of it in a second.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;
use tonic::Status;
use zenith_proto::v1;

use crate::cluster::{Client, Cluster, PATIENCE, SAY};

/// Connections over which jobs are submitted at the same time.
const CALLERS: u64 = 16;

/// Work whose ranks say that they are there, and then go on with `then`.
pub(crate) fn saying(cluster: &Cluster, gpus: u32, before: &str, then: &str) -> v1::Submission {
    let fifo = cluster.path("fifo").to_str().unwrap().to_owned();
    let script = format!("{before}{SAY}{then}");
    let command = ["/bin/sh", "-c", &script, &fifo].map(str::to_owned).to_vec();
    let resources = v1::Resources { gpus: Some(gpus), ..v1::Resources::default() };
    v1::Submission { resources: Some(resources), command, ..v1::Submission::default() }
}

/// From the start of a scheduler that has never run here to the first output of its first job, in milliseconds.
pub(crate) async fn cold(rounds: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut cluster = Cluster::prepare();
        let begin = Instant::now();
        cluster.embedded("1");
        let client = cluster.client().await;
        let work = saying(&cluster, 1, "", "");
        let job = cluster.submit(&client, work).await;
        let said = cluster.said().await;
        times.push((said.at - begin).as_secs_f64() * 1e3);
        cluster.ended(&client, job).await;
    }
    times.sort_by(f64::total_cmp);
    times
}

/// From the call to the last of a gang's ranks being there, in milliseconds, one gang after the other.
pub(crate) async fn latency(cluster: &mut Cluster, client: &Client, gpus: u32, rounds: usize) -> Vec<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let work = saying(cluster, gpus, "", "");
        let begin = Instant::now();
        let job = cluster.submit(client, work).await;
        let said = cluster.said_by_all(job, 1, gpus).await;
        let last = said.iter().map(|said| said.at).max().unwrap();
        times.push((last - begin).as_secs_f64() * 1e3);
        cluster.ended(client, job).await;
    }
    times.sort_by(f64::total_cmp);
    times
}

/// The same gangs, and between them shells that are executed by nobody but us: the least that such a gang can cost here. Both in
/// milliseconds, and how much longer each gang took than the shells after it.
pub(crate) async fn beside_bare(
    cluster: &mut Cluster,
    client: &Client,
    ranks: u32,
    rounds: usize,
) -> [Vec<f64>; 3] {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let gang = latency(cluster, client, ranks, 1).await[0];
        let bare = bare(cluster, ranks).await;
        times[0].push(gang);
        times[1].push(bare);
        times[2].push(gang / bare);
    }
    times.each_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        std::mem::take(times)
    })
}

/// From the first call to execute to the last of the shells being there: a thread for each processor executes its part of them one
/// after the other.
async fn bare(cluster: &mut Cluster, ranks: u32) -> f64 {
    /// No job has this number.
    const NOBODY: u64 = 0;
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u32);
    let begin = Instant::now();
    let executing: Vec<_> = (0..threads)
        .map(|thread| {
            let fifo = cluster.path("fifo");
            std::thread::spawn(move || {
                let shell = || {
                    let mut command = Command::new("/bin/sh");
                    command.args(["-c", SAY]).arg(&fifo).stdin(Stdio::null());
                    command.env("ZENITH_JOB_ID", NOBODY.to_string()).env("ZENITH_ATTEMPT", "1");
                    command.env("ZENITH_RESTART_COUNT", "0").env("ZENITH_NODE_NAME", "none");
                    command.env("ZENITH_CHECKPOINT_DIR", "none").spawn().unwrap()
                };
                let shells: Vec<Child> = (thread..ranks).step_by(threads as usize).map(|_| shell()).collect();
                shells.into_iter().for_each(|mut shell| assert!(shell.wait().unwrap().success()));
            })
        })
        .collect();
    let said = cluster.said_by_all(NOBODY, 1, ranks).await;
    let last = said.iter().map(|said| said.at).max().unwrap();
    executing.into_iter().for_each(|thread| thread.join().unwrap());
    (last - begin).as_secs_f64() * 1e3
}

/// Jobs submitted one by one over several connections and run to their end, a second.
pub(crate) async fn sustained(cluster: &mut Cluster, client: &Client, jobs: u64) -> f64 {
    let before = completed(cluster, client).await;
    let mut clients = Vec::new();
    for _ in 0..CALLERS {
        clients.push(cluster.client().await);
    }
    let begin = Instant::now();
    let callers: Vec<_> =
        clients.into_iter().map(|client| tokio::spawn(submit_many(client, jobs / CALLERS))).collect();
    let (mut seen, mut since) = (before, Instant::now());
    while seen < before + jobs {
        sleep(Duration::from_millis(20)).await;
        let now = completed(cluster, client).await;
        if now > seen {
            (seen, since) = (now, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            cluster.give_up(&format!("one more job to complete than {} of {jobs}", seen - before));
        }
    }
    let rate = jobs as f64 / begin.elapsed().as_secs_f64();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    rate
}

async fn submit_many(mut client: Client, jobs: u64) -> Result<(), Status> {
    let resources = v1::Resources { gpus: Some(0), cpus: 1, ..v1::Resources::default() };
    for _ in 0..jobs {
        let command = vec!["/bin/true".to_owned()];
        let submission = v1::Submission { resources: Some(resources), command, ..v1::Submission::default() };
        let request = v1::SubmitRequest { submission: Some(submission), idempotency_key: String::new() };
        client.submit(request).await?;
    }
    Ok(())
}

/// How many jobs have completed; none has ended otherwise.
async fn completed(cluster: &mut Cluster, client: &Client) -> u64 {
    let mut client = client.clone();
    let answer =
        cluster.within("the counts of jobs", client.cluster(v1::ClusterRequest {})).await.into_inner();
    let jobs =
        |state| answer.counts.iter().filter(|count| count.state() == state).map(|count| count.jobs).sum();
    let failed: u64 = jobs(v1::JobState::Failed);
    if failed > 0 {
        cluster.give_up(&format!("all jobs to complete; {failed} have failed"));
    }
    jobs(v1::JobState::Completed)
}
