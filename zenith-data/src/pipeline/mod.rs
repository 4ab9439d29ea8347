//! From (source, order) to ordered batches: workers fill slots of slabs, the consumer takes finished batches in order
//! and helps while it would otherwise wait.
//!
//! All threads work on the same few batches, so memory does not grow with the number of workers. The order of the
//! samples is decided before any thread runs; who fills a slot, and when, cannot change it. Workers go on into the
//! next epoch while the consumer still has the end of this one, so there is no gap between epochs.

mod batch;
mod board;
mod pack;
mod parts;
mod shared;
pub mod slots;
mod stats;
mod stream;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use zenith_runtime_cpu::allocator::{HostMemory, PagesWanted, SystemMemory};
use zenith_runtime_cpu::buffer::{Lease, SlabPool};
use zenith_runtime_cpu::numa::CpuSet;
use zenith_runtime_cpu::sync::Gate;
use zenith_runtime_cpu::thread::{Thread, ThreadConfig, allowed_cpus};

pub use batch::{ArrayView, Batch};
pub use stats::{ConsumerStats, Meter, Snapshot};
pub use stream::{EpochPlan, Place, StreamSpec};

use crate::sampler::Cut;
use crate::source::{Grain, Source};
use crate::transform::custom::Yield;
use crate::{Error, Result, SampleError, Schema};
use board::{Board, Fault, Front, Work};
use pack::{Packed, Packer};
use parts::Spill;
use shared::Shared;
use slots::SlotLayout;
use stats::Stats;
use worker::{Hands, close_gaps};

/// Small batches are prefetched in larger numbers, up to this many and ...
const SMALL_BATCH_DEPTH: usize = 16;
/// ... up to this many bytes, so that a worker that wakes up has a worthwhile run of work.
const SMALL_BATCH_BYTES: usize = 4 << 20;

/// Batches that can be made ahead at most; more is a slip of the pen, not a wish.
const MOST_PREFETCH: usize = 1 << 16;

/// How long a consumer waits before it is asked whether it still wants to.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// What becomes of a sample that cannot be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// Its error is raised when its batch's turn comes; the rest of the batch follows.
    Raise,
    /// It is left out, counted and listed.
    Skip,
}

/// How a pipeline runs. None of it changes which samples come in which order.
#[derive(Clone, Debug)]
pub struct PipelineConfig {
    /// Samples of the largest batch.
    pub batch_size: usize,
    /// Worker threads, at most one for each processor this process may use ([`worker_threads`]): more would only add
    /// memory, as reading ahead needs no thread. With 0 the consumer makes every batch itself.
    pub workers: usize,
    /// Starts as many of them as are asked for, whatever processors there are: for tests of many threads.
    pub uncapped: bool,
    /// Batches made ahead of the consumer (at least 1 if there are workers, at most 65,536).
    pub prefetch: usize,
    /// What becomes of bad samples.
    pub on_error: OnError,
    /// Pages of the batch slabs.
    pub pages: PagesWanted,
    /// NUMA node of the batch slabs.
    pub node: Option<u32>,
    /// Processors of the workers; wherever the system likes if `None`.
    pub cpus: Option<CpuSet>,
}

/// Worker threads of a pipeline that is asked for `asked`: at most one for each processor this process may use.
///
/// # Errors
/// When the system does not say which those are.
pub fn worker_threads(asked: usize) -> Result<usize> {
    let processors = allowed_cpus().map_err(|error| Error::Machine(error.to_string()))?.len();
    Ok(asked.min(processors.max(1)))
}

/// A running pipeline with one consumer. Dropping it stops and joins the workers.
#[derive(Debug)]
pub struct Pipeline {
    shared: Arc<Shared>,
    source: Arc<dyn Source>,
    schema: Arc<Schema>,
    config: PipelineConfig,
    spec: StreamSpec,
    /// The consumer's place: behind the last batch it took.
    place: Place,
    hands: Option<Hands>,
    /// Cuts anew what filters and splitters leave; none where every sample stays one.
    packer: Option<Packer>,
    threads: Vec<Thread<()>>,
    last_return: Option<Instant>,
    begun: Option<Instant>,
    process: u32,
}

