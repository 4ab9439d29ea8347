//! Watching shows what listing shows.

use std::collections::BTreeMap;

use tokio::time::timeout;
use zenith_proto::v1;
use zenith_proto::v1::JobState;

use crate::agent::{Agent, register};
use crate::http;
use crate::server::{PATIENCE, Server, State, list, submitting, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_watched_adds_up_to_what_is_listed() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    client.submit(submitting(v1::Submission { count: 1500, held: true, ..work(1) })).await.unwrap();
    let mut watch = client.watch(v1::WatchRequest { jobs: Vec::new() }).await.unwrap().into_inner();
    let watcher = tokio::spawn(async move {
        let mut seen: BTreeMap<u64, v1::Job> = BTreeMap::new();
        while seen.get(&3000).is_none_or(|job| job.state() != JobState::Cancelled) {
            let message = timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap();
            assert!(message.jobs.len() <= 1000, "a page is a page");
            seen.extend(message.jobs.into_iter().map(|job| (job.id, job)));
        }
        seen
    });
    let mut node = Agent::join(server.grpc, register("a", 4, &[])).await;
    client.submit(submitting(v1::Submission { count: 1500, ..work(1) })).await.unwrap();
    client.release(v1::JobsRequest { jobs: (1..=20).collect() }).await.unwrap();
    for _ in 0..40 {
        let start = node.start().await;
        node.run_quietly(&start).await;
    }
    client.cancel(v1::JobsRequest { jobs: (1000..3000).collect() }).await.unwrap();
    // The last change, by which the watcher knows that it has seen all.
    client.cancel(v1::JobsRequest { jobs: vec![3000] }).await.unwrap();
    drop(node);
    let seen = watcher.await.unwrap();
    let listed: BTreeMap<u64, v1::Job> =
        list(&mut client).await.into_iter().map(|job| (job.id, job)).collect();
    let is_over = |job: &v1::Job| job.state() == JobState::Cancelled || job.state() == JobState::Completed;
    assert_eq!(seen.len(), listed.len());
    for (id, job) in listed.iter().filter(|(_, job)| is_over(job)) {
        assert_eq!(seen.get(id), Some(job));
    }
    assert!(listed.values().filter(|job| is_over(job)).count() > 2000);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_of_named_jobs_ends_with_them() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    client.submit(submitting(v1::Submission { count: 3, ..work(1) })).await.unwrap();
    let mut watch = client.watch(v1::WatchRequest { jobs: vec![1, 2] }).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    let states: Vec<(u64, JobState)> = first.jobs.iter().map(|job| (job.id, job.state())).collect();
    assert_eq!(states, [(1, JobState::Queued), (2, JobState::Queued)]);
    client.cancel(v1::JobsRequest { jobs: vec![3, 1, 2] }).await.unwrap();
    let mut cancelled = Vec::new();
    while let Some(message) = timeout(PATIENCE, watch.message()).await.unwrap().unwrap() {
        cancelled.extend(message.jobs.into_iter().map(|job| job.id));
    }
    assert_eq!(cancelled, [1, 2], "nobody asked for the third");
    let missing = client.watch(v1::WatchRequest { jobs: vec![1, 99] }).await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_the_same_over_rest() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    client.submit(submitting(work(1))).await.unwrap();
    let address = server.rest;
    let events = tokio::spawn(async move { http::get(address, "/v1/events?job=1").await });
    client.cancel(v1::JobsRequest { jobs: vec![1] }).await.unwrap();
    let answer = events.await.unwrap();
    assert_eq!(answer.status, 200);
    let last = answer.body.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().unwrap();
    let job: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((job["id"].as_u64(), job["state"].as_str()), (Some(1), Some("cancelled")));
    server.stop().await;
}
