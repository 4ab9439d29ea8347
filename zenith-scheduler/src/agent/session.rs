//! The connection to the controller: one stream in each direction. Opening it, and when to try again; what is said through it
//! is the agent's.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::UdpSocket;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind;
use zenith_proto::v1::node_agent_service_client::NodeAgentServiceClient;

use super::config::{Config, Token};
use super::error::Error;
use crate::client::is_loopback;

/// Messages that wait for the network: few of what is ours to keep anyway, fewer of the large ones.
const WAITING: usize = 256;
const WAITING_LOG_PARTS: usize = 8;

/// How long a controller may take to answer: the connection, and the registration.
const CONNECT: Duration = Duration::from_secs(5);
const WELCOME: Duration = Duration::from_secs(10);

/// A connection over which nothing came for so long is asked whether it is still there, and given up after so long again.
const ALIVE: Duration = Duration::from_secs(5);

/// Pauses between tries: of a controller that is not there, and of one that does not want us.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const REFUSED_PAUSE: Duration = Duration::from_secs(10);

/// The shortest time between heartbeats that a controller may ask for.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);

/// A session that the controller has welcomed.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) inbound: Streaming<v1::ControllerMessage>,
    pub(crate) out: mpsc::Sender<v1::AgentMessage>,
    pub(crate) logs: mpsc::Sender<v1::AgentMessage>,
    pub(crate) heartbeat: Interval,
    pub(crate) node: u32,
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again soon may help.
    Unreachable(String),
    /// It will not before somebody does something.
    Refused(Status),
}

/// Where the controller is, and how to be let in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    endpoint: Endpoint,
    controller: String,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Door {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let wrong = |why: String| Error::Controller { address: config.controller.clone(), why };
        if config.token.is_some()
            && config.tls_ca.is_none()
            && !config.insecure
            && !is_loopback(&config.controller)
        {
            return Err(Error::InTheClear { controller: config.controller.clone() });
        }
        let scheme = if config.tls_ca.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{}", config.controller));
        let mut endpoint = endpoint
            .map_err(|error| wrong(error.to_string()))?
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE)
            .keep_alive_timeout(ALIVE)
            .keep_alive_while_idle(true);
        if let Some(ca) = &config.tls_ca {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            endpoint = endpoint.tls_config(tls).map_err(|error| wrong(error.to_string()))?;
        }
        let bearer = |token: &Token| {
            let value = format!("Bearer {}", token.reveal()).parse::<MetadataValue<Ascii>>();
            let mut value =
                value.map_err(|_| Error::Arguments("the token has characters that none has".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let authorization = config.token.as_ref().map(bearer).transpose()?;
        Ok(Self { endpoint, controller: config.controller.clone(), authorization })
    }

    /// Connects and registers.
    pub(crate) async fn enter(self, mut register: v1::Register) -> Result<Session, Failure> {
        let channel = self.endpoint.connect().await.map_err(|error| Failure::Unreachable(chain(&error)))?;
        if register.address.is_empty() {
            register.address = self.own_address().ok_or_else(|| {
                Failure::Unreachable("the address that reaches the controller is not known".to_owned())
            })?;
        }
        let late = |_| Failure::Unreachable("it does not answer the registration".to_owned());
        timeout(WELCOME, self.register(channel, register)).await.map_err(late)?
    }

    /// Opens a session beside the node's own for what one request to read is answered with.
    pub(crate) async fn beside(
        &self,
        request: u64,
    ) -> Result<(mpsc::Sender<v1::AgentMessage>, Streaming<v1::ControllerMessage>), String> {
        let channel = self.endpoint.connect().await.map_err(|error| chain(&error))?;
        let (out, waiting) = mpsc::channel(WAITING_LOG_PARTS);
        // By its first word the controller knows what the session is for, which would come late from a log that does not grow.
        let first = v1::LogPart { request, part: None, last: false };
        let first = v1::AgentMessage { kind: Some(Kind::LogPart(first)) };
        out.send(first).await.map_err(|_| "the connection was closed".to_owned())?;
        let opening = self.open(channel, ReceiverStream::new(waiting));
        let opened = timeout(WELCOME, opening).await.map_err(|_| "it does not answer".to_owned())?;
        Ok((out, opened.map_err(|status| chain(&status))?))
    }

    async fn open(
        &self,
        channel: Channel,
        said: impl Stream<Item = v1::AgentMessage> + Send + 'static,
    ) -> Result<Streaming<v1::ControllerMessage>, Status> {
        let mut request = Request::new(said);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        Ok(NodeAgentServiceClient::new(channel).session(request).await?.into_inner())
    }

    async fn register(self, channel: Channel, register: v1::Register) -> Result<Session, Failure> {
        let (out, waiting) = mpsc::channel(WAITING);
        let (logs, waiting_logs) = mpsc::channel(WAITING_LOG_PARTS);
        let first = v1::AgentMessage { kind: Some(Kind::Register(register)) };
        // It waits in the channel, so that a controller that reads before it answers has something to read.
        let closed = |_| Failure::Unreachable("the connection was closed".to_owned());
        out.send(first).await.map_err(closed)?;
        let said = Outgoing { first: waiting, then: waiting_logs };
        let mut inbound = self.open(channel, said).await.map_err(failure)?;
        let welcome = match inbound.message().await.map_err(failure)?.and_then(|message| message.kind) {
            Some(v1::controller_message::Kind::Welcome(welcome)) => welcome,
            Some(_) => return Err(Failure::Unreachable("its first word is no welcome".to_owned())),
            None => return Err(Failure::Unreachable("it closed the session".to_owned())),
        };
        let pause = Duration::from_millis(welcome.heartbeat_ms).max(SHORTEST_HEARTBEAT);
        let mut heartbeat = interval_at(Instant::now() + pause, pause);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Session { inbound, out, logs, heartbeat, node: welcome.node })
    }

    /// The address of ours that packets to the controller carry. Sends none.
    fn own_address(&self) -> Option<String> {
        let any = |bind: &str| {
            let socket = UdpSocket::bind(bind).ok()?;
            socket.connect(&self.controller).ok()?;
            Some(socket.local_addr().ok()?.ip().to_string())
        };
        any("0.0.0.0:0").or_else(|| any("[::]:0"))
    }
}

