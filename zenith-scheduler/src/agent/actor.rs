//! The agent's loop: one thing after the other, whatever comes first. It waits for the controller, for supervisors, for the
//! nursery and for time, and for nothing else.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep_until, timeout};
use zenith_proto::v1;
use zenith_proto::v1::agent_message::Kind;
use zenith_proto::v1::controller_message::Kind as Order;

use super::config::Config;
use super::error::Error;
use super::gpus::{Chosen, Declared, Gpus, Kept, Teller};
use super::health::Health;
use super::identity;
use super::launcher::Launcher;
use super::layout::{Key, Layout};
use super::log_session;
use super::logs::Phase;
use super::machine;
use super::nursery::cgroup::Parent;
use super::nursery::plan::{Machine, Place};
use super::nursery::{Settings, rotate};
use super::run::Ask;
use super::runs::Runs;
use super::session::{Backoff, Door, Failure, Session};
use super::status::try_lock;
use super::watch::Watch;

/// How often time itself is a reason to look after things.
const TICK: Duration = Duration::from_secs(1);

/// How long a nursery has to live for its death to be no reason to wait before the next one.
const NURSERY_LIVED: Duration = Duration::from_secs(1);

/// How often the lock of an earlier nursery is tried, and after how long that is worth a word.
const NURSERY_LOCK: Duration = Duration::from_millis(5);
const NURSERY_LATE: Duration = Duration::from_secs(5);

/// Logs that are read at the same time. What is asked beyond is answered by an end.
const MOST_READERS: usize = 1024;

/// What the agent is to the controller right now.
enum Link {
    Waiting(tokio::time::Instant),
    Connecting(JoinHandle<Result<Session, Failure>>),
    Up(Box<Session>),
}

/// What comes of waiting for the controller.
enum Heard {
    TryNow,
    Connected(Box<Session>),
    Failed(Failure),
    Said(Box<v1::ControllerMessage>),
    Lost(String),
    Heartbeat,
    /// There is room for reports.
    Room,
}

/// A log that somebody reads.
struct Reader {
    key: Key,
    phase: watch::Sender<Phase>,
}

/// The agent.
pub(crate) struct Actor {
    config: Config,
    spec: v1::NodeSpec,
    identity: String,
    door: Door,
    layout: Layout,
    settings: Settings,
    watch: Watch,
    runs: Runs,
    buried: mpsc::UnboundedReceiver<Key>,
    launcher: Option<Launcher>,
    launched: Instant,
    link: Link,
    backoff: Backoff,
    health: Health,
    readers: HashMap<u64, Reader>,
    cleaning: Option<JoinHandle<()>>,
    /// Nobody else may use the state folder.
    _lock: File,
}

