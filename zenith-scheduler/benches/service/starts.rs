//! How soon work starts, and how much of it in a second.

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
