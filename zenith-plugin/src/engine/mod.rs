//! A chain of plugins with threads: the Rust core of `zenith.Engine`. Samples are processed at once in the caller's
//! thread, or stream through workers in order, with a bound on how many are under way.

mod item;
mod stream;
mod worker;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_queue::SegQueue;
use zenith_data::transform::custom::TensorRef;
use zenith_runtime_cpu::sync::Gate;
use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use crate::chain::Chain;
use crate::{Host, Limits, Plugin, PluginError};
use stream::Job;
use worker::{Version, Way};

pub use item::{Done, Item, Tensor};
pub use stream::{Next, Refused, Stream};

/// Instances that are kept for callers of [`Engine::process`]; more callers at a time make theirs anew.
const MOST_IDLE: usize = 64;

/// The most worker threads.
const MOST_WORKERS: usize = 1_024;

/// The most samples that a stream has room for.
const MOST_SLOTS: usize = 1 << 20;

/// How an engine works.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Samples under way in one stream; 1,024, at least 1.
    pub buffer_size: usize,
    /// Worker threads; as many as the process may use processors.
    pub workers: usize,
    /// What each plugin may use.
    pub limits: Limits,
}

impl Default for EngineConfig {
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { buffer_size: 1_024, workers, limits: Limits::default() }
    }
}

/// Plugins in load order and the threads that run them. All methods may be called from any thread.
pub struct Engine {
    shared: Arc<Shared>,
    host: Host,
    config: EngineConfig,
    threads: Mutex<Vec<Thread<()>>>,
}

/// What workers, streams and callers share.
pub(crate) struct Shared {
    version: Mutex<Arc<Version>>,
    jobs: SegQueue<Job>,
    /// Where workers wait for jobs.
    gate: Gate,
    running: AtomicBool,
    closed: AtomicBool,
    /// How often streams were broken off: those of earlier runs are over.
    run: AtomicU64,
    /// How often this process was forked when the engine was made.
    generation: u32,
    idle: Mutex<Vec<Way>>,
}

