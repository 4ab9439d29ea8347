//! A node that a test plays.

use std::net::SocketAddr;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind as Said;
use zenith_proto::v1::controller_message::Kind as Told;
use zenith_proto::v1::node_agent_service_client::NodeAgentServiceClient;

use crate::server::PATIENCE;

/// A node's session.
pub(crate) struct Agent {
    said: mpsc::Sender<v1::AgentMessage>,
    told: Streaming<v1::ControllerMessage>,
    number: u64,
    pub(crate) welcome: v1::Welcome,
}

/// What a node says first.
pub(crate) fn register(name: &str, gpus: u32, known: &[(u64, u32)]) -> v1::Register {
    let known = known.iter();
    v1::Register {
        spec: Some(v1::NodeSpec {
            name: name.to_owned(),
            rack: String::new(),
            cpus: 64,
            memory_mib: 1 << 20,
            gpus: vec![v1::Gpu { model: "Test GPU".to_owned(), ..Default::default() }; gpus as usize],
        }),
        address: "127.0.0.1".to_owned(),
        known: known
            .map(|(job, attempt)| v1::Attempt { job: *job, attempt: *attempt, master_port: 0 })
            .collect(),
        version: "test".to_owned(),
        identity: String::new(),
    }
}

/// Opens a session with that as its first message.
pub(crate) async fn session(
    address: SocketAddr,
    first: Said,
    token: Option<&str>,
) -> Result<(mpsc::Sender<v1::AgentMessage>, Streaming<v1::ControllerMessage>), Status> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel: Channel = endpoint.connect().await.unwrap();
    let (said, receiver) = mpsc::channel(64);
    said.send(v1::AgentMessage { kind: Some(first) }).await.unwrap();
    let mut request = Request::new(ReceiverStream::new(receiver));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let told = NodeAgentServiceClient::new(channel).session(request).await?.into_inner();
    Ok((said, told))
}

impl Agent {
    pub(crate) async fn join(address: SocketAddr, register: v1::Register) -> Self {
        Self::try_join(address, register, None).await.unwrap()
    }

    pub(crate) async fn try_join(
        address: SocketAddr,
        register: v1::Register,
        token: Option<&str>,
    ) -> Result<Self, Status> {
        let (said, mut told) = session(address, Said::Register(register), token).await?;
        let first = told.message().await?.and_then(|message| message.kind);
        let Some(Told::Welcome(welcome)) = first else { panic!("{first:?} instead of a welcome") };
        Ok(Self { said, told, number: 0, welcome })
    }

    pub(crate) async fn say(&self, kind: Said) {
        self.said.send(v1::AgentMessage { kind: Some(kind) }).await.unwrap();
    }

    /// What it is told next; an error once the session has ended.
    pub(crate) async fn hear(&mut self) -> Result<Option<Told>, Status> {
        let message = timeout(PATIENCE, self.told.message()).await.expect("the node waits in vain")?;
        Ok(message.map(|message| message.kind.unwrap()))
    }

    pub(crate) async fn start(&mut self) -> v1::Start {
        loop {
            match self.hear().await.unwrap() {
                Some(Told::Start(start)) => return start,
                Some(Told::Ack(_)) => {}
                other => panic!("{other:?} instead of a start"),
            }
        }
    }

    /// Says what happened to a process; the number of the report.
    pub(crate) async fn report(&mut self, job: u64, attempt: u32, rank: u32, what: v1::report::What) -> u64 {
        self.number += 1;
        let report = v1::Report { number: self.number, job, attempt, rank, what: Some(what) };
        self.say(Said::Report(report)).await;
        self.number
    }

    /// Waits until reports up to a number are acknowledged.
    pub(crate) async fn acknowledged(&mut self, number: u64) {
        let mut last = 0;
        while last < number {
            match self.hear().await.unwrap() {
                Some(Told::Ack(ack)) => {
                    assert!(ack.number > last, "acknowledgements grow");
                    last = ack.number;
                }
                other => panic!("{other:?} instead of an acknowledgement"),
            }
        }
        assert!(last <= self.number, "{last} is acknowledged and was not said");
    }

    /// Runs all ranks of a start to their end.
    pub(crate) async fn run(&mut self, start: &v1::Start, code: i32) {
        for local in 0..start.local_ranks {
            self.report(start.job, start.attempt, start.rank_offset + local, started()).await;
        }
        for local in 0..start.local_ranks {
            self.report(start.job, start.attempt, start.rank_offset + local, exited(code)).await;
        }
        let last = self.report(start.job, start.attempt, 0, v1::report::What::Gone(v1::AttemptGone {})).await;
        self.acknowledged(last).await;
    }
}

impl Agent {
    /// The same for a gang of one process, while acknowledgements are not of interest.
    pub(crate) async fn run_quietly(&mut self, start: &v1::Start) {
        self.report(start.job, start.attempt, 0, started()).await;
        self.report(start.job, start.attempt, 0, exited(0)).await;
    }
}

pub(crate) fn started() -> v1::report::What {
    v1::report::What::Started(v1::RankStarted { notes: Vec::new() })
}

pub(crate) fn exited(code: i32) -> v1::report::What {
    let usage = Some(v1::Usage { user_ms: 5, system_ms: 1, max_rss_kib: 100 });
    v1::report::What::Exited(v1::RankExited { how: Some(v1::rank_exited::How::Code(code)), usage, fault: 0 })
}
