//! A client of the scheduler: what the `zenith` command and the Python package speak through.
//!
//! [`Target`] says where the scheduler is and who calls. [`Client`] makes the calls; [`Blocking`] makes them for programs that
//! know no runtime. [`rows`] reads long lists where they lie. [`notation`] reads and writes what people type and see: spans of
//! time, memory, ranges. `follow` reads a job's output through all its attempts. [`submission`] is work as users write it. Nothing
//! here knows a terminal.

mod blocking;
mod error;
mod follow;
pub mod notation;
pub mod rows;
pub mod signals;
pub mod submission;
mod target;

use std::time::Duration;

use bytes::Bytes;
use tonic::Streaming;
use tonic::codegen::InterceptedService;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;

pub use self::blocking::{Blocking, GLANCE, Pages};
pub use self::error::ClientError;
pub(crate) use self::error::is_loopback;
pub use self::follow::{Followed, Parts};
pub use self::target::{DEFAULT_CONTROLLER, RawTarget, Target, Token};

use crate::controller::ops::Act;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long the scheduler may take to begin an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often a connection that waits for an answer is tried, and how long the scheduler may take to say that it lives.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
/// What may be under way in one answer, so that a long list does not wait for permission to go on.
const WINDOW: u32 = 8 << 20;
/// The largest message that is taken.
const LARGEST: usize = 64 << 20;

/// Adds the token to every call.
#[derive(Clone, Debug)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

type Door = InterceptedService<Channel, Bearer>;

/// A connection to a scheduler. Cheap to clone; it comes back by itself when the scheduler does.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: String,
    door: Door,
    service: SchedulerServiceClient<Door>,
}

impl Client {
    /// Connects to a scheduler.
    ///
    /// # Errors
    /// [`ClientError::NoServer`] where none answers; a certificate that cannot be read.
    pub async fn connect(target: &Target) -> Result<Self, ClientError> {
        let endpoint = target.endpoint().to_owned();
        let address = |error: tonic::transport::Error| ClientError::Address {
            text: endpoint.clone(),
            reason: error::chain(&error),
        };
        let mut door = Endpoint::from_shared(endpoint.clone())
            .map_err(address)?
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE_EVERY)
            .keep_alive_timeout(ALIVE_EVERY)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        if target.is_tls() {
            let mut tls = ClientTlsConfig::new();
            if let Some(pem) = target.certificate()? {
                tls = tls.ca_certificate(Certificate::from_pem(pem));
            }
            door = door.tls_config(tls).map_err(address)?;
        }
        let channel = door.connect().await.map_err(|error| ClientError::NoServer {
            endpoint: endpoint.clone(),
            loopback: target.is_loopback(),
            reason: error::chain(&error),
        })?;
        let door = InterceptedService::new(channel, Bearer(target.bearer()?));
        let service = SchedulerServiceClient::new(door.clone()).max_decoding_message_size(LARGEST);
        Ok(Self { endpoint, door, service })
    }

    /// What becomes of the status of a failed call, for answers in parts.
    pub fn failing(&self) -> impl Fn(tonic::Status) -> ClientError + use<> {
        let endpoint = self.endpoint.clone();
        move |status| ClientError::of_status(&endpoint, &status)
    }

    /// Takes work in; by the same key it is taken in once.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn submit(
        &mut self,
        submission: v1::Submission,
        key: String,
    ) -> Result<v1::SubmitResponse, ClientError> {
        let request = v1::SubmitRequest { submission: Some(submission), idempotency_key: key };
        Ok(self.service.submit(request).await.map_err(self.failing())?.into_inner())
    }

    /// Does something to jobs; an outcome for each, in their order.
    ///
    /// # Errors
    /// A refusal of the whole call, or what befell the connection.
    pub async fn act(&mut self, act: Act, jobs: Vec<u64>) -> Result<Vec<v1::JobOutcome>, ClientError> {
        let request = v1::JobsRequest { jobs };
        let answer = match act {
            Act::Cancel => self.service.cancel(request).await,
            Act::Hold => self.service.hold(request).await,
            Act::Release => self.service.release(request).await,
            Act::Requeue => self.service.requeue(request).await,
        };
        Ok(answer.map_err(self.failing())?.into_inner().outcomes)
    }

    /// Sends a signal to every rank of a running job; its attempt goes on, unless its processes end because of it.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn signal(&mut self, job: u64, number: u32) -> Result<(), ClientError> {
        self.service.signal(v1::SignalRequest { job, number }).await.map_err(self.failing())?;
        Ok(())
    }

    /// One job with everything that is known of it.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn get(&mut self, job: u64) -> Result<v1::JobDetail, ClientError> {
        Ok(self.service.get(v1::GetRequest { job }).await.map_err(self.failing())?.into_inner())
    }

    /// Jobs in pages.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn list(
        &mut self,
        request: v1::ListRequest,
    ) -> Result<Streaming<v1::ListResponse>, ClientError> {
        Ok(self.service.list(request).await.map_err(self.failing())?.into_inner())
    }

    /// Jobs in pages as they came, to be read with [`rows::rows`].
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn list_raw(&mut self, request: v1::ListRequest) -> Result<Streaming<Bytes>, ClientError> {
        let fail = self.failing();
        let mut calls = tonic::client::Grpc::new(self.door.clone()).max_decoding_message_size(LARGEST);
        calls.ready().await.map_err(|error| fail(tonic::Status::unavailable(error::chain(&error))))?;
        let path = PathAndQuery::from_static("/zenith.v1.SchedulerService/List");
        let request = tonic::Request::new(request);
        Ok(calls.server_streaming(request, path, rows::PagesAsTheyCame).await.map_err(fail)?.into_inner())
    }

    /// Changes of jobs as they happen; the jobs as they are come first.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn watch(&mut self, jobs: Vec<u64>) -> Result<Streaming<v1::WatchResponse>, ClientError> {
        Ok(self.service.watch(v1::WatchRequest { jobs }).await.map_err(self.failing())?.into_inner())
    }

    /// Why a job does not run.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn why(&mut self, job: u64) -> Result<v1::WhyResponse, ClientError> {
        Ok(self.service.why(v1::WhyRequest { job }).await.map_err(self.failing())?.into_inner())
    }

    /// What processes of a job wrote.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn logs(
        &mut self,
        request: v1::LogsRequest,
    ) -> Result<Streaming<v1::LogsResponse>, ClientError> {
        Ok(self.service.logs(request).await.map_err(self.failing())?.into_inner())
    }

    /// Nodes, queues, users, counts.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn cluster(&mut self) -> Result<v1::ClusterResponse, ClientError> {
        Ok(self.service.cluster(v1::ClusterRequest {}).await.map_err(self.failing())?.into_inner())
    }

    /// Closes a node for new work, or opens it.
    ///
    /// # Errors
    /// A refusal, or what befell the connection.
    pub async fn drain(&mut self, node: String, drained: bool) -> Result<(), ClientError> {
        self.service.drain(v1::DrainRequest { node, drained }).await.map_err(self.failing())?;
        Ok(())
    }
}
