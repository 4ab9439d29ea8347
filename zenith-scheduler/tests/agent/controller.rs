//! A controller that does what a test says, and an agent that is a process of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind;
use zenith_proto::v1::controller_message::Kind as Order;
use zenith_proto::v1::node_agent_service_server::{NodeAgentService, NodeAgentServiceServer};
use zenith_proto::v1::report::What;

/// After so long a test is stuck. Decides nothing else.
const STUCK: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(STUCK, what).await.expect("this should have happened by now")
}

/// Asks until the answer is some.
pub(crate) async fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            match ask() {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    })
    .await
}

struct Service {
    sessions: mpsc::UnboundedSender<Node>,
    refusal: Option<Status>,
}

#[tonic::async_trait]
impl NodeAgentService for Service {
    type SessionStream = Pin<Box<ReceiverStream<Result<v1::ControllerMessage, Status>>>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        let token = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let mut inbound = request.into_inner();
        let Some(Kind::Register(register)) = inbound.message().await?.and_then(|message| message.kind) else {
            return Err(Status::invalid_argument("a session begins with a registration"));
        };
        let (out, messages) = mpsc::channel(1_024);
        let node = Node { register, token, inbound, out, gpus: Vec::new() };
        node.say(Order::Welcome(v1::Welcome { node: 0, heartbeat_ms: 50 })).await;
        self.sessions.send(node).map_err(|_| Status::cancelled("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

/// The controller's side of everything.
pub(crate) struct Controller {
    pub(crate) address: SocketAddr,
    sessions: Mutex<mpsc::UnboundedReceiver<Node>>,
}

impl Controller {
    pub(crate) async fn new() -> Self {
        Self::with(None).await
    }

    pub(crate) async fn refusing(refusal: Status) -> Self {
        Self::with(Some(refusal)).await
    }

    async fn with(refusal: Option<Status>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sessions, receiver) = mpsc::unbounded_channel();
        let service = NodeAgentServiceServer::new(Service { sessions, refusal });
        let server = Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self { address, sessions: Mutex::new(receiver) }
    }

    /// The next session that an agent opens.
    pub(crate) async fn node(&self) -> Node {
        soon(async { self.sessions.lock().await.recv().await }).await.unwrap()
    }
}

/// One session with an agent.
pub(crate) struct Node {
    pub(crate) register: v1::Register,
    pub(crate) token: Option<String>,
    inbound: Streaming<v1::AgentMessage>,
    out: mpsc::Sender<Result<v1::ControllerMessage, Status>>,
    /// What has been said of GPUs.
    pub(crate) gpus: Vec<v1::GpuHealth>,
}

impl Node {
    pub(crate) async fn say(&self, order: Order) {
        self.out.send(Ok(v1::ControllerMessage { kind: Some(order) })).await.unwrap();
    }

    pub(crate) async fn start(&self, start: v1::Start) {
        self.say(Order::Start(start)).await;
    }

    pub(crate) async fn signal(&self, job: u64, kill: bool) {
        self.say(Order::Signal(v1::Signal { job, attempt: 1, kill, number: None })).await;
    }

    pub(crate) async fn ack(&self, number: u64) {
        self.say(Order::Ack(v1::Ack { number })).await;
    }

    pub(crate) async fn next(&mut self) -> Kind {
        loop {
            match soon(self.inbound.message()).await.unwrap().unwrap().kind.unwrap() {
                Kind::Heartbeat(_) => {}
                Kind::GpuHealth(health) => self.gpus.push(health),
                kind => return kind,
            }
        }
    }

    /// Waits for a heartbeat.
    pub(crate) async fn heartbeat(&mut self) {
        loop {
            match soon(self.inbound.message()).await.unwrap().unwrap().kind.unwrap() {
                Kind::Heartbeat(_) => return,
                Kind::GpuHealth(health) => self.gpus.push(health),
                other => panic!("{other:?} is no heartbeat"),
            }
        }
    }

    /// Waits until what was said of GPUs last, by their numbers, is this; every other kind of message is a fault.
    pub(crate) async fn gpus_are(&mut self, is_it: impl Fn(&BTreeMap<u32, v1::GpuHealth>) -> bool) {
        loop {
            let last = self.gpus.iter().map(|health| (health.gpu, health.clone())).collect();
            if is_it(&last) {
                return;
            }
            self.heartbeat().await;
        }
    }

    /// The next report, which is not acknowledged.
    pub(crate) async fn report(&mut self) -> v1::Report {
        loop {
            match self.next().await {
                Kind::Report(report) => return report,
                // Of a log that is not wanted any more a part may still be on its way.
                Kind::LogPart(_) => {}
                other => panic!("{other:?} is no report"),
            }
        }
    }

    /// The reports about a job up to its end, all acknowledged, as text.
    pub(crate) async fn life(&mut self, job: u64) -> Vec<String> {
        let mut life = Vec::new();
        loop {
            let report = self.report().await;
            self.ack(report.number).await;
            assert_eq!(report.job, job);
            life.push(text(&report));
            if matches!(report.what, Some(What::Gone(_))) {
                return life;
            }
        }
    }

    /// Waits until a rank of a job runs; its notes.
    pub(crate) async fn started(&mut self, job: u64) -> Vec<String> {
        let report = self.report().await;
        self.ack(report.number).await;
        assert_eq!(report.job, job);
        match report.what {
            Some(What::Started(started)) => started.notes,
            other => panic!("{other:?} is no start"),
        }
    }

    pub(crate) async fn read_log(&self, request: v1::ReadLog) {
        self.say(Order::ReadLog(request)).await;
    }

    pub(crate) async fn log_part(&mut self) -> v1::LogPart {
        match self.next().await {
            Kind::LogPart(part) => part,
            other => panic!("{other:?} is no part of a log"),
        }
    }

    /// What a job wrote to standard output and to standard error, all ranks one after the other, and what was dropped.
    pub(crate) async fn logs(&mut self, request: v1::ReadLog) -> (String, String, u64) {
        self.read_log(request).await;
        let (mut texts, mut dropped) = ([const { Vec::new() }; 2], 0);
        loop {
            let part = self.log_part().await;
            let Some(answer) = part.part else {
                assert!(part.last);
                let [out, err] = texts.map(|text| String::from_utf8(text).unwrap());
                return (out, err, dropped);
            };
            let is_err = answer.stream() == v1::Stream::Stderr;
            texts[usize::from(is_err)].extend(answer.data);
            dropped += answer.dropped;
        }
    }
}

/// A report without what differs from run to run.
pub(crate) fn text(report: &v1::Report) -> String {
    let rank = report.rank;
    match report.what.as_ref().unwrap() {
        What::Started(_) => format!("{rank} started"),
        What::Gone(_) => "gone".to_owned(),
        What::Exited(exited) => match exited.how.as_ref().unwrap() {
            v1::rank_exited::How::Code(code) => format!("{rank} code {code}"),
            v1::rank_exited::How::Signal(signal) => format!("{rank} signal {signal}"),
            v1::rank_exited::How::NotStarted(why) => format!("{rank} not started: {why}"),
        },
    }
}

/// A job that runs a shell script.
pub(crate) fn shell(job: u64, script: &str) -> v1::Start {
    v1::Start {
        job,
        attempt: 1,
        first: job,
        command: ["sh", "-c", script].map(str::to_owned).into(),
        local_ranks: 1,
        world_size: 1,
        nodes: 1,
        name: "test".to_owned(),
        ..Default::default()
    }
}

/// An agent as a process, which is killed with its test.
pub(crate) struct Agent {
    child: Child,
    pub(crate) state: PathBuf,
}

impl Agent {
    pub(crate) fn new(controller: &Controller, state: &Path, options: &[&str]) -> Self {
        Self::spawn("info", controller, state, options, Path::new("/dev/null/no-library"))
    }

    /// One that logs what a filter lets pass.
    pub(crate) fn logging(filter: &str, controller: &Controller, state: &Path, options: &[&str]) -> Self {
        Self::spawn(filter, controller, state, options, Path::new("/dev/null/no-library"))
    }

    /// One whose NVIDIA library is that.
    pub(crate) fn with_library(
        controller: &Controller,
        state: &Path,
        options: &[&str],
        library: &Path,
    ) -> Self {
        Self::spawn("info", controller, state, options, library)
    }

    fn spawn(filter: &str, controller: &Controller, state: &Path, options: &[&str], library: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zenith-scheduler"));
        command.args(["agent", "--name", "node", "--controller"]).arg(controller.address.to_string());
        command.arg("--state").arg(state).args(options);
        command
            .env("ZENITH_AGENT_TOKEN", "opensesame")
            .env("ZENITH_NVML", library)
            .env("RUST_LOG", filter)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self { child: command.spawn().unwrap(), state: state.to_path_buf() }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; its exit status, none where a signal killed it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// The first line that the agent says with these words in it.
    pub(crate) fn line_with(&mut self, words: &str) -> String {
        let lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        lines.map(Result::unwrap).find(|line| line.contains(words)).unwrap()
    }

    /// The supervisor of a job, from its status.
    pub(crate) fn supervisor(&self, job: u64) -> i32 {
        let status = std::fs::read_to_string(self.state.join(format!("status/{job}.1"))).unwrap();
        status.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