impl std::fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Source({} samples)", self.len())
    }
}

impl Pipeline {
    /// A pipeline at the beginning of epoch 0. Threads start with the first [`Pipeline::begin`].
    ///
    /// # Errors
    /// When a batch is empty, longer than the largest, or larger than memory, or too many are to be made ahead; also when
    /// samples may be dropped or split and batches are shared among ranks or listed.
    pub fn new(source: Arc<dyn Source>, spec: StreamSpec, config: PipelineConfig) -> Result<Self> {
        let memory = SystemMemory { pages: config.pages, node: config.node };
        Self::with_memory(source, spec, config, Box::new(memory))
    }

    /// As [`Pipeline::new`], with batch slabs from elsewhere: locked for a device, say. The configuration's pages and node
    /// are then that memory's to respect.
    ///
    /// # Errors
    /// As [`Pipeline::new`], and when that memory cannot be had.
    pub fn with_memory(
        source: Arc<dyn Source>,
        spec: StreamSpec,
        mut config: PipelineConfig,
        memory: Box<dyn HostMemory>,
    ) -> Result<Self> {
        if config.batch_size == 0 {
            return Err(Error::Config("batch_size must be at least 1".into()));
        }
        spec.cut.check(config.batch_size as u64)?;
        if config.prefetch > MOST_PREFETCH {
            return Err(Error::Config(format!(
                "prefetch_factor={}: at most {MOST_PREFETCH} batches can be made ahead",
                config.prefetch
            )));
        }
        let packs = source.parts() != Yield::One;
        let packer = if packs {
            let (batch_size, drop_last) = packable(&spec)?;
            Some(Packer::new(batch_size, drop_last))
        } else {
            None
        };
        if !config.uncapped {
            config.workers = worker_threads(config.workers)?;
        }
        let schema = Arc::new(source.schema().clone());
        let layout = Arc::new(SlotLayout::new(&schema, config.batch_size)?);
        let depth = depth(&config, layout.bytes());
        let pool = SlabPool::with_memory(memory, layout.bytes().max(1), depth + 2)
            .map_err(|error| Error::Machine(error.to_string()))?;
        let grain = match source.grain() {
            Grain::Sample => 1,
            Grain::Run(samples) => samples.max(1),
            Grain::Batch => usize::MAX,
        };
        let whole_batches = grain >= config.batch_size && grain > 1;
        let spill = packs.then(Arc::<Spill>::default);
        let shared = Shared {
            board: Board::new(raw(&spec, packs), Place::default(), depth, grain, lead(&*source), spill),
            layout,
            pool,
            stats: Arc::new(Stats::default()),
            whole_batches,
            work: Gate::new(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            source,
            schema,
            config,
            spec,
            place: Place::default(),
            hands: None,
            packer,
            threads: Vec::new(),
            last_return: None,
            begun: None,
            process: std::process::id(),
        })
    }

    /// Goes to `place`. Where the workers are already ahead on the way there, nothing made is thrown away.
    ///
    /// # Errors
    /// When threads or their readers cannot be started, or in a child process that was forked from the owner.
    pub fn begin(&mut self, place: Place) -> Result<()> {
        self.check_process()?;
        self.last_return = None;
        // What has told its error already would tell a new beginning nothing of it.
        let told =
            self.packer.as_ref().is_some_and(Packer::was_raised) || self.shared.board.front_was_raised();
        if place != self.place || told {
            self.restart(place)?;
        }
        self.begun.get_or_insert_with(Instant::now);
        self.start_threads()?;
        self.shared.work.notify_one();
        Ok(())
    }

