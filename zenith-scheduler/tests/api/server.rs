//! A scheduler within the test's own process, at ports that were free.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use zenith_proto::v1;
use zenith_proto::v1::scheduler_service_client::SchedulerServiceClient;
use zenith_scheduler::api::Api;
use zenith_scheduler::api::auth::{Auth, Tokens};
use zenith_scheduler::api::server::{Entrance, serve_grpc, serve_rest};
use zenith_scheduler::controller::{self, Running, Settings};
use zenith_scheduler::policy::Policy;

/// Longer than anything here takes, so that a test that waits in vain ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A scheduler.
pub(crate) struct Server {
    pub(crate) grpc: SocketAddr,
    pub(crate) rest: SocketAddr,
    close: watch::Sender<bool>,
    doors: [JoinHandle<()>; 2],
    running: Running,
}

/// Where a scheduler keeps its state, for as long as the test runs.
pub(crate) struct State(tempfile::TempDir);

impl State {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn tokens(&self) -> Tokens {
        Tokens::at(self.path())
    }
}

impl Server {
    pub(crate) async fn start(state: &State) -> Self {
        let policy = Policy { reserve_cpus: 0, reserve_memory_mib: 0, ..Policy::default() };
        let settings = Settings { policy, room: 0, ..Settings::default() };
        Self::start_with(state.path().join("scheduler.redb"), state.tokens(), settings).await
    }

    pub(crate) async fn start_with(store: PathBuf, tokens: Tokens, settings: Settings) -> Self {
        let (handle, running) = controller::start(&store, settings).unwrap();
        let (api, close) = Api::new(handle, Auth::new(tokens));
        let open = || Entrance::open("127.0.0.1:0".parse().unwrap(), None);
        let (grpc, rest) = (open().await.unwrap(), open().await.unwrap());
        let (grpc_at, rest_at) = (grpc.address(), rest.address());
        let way = api.clone();
        let doors = [
            tokio::spawn(async move { serve_grpc(way, grpc).await.unwrap() }),
            tokio::spawn(async move { serve_rest(api, rest).await.unwrap() }),
        ];
        Self { grpc: grpc_at, rest: rest_at, close, doors, running }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> SchedulerServiceClient<Channel> {
        SchedulerServiceClient::new(self.channel().await)
    }

    /// Closes the doors, and waits until everything is written down.
    pub(crate) async fn stop(self) {
        self.close.send(true).unwrap();
        for door in self.doors {
            tokio::time::timeout(PATIENCE, door).await.unwrap().unwrap();
        }
        let running = self.running;
        tokio::task::spawn_blocking(move || running.join()).await.unwrap();
    }
}

/// A command for so many GPUs.
pub(crate) fn work(gpus: u32) -> v1::Submission {
    v1::Submission {
        name: "work".to_owned(),
        resources: Some(v1::Resources { gpus: Some(gpus), ..Default::default() }),
        command: vec!["train".to_owned(), "--fast".to_owned()],
        ..Default::default()
    }
}

pub(crate) fn submitting(submission: v1::Submission) -> v1::SubmitRequest {
    v1::SubmitRequest { submission: Some(submission), idempotency_key: String::new() }
}

/// A request by somebody with a token.
pub(crate) fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// The refusal in a status.
pub(crate) fn refusal_in(status: &Status) -> v1::Refusal {
    let refusal = <v1::Refusal as prost::Message>::decode(status.details()).unwrap();
    assert!(
        !refusal.code.is_empty() && !refusal.message.is_empty() && !refusal.hint.is_empty(),
        "{refusal:?}"
    );
    refusal
}

/// All jobs, by gRPC.
pub(crate) async fn list(client: &mut SchedulerServiceClient<Channel>) -> Vec<v1::Job> {
    let mut pages = client.list(v1::ListRequest::default()).await.unwrap().into_inner();
    let mut jobs = Vec::new();
    while let Some(page) = pages.message().await.unwrap() {
        jobs.extend(page.jobs);
    }
    jobs
}

/// A job as soon as it is in a state.
pub(crate) async fn in_state(
    client: &mut SchedulerServiceClient<Channel>,
    job: u64,
    state: v1::JobState,
) -> v1::Job {
    let waiting = async {
        let mut watch = client.watch(v1::WatchRequest { jobs: vec![job] }).await.unwrap().into_inner();
        loop {
            let message = watch.message().await.unwrap();
            let jobs = message.unwrap_or_else(|| panic!("job {job} ended without being {state:?}")).jobs;
            if let Some(found) = jobs.into_iter().find(|found| found.id == job && found.state() == state) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap()
}
