//! What processes wrote, on its way from a node to a reader.

use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind as Said;
use zenith_proto::v1::controller_message::Kind as Told;

use crate::agent::{Agent, register, session, started};
use crate::http;
use crate::server::{Server, State, submitting, work};

fn part(request: u64, rank: u32, data: &[u8], last: bool) -> v1::LogPart {
    let stream = v1::Stream::Stdout.into();
    let part = v1::LogsResponse { rank, stream, data: data.to_vec(), dropped: 0 };
    v1::LogPart { request, part: Some(part), last }
}

async fn asked(node: &mut Agent) -> v1::ReadLog {
    loop {
        match node.hear().await.unwrap() {
            Some(Told::ReadLog(read)) => return read,
            Some(Told::Ack(_)) => {}
            other => panic!("{other:?} instead of a question"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_come_from_the_node_that_has_them() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 2, &[])).await;
    let job = client.submit(submitting(work(2))).await.unwrap().into_inner().job;
    node.start().await;
    let wanted = v1::LogsRequest { job, follow: true, tail_bytes: Some(10), ..Default::default() };
    let mut logs = client.logs(wanted).await.unwrap().into_inner();
    let read = asked(&mut node).await;
    assert_eq!((read.job, read.attempt, read.follow, read.tail_bytes), (job, 1, true, Some(10)));
    node.say(Said::LogPart(part(read.request, 0, b"hello\n", false))).await;
    assert_eq!(logs.message().await.unwrap().unwrap().data, b"hello\n");
    node.say(Said::LogPart(part(read.request, 1, b"bye\n", true))).await;
    let last = logs.message().await.unwrap().unwrap();
    assert_eq!((last.rank, last.data.as_slice()), (1, b"bye\n".as_slice()));
    assert_eq!(logs.message().await.unwrap(), None);

    let address = server.rest;
    let text = tokio::spawn(async move { http::get(address, "/v1/jobs/1/logs").await });
    let read = asked(&mut node).await;
    node.say(Said::LogPart(part(read.request, 1, b"a\nb", false))).await;
    node.say(Said::LogPart(part(read.request, 0, b"c", true))).await;
    let text = text.await.unwrap();
    assert_eq!((text.status, text.body.as_str()), (200, "1: a\n0: c\n1: b\n"));
    server.stop().await;
}

/// A reader that does not read holds up what it reads, and nothing else, where the node has a session for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_does_not_hold_up_reports() {
    let state = State::new();
    let server = Server::start(&state).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let job = client.submit(submitting(work(1))).await.unwrap().into_inner().job;
    node.start().await;
    let logs = client.logs(v1::LogsRequest { job, ..Default::default() }).await.unwrap().into_inner();
    let read = asked(&mut node).await;
    let block = vec![b'x'; 256 << 10];
    let first = Said::LogPart(part(read.request, 0, &block, false));
    let (said, mut told) = session(server.grpc, first, None).await.unwrap();
    let mut sent = 0;
    let full = loop {
        let message = v1::AgentMessage { kind: Some(Said::LogPart(part(read.request, 0, &block, false))) };
        if said.try_send(message).is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            sent += 1;
            if sent > 20 {
                break true;
            }
        }
    };
    assert!(full, "the node is held up");
    let number = node.report(job, 1, 0, started()).await;
    node.acknowledged(number).await;
    drop(logs);
    let stopped = tokio::time::timeout(crate::server::PATIENCE, told.message()).await.unwrap().unwrap();
    let Some(Told::ReadLog(stop)) = stopped.unwrap().kind else { panic!("the node is told to stop") };
    assert!(stop.stop && stop.request == read.request);
    server.stop().await;
}