    /// Goes to `place` of another sequence over the same source.
    ///
    /// # Errors
    /// As [`Pipeline::begin`]; also when a batch is longer than the largest this pipeline was built for, or the batches
    /// are listed and samples may be dropped or split.
    pub fn begin_with(&mut self, spec: StreamSpec, place: Place) -> Result<()> {
        self.check_process()?;
        spec.cut.check(self.config.batch_size as u64)?;
        let old = std::mem::replace(&mut self.spec, spec);
        if let Err(error) = self.restart(place) {
            self.spec = old;
            return Err(error);
        }
        self.begin(place)
    }

    /// Begins anew at `place`.
    fn restart(&mut self, place: Place) -> Result<()> {
        if let Some(packer) = &mut self.packer {
            let (batch_size, drop_last) = packable(&self.spec)?;
            packer.restart(batch_size, drop_last, place);
        }
        self.place = place;
        self.shared.board.restart(raw(&self.spec, self.packer.is_some()), place);
        Ok(())
    }

    fn start_threads(&mut self) -> Result<()> {
        while self.threads.len() < self.config.workers {
            let hands = Hands::new(self.source.filler()?);
            let shared = Arc::clone(&self.shared);
            let name = format!("zenith-{}", self.threads.len());
            let config = ThreadConfig { cpus: self.config.cpus.clone(), ..ThreadConfig::named(name) };
            let thread = Thread::spawn(config, move || shared.work(hands));
            self.threads.push(thread.map_err(|error| Error::Machine(error.to_string()))?);
        }
        Ok(())
    }

    /// The next batch of the epoch; `None` once at its end.
    ///
    /// # Errors
    /// A bad sample (the batch without it is what the next call gives), a panic of a worker, a refused allocation.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot give an error and go on")]
    pub fn next(&mut self) -> Result<Option<Batch>> {
        self.next_while(&mut || true)
    }

    /// As [`Pipeline::next`], for a consumer that may lose patience: `patient` is asked every [`PATIENCE`] of waiting.
    ///
    /// # Errors
    /// As [`Pipeline::next`], and [`Error::Interrupted`] when `patient` says no; nothing is lost by it.
    pub fn next_while(&mut self, patient: &mut dyn FnMut() -> bool) -> Result<Option<Batch>> {
        self.check_process()?;
        let start = Instant::now();
        let outcome = self.advance(patient);
        let end = Instant::now();
        self.shared.stats.waited(end - start, self.last_return.map(|last| start - last));
        self.last_return = matches!(outcome, Ok(Some(_))).then_some(end);
        if let Ok(Some(batch)) = &outcome {
            debug_assert!(!batch.is_empty());
            self.shared.stats.took(batch.len, end - self.begun.unwrap_or(start));
        }
        outcome
    }

    fn advance(&mut self, patient: &mut dyn FnMut() -> bool) -> Result<Option<Batch>> {
        let mut asked = Instant::now();
        loop {
            if let Some(packed) = self.packed()? {
                return Ok(Some(packed));
            }
            let Some(work) = self.front(patient, &mut asked)? else {
                if let Some((lease, len, place)) = self.packer.as_mut().and_then(Packer::rest) {
                    return Ok(Some(self.delivered(lease, len, place)));
                }
                self.place = Place::new(self.place.epoch + 1, 0);
                return Ok(None);
            };
            if let Some(packer) = &mut self.packer {
                let queued = self.shared.board.take();
                self.shared.room(queued);
                packer.feed(work)?;
                // A filter may leave nothing of many batches.
                if asked.elapsed() > PATIENCE {
                    asked = Instant::now();
                    if !patient() {
                        return Err(Error::Interrupted);
                    }
                }
            } else if let Some(batch) = self.hand_over(&work)? {
                return Ok(Some(batch));
            }
        }
    }

    /// The next full batch of what the packer holds, if there is one.
    fn packed(&mut self) -> Result<Option<Batch>> {
        let Some(packer) = &mut self.packer else {
            return Ok(None);
        };
        loop {
            match packer.next(&self.shared)? {
                Packed::Batch(lease, len, place) => return Ok(Some(self.delivered(lease, len, place))),
                Packed::Bad(error) if self.config.on_error == OnError::Skip => self.shared.stats.skip(error),
                Packed::Bad(error) => {
                    packer.raised();
                    return Err(error.into());
                }
                Packed::Hungry => return Ok(None),
            }
        }
    }