/// An error with its causes, which say more than it does.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn failure(status: Status) -> Failure {
    match status.code() {
        Code::Unauthenticated
        | Code::PermissionDenied
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::Unimplemented => Failure::Refused(status),
        _ => Failure::Unreachable(chain(&status)),
    }
}

/// When to try again.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    /// The pause after a failure: longer each time, and never quite that of another agent.
    pub(crate) fn after(&mut self, failure: &Failure) -> Duration {
        let pause = match failure {
            Failure::Refused(_) => REFUSED_PAUSE,
            Failure::Unreachable(_) => self.next,
        };
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        let random = RandomState::new().build_hasher().finish() % 1024;
        pause.mul_f64(0.75 + 0.25 * random as f64 / 1024.0)
    }
}

/// What goes to the controller: everything else before the next part of a log.
struct Outgoing {
    first: mpsc::Receiver<v1::AgentMessage>,
    then: mpsc::Receiver<v1::AgentMessage>,
}

impl Stream for Outgoing {
    type Item = v1::AgentMessage;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.first.poll_recv(context) {
            Poll::Pending => match self.then.poll_recv(context) {
                Poll::Ready(Some(message)) => Poll::Ready(Some(message)),
                // The session is over when its first channel is.
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
            ready => ready,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_a_refusal_is_not_hurried() {
        let mut backoff = Backoff::new();
        let lost = Failure::Unreachable(String::new());
        let pauses: Vec<Duration> = (0..8).map(|_| backoff.after(&lost)).collect();
        assert!(pauses[0] <= FIRST_PAUSE && pauses[0] >= FIRST_PAUSE * 3 / 4);
        assert!(pauses[7] <= LONGEST_PAUSE && pauses[7] >= LONGEST_PAUSE * 3 / 4);
        assert!(backoff.after(&Failure::Refused(Status::unauthenticated(""))) > LONGEST_PAUSE);
    }
}
