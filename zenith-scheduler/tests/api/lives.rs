//! From submission to the end, seen from all sides.

use zenith_proto::v1;
use zenith_proto::v1::JobState;

use crate::agent::{Agent, exited, register, started};
use crate::http;
use crate::server::{Server, State, in_state, list, submitting, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_runs_and_completes() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 4, &[])).await;
    assert!(node.welcome.heartbeat_ms > 0);

    let taken = client.submit(submitting(work(2))).await.unwrap().into_inner();
    assert_eq!((taken.count, taken.known), (1, false));
    let start = node.start().await;
    assert_eq!((start.job, start.attempt, start.world_size, start.local_ranks), (taken.job, 1, 2, 2));
    assert_eq!(start.command, ["train", "--fast"]);
    assert_eq!(start.slice.as_ref().unwrap().gpus.len(), 2);

    node.report(start.job, start.attempt, 0, started()).await;
    let second = node.report(start.job, start.attempt, 1, started()).await;
    node.acknowledged(second).await;
    let running = in_state(&mut client, taken.job, JobState::Running).await;
    assert_eq!(running.nodes, ["a"]);
    let detail = client.get(v1::GetRequest { job: taken.job }).await.unwrap().into_inner();
    let ranks: Vec<&str> = detail.ranks.iter().map(|rank| rank.state.as_str()).collect();
    assert_eq!(ranks, ["running", "running"]);

    node.report(start.job, start.attempt, 0, exited(0)).await;
    let last = node.report(start.job, start.attempt, 1, exited(0)).await;
    node.acknowledged(last - 2).await;
    let completed = in_state(&mut client, taken.job, JobState::Completed).await;
    assert_eq!(completed.exit_code, Some(0));
    let detail = client.get(v1::GetRequest { job: taken.job }).await.unwrap().into_inner();
    assert_eq!(detail.usage.unwrap().user_ms, 10, "what both ranks used");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rank_that_fails_ends_its_job_with_its_status() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let job = client.submit(submitting(work(1))).await.unwrap().into_inner().job;
    let start = node.start().await;
    node.run(&start, 3).await;
    let failed = in_state(&mut client, job, JobState::Failed).await;
    assert_eq!(failed.exit_code, Some(3));
    assert_eq!(failed.cause, "rank 0 exited 3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_doors_show_the_same() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 2, &[])).await;
    let body = r#"{"name": "by rest", "resources": {"gpus": 2, "topology": "numa"}, "command": ["x", "y"],
        "priority": 7, "environment": {"A": "b"}, "time_limit_ms": 60000}"#;
    let taken = http::post(server.rest, "/v1/jobs", body).await;
    assert_eq!(taken.status, 201, "{}", taken.body);
    let job = taken.json()["job"].as_u64().unwrap();
    let start = node.start().await;
    assert_eq!(start.command, ["x", "y"]);
    assert_eq!(start.environment["A"], "b");
    for rank in 0..2 {
        node.report(job, 1, rank, started()).await;
    }
    node.acknowledged(2).await;

    let grpc = client.get(v1::GetRequest { job }).await.unwrap().into_inner();
    let rest = http::get(server.rest, &format!("/v1/jobs/{job}")).await.json();
    let seen = grpc.job.unwrap();
    assert_eq!(rest["job"]["state"], "running");
    assert_eq!(seen.state(), JobState::Running);
    assert_eq!(rest["job"]["submitted_ms"].as_u64(), Some(seen.submitted_ms));
    assert_eq!(rest["job"]["started_ms"].as_u64(), seen.started_ms);
    assert_eq!(rest["job"]["user"].as_str(), Some(seen.user.as_str()));
    assert_eq!(rest["submission"]["resources"]["topology"], "numa");
    assert_eq!(grpc.submission.unwrap().resources.unwrap().topology(), v1::TopologyLevel::Numa);
    assert_eq!(rest["ranks"].as_array().unwrap().len(), grpc.ranks.len());
    assert_eq!(rest["slices"][0]["gpus"], serde_json::json!([0, 1]));

    let listed = http::get(server.rest, "/v1/jobs?state=running,queued&limit=10").await.json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), list(&mut client).await.len());
    let nodes = http::get(server.rest, "/v1/nodes").await.json();
    let cluster = client.cluster(v1::ClusterRequest {}).await.unwrap().into_inner();
    assert_eq!(nodes["nodes"][0]["name"], "a");
    assert_eq!(nodes["nodes"][0]["contact"], "up");
    assert_eq!(nodes["nodes"][0]["gpus"][0]["model"], "Test GPU");
    assert_eq!(nodes["nodes"][0]["gpus_used"], serde_json::json!(cluster.nodes[0].gpus_used));
    assert_eq!(cluster.counts, [v1::StateCount { state: JobState::Running.into(), jobs: 1 }]);
    let why = http::get(server.rest, &format!("/v1/jobs/{job}/why")).await.json();
    assert_eq!(why["code"], "running");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_goes_to_every_node_of_a_job_by_each_door() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut nodes = [
        Agent::join(server.grpc, register("a", 1, &[])).await,
        Agent::join(server.grpc, register("b", 1, &[])).await,
    ];
    let job = client.submit(submitting(work(2))).await.unwrap().into_inner().job;
    for node in &mut nodes {
        let start = node.start().await;
        let number = node.report(start.job, start.attempt, start.rank_offset, started()).await;
        node.acknowledged(number).await;
    }
    in_state(&mut client, job, JobState::Running).await;
    client.signal(v1::SignalRequest { job, number: 10 }).await.unwrap();
    let answer = http::post(server.rest, &format!("/v1/jobs/{job}/signal"), r#"{"number": 12}"#).await;
    assert_eq!(answer.status, 204, "{}", answer.body);
    for node in &mut nodes {
        for number in [10, 12] {
            let told = node.hear().await.unwrap();
            let signal = v1::Signal { job, attempt: 1, kill: false, number: Some(number) };
            assert_eq!(told, Some(v1::controller_message::Kind::Signal(signal)));
        }
    }
    let detail = client.get(v1::GetRequest { job }).await.unwrap().into_inner().job.unwrap();
    assert_eq!((detail.state(), detail.attempt), (JobState::Running, 1));
    server.stop().await;
}
