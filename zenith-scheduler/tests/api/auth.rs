//! Who may do what.

use tonic::Code;
use zenith_proto::v1;
use zenith_scheduler::api::auth::Role;

use crate::agent::{Agent, register};
use crate::http;
use crate::server::{Server, State, by, refusal_in, submitting, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_somebody_elses_is_left_alone() {
    let state = State::new();
    let tokens = state.tokens();
    let ann = tokens.add("ann", Role::User).unwrap();
    let bob = tokens.add("bob", Role::User).unwrap();
    let boss = tokens.add("boss", Role::Admin).unwrap();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let secret = [("KEY".to_owned(), "hush".to_owned())].into();
    let hers = v1::Submission { environment: secret, ..work(1) };
    let job = client.submit(by(ann.reveal(), submitting(hers))).await.unwrap().into_inner().job;

    let get = |who: &str| by(who, v1::GetRequest { job });
    let seen = client.get(get(bob.reveal())).await.unwrap().into_inner().submission.unwrap();
    assert_eq!((seen.user.as_str(), seen.environment.len()), ("ann", 0), "all see it, but not its secrets");
    let seen = client.get(get(ann.reveal())).await.unwrap().into_inner().submission.unwrap();
    assert_eq!(seen.environment["KEY"], "hush");

    let cancel = |who: &str| by(who, v1::JobsRequest { jobs: vec![job] });
    let outcomes = client.cancel(cancel(bob.reveal())).await.unwrap().into_inner().outcomes;
    assert_eq!(outcomes[0].refusal.as_ref().unwrap().code, "not_yours");
    let status =
        client.logs(by(bob.reveal(), v1::LogsRequest { job, ..Default::default() })).await.unwrap_err();
    assert_eq!((status.code(), refusal_in(&status).code.as_str()), (Code::PermissionDenied, "not_yours"));
    let status = client.signal(by(bob.reveal(), v1::SignalRequest { job, number: 10 })).await.unwrap_err();
    assert_eq!((status.code(), refusal_in(&status).code.as_str()), (Code::PermissionDenied, "not_yours"));
    let as_ann = v1::Submission { user: "ann".to_owned(), ..work(1) };
    let status = client.submit(by(bob.reveal(), submitting(as_ann.clone()))).await.unwrap_err();
    assert_eq!(refusal_in(&status).code, "not_admin");
    let drain = v1::DrainRequest { node: "a".to_owned(), drained: true };
    let status = client.drain(by(bob.reveal(), drain)).await.unwrap_err();
    assert_eq!(refusal_in(&status).code, "not_admin");

    client.submit(by(boss.reveal(), submitting(as_ann))).await.unwrap();
    let outcomes = client.cancel(cancel(boss.reveal())).await.unwrap().into_inner().outcomes;
    assert_eq!(outcomes[0].refusal, None);
    let authorization = format!("Authorization: Bearer {}", bob.reveal());
    let answer = http::call(server.rest, "DELETE /v1/jobs/2", &[&authorization], "").await;
    assert_eq!((answer.status, answer.refusal().as_str()), (403, "not_yours"));
    let headers = [authorization.as_str(), "Content-Type: application/json"];
    let answer = http::call(server.rest, "POST /v1/jobs/2/signal", &headers, r#"{"number": 10}"#).await;
    assert_eq!((answer.status, answer.refusal().as_str()), (403, "not_yours"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_opens_its_own_door_only() {
    let state = State::new();
    let tokens = state.tokens();
    let ann = tokens.add("ann", Role::User).unwrap();
    let node = tokens.add("nodes", Role::Agent).unwrap();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let status = client.cluster(by(node.reveal(), v1::ClusterRequest {})).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = Agent::try_join(server.grpc, register("a", 1, &[]), Some(ann.reveal())).await.err().unwrap();
    assert_eq!((status.code(), refusal_in(&status).code.as_str()), (Code::PermissionDenied, "not_agent"));
    Agent::try_join(server.grpc, register("a", 1, &[]), Some(node.reveal())).await.unwrap();

    let status = client.cluster(by("zenith_wrong", v1::ClusterRequest {})).await.unwrap_err();
    assert_eq!(
        (status.code(), refusal_in(&status).code.as_str()),
        (Code::Unauthenticated, "unauthenticated")
    );
    assert!(!status.message().contains("wrong"), "a token is not repeated");
    let answer = http::call(server.rest, "GET /v1/jobs", &["Authorization: Bearer wrong"], "").await;
    assert_eq!((answer.status, answer.refusal().as_str()), (401, "unauthenticated"));
    assert!(answer.has("www-authenticate: Bearer"));
    tokens.remove("nodes").unwrap();
    let status =
        Agent::try_join(server.grpc, register("b", 1, &[]), Some(node.reveal())).await.err().unwrap();
    assert_eq!(status.code(), Code::Unauthenticated, "a token that was taken away opens nothing");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_taken_away_closes_what_it_opened() {
    let state = State::new();
    let tokens = state.tokens();
    let ann = tokens.add("ann", Role::User).unwrap();
    let node = tokens.add("nodes", Role::Agent).unwrap();
    tokens.add("bob", Role::User).unwrap();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let all = v1::WatchRequest { jobs: vec![] };
    let mut hers = client.watch(by(ann.reveal(), all.clone())).await.unwrap().into_inner();
    let mut ours = client.watch(all).await.unwrap().into_inner();
    let mut agent = Agent::try_join(server.grpc, register("a", 1, &[]), Some(node.reveal())).await.unwrap();
    ["ann", "nodes"].iter().for_each(|name| assert_eq!(tokens.remove(name).unwrap(), 1));
    let ended = loop {
        match hers.message().await {
            Ok(message) => assert!(message.is_some(), "it is not an end as any other"),
            Err(status) => break status,
        }
    };
    assert_eq!((ended.code(), refusal_in(&ended).code.as_str()), (Code::Unauthenticated, "unauthenticated"));
    assert_eq!(agent.hear().await.unwrap_err().code(), Code::Unauthenticated);
    client.submit(submitting(work(1))).await.unwrap();
    while ours.message().await.unwrap().unwrap().jobs.is_empty() {}
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_of_those_who_are_not_known() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    // More than is taken: whoever is known is told so, and who is not is told that.
    let large = v1::Submission { command: vec!["x".repeat(9 << 20)], ..work(1) };
    let status = client.submit(submitting(large.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let status = client.submit(by("zenith_wrong", submitting(large))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_somebody_else_cannot_use_the_browsers_connection() {
    let state = State::new();
    let server = Server::start(&state).await;
    let body = r#"{"resources": {"gpus": 1}, "command": ["x"]}"#;
    let json = "Content-Type: application/json";
    for headers in [[json, "Host: evil.example"], [json, "Origin: http://evil.example"]] {
        let answer = http::call(server.rest, "POST /v1/jobs", &headers, body).await;
        assert_eq!((answer.status, answer.refusal().as_str()), (403, "other_site"), "{headers:?}");
    }
    let host = format!("Host: {}", server.rest);
    let answer = http::call(server.rest, "POST /v1/jobs", &[json, &host], body).await;
    assert_eq!(answer.status, 201);
    server.stop().await;
}
