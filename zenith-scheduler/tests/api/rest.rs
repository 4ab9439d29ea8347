//! REST beyond what it shares with gRPC: paging, health, metrics, the description.

use std::collections::BTreeSet;

use zenith_proto::v1;
use zenith_scheduler::api::Api;
use zenith_scheduler::api::auth::Auth;
use zenith_scheduler::api::server::{Entrance, serve_rest};
use zenith_scheduler::controller::{self, Settings};

use crate::http;
use crate::server::{Server, State, submitting, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_lead_from_one_to_the_next() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    client.submit(submitting(v1::Submission { count: 25, ..work(1) })).await.unwrap();
    for (order, by) in [("false", "after"), ("true", "before")] {
        let mut ids = Vec::new();
        let mut query = format!("newest_first={order}&limit=10");
        loop {
            let page = http::get(server.rest, &format!("/v1/jobs?{query}")).await.json();
            ids.extend(page["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()));
            let Some(next) = page["next"].as_u64() else { break };
            query = format!("newest_first={order}&limit=10&{by}={next}");
        }
        let mut expected: Vec<u64> = (1..=25).collect();
        if order == "true" {
            expected.reverse();
        }
        assert_eq!(ids, expected);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_are_told() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    client.submit(submitting(v1::Submission { count: 4, ..work(1) })).await.unwrap();
    assert_eq!(http::get(server.rest, "/healthz").await.body, "healthy\n");
    assert_eq!(http::get(server.rest, "/readyz").await.body, "ready\n");
    let metrics = http::get(server.rest, "/metrics").await;
    assert!(metrics.has("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", metrics.head);
    let mut names = BTreeSet::new();
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(names.insert(sample.to_owned()), "{sample} comes twice");
    }
    for line in ["zenith_jobs{state=\"queued\"} 4", "zenith_queue_depth 4", "zenith_jobs_submitted_total 4"] {
        assert!(metrics.body.lines().any(|found| found == line), "{line} in {}", metrics.body);
    }
    assert!(!metrics.body.contains("zenith_commit_seconds_count 0\n"), "something was written");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_names_every_path_and_its_refusals() {
    let state = State::new();
    let server = Server::start(&state).await;
    let description = http::get(server.rest, "/openapi.json").await.json();
    assert_eq!(description["openapi"].as_str().unwrap().split('.').next_back(), Some("0"));
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = description["paths"].as_object().unwrap();
    let expected = [
        "/healthz",
        "/metrics",
        "/readyz",
        "/v1/cluster",
        "/v1/events",
        "/v1/jobs",
        "/v1/jobs/{id}",
        "/v1/jobs/{id}/hold",
        "/v1/jobs/{id}/logs",
        "/v1/jobs/{id}/release",
        "/v1/jobs/{id}/requeue",
        "/v1/jobs/{id}/signal",
        "/v1/jobs/{id}/why",
        "/v1/nodes",
        "/v1/nodes/{name}/drain",
        "/v1/nodes/{name}/resume",
        "/v1/queues/{name}",
        "/v1/users/{name}",
    ];
    assert_eq!(paths.keys().map(String::as_str).collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    let refusal = &description["paths"]["/v1/jobs"]["post"]["responses"]["422"];
    let schema = &refusal["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(schema, "#/components/schemas/Refusal");
    assert!(description["components"]["schemas"]["Refusal"].is_object());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_tells_that_the_controller_has_died() {
    let state = State::new();
    let settings = Settings { room: 0, ..Settings::default() };
    let (handle, _running) = controller::start(&state.path().join("scheduler.redb"), settings).unwrap();
    let (api, _close) = Api::new(handle.clone(), Auth::new(state.tokens()));
    let entrance = Entrance::open("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = entrance.address();
    tokio::spawn(serve_rest(api, entrance));
    assert_eq!(http::get(address, "/healthz").await.status, 200);
    handle.call::<()>(|_| panic!("a fault that the test makes")).await.unwrap_err();
    handle.ended().await;
    for path in ["/healthz", "/readyz"] {
        let answer = http::get(address, path).await;
        assert_eq!((answer.status, answer.refusal().as_str()), (503, "stopping"), "{path}");
    }
}
