//! What nodes and the controller say to each other when things go wrong.

use tonic::Code;
use zenith_proto::v1;
use zenith_proto::v1::JobState;
use zenith_proto::v1::agent_message::Kind as Said;
use zenith_proto::v1::controller_message::Kind as Told;

use crate::agent::{Agent, exited, register, session, started};
use crate::server::{Server, State, in_state, refusal_in, submitting, work};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_not_begun_is_told_again() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let job = client.submit(submitting(work(1))).await.unwrap().into_inner().job;
    let first = node.start().await;
    drop(node);
    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let again = node.start().await;
    assert_eq!((again.job, again.attempt, again.master_port), (job, first.attempt, first.master_port));
    drop(node);

    let mut node = Agent::join(server.grpc, register("a", 1, &[(job, first.attempt)])).await;
    node.run(&first, 0).await;
    in_state(&mut client, job, JobState::Completed).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_controller_loses_nothing() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let job = client.submit(submitting(work(1))).await.unwrap().into_inner().job;
    let start = node.start().await;
    let number = node.report(job, start.attempt, 0, started()).await;
    node.acknowledged(number).await;
    server.stop().await;
    let ended = node.hear().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");

    let server = Server::start(&state).await;
    let mut client = server.client().await;
    in_state(&mut client, job, JobState::Running).await;
    let mut node = Agent::join(server.grpc, register("a", 1, &[(job, start.attempt)])).await;
    let last = node.report(job, start.attempt, 0, exited(0)).await;
    node.acknowledged(last).await;
    in_state(&mut client, job, JobState::Completed).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_again_ends_its_older_session() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut old = Agent::join(server.grpc, register("a", 1, &[])).await;
    let mut new = Agent::join(server.grpc, register("a", 1, &[])).await;
    assert_eq!(old.welcome.node, new.welcome.node);
    assert!(matches!(old.hear().await, Ok(None) | Err(_)));
    let number = new.report(1, 1, 0, started()).await;
    new.acknowledged(number).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reports_are_acknowledged_in_order_and_none_is_left_out() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 8, &[])).await;
    let jobs = v1::Submission { count: 200, ..work(1) };
    let first = client.submit(submitting(jobs)).await.unwrap().into_inner().job;
    let mut last = 0;
    for _ in 0..200 {
        let start = loop {
            match node.hear().await.unwrap() {
                Some(Told::Start(start)) => break start,
                Some(Told::Ack(ack)) => {
                    assert!(ack.number > last);
                    last = ack.number;
                }
                other => panic!("{other:?}"),
            }
        };
        node.report(start.job, start.attempt, 0, started()).await;
        node.report(start.job, start.attempt, 0, exited(0)).await;
    }
    in_state(&mut client, first + 199, JobState::Completed).await;
    while last < 400 {
        let Some(Told::Ack(ack)) = node.hear().await.unwrap() else { panic!("an acknowledgement") };
        assert!(ack.number > last);
        last = ack.number;
    }
    assert_eq!(last, 400);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_makes_no_sense_ends_with_the_reason() {
    let state = State::new();
    let server = Server::start(&state).await;
    let heartbeat = Said::Heartbeat(v1::Heartbeat {});
    let status = session(server.grpc, heartbeat, None).await.err().unwrap();
    assert_eq!((status.code(), refusal_in(&status).code.as_str()), (Code::InvalidArgument, "invalid"));

    let nameless = register("", 1, &[]);
    let status = Agent::try_join(server.grpc, nameless, None).await.err().unwrap();
    assert!(refusal_in(&status).message.starts_with("name: "), "{status}");
    let status = Agent::try_join(server.grpc, register("big", 65, &[]), None).await.err().unwrap();
    assert_eq!(refusal_in(&status).code, "node_too_large");

    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    node.say(Said::Register(register("a", 1, &[]))).await;
    let status = node.hear().await.unwrap_err();
    assert_eq!(refusal_in(&status).code, "invalid");

    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let out_of_order = v1::Report { number: 7, job: 1, attempt: 1, rank: 0, what: Some(started()) };
    node.say(Said::Report(out_of_order)).await;
    let status = node.hear().await.unwrap_err();
    assert!(refusal_in(&status).message.starts_with("number: "), "{status}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ill_gpu_is_shown_and_gets_nothing() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 2, &[])).await;
    let reason = "Xid 79".to_owned();
    let ill = v1::GpuHealth { gpu: 0, healthy: false, reason, degraded: false };
    node.say(Said::GpuHealth(ill)).await;
    // Whatever is said later is done later.
    let number = node.report(1, 1, 0, started()).await;
    node.acknowledged(number).await;
    let cluster = client.cluster(v1::ClusterRequest {}).await.unwrap().into_inner();
    assert_eq!(cluster.nodes[0].gpus_ill, [0]);
    assert_eq!(cluster.nodes[0].ill, [v1::IllGpu { gpu: 0, reason: "Xid 79".to_owned() }]);
    client.submit(submitting(work(1))).await.unwrap();
    assert_eq!(node.start().await.slice.unwrap().gpus, [1]);
    server.stop().await;
}
