//! Sessions of nodes. Reports go to the controller in the order in which they came, without waiting for each other, and are
//! acknowledged up to the last that is on disk.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming, async_trait};
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind as Said;
use zenith_proto::v1::controller_message::Kind as Told;
use zenith_proto::v1::node_agent_service_server::NodeAgentService;

use super::gate::Pass;
use super::{Service, status_of};
use crate::api::Api;
use crate::api::convert::{condition_of, joining_of, report_of};
use crate::controller::logs::Routes;
use crate::controller::ops::Condition;
use crate::controller::{Begun, OUTSTANDING, Turn, Welcome};
use crate::refusal::Refusal;

/// A session that says nothing for so long at its beginning is none.
const FIRST: Duration = Duration::from_secs(10);

/// Reports of a session that are on their way to the disk at most.
const UNDERWAY: usize = 1024;

/// Parts of a log in a node's own session that wait for their reader at most.
const LOG_PARTS: usize = 256;

/// A reader that takes nothing for so long, while everything else the node says waits, is cut off.
const STALLED: Duration = Duration::from_secs(1);

#[async_trait]
impl NodeAgentService for Service {
    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let pass = Pass::of(&request)?.clone();
        let mut said = request.into_inner();
        let first = timeout(FIRST, said.message()).await.map_err(|_| Status::from(silent()))??;
        let first = first.and_then(|message| message.kind);
        let (sender, told) = mpsc::channel(OUTSTANDING);
        let (end, ended) = oneshot::channel();
        let status = Arc::new(OnceLock::new());
        let register = match first {
            Some(Said::Register(register)) => register,
            Some(Said::LogPart(part)) => {
                let logs = Logs { api: self.api.clone(), told: sender };
                tokio::spawn(logs.run(part, said, ended));
                return Ok(Response::new(Outgoing { welcome: None, told, status, _end: end }));
            }
            _ => return Err(silent().into()),
        };
        let joining = joining_of(register)?;
        let name = joining.spec.name.clone();
        let way = sender.clone();
        let routes = self.api.handle.log_routes();
        let join = move |turn: &mut Turn<'_>| {
            let welcome = turn.join(joining, way)?;
            routes.lose(welcome.node);
            Ok(welcome)
        };
        let welcome = self.api.handle.call(join).await?;
        tracing::info!(node = name, "the node has joined");
        let first = v1::Welcome {
            node: welcome.node.0,
            heartbeat_ms: u64::try_from(welcome.heartbeat.as_millis()).unwrap_or(u64::MAX),
        };
        let session = Session {
            api: self.api.clone(),
            pass,
            name,
            welcome,
            // Only the controller holds on to the way, so that the node notices when the controller lets it go.
            told: sender.downgrade(),
            underway: VecDeque::new(),
            taken: 0,
            logs: BTreeMap::new(),
        };
        tokio::spawn(session.run(said, ended, Arc::clone(&status)));
        Ok(Response::new(Outgoing { welcome: Some(first), told, status, _end: end }))
    }
}

fn silent() -> Refusal {
    Refusal::Invalid { field: "kind", reason: "a session begins with Register".to_owned() }
}

/// What a node is told.
#[derive(Debug)]
pub(super) struct Outgoing {
    welcome: Option<v1::Welcome>,
    told: mpsc::Receiver<v1::ControllerMessage>,
    /// Why the session has ended.
    status: Arc<OnceLock<Status>>,
    /// Its end ends the session.
    _end: oneshot::Sender<()>,
}

