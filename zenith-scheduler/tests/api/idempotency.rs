//! A call that may be repeated, whatever happens in between.

use zenith_proto::v1;

use crate::http;
use crate::server::{Server, State, list, work};

fn keyed(key: &str) -> v1::SubmitRequest {
    let submission = v1::Submission { count: 3, ..work(1) };
    v1::SubmitRequest { submission: Some(submission), idempotency_key: key.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_the_same_work_over_a_restart() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let first = client.submit(keyed("k")).await.unwrap().into_inner();
    assert!(!first.known);
    let again = client.submit(keyed("k")).await.unwrap().into_inner();
    assert_eq!((again.job, again.count, again.known), (first.job, 3, true));
    let other = client.submit(keyed("other")).await.unwrap().into_inner();
    assert_ne!(other.job, first.job);
    server.stop().await;

    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let again = client.submit(keyed("k")).await.unwrap().into_inner();
    assert_eq!((again.job, again.count, again.known), (first.job, 3, true));
    let headers = ["Content-Type: application/json", "Idempotency-Key: k"];
    let same = r#"{"name": "work", "resources": {"gpus": 1}, "command": ["train", "--fast"], "count": 3}"#;
    let rest = http::call(server.rest, "POST /v1/jobs", &headers, same).await;
    assert_eq!((rest.status, rest.json()["job"].as_u64()), (200, Some(first.job)));
    let other = r#"{"resources": {"gpus": 1}, "command": ["x"]}"#;
    let rest = http::call(server.rest, "POST /v1/jobs", &headers, other).await;
    assert_eq!((rest.status, rest.refusal().as_str()), (409, "key_reused"));
    assert_eq!(list(&mut client).await.len(), 6);
    server.stop().await;
}
