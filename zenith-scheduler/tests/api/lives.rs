//! From submission to the end, seen from all sides.

use serde_json::{Value, json};
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
async fn grpc_and_rest_show_the_same() {
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

    let held = client.submit(submitting(v1::Submission { held: true, ..work(1) })).await.unwrap();
    let held = held.into_inner().job;
    client.drain(v1::DrainRequest { node: "a".to_owned(), drained: true }).await.unwrap();

    let listed = http::get(server.rest, "/v1/jobs").await.json();
    let jobs = list(&mut client).await;
    assert_eq!(listed, json!({ "jobs": jobs.iter().map(said_of_job).collect::<Vec<Value>>(), "next": null }));
    for (id, state) in [(job, "running"), (held, "held")] {
        let grpc = client.get(v1::GetRequest { job: id }).await.unwrap().into_inner();
        let rest = http::get(server.rest, &format!("/v1/jobs/{id}")).await.json();
        assert_eq!(rest, said_of_detail(&grpc));
        assert_eq!(rest["job"]["state"], state);
        let grpc = client.why(v1::WhyRequest { job: id }).await.unwrap().into_inner();
        let rest = http::get(server.rest, &format!("/v1/jobs/{id}/why")).await.json();
        let v1::WhyResponse { job, code, reason, unblocked_by, predicted_start_ms, .. } = grpc;
        assert_eq!(
            rest,
            json!({
                "job": job, "state": state, "code": code, "reason": reason, "unblocked_by": unblocked_by,
                "predicted_start_ms": predicted_start_ms,
            })
        );
    }
    // The machine comes back with fewer GPUs than its job holds, which runs on.
    drop(node);
    let _node = Agent::join(server.grpc, register("a", 1, &[(job, 1)])).await;
    let cluster = client.cluster(v1::ClusterRequest {}).await.unwrap().into_inner();
    let rest = http::get(server.rest, "/v1/cluster").await.json();
    assert_eq!(rest, said_of_cluster(&cluster));
    assert_eq!(rest["nodes"][0]["next"]["gpus"].as_array().unwrap().len(), 1);
    assert_eq!(rest["counts"], json!({ "held": 1, "running": 1 }));
    let nodes = http::get(server.rest, "/v1/nodes").await.json();
    assert_eq!(nodes["nodes"], rest["nodes"]);
    assert_eq!(nodes["nodes"][0]["drained"], true);
    server.stop().await;
}

// What gRPC says, in the words of JSON, written out so that a name or a unit that is not the same is seen.

fn word(name: &str, of: &str) -> Value {
    json!(name.strip_prefix(of).unwrap().to_lowercase())
}

fn said_of_job(job: &v1::Job) -> Value {
    json!({
        "id": job.id, "first": job.first, "state": word(job.state().as_str_name(), "JOB_STATE_"), "name": job.name,
        "user": job.user, "queue": job.queue, "priority": job.priority, "gpus": job.gpus, "submitted_ms": job.submitted_ms,
        "started_ms": job.started_ms, "ended_ms": job.ended_ms, "attempt": job.attempt, "restarts": job.restarts,
        "nodes": job.nodes, "cause": job.cause, "exit_code": job.exit_code,
    })
}