    /// A batch of the packer, with the consumer's place behind it.
    fn delivered(&mut self, lease: Arc<Lease>, len: usize, place: Place) -> Batch {
        self.place = place;
        let (layout, schema) = (Arc::clone(&self.shared.layout), Arc::clone(&self.schema));
        Batch { lease, layout, schema, len, next: place }
    }

    /// The front batch when it is finished; `None` at the end of the epoch.
    /// `asked` is when `patient` was asked last.
    fn front(&mut self, patient: &mut dyn FnMut() -> bool, asked: &mut Instant) -> Result<Option<Arc<Work>>> {
        loop {
            match self.shared.board.front(self.place.epoch) {
                Front::Ready(work) => return Ok(Some(work)),
                Front::Help(claim) => {
                    let start = Instant::now();
                    if let Some(hands) = &mut self.hands {
                        hands.make(&self.shared, claim);
                    } else {
                        match self.source.filler() {
                            Ok(filler) => self.hands.insert(Hands::new(filler)).make(&self.shared, claim),
                            Err(error) => claim.fail(error),
                        }
                    }
                    let now = Instant::now();
                    self.shared.stats.helped(now - start);
                    // Many small parts try patience as one large one does.
                    if now - *asked > PATIENCE / 4 {
                        if !patient() {
                            return Err(Error::Interrupted);
                        }
                        *asked = now;
                    }
                }
                Front::Wait => {
                    let shared = &self.shared;
                    let ready = || (!shared.board.is_waiting()).then_some(());
                    while shared.board.done().until_deadline(ready, Instant::now() + PATIENCE).is_none() {
                        if !patient() {
                            return Err(Error::Interrupted);
                        }
                    }
                }
                Front::End => return Ok(None),
                Front::Broken(message) => return Err(Error::Panic(message)),
            }
        }
    }

    /// Takes a finished batch off the board, or its error. `None` for a batch that is empty because all was skipped.
    fn hand_over(&mut self, work: &Arc<Work>) -> Result<Option<Batch>> {
        let mut bad = Vec::new();
        let mut first_error = None;
        {
            let mut faults = work.faults();
            if let Some(at) = faults.iter().position(|fault| matches!(fault, Fault::Batch(_))) {
                let Fault::Batch(error) = faults.swap_remove(at) else { unreachable!("just matched") };
                drop(faults);
                self.take(work);
                return Err(error);
            }
            faults.sort_by_key(|fault| if let Fault::Sample(slot, _) = fault { *slot } else { 0 });
            for fault in faults.iter() {
                let Fault::Sample(slot, error) = fault else {
                    continue;
                };
                bad.push(*slot);
                if !work.was_raised() {
                    if self.config.on_error == OnError::Skip {
                        self.shared.stats.skip(error.clone());
                    } else {
                        first_error.get_or_insert_with(|| error.clone());
                    }
                }
            }
        }
        if let Some(error) = first_error {
            work.raised();
            return Err(error.into());
        }
        let Some(Ok(lease)) = work.slab.get().cloned() else {
            self.take(work);
            return Err(Error::Machine("a finished batch has no memory".into()));
        };
        let len = if bad.is_empty() { work.len() } else { close_gaps(&self.shared, &lease, work, &bad) };
        self.take(work);
        if len == 0 {
            let shared = matches!(self.spec().cut, Cut::Even { world: 2.., .. });
            return if shared && self.config.on_error == OnError::Skip {
                Err(Error::Config(format!(
                    "all {} samples of this rank's batch were skipped; without it the ranks would have unequal \
                     numbers of batches",
                    work.len()
                )))
            } else {
                Ok(None)
            };
        }
        Ok(Some(Batch {
            lease,
            layout: Arc::clone(&self.shared.layout),
            schema: Arc::clone(&self.schema),
            len,
            next: self.place,
        }))
    }

