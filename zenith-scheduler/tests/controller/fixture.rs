//! A controller over a state of its own, and nodes that the test plays.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use zenith_proto::v1;
use zenith_proto::v1::controller_message::Kind;
use zenith_scheduler::controller::clock::Clock;
use zenith_scheduler::controller::ops::{Act, Caller, Happened, Joining, Report};
use zenith_scheduler::controller::{self, Handle, Running, Settings, Welcome};
use zenith_scheduler::core::job::{Exit, Used, Work};
use zenith_scheduler::core::node::{Contact, NodeSpec};
use zenith_scheduler::core::request::{NodeCount, Request};
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{Core, JobId, Submission, Time};
use zenith_scheduler::refusal::Refusal;
use zenith_scheduler::store::Store;

pub(crate) struct House {
    pub(crate) handle: Handle,
    pub(crate) running: Running,
}

/// A node that is played by the test.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) welcome: Welcome,
    pub(crate) inbox: mpsc::Receiver<v1::ControllerMessage>,
}

pub(crate) fn settings() -> Settings {
    Settings { room: 0, ..Settings::default() }
}

impl House {
    pub(crate) fn open(path: &Path) -> Self {
        Self::with(path, settings())
    }

    pub(crate) fn with(path: &Path, settings: Settings) -> Self {
        let (handle, running) = controller::start(path, settings).unwrap();
        Self { handle, running }
    }

    pub(crate) fn by(path: &Path, settings: Settings, clock: Arc<dyn Clock>) -> Self {
        let (handle, running) = controller::start_by(path, settings, clock).unwrap();
        Self { handle, running }
    }

    pub(crate) fn over(store: Store, core: Core, clock: Arc<dyn Clock>) -> Self {
        let (handle, running) = controller::start_over(store, core, settings(), clock).unwrap();
        Self { handle, running }
    }

    /// The controller looks at its nodes, if that is due.
    pub(crate) async fn look(&self) {
        self.handle.call(|_| Ok(())).await.unwrap();
    }

    /// Ends as a program does that is asked to.
    pub(crate) fn close(self) {
        drop(self.handle);
        self.running.join();
    }

    pub(crate) async fn join(&self, name: &str, gpus: u32, known: &[(JobId, u32)]) -> Node {
        self.join_as(NodeSpec::with_gpus(name, gpus), "127.0.0.1", known).await
    }

    pub(crate) async fn join_as(&self, spec: NodeSpec, address: &str, known: &[(JobId, u32)]) -> Node {
        let (sender, inbox) = mpsc::channel(64);
        let joining = Joining { spec, address: address.to_owned(), known: known.to_vec() };
        let handle = self.handle.clone();
        let welcome = handle.call(move |turn| turn.join(joining, sender)).await.unwrap();
        Node { handle, welcome, inbox }
    }

    pub(crate) async fn cancel(&self, job: JobId) {
        self.handle.call(move |turn| turn.act(&ada(), job, Act::Cancel)).await.unwrap();
    }

    /// A node with so many GPUs on which a job with some of them runs.
    pub(crate) async fn at_work(&self, name: &str, gpus: u32, of_job: u32) -> (Node, JobId, v1::Start) {
        let mut node = self.join(name, gpus, &[]).await;
        let job = self.submit(work(of_job)).await.unwrap();
        let start = node.told_to_start().await;
        node.run(&start).await;
        (node, job, start)
    }

    pub(crate) async fn submit(&self, submission: Submission) -> Result<JobId, Refusal> {
        self.handle.call(move |turn| turn.submit(&ada(), submission)).await.map(|submitted| submitted.first)
    }

    pub(crate) async fn state(&self, job: JobId) -> State {
        self.handle.call(move |turn| Ok(turn.core().job(job).unwrap().state)).await.unwrap()
    }

    pub(crate) async fn until(&self, job: JobId, wanted: State) {
        for _ in 0..1000 {
            if self.state(job).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("job {job} is {} and not {wanted}", self.state(job).await);
    }

    pub(crate) async fn contact(&self, node: &Node) -> Contact {
        let id = node.welcome.node;
        self.handle.call(move |turn| Ok(turn.core().cluster().node(id).unwrap().contact)).await.unwrap()
    }
}

impl Node {
    pub(crate) async fn told(&mut self) -> Kind {
        let wait = tokio::time::timeout(Duration::from_secs(20), self.inbox.recv());
        wait.await.expect("the node is told nothing").expect("the connection has ended").kind.unwrap()
    }

    pub(crate) async fn told_to_start(&mut self) -> v1::Start {
        match self.told().await {
            Kind::Start(start) => start,
            other => panic!("told {other:?} and not to start something"),
        }
    }

    /// Whether a signal to end an attempt comes next, and whether it kills.
    pub(crate) async fn told_to_end(&mut self, job: JobId, attempt: u32) -> bool {
        match self.told().await {
            Kind::Signal(signal) => {
                assert_eq!((signal.job, signal.attempt, signal.number), (job.0, attempt, None));
                signal.kill
            }
            other => panic!("told {other:?} and not to end something"),
        }
    }

    pub(crate) fn told_nothing(&mut self) -> bool {
        self.inbox.try_recv().is_err()
    }

    pub(crate) async fn report(&self, start: &v1::Start, what: Happened) -> Result<(), Refusal> {
        let (node, session) = (self.welcome.node, self.welcome.session);
        let report = Report { job: JobId(start.job), attempt: start.attempt, what };
        self.handle.call(move |turn| turn.report(node, session, report)).await
    }

    pub(crate) async fn run(&self, start: &v1::Start) {
        for rank in start.rank_offset..start.rank_offset + start.local_ranks {
            self.report(start, Happened::Started { rank, notes: Vec::new() }).await.unwrap();
        }
    }

    pub(crate) async fn end(&self, start: &v1::Start, exit: Exit) {
        for rank in start.rank_offset..start.rank_offset + start.local_ranks {
            let used = Used { user_ms: 5, system_ms: 2, max_rss_kib: 100 };
            self.report(start, Happened::Exited { rank, exit, used, note: None }).await.unwrap();
        }
    }
}

pub(crate) fn ada() -> Caller {
    Caller { user: "ada".to_owned(), admin: false }
}

pub(crate) fn work(gpus: u32) -> Submission {
    let work = Work { command: vec!["train".to_owned()], ..Work::default() };
    Submission { request: Request::gpus(gpus), work, ..Submission::default() }
}

pub(crate) fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.redb");
    (dir, path)
}

/// A gang over two nodes, all of `gpus` on each.
pub(crate) fn pair(gpus: u32) -> Submission {
    let nodes = Some(NodeCount { min: 2, max: 2 });
    Submission { request: Request { nodes, gpus_per_node: Some(gpus), ..Request::default() }, ..work(0) }
}

pub(crate) const HOUR: u64 = 3_600_000;

/// Clocks that stand still unless they are told otherwise, in milliseconds.
#[derive(Debug)]
pub(crate) struct Hands {
    pub(crate) wall: AtomicU64,
    pub(crate) steady: AtomicU64,
}

impl Hands {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { wall: AtomicU64::new(1000 * HOUR), steady: AtomicU64::new(0) })
    }

    pub(crate) fn pass(&self, ms: u64) {
        self.wall.fetch_add(ms, Ordering::Relaxed);
        self.steady.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn wall(&self) -> Time {
        Time(self.wall.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.load(Ordering::Relaxed))
    }
}