fn said_of_detail(detail: &v1::JobDetail) -> Value {
    let asked = detail.submission.as_ref().unwrap();
    let resources = asked.resources.as_ref().unwrap();
    let usage = detail.usage.as_ref().unwrap();
    let rank = |rank: &v1::Rank| json!({ "rank": rank.rank, "node": rank.node, "state": rank.state });
    let slice = |slice: &v1::Slice| {
        let v1::Slice { node, gpus, cpus, memory_mib } = slice;
        json!({ "node": node, "gpus": gpus, "cpus": cpus, "memory_mib": memory_mib })
    };
    let after = |on: &v1::Dependency| json!({ "job": on.job, "completed": on.completed });
    json!({
        "job": said_of_job(detail.job.as_ref().unwrap()),
        "submission": {
            "name": asked.name, "user": asked.user, "queue": asked.queue, "priority": asked.priority,
            "resources": {
                "gpus": resources.gpus, "nodes_min": resources.nodes_min, "nodes_max": resources.nodes_max,
                "gpus_per_node": resources.gpus_per_node, "cpus": resources.cpus, "memory_mib": resources.memory_mib,
                "topology": word(resources.topology().as_str_name(), "TOPOLOGY_LEVEL_"),
                "topology_required": resources.topology_required,
                "ranks_per": word(resources.ranks_per().as_str_name(), "RANKS_PER_"),
            },
            "time_limit_ms": asked.time_limit_ms, "preemptible": asked.preemptible, "retries": asked.retries,
            "after": asked.after.iter().map(after).collect::<Vec<Value>>(), "held": asked.held, "count": asked.count,
            "command": asked.command, "environment": asked.environment, "directory": asked.directory,
        },
        "ranks": detail.ranks.iter().map(rank).collect::<Vec<Value>>(),
        "preemptions": detail.preemptions, "deaths": detail.deaths, "failures": detail.failures,
        "not_before_ms": detail.not_before_ms,
        "slices": detail.slices.iter().map(slice).collect::<Vec<Value>>(),
        "usage": { "user_ms": usage.user_ms, "system_ms": usage.system_ms, "max_rss_kib": usage.max_rss_kib },
        "notes": detail.notes,
    })
}

fn said_of_cluster(cluster: &v1::ClusterResponse) -> Value {
    let gpu = |gpu: &v1::Gpu| json!({ "numa": gpu.numa, "nvlink": gpu.nvlink, "model": gpu.model, "memory_mib": gpu.memory_mib });
    let ill = |ill: &v1::IllGpu| json!({ "gpu": ill.gpu, "reason": ill.reason });
    let node = |node: &v1::Node| {
        let spec = node.spec.as_ref().unwrap();
        json!({
            "id": node.id, "name": spec.name, "rack": spec.rack,
            "contact": word(node.contact().as_str_name(), "NODE_CONTACT_"), "drained": node.drained,
            "cpus": spec.cpus, "cpus_used": node.cpus_used, "memory_mib": spec.memory_mib,
            "memory_used_mib": node.memory_used_mib, "gpus": spec.gpus.iter().map(gpu).collect::<Vec<Value>>(),
            "gpus_used": node.gpus_used, "gpus_ill": node.gpus_ill,
            "ill": node.ill.iter().map(ill).collect::<Vec<Value>>(), "jobs": node.jobs,
            "next": node.next.as_ref().map(|next| json!({
                "rack": next.rack, "cpus": next.cpus, "memory_mib": next.memory_mib,
                "gpus": next.gpus.iter().map(gpu).collect::<Vec<Value>>(),
            })),
        })
    };
    let queue = |queue: &v1::Queue| {
        let v1::QueueSettings { guarantee, limit, weight } = queue.settings.unwrap();
        json!({
            "name": queue.name, "gpus_used": queue.gpus_used, "guarantee": guarantee, "limit": limit, "weight": weight,
        })
    };
    let user = |user: &v1::User| {
        let v1::UserSettings { limit, weight } = user.settings.unwrap();
        json!({ "name": user.name, "gpus_used": user.gpus_used, "limit": limit, "weight": weight })
    };
    let count = |count: &v1::StateCount| {
        (word(count.state().as_str_name(), "JOB_STATE_").as_str().unwrap().to_owned(), json!(count.jobs))
    };
    json!({
        "version": cluster.version, "started_ms": cluster.started_ms,
        "nodes": cluster.nodes.iter().map(node).collect::<Vec<Value>>(),
        "queues": cluster.queues.iter().map(queue).collect::<Vec<Value>>(),
        "users": cluster.users.iter().map(user).collect::<Vec<Value>>(),
        "counts": cluster.counts.iter().map(count).collect::<serde_json::Map<String, Value>>(),
    })
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