impl Actor {
    pub(crate) async fn new(mut config: Config) -> Result<Self, Error> {
        let door = Door::new(&config)?;
        let layout = Layout::new(&config.state);
        for folder in [layout.statuses(), layout.runs(), layout.checkpoints(), layout.spares()] {
            // What jobs write is their users' and the agent's alone.
            DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(Error::file(&folder))?;
        }
        let lock = open_lock(&layout)?;
        let identity = identity::of(&layout).map_err(Error::file(&layout.identity()))?;
        let gpus = std::mem::replace(&mut config.gpus, Box::new(Declared::default()));
        let (gpus, told) = find_gpus(gpus, &layout, config.gpu_patience).await?;
        let spec = v1::NodeSpec {
            name: config.name.clone(),
            rack: config.rack.clone(),
            cpus: config.cpus,
            memory_mib: config.memory_mib,
            gpus: gpus.gpus.iter().map(v1::Gpu::from).collect(),
        };
        let settings = settings(&config, &layout, &gpus, &lock)?;
        // From here on nothing is missed, and what was before is read.
        let watch = Watch::on(&layout.statuses())
            .map_err(|source| Error::Watch { path: layout.statuses(), source })?;
        let launcher = first_nursery(&config, &layout, &settings).await?;
        let health = Health::new(gpus, told, config.gpu_patience);
        let (buried, graves) = mpsc::unbounded_channel();
        let runs = Runs::find(&layout, settings.clone(), buried)?;
        Ok(Self {
            config,
            spec,
            identity,
            door,
            layout,
            settings,
            watch,
            runs,
            buried: graves,
            launcher: Some(launcher),
            launched: Instant::now(),
            link: Link::Waiting(tokio::time::Instant::now()),
            backoff: Backoff::new(),
            health,
            readers: HashMap::new(),
            cleaning: None,
            _lock: lock,
        })
    }

    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::Instant::now() + TICK;
        loop {
            let due = self.runs.due().map_or(tick, |due| tick.min(due.into()));
            let unsaid = !self.runs.reports.is_all_said();
            tokio::select! {
                () = &mut shutdown => return Ok(()),
                heard = self.link.next(unsaid) => self.hear(heard),
                events = self.watch.next() => {
                    let events = events.map_err(|source| Error::Watch { path: self.layout.statuses(), source })?;
                    self.runs.notice(&events);
                }
                () = nursery_ended(&mut self.launcher) => self.lose_nursery(),
                Some(key) = self.buried.recv() => self.runs.bury_at_last(key),
                changes = self.health.changes() => self.tell_health(&changes),
                () = sleep_until(due) => {
                    self.look_after_nursery();
                    if let Some(launcher) = &mut self.launcher {
                        self.runs.tick(launcher, Instant::now());
                    }
                    if tick <= tokio::time::Instant::now() {
                        tick = tokio::time::Instant::now() + TICK;
                        self.runs.insist();
                        self.clean();
                    }
                }
            }
            for key in self.runs.take_ended() {
                for reader in self.readers.values().filter(|reader| reader.key == key) {
                    reader.phase.send_replace(Phase::Ended);
                }
            }
            self.say();
        }
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::TryNow => {
                let register = v1::Register {
                    spec: Some(self.spec.clone()),
                    address: self.config.address.clone().unwrap_or_default(),
                    known: self.runs.known(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    identity: self.identity.clone(),
                };
                self.link = Link::Connecting(tokio::spawn(self.door.clone().enter(register)));
            }
            Heard::Connected(session) => {
                tracing::info!(controller = self.config.controller, node = session.node, "registered");
                self.backoff = Backoff::new();
                self.runs.reports.begin_again();
                self.link = Link::Up(session);
                let known: Vec<v1::GpuHealth> = self.health.known().cloned().collect();
                self.tell_health(&known);
            }
            Heard::Failed(failure) => {
                let controller = &self.config.controller;
                match &failure {
                    Failure::Refused(status) => {
                        let reason = status.message();
                        let hint = v1::Refusal::decode(status.details()).unwrap_or_default().hint;
                        tracing::error!(controller, reason, hint, code = ?status.code(), "the controller refuses this node");
                    }
                    Failure::Unreachable(reason) => {
                        tracing::debug!(controller, reason, "the controller cannot be reached");
                    }
                }
                self.link = Link::Waiting(tokio::time::Instant::now() + self.backoff.after(&failure));
            }
            Heard::Lost(reason) => {
                tracing::warn!(controller = self.config.controller, reason, "the controller was lost");
                // Whoever asked for logs asked through it.
                self.readers.clear();
                let pause = self.backoff.after(&Failure::Unreachable(reason));
                self.link = Link::Waiting(tokio::time::Instant::now() + pause);
            }
            Heard::Said(message) => {
                if let Some(order) = message.kind {
                    self.obey(order);
                }
            }
            Heard::Heartbeat => self.try_send(Kind::Heartbeat(v1::Heartbeat {})),
            Heard::Room => {}
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Start(start) => self.runs.start(self.launcher.as_mut(), start),
            Order::Signal(signal) => {
                let key = Key { job: signal.job, attempt: signal.attempt };
                match signal.number {
                    Some(number) => self.runs.pass_on(key, number),
                    None => self.runs.signal(key, if signal.kill { Ask::Kill } else { Ask::End }),
                }
            }
            Order::Ack(ack) => self.runs.acknowledge(ack.number),
            Order::ReadLog(request) => self.read_log(request),
            Order::Welcome(_) => tracing::warn!("the controller welcomes this node twice"),
        }
    }

    fn read_log(&mut self, request: v1::ReadLog) {
        if request.stop {
            if let Some(reader) = self.readers.remove(&request.request) {
                reader.phase.send_replace(Phase::Unwanted);
            }
            return;
        }
        let Link::Up(session) = &self.link else { return };
        let key = Key { job: request.job, attempt: request.attempt };
        self.readers.retain(|_, reader| !reader.phase.is_closed());
        if self.readers.len() >= MOST_READERS {
            tracing::warn!(%key, "too many logs are read at the same time");
            let last = v1::LogPart { request: request.request, part: None, last: true };
            self.try_send(Kind::LogPart(last));
            return;
        }
        let now = if self.runs.is_over(key) { Phase::Ended } else { Phase::Running };
        let (phase, changes) = watch::channel(now);
        let number = request.request;
        let (door, layout, own) = (self.door.clone(), self.layout.clone(), session.logs.clone());
        tokio::spawn(log_session::serve(door, layout, request, changes, own));
        self.readers.insert(number, Reader { key, phase });
    }

    fn tell_health(&mut self, changes: &[v1::GpuHealth]) {
        for change in changes {
            self.try_send(Kind::GpuHealth(change.clone()));
        }
    }

    /// Sends what may be lost with the session: it is said again in the next one, or is out of date by then.
    fn try_send(&mut self, kind: Kind) {
        if let Link::Up(session) = &self.link
            && session.out.try_send(v1::AgentMessage { kind: Some(kind) }).is_err()
        {
            tracing::debug!("the controller is slow to take what this node says");
        }
    }

    /// Says as much as the network takes.
    fn say(&mut self) {
        let Link::Up(session) = &self.link else { return };
        while let Ok(room) = session.out.try_reserve() {
            let Some(report) = self.runs.reports.say() else { return };
            room.send(v1::AgentMessage { kind: Some(Kind::Report(report)) });
        }
    }

    fn lose_nursery(&mut self) {
        tracing::warn!("the nursery is dead; another one is started");
        self.launcher = None;
        if self.launched.elapsed() >= NURSERY_LIVED {
            self.look_after_nursery();
        }
    }

    /// Starts another nursery where there is none; a failure is tried again with the next tick.
    fn look_after_nursery(&mut self) {
        if self.launcher.is_some() {
            return;
        }
        self.launched = Instant::now();
        match Launcher::start(&self.config.nursery, &self.settings) {
            Ok(mut launcher) => {
                self.runs.pass_on_again(&mut launcher);
                self.launcher = Some(launcher);
            }
            Err(error) => tracing::error!(%error, "nothing can be started on this node"),
        }
    }

    /// Forgets old attempts, on a thread of its own.
    fn clean(&mut self) {
        if self.cleaning.as_ref().is_some_and(|cleaning| !cleaning.is_finished()) {
            return;
        }
        let outdated = self.runs.history.outdated(SystemTime::now(), self.config.keep);
        if !outdated.is_empty() {
            let spares = self.runs.spares.clone();
            let forget = move || outdated.iter().for_each(|ended| spares.forget(ended.key, ended.is_whole));
            self.cleaning = Some(spawn_blocking(forget));
        }
    }
}

