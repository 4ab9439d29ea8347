//! The services of `zenith.proto`: each method turns its message into a call of the controller, and the answer into a message.

mod gate;
mod node;
mod scheduler;
mod status;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Router;
use tonic::{Request, Status};
use zenith_proto::v1::node_agent_service_server::NodeAgentServiceServer;
use zenith_proto::v1::scheduler_service_server::SchedulerServiceServer;

use self::gate::{For, Gate, Pass};
use super::Api;
use crate::controller::ops::Caller;
use crate::refusal::Refusal;

pub use self::status::status_of;

/// Largest message that is taken.
const MAX_MESSAGE: usize = 8 << 20;

/// Messages that wait for a reader before whoever makes them waits too.
const AHEAD: usize = 4;

/// An end that does not answer for so long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A connection that is older takes no more calls, and is closed once those it has are over: whoever has one that it does not use
/// makes room, and everybody else opens another.
const OLDEST_CONNECTION: Duration = Duration::from_secs(10 * 60);

/// What the methods are methods of.
#[derive(Clone, Debug)]
struct Service {
    api: Api,
}

/// Messages that somebody makes while somebody reads.
type Messages<T> = ReceiverStream<Result<T, Status>>;

/// Both services, to be served.
pub(super) fn router(api: Api) -> Router {
    let auth = Arc::clone(&api.auth);
    let gate = |whom| Gate::new(Arc::clone(&auth), whom);
    let service = Service { api };
    let people = SchedulerServiceServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE);
    let agents = NodeAgentServiceServer::new(service).max_decoding_message_size(MAX_MESSAGE);
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_connection_age(OLDEST_CONNECTION)
        .add_service(InterceptedService::new(people, gate(For::People)))
        .add_service(InterceptedService::new(agents, gate(For::Agents)))
}

impl Service {
    fn person<T>(&self, request: &Request<T>) -> Result<Caller, Refusal> {
        Pass::of(request)?.caller()
    }

    /// Sends messages until there are no more, nobody reads them, whoever reads them is not known any more, or the doors close.
    fn send<T, F>(&self, pass: Pass, make: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F) -> Messages<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<(), Refusal>> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (making, api) = (make(sender.clone()), self.api.clone());
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = making => outcome,
                refusal = api.closing() => Err(refusal),
                refusal = pass.taken_away() => Err(refusal),
                () = sender.closed() => return,
            };
            if let Err(refusal) = outcome {
                // A reader that has gone away wants no reason.
                let _ = sender.send(Err(status_of(&refusal))).await;
            }
        });
        ReceiverStream::new(receiver)
    }
}

/// Somebody reads on.
fn is_read<T>(sent: &Result<(), mpsc::error::SendError<T>>) -> bool {
    sent.is_ok()
}