    fn take(&mut self, work: &Work) {
        self.place = work.making.next;
        let queued = self.shared.board.take();
        self.shared.room(queued);
    }

    fn check_process(&self) -> Result<()> {
        if self.process == std::process::id() {
            return Ok(());
        }
        Err(Error::Machine(format!(
            "this loader was started in process {} and its threads did not survive the fork into process {}; \
             build the loader after the fork",
            self.process,
            std::process::id()
        )))
    }

    /// The consumer's place: behind the last batch it took.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.place
    }

    /// Steps left in the epoch from `place`; unknown where samples may be dropped or split.
    #[must_use]
    pub fn steps_from(&self, place: Place) -> Option<u64> {
        self.packer.is_none().then(|| EpochPlan::new(&self.spec, place.epoch).steps_from(place.cursor))
    }

    /// The sequence that is being read.
    #[must_use]
    pub const fn spec(&self) -> &StreamSpec {
        &self.spec
    }

    /// The source that is being read.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// What has been spent so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.stats.snapshot()
    }

    /// What reads the counters without the pipeline.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter::new(&self.shared)
    }

    /// The samples skipped so far, in the order of the stream (the first 10,000 of them).
    #[must_use]
    pub fn skipped(&self) -> Vec<SampleError> {
        self.shared.stats.skipped()
    }

    /// How the slabs of this pipeline are being used.
    #[must_use]
    pub fn pool(&self) -> &SlabPool {
        &self.shared.pool
    }

    /// Worker threads and prefetched batches that are in use.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.config.workers, self.shared.board.depth())
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            // The threads stayed in the other process, and the board's lock may have been theirs at the fork.
            return;
        }
        self.shared.board.stop();
        self.shared.work.notify_all();
        self.threads.clear();
        self.shared.stats.ended(self.shared.pool.stats());
    }
}

/// The size of full batches and whether an incomplete last one is left out, where batches can be cut anew.
fn packable(spec: &StreamSpec) -> Result<(usize, bool)> {
    let why = match &spec.cut {
        Cut::Even { batch_size, world: 1, drop_last, .. } => return Ok((*batch_size as usize, *drop_last)),
        Cut::Even { world, .. } => {
            return Err(Error::Config(format!(
                "a transform that may drop or split samples cannot be used on {world} ranks: they would get unequal \
                 numbers of batches, and the ranks with more would wait for ever; filter the data beforehand, or give \
                 each rank data of its own with world_size=1 and stop all ranks after the same number of steps"
            )));
        }
        Cut::Listed(_) => {
            "batch_sampler says which samples a batch holds, but a transform may drop or split some; give sampler= and \
             batch_size= instead"
        }
    };
    Err(Error::Config(why.into()))
}

/// The sequence that the workers make: where batches are cut anew, every sample of it.
fn raw(spec: &StreamSpec, packs: bool) -> StreamSpec {
    match &spec.cut {
        Cut::Even { batch_size, rank, world, .. } if packs => {
            let cut = Cut::Even { batch_size: *batch_size, rank: *rank, world: *world, drop_last: false };
            StreamSpec { cut, ..spec.clone() }
        }
        _ => spec.clone(),
    }
}

/// How many samples ahead of their need blocks are announced: half a window, so that the one being read and what is
/// announced of the next fit into the source's budget together; nothing where that has no room for two blocks.
fn lead(source: &dyn Source) -> u64 {
    let Some((ends, window)) = source.blocks() else { return 0 };
    let starts = std::iter::once(&0).chain(ends);
    let largest = starts.zip(ends).map(|(start, end)| end.saturating_sub(*start)).max();
    if largest.is_some_and(|largest| largest <= window) { window / 2 } else { 0 }
}

fn depth(config: &PipelineConfig, slab_bytes: usize) -> usize {
    let small = (SMALL_BATCH_BYTES / slab_bytes.max(1)).min(SMALL_BATCH_DEPTH);
    config.prefetch.max(if config.workers > 0 { small } else { 0 }).max(1)
}