impl Link {
    /// What happens next between us and the controller. May be dropped and called again.
    async fn next(&mut self, unsaid: bool) -> Heard {
        match self {
            Self::Waiting(until) => {
                sleep_until(*until).await;
                Heard::TryNow
            }
            Self::Connecting(attempt) => match attempt.await {
                Ok(Ok(session)) => Heard::Connected(Box::new(session)),
                Ok(Err(failure)) => Heard::Failed(failure),
                Err(error) => Heard::Failed(Failure::Unreachable(error.to_string())),
            },
            Self::Up(session) => tokio::select! {
                message = session.inbound.message() => match message {
                    Ok(Some(message)) => Heard::Said(Box::new(message)),
                    Ok(None) => Heard::Lost("it closed the session".to_owned()),
                    Err(status) => Heard::Lost(status.to_string()),
                },
                _ = session.heartbeat.tick() => Heard::Heartbeat,
                room = session.out.reserve(), if unsaid => match room {
                    Ok(_) => Heard::Room,
                    Err(_) => Heard::Lost("the connection was closed".to_owned()),
                },
            },
        }
    }
}

async fn nursery_ended(launcher: &mut Option<Launcher>) {
    match launcher {
        Some(launcher) => launcher.ended().await,
        None => std::future::pending().await,
    }
}