impl Shared {
    fn version(&self) -> Arc<Version> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another chain in place of the one that is.
    fn change<T>(&self, change: impl FnOnce(&mut Chain) -> T) -> T {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        let mut chain = version.chain.clone();
        let result = change(&mut chain);
        *version = Arc::new(Version { number: version.number + 1, chain });
        drop(version);
        self.idle().clear();
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Way>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_process(&self) -> Result<(), PluginError> {
        if crate::fork::generation() == self.generation { Ok(()) } else { Err(PluginError::ForkedEngine) }
    }

    fn open(&self) -> Result<(), PluginError> {
        if self.closed.load(Ordering::Acquire) { Err(PluginError::Closed) } else { self.check_process() }
    }

    fn running(&self) -> Result<(), PluginError> {
        self.open()?;
        if self.running.load(Ordering::Acquire) { Ok(()) } else { Err(PluginError::Closed) }
    }

    /// Whether streams that were opened in this run may go on.
    fn check_run(&self, run: u64) -> Result<(), PluginError> {
        self.open()?;
        if self.run.load(Ordering::Acquire) == run { Ok(()) } else { Err(PluginError::Stopped) }
    }

    /// Whether streams that were opened in this run may take more in.
    fn check_intake(&self, run: u64) -> Result<(), PluginError> {
        self.check_run(run)?;
        if self.running.load(Ordering::Acquire) { Ok(()) } else { Err(PluginError::Stopped) }
    }

    fn enqueue(&self, job: Job) {
        self.jobs.push(job);
        self.gate.notify_one();
    }

    fn dequeue(&self) -> Option<Job> {
        self.jobs.pop()
    }

    /// What a worker thread does.
    fn work(&self) {
        let mut way = Way::default();
        loop {
            let job = self.gate.until(|| match self.dequeue() {
                Some(job) => Some(Some(job)),
                None if !self.running.load(Ordering::Acquire) => Some(None),
                None => None,
            });
            match job {
                Some(job) => job.run(self, &mut way),
                None => return,
            }
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("version", &self.version()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine without plugins and without running workers, which loads its plugins by `host`.
    ///
    /// # Errors
    /// [`PluginError::Limits`] for settings that cannot be kept.
    pub fn new(host: Host, config: EngineConfig) -> Result<Self, PluginError> {
        config.limits.check()?;
        if config.buffer_size == 0 {
            return Err(PluginError::Limits {
                limit: "buffer_size",
                value: "0".to_owned(),
                reason: "at least 1 is needed",
            });
        }
        if config.buffer_size > MOST_SLOTS {
            return Err(PluginError::Limits {
                limit: "buffer_size",
                value: config.buffer_size.to_string(),
                reason: "up to 1,048,576 would work",
            });
        }
        if config.workers > MOST_WORKERS {
            return Err(PluginError::Limits {
                limit: "num_workers",
                value: config.workers.to_string(),
                reason: "up to 1,024 would work",
            });
        }
        let shared = Shared {
            version: Mutex::new(Arc::new(Version { number: 0, chain: Chain::default() })),
            jobs: SegQueue::new(),
            gate: Gate::new(),
            running: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            run: AtomicU64::new(0),
            generation: crate::fork::watch(),
            idle: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), host, config, threads: Mutex::default() })
    }

    /// What it was made with.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Loads the plugin in the file `path` and puts it at the end of the chain. Streams that are open keep the chain
    /// they were opened with.
    ///
    /// # Errors
    /// [`PluginError`]: the file, the module, its limits, or the plugin itself; the chain is as before then.
    pub fn load_file(&self, path: impl AsRef<Path>, config: &str) -> Result<Plugin, PluginError> {
        self.shared.open()?;
        Ok(self.add(self.host.load_file(path, config, &self.config.limits)?))
    }

    /// As [`Engine::load_file`]; the plugin is called `name` unless it says its own name.
    ///
    /// # Errors
    /// As [`Engine::load_file`].
    pub fn load_file_named(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        config: &str,
    ) -> Result<Plugin, PluginError> {
        self.shared.open()?;
        Ok(self.add(self.host.load_file_named(name, path, config, &self.config.limits)?))
    }

    /// Loads the plugin with the module `bytes` and puts it at the end of the chain.
    ///
    /// # Errors
    /// As [`Engine::load_file`].
    pub fn load(&self, bytes: &[u8], config: &str) -> Result<Plugin, PluginError> {
        self.shared.open()?;
        Ok(self.add(self.host.load(bytes, config, &self.config.limits)?))
    }

    /// As [`Engine::load`]; the plugin is called `name` unless it says its own name.
    ///
    /// # Errors
    /// As [`Engine::load_file`].
    pub fn load_named(&self, name: &str, bytes: &[u8], config: &str) -> Result<Plugin, PluginError> {
        self.shared.open()?;
        Ok(self.add(self.host.load_named(name, bytes, config, &self.config.limits)?))
    }

    fn add(&self, plugin: Plugin) -> Plugin {
        self.shared.change(|chain| chain.push(plugin.clone()));
        plugin
    }

    /// Takes the plugin called `name` out of the chain; of several the one that was loaded last.
    ///
    /// # Errors
    /// [`PluginError::NotLoaded`].
    pub fn unload(&self, name: &str) -> Result<Plugin, PluginError> {
        self.shared.open()?;
        self.shared.change(|chain| chain.remove(name)).ok_or_else(|| {
            let loaded: Vec<_> = self.plugins().iter().map(|plugin| plugin.name().to_owned()).collect();
            PluginError::NotLoaded { plugin: name.to_owned(), loaded: loaded.join(", ") }
        })
    }

    /// The plugins in load order.
    #[must_use]
    pub fn plugins(&self) -> Vec<Plugin> {
        self.shared.version().chain.plugins().to_vec()
    }

    /// Whether every plugin follows ABI 0, so that [`Engine::process_bytes`] works.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        self.shared.version().chain.is_bytes()
    }

    /// Sends one sample through the chain in this thread, with or without running workers. `random` is all the
    /// randomness that plugins have.
    ///
    /// # Errors
    /// [`PluginError`] of the plugin that failed; [`PluginError::Closed`].
    pub fn process(&self, input: TensorRef<'_>, random: u64) -> Result<Vec<Tensor>, PluginError> {
        self.shared.open()?;
        let version = self.shared.version();
        let mut way = self.take_idle(&version);
        let result = way.walk(&version, input, random);
        self.put_idle(way, &version);
        result
    }

    /// As [`Engine::process`], but the results go to `take`, which sees them in the last plugin's memory.
    ///
    /// # Errors
    /// As [`Engine::process`]; also what `take` refused.
    pub fn process_with(
        &self,
        input: TensorRef<'_>,
        random: u64,
        take: &mut dyn FnMut(TensorRef<'_>) -> Result<(), PluginError>,
    ) -> Result<(), PluginError> {
        self.shared.open()?;
        let version = self.shared.version();
        let mut way = self.take_idle(&version);
        let result = way.of(&version).and_then(|worker| worker.apply_with(input, random, take));
        self.put_idle(way, &version);
        result
    }

    /// Sends bytes through a chain of ABI 0 in this thread, into `output`, which must be as long.
    ///
    /// # Errors
    /// As [`Engine::process`]; [`PluginError::BadInput`] for another length, or where a plugin takes tensors.
    pub fn process_bytes(&self, input: &[u8], output: &mut [u8]) -> Result<(), PluginError> {
        self.shared.open()?;
        let version = self.shared.version();
        let mut way = self.take_idle(&version);
        let result = way.of(&version).and_then(|worker| worker.apply_bytes(input, output));
        self.put_idle(way, &version);
        result
    }

    fn take_idle(&self, version: &Version) -> Way {
        let mut idle = self.shared.idle();
        let way = idle.pop().unwrap_or_default();
        drop(idle);
        if way.knows(version) { way } else { Way::default() }
    }

    fn put_idle(&self, way: Way, version: &Version) {
        let mut idle = self.shared.idle();
        // Changes of the chain empty the list under its lock, but only after they changed the chain.
        let current = self.shared.version();
        if idle.len() < MOST_IDLE && current.number == version.number && way.knows(version) {
            idle.push(way);
        }
    }

    /// Starts the workers. Nothing happens when they run.
    ///
    /// # Errors
    /// [`PluginError::Closed`]; [`PluginError::Host`] when there can be no thread, and then there is none.
    pub fn start(&self) -> Result<(), PluginError> {
        self.shared.open()?;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.running.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        for number in 0..self.config.workers {
            let shared = self.shared.clone();
            let config = ThreadConfig::named(format!("zenith-plugin-{number}"));
            match Thread::spawn(config, move || shared.work()) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    self.halt(&mut threads);
                    return Err(PluginError::Host(error.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Ends the workers: samples that are queued are made first, and streams can still be emptied. Nothing happens when
    /// they do not run.
    pub fn stop(&self) {
        self.halt(&mut self.threads.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ends the workers and the streams that are open: samples that are queued are not made, and whoever asks for results is told
    /// [`PluginError::Stopped`].
    pub fn break_off(&self) {
        self.shared.run.fetch_add(1, Ordering::AcqRel);
        self.stop();
    }

    fn halt(&self, threads: &mut Vec<Thread<()>>) {
        self.shared.running.store(false, Ordering::Release);
        self.shared.gate.notify_all();
        // Dropping a thread waits for its end.
        threads.clear();
    }

    /// Ends the workers and the streams that are open, and lets go of all plugins; whatever is asked of it from then on is
    /// [`PluginError::Closed`].
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        self.stop();
        self.shared.change(|chain| *chain = Chain::default());
    }

    /// Whether workers run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared.running().is_ok()
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// An ordered stream through the chain as it is now, with room for `buffer_size` samples.
    ///
    /// # Errors
    /// [`PluginError::Closed`] unless workers run.
    pub fn stream(&self) -> Result<Stream, PluginError> {
        self.shared.running()?;
        Ok(Stream::new(self.shared.clone(), self.shared.version(), self.config.buffer_size))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.close();
    }
}