impl Stream for Outgoing {
    type Item = Result<v1::ControllerMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(welcome) = self.welcome.take() {
            return Poll::Ready(Some(Ok(v1::ControllerMessage { kind: Some(Told::Welcome(welcome)) })));
        }
        match self.told.poll_recv(context) {
            Poll::Ready(Some(message)) => Poll::Ready(Some(Ok(message))),
            Poll::Ready(None) => Poll::Ready(self.status.get().cloned().map(Err)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// What a node says.
struct Session {
    api: Api,
    pass: Pass,
    name: String,
    welcome: Welcome,
    told: mpsc::WeakSender<v1::ControllerMessage>,
    /// Reports that are on their way to the disk, with their numbers.
    underway: VecDeque<(u64, Begun<()>)>,
    /// How many reports have come.
    taken: u64,
    /// Logs that come by this session, each with its way to the reader.
    logs: BTreeMap<u64, mpsc::Sender<v1::LogPart>>,
}

impl Session {
    async fn run(
        mut self,
        mut said: Streaming<v1::AgentMessage>,
        mut ended: oneshot::Receiver<()>,
        status: Arc<OnceLock<Status>>,
    ) {
        let why = self.listen(&mut said, &mut ended).await;
        let (node, session) = (self.welcome.node, self.welcome.session);
        match &why {
            None => tracing::info!(node = self.name, "the node has gone"),
            Some(refusal) => tracing::warn!(node = self.name, %refusal, "the node's session ends"),
        }
        if let Some(refusal) = why {
            let _ = status.set(status_of(&refusal));
        }
        let routes = self.api.handle.log_routes();
        let leave = move |turn: &mut Turn<'_>| {
            let left = turn.leave(node, session);
            if !turn.is_connected(node) {
                routes.lose(node);
            }
            left
        };
        // A controller that stops has no sessions any more.
        let _ = self.api.handle.call(leave).await;
    }

    /// Until the node or the controller ends the session; why, where it was not the node's wish.
    async fn listen(
        &mut self,
        said: &mut Streaming<v1::AgentMessage>,
        ended: &mut oneshot::Receiver<()>,
    ) -> Option<Refusal> {
        let (api, pass) = (self.api.clone(), self.pass.clone());
        let mut closing = std::pin::pin!(api.closing());
        let mut taken_away = std::pin::pin!(pass.taken_away());
        loop {
            let has_room = self.underway.len() < UNDERWAY;
            tokio::select! {
                biased;
                refusal = &mut closing => return Some(refusal),
                refusal = &mut taken_away => return Some(refusal),
                _ = &mut *ended => return None,
                outcome = first(&mut self.underway), if !self.underway.is_empty() => {
                    if let Err(refusal) = self.on_disk(outcome).await {
                        return Some(refusal);
                    }
                }
                message = said.message(), if has_room => {
                    self.welcome.alive.heard();
                    let message = match message {
                        Ok(Some(message)) => message,
                        Ok(None) => return self.rest().await.err(),
                        // The connection is gone, and nobody is there to be told why.
                        Err(_) => return None,
                    };
                    if let Err(refusal) = self.hear(message).await {
                        return Some(refusal);
                    }
                }
            }
        }
    }

    async fn hear(&mut self, message: v1::AgentMessage) -> Result<(), Refusal> {
        let (node, session) = (self.welcome.node, self.welcome.session);
        match message.kind {
            Some(Said::Heartbeat(_)) => Ok(()),
            Some(Said::Report(report)) => {
                self.taken += 1;
                let number = report.number;
                if number != self.taken {
                    let reason = format!("report {number} came where {} was expected", self.taken);
                    return Err(Refusal::Invalid { field: "number", reason });
                }
                let report = report_of(report)?;
                let begun = self.api.handle.begin(move |turn| turn.report(node, session, report)).await?;
                self.underway.push_back((number, begun));
                Ok(())
            }
            Some(Said::GpuHealth(health)) => {
                let (gpu, condition) = condition_of(health)?;
                match &condition {
                    Condition::Well => tracing::debug!(node = self.name, gpu, "a GPU is well"),
                    Condition::Degraded(reason) => {
                        tracing::warn!(node = self.name, gpu, reason, "a GPU is degraded");
                    }
                    Condition::Ill(reason) => tracing::warn!(node = self.name, gpu, reason, "a GPU is ill"),
                }
                let call = self.api.handle.call(move |turn| turn.gpu_health(node, session, gpu, &condition));
                call.await
            }
            Some(Said::LogPart(part)) => self.pass_on(part).await,
            Some(Said::Register(_)) => {
                let reason = "the node has joined already in this session".to_owned();
                Err(Refusal::Invalid { field: "register", reason })
            }
            None => Err(Refusal::Invalid { field: "kind", reason: "the message says nothing".to_owned() }),
        }
    }

    /// A part of a log on its way to a reader, who may be slow. Everything else that the node says waits behind it for a moment
    /// at most: a reader who does not read for longer is cut off.
    async fn pass_on(&mut self, part: v1::LogPart) -> Result<(), Refusal> {
        let (request, is_last, routes) = (part.request, part.last, self.api.handle.log_routes());
        let way = self.logs.entry(request).or_insert_with(|| {
            let (way, mut parts) = mpsc::channel(LOG_PARTS);
            let routes = Arc::clone(&routes);
            tokio::spawn(async move {
                while let Some(part) = parts.recv().await {
                    if !routes.deliver(part).await {
                        return;
                    }
                }
            });
            way
        });
        let passed = timeout(STALLED, way.send(part)).await;
        if is_last || !matches!(passed, Ok(Ok(()))) {
            self.logs.remove(&request);
        }
        if passed.is_err() {
            tracing::info!(node = self.name, request, "a log is not read any more: its reader is cut off");
            routes.cut(request);
        }
        match passed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => self.tell(stop(request)).await,
        }
    }

    /// The first report underway has come to its end, and others perhaps with it.
    async fn on_disk(&mut self, outcome: Result<(), Refusal>) -> Result<(), Refusal> {
        outcome?;
        let Some((mut number, _)) = self.underway.pop_front() else { return Ok(()) };
        while let Some((next, begun)) = self.underway.front_mut() {
            match begun.try_answer() {
                Some(Ok(())) => number = *next,
                Some(Err(refusal)) => {
                    self.tell(Told::Ack(v1::Ack { number })).await?;
                    return Err(refusal);
                }
                None => break,
            }
            self.underway.pop_front();
        }
        self.tell(Told::Ack(v1::Ack { number })).await
    }

    /// The node says nothing more: what it said is brought to an end.
    async fn rest(&mut self) -> Result<(), Refusal> {
        while !self.underway.is_empty() {
            let outcome = first(&mut self.underway).await;
            self.on_disk(outcome).await?;
        }
        Ok(())
    }

    async fn tell(&self, kind: Told) -> Result<(), Refusal> {
        let gone = || Refusal::Unreachable { node: self.name.clone() };
        let told = self.told.upgrade().ok_or_else(gone)?;
        told.send(v1::ControllerMessage { kind: Some(kind) }).await.map_err(|_| gone())
    }
}

async fn first(underway: &mut VecDeque<(u64, Begun<()>)>) -> Result<(), Refusal> {
    match underway.front_mut() {
        Some((_, begun)) => begun.answer().await,
        None => std::future::pending().await,
    }
}

fn stop(request: u64) -> Told {
    Told::ReadLog(v1::ReadLog { request, stop: true, ..Default::default() })
}

/// A session beside a node's own that carries nothing but what was read of one log, so that a slow reader holds up nothing else.
struct Logs {
    api: Api,
    told: mpsc::Sender<v1::ControllerMessage>,
}

impl Logs {
    async fn run(
        self,
        part: v1::LogPart,
        mut said: Streaming<v1::AgentMessage>,
        mut ended: oneshot::Receiver<()>,
    ) {
        let (routes, request) = (self.api.handle.log_routes(), part.request);
        self.pass_on(&routes, part, &mut said, &mut ended).await;
        // Whoever still reads has not had the last part, and is told that there will be none.
        routes.cut(request);
    }

    async fn pass_on(
        &self,
        routes: &Routes,
        part: v1::LogPart,
        said: &mut Streaming<v1::AgentMessage>,
        ended: &mut oneshot::Receiver<()>,
    ) {
        let mut next = Some(part);
        while let Some(part) = next.take() {
            let request = part.request;
            let is_wanted = tokio::select! {
                is_wanted = routes.deliver(part) => is_wanted,
                _ = &mut *ended => return,
                _ = self.api.closing() => return,
            };
            if !is_wanted {
                let message = v1::ControllerMessage { kind: Some(stop(request)) };
                // Whoever does not listen any more has stopped already.
                let _ = self.told.send(message).await;
            }
            let message = tokio::select! {
                message = said.message() => message,
                _ = &mut *ended => return,
                _ = self.api.closing() => return,
            };
            next = match message {
                Ok(Some(v1::AgentMessage { kind: Some(Said::LogPart(part)) })) => Some(part),
                _ => None,
            };
        }
    }
}