fn open_lock(layout: &Layout) -> Result<File, Error> {
    let path = layout.agent_lock();
    let lock = File::create(&path).map_err(Error::file(&path))?;
    match try_lock(&lock).map_err(Error::file(&path))? {
        true => Ok(lock),
        false => Err(Error::StateInUse { path: layout.root().to_path_buf() }),
    }
}

/// Waits until no nursery of an earlier agent can begin anything more, so that every attempt that was begun is found, and
/// starts one of our own.
async fn first_nursery(config: &Config, layout: &Layout, settings: &Settings) -> Result<Launcher, Error> {
    let path = layout.nursery_lock();
    let lock = File::create(&path).map_err(Error::file(&path))?;
    let mut word = Instant::now() + NURSERY_LATE;
    while !try_lock(&lock).map_err(Error::file(&path))? {
        if word <= Instant::now() {
            tracing::warn!(lock = %path.display(), "waiting for the nursery of an earlier agent to end");
            word = Instant::now() + NURSERY_LATE;
        }
        tokio::time::sleep(NURSERY_LOCK).await;
    }
    drop(lock);
    Launcher::start(&config.nursery, settings)
}

/// Asks for the GPUs on a thread of their own, which goes on telling how they are, and decides which of them this node has. A
/// driver that does not answer in time has none.
async fn find_gpus(
    gpus: Box<dyn Gpus>,
    layout: &Layout,
    patience: Duration,
) -> Result<(Chosen, watch::Receiver<Vec<v1::GpuHealth>>), Error> {
    let (teller, heard) = Teller::new();
    // Nobody waits for this thread: one that hangs in a driver ends with the process.
    let asking = thread::Builder::new().name("gpus".to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| gpus.run(teller))).is_err() {
            tracing::error!("looking at GPUs has failed; whether they are well is not known any more");
        }
    });
    asking.map_err(|error| Error::Machine { what: "the GPUs", why: error.to_string(), option: "--gpus" })?;
    let found = match timeout(patience, heard.list).await {
        Ok(list) => list.unwrap_or_default(),
        Err(_) => {
            let seconds = patience.as_secs_f64();
            let hint = "nvidia-smi and dmesg say more; start the agent again once it answers, or declare GPUs by --gpus";
            tracing::warn!(
                hint,
                "the drivers of GPUs do not answer within {seconds} seconds: none are handed out"
            );
            Vec::new()
        }
    };
    let statuses = layout.statuses();
    let mut attempts = fs::read_dir(&statuses).map_err(Error::file(&statuses))?;
    Ok((Kept::at(layout.root()).choose(found, attempts.next().is_some()), heard.health))
}

/// What holds for every attempt here.
fn settings(config: &Config, layout: &Layout, gpus: &Chosen, probe: &File) -> Result<Settings, Error> {
    let mut notes = Vec::new();
    if let Err(error) = rotate::check(probe) {
        notes.push(format!(
            "logs are not limited: the file system of {} says {error}",
            config.state.display()
        ));
    }
    let machine = Machine {
        name: config.name.clone(),
        numa: machine::usable_numa(&config.numa),
        gpus: gpus.gpus.iter().map(Place::from).collect(),
    };
    let root = fs::metadata(layout.root()).map_err(Error::file(layout.root()))?;
    // The folder's own number: no other agent's groups have the same name.
    let groups = Parent::prepare(&format!("zenith-{}-{}", root.dev(), root.ino()));
    if let Err(why) = &groups {
        tracing::info!(why, "processors and memory of jobs are not limited");
    }
    Ok(Settings { state: config.state.clone(), machine, log_part: config.log_part, groups, notes })
}
