//! What processes wrote, on its way from a node to a reader.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tonic::transport::Endpoint;
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind as Said;
use zenith_proto::v1::controller_message::Kind as Told;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;
use zenith_scheduler::client::{Client, Followed, RawTarget};

use crate::agent::{Agent, exited, register, session, started};
use crate::http;
use crate::process::{Process, arguments, program};
use crate::server::{Server, State, in_state, submitting, work};

/// A node that cannot say anything for so long is held up.
const HELD_UP: Duration = Duration::from_secs(1);
/// Blocks that a node can send before it is at the latest: more than all buffers on the way have room for.
const MOST_SENT: usize = 400;

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
    loop {
        let message = v1::AgentMessage { kind: Some(Said::LogPart(part(read.request, 0, &block, false))) };
        // Nothing but the server's holding back makes this wait.
        if tokio::time::timeout(HELD_UP, said.send(message)).await.is_err() {
            break;
        }
        sent += 1;
        assert!(sent < MOST_SENT, "the node is not held up");
    }
    let number = node.report(job, 1, 0, started()).await;
    node.acknowledged(number).await;
    drop(logs);
    let stopped = tokio::time::timeout(crate::server::PATIENCE, told.message()).await.unwrap().unwrap();
    let Some(Told::ReadLog(stop)) = stopped.unwrap().kind else { panic!("the node is told to stop") };
    assert!(stop.stop && stop.request == read.request);
    server.stop().await;
}

/// Passes connections on, and can cut all of them.
struct Middle {
    address: SocketAddr,
    cut: broadcast::Sender<()>,
}

impl Middle {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), broadcast::channel(1).0);
        let cutting = cut.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut cut = cutting.subscribe();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { address, cut }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_followed_over_a_short_loss() {
    let state = State::new();
    let server = Server::start(&state).await;
    let middle = Middle::before(server.grpc).await;
    let mut client = server.client().await;
    let mut node = Agent::join(server.grpc, register("a", 1, &[])).await;
    let job = client.submit(submitting(work(1))).await.unwrap().into_inner().job;
    let start = node.start().await;
    node.report(job, 1, 0, started()).await;
    let target = RawTarget { controller: Some(middle.address.to_string()), ..RawTarget::default() };
    let reader = Client::connect(&target.check_with(|_| None).unwrap()).await.unwrap();
    let mut parts = reader.follow(Followed { job, ..Followed::default() });
    let read = asked(&mut node).await;
    node.say(Said::LogPart(part(read.request, 0, b"one\ntw", false))).await;
    assert_eq!(parts.recv().await.unwrap().unwrap().data, b"one\ntw");

    middle.cut.send(()).unwrap();
    let again = loop {
        let asked = asked(&mut node).await;
        if !asked.stop {
            break asked;
        }
    };
    assert_eq!((again.job, again.attempt, again.follow), (job, 1, true));
    node.say(Said::LogPart(part(again.request, 0, b"one\ntwo\n", false))).await;
    node.say(Said::LogPart(part(again.request, 0, b"three\n", true))).await;
    assert_eq!(parts.recv().await.unwrap().unwrap().data, b"o\n");
    assert_eq!(parts.recv().await.unwrap().unwrap().data, b"three\n");
    node.report(start.job, 1, 0, exited(0)).await;
    assert!(parts.recv().await.is_none());
    server.stop().await;
}

/// What a job writes that nobody reads for a while, in bytes: more than all buffers on the way have room for.
const UNREAD: usize = 48 << 20;

/// A reader may pause for as long as it likes: it loses nothing, and the node says everything else meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_pauses_loses_nothing_and_holds_up_nobody() {
    let state = State::new();
    let mut command = Command::new(program());
    command.args(arguments(state.path()).into_iter().filter(|argument| argument != "--no-agent"));
    let process = Process::spawn(command);
    let endpoint = Endpoint::from_shared(format!("http://{}", process.grpc)).unwrap();
    let mut client = SchedulerServiceClient::new(endpoint.connect().await.unwrap());
    let shell = |script: String| v1::Submission {
        resources: Some(v1::Resources { cpus: 1, ..Default::default() }),
        command: vec!["sh".to_owned(), "-c".to_owned(), script],
        ..Default::default()
    };
    let writes = shell(format!("head -c {UNREAD} /dev/zero | tr '\\0' x"));
    let job = client.submit(submitting(writes)).await.unwrap().into_inner().job;
    in_state(&mut client, job, v1::JobState::Completed).await;
    let wanted = v1::LogsRequest { job, follow: true, ..Default::default() };
    let mut logs = client.logs(wanted).await.unwrap().into_inner();
    let mut read = logs.message().await.unwrap().unwrap().data.len();
    // Longer than a node's own session waits for a reader.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let next = client.submit(submitting(shell("true".to_owned()))).await.unwrap().into_inner().job;
    in_state(&mut client, next, v1::JobState::Completed).await;
    while let Some(part) = logs.message().await.unwrap() {
        read += part.data.len();
    }
    assert_eq!(read, UNREAD);
}
