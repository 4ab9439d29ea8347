//! Every door refuses the same, with the same word and a hint.

use tonic::Code;
use zenith_proto::v1;

use crate::http;
use crate::server::{Server, State, refusal_in, submitting, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_carries_the_refusal() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let refused = [
        (v1::Submission { command: Vec::new(), ..work(1) }, "invalid"),
        (v1::Submission { queue: "nowhere".to_owned(), ..work(1) }, "no_such_queue"),
        (v1::Submission { count: 2_000_000, ..work(1) }, "bad_count"),
        (v1::Submission { resources: None, ..work(1) }, "bad_request"),
    ];
    for (submission, code) in refused {
        let status = client.submit(submitting(submission)).await.unwrap_err();
        assert_eq!((status.code(), refusal_in(&status).code.as_str()), (Code::InvalidArgument, code));
    }
    let unknown = v1::Submission { after: vec![v1::Dependency { job: 9, completed: true }], ..work(1) };
    let status = client.submit(submitting(unknown)).await.unwrap_err();
    assert_eq!((status.code(), refusal_in(&status).code.as_str()), (Code::NotFound, "no_such_job"));

    let job = client.submit(submitting(work(1))).await.unwrap().into_inner().job;
    let outcomes =
        client.release(v1::JobsRequest { jobs: vec![job, 77] }).await.unwrap().into_inner().outcomes;
    let words: Vec<Option<&str>> = outcomes
        .iter()
        .map(|outcome| outcome.refusal.as_ref().map(|refusal| refusal.code.as_str()))
        .collect();
    assert_eq!(words, [Some("forbidden_transition"), Some("no_such_job")]);
    for (job, number, code, word) in [
        (job, 10, Code::FailedPrecondition, "not_running"),
        (job, 0, Code::InvalidArgument, "invalid"),
        (77, 10, Code::NotFound, "no_such_job"),
    ] {
        let status = client.signal(v1::SignalRequest { job, number }).await.unwrap_err();
        assert_eq!((status.code(), refusal_in(&status).code.as_str()), (code, word));
    }
    let status = client.logs(v1::LogsRequest { job, ..Default::default() }).await.unwrap_err();
    assert_eq!(refusal_in(&status).code, "no_logs");
    let status = client.drain(v1::DrainRequest { node: "x".to_owned(), drained: true }).await.unwrap_err();
    assert_eq!(refusal_in(&status).code, "no_such_node");
    let settings = Some(v1::QueueSettings { guarantee: 5, limit: Some(2), weight: 1.0 });
    let status = client.set_queue(v1::SetQueueRequest { name: "q".to_owned(), settings }).await.unwrap_err();
    assert_eq!(refusal_in(&status).code, "bad_settings");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rest_says_it_in_the_same_body_everywhere() {
    let state = State::new();
    let server = Server::start(&state).await;
    let at = server.rest;
    let json = "Content-Type: application/json";
    let good = r#"{"resources": {"gpus": 1}, "command": ["x"]}"#;
    assert_eq!(http::post(at, "/v1/jobs", good).await.status, 201);
    let whole = r#"{"resources": {"gpus": 1.0, "nodes_min": null}, "command": ["x"]}"#;
    assert_eq!(http::post(at, "/v1/jobs", whole).await.status, 201, "1.0 is a whole number, null is nothing");
    let cases = [
        ("POST /v1/jobs", json, "{", 400, "malformed"),
        ("POST /v1/jobs", json, r#"{"command": ["x"]}"#, 400, "malformed"),
        ("POST /v1/jobs", json, r#"{"resources": {}, "command": ["x"], "more": 1}"#, 400, "malformed"),
        ("POST /v1/jobs", "Content-Type: text/plain", good, 415, "not_json"),
        ("POST /v1/jobs", "X-None: 1", good, 415, "not_json"),
        ("POST /v1/jobs", json, r#"{"resources": {}, "command": ["x"]}"#, 422, "bad_request"),
        ("POST /v1/jobs", json, r#"{"resources": {"gpus": 1}, "command": []}"#, 422, "invalid"),
        ("POST /v1/jobs/1/release", json, "", 409, "forbidden_transition"),
        ("POST /v1/jobs/1/signal", json, r#"{"number": 10}"#, 409, "not_running"),
        ("POST /v1/jobs/1/signal", json, r#"{"number": 32}"#, 422, "invalid"),
        ("POST /v1/jobs/1/signal", json, r#"{"number": "USR1"}"#, 400, "malformed"),
        ("POST /v1/jobs/3/signal", json, r#"{"number": 10}"#, 404, "no_such_job"),
        ("GET /v1/jobs/3", json, "", 404, "no_such_job"),
        ("GET /v1/jobs/x", json, "", 400, "malformed"),
        ("GET /v1/jobs/-1", json, "", 400, "malformed"),
        ("GET /v1/jobs?limit=0", json, "", 422, "invalid"),
        ("GET /v1/jobs?after=9007199254740992", json, "", 422, "invalid"),
        ("PUT /v1/queues/q", json, r#"{"weight": 1000001}"#, 422, "invalid"),
        ("GET /v1/jobs?limit=x", json, "", 400, "malformed"),
        ("GET /v1/jobs?state=dead", json, "", 400, "malformed"),
        ("GET /v1/jobs?colour=red", json, "", 400, "malformed"),
        ("GET /v1/jobs/1/logs", json, "", 404, "no_logs"),
        ("POST /v1/nodes/x/drain", json, "", 404, "no_such_node"),
        ("PUT /v1/queues/a%20b", json, "{}", 422, "invalid"),
        ("PUT /v1/queues/q", json, r#"{"guarantee": 2, "limit": 1}"#, 422, "bad_settings"),
        ("PUT /v1/queues/q", json, r#"{"weight": 0}"#, 422, "invalid"),
        ("PUT /v1/users/u", json, r#"{"weight": 0.0}"#, 422, "invalid"),
        ("PUT /v1/users/u", json, r#"{"limit": 2.5}"#, 400, "malformed"),
        ("GET /nothing", json, "", 404, "no_such_path"),
        ("PATCH /v1/jobs", json, "", 405, "no_such_method"),
    ];
    for (start, header, body, status, code) in cases {
        let answer = http::call(at, start, &[header], body).await;
        assert_eq!(
            (answer.status, answer.refusal().as_str()),
            (status, code),
            "{start} {body}: {}",
            answer.body
        );
    }
    let answer = http::call(at, "PATCH /v1/jobs", &[], "").await;
    let allow = answer.head.lines().find(|line| line.to_lowercase().starts_with("allow:")).unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    let large = format!(r#"{{"resources": {{"gpus": 1}}, "command": ["{}"]}}"#, "x".repeat(5 << 20));
    let answer = http::post(at, "/v1/jobs", &large).await;
    assert_eq!((answer.status, answer.refusal().as_str()), (413, "too_large"));
    server.stop().await;
}
