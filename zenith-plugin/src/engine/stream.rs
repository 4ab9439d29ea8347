//! Samples in, results out in the same order, never more than so many between: one consumer's view of the engine's
//! workers. While the consumer would wait, it works too.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use zenith_runtime_cpu::sync::Gate;

use super::worker::{Version, Way};
use super::{Done, Item, Shared};
use crate::PluginError;

/// A sample's place between coming in and going out.
#[derive(Debug, Default)]
enum Slot {
    #[default]
    Empty,
    /// Queued; whoever takes it out makes it.
    Waiting(Item),
    Running,
    Done(Done),
}

/// What a stream shares with the workers.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Box<[Mutex<Slot>]>,
    version: Arc<Version>,
    /// The engine's run in which the stream was opened.
    run: u64,
    /// Where the consumer waits.
    gate: Gate,
}

/// A sample that waits for a worker.
#[derive(Debug)]
pub(super) struct Job {
    slots: Arc<Slots>,
    at: usize,
}

impl Slots {
    fn replace(&self, at: usize, slot: Slot) -> Slot {
        let mut place = self.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut place, slot)
    }

    /// Takes the result at `at`, if it is there.
    fn take_done(&self, at: usize) -> Option<Done> {
        let mut place = self.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *place) {
            Slot::Done(done) => Some(done),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Takes the sample at `at` for making it, if nobody has.
    fn take_waiting(&self, at: usize) -> Option<Item> {
        let mut place = self.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *place, Slot::Running) {
            Slot::Waiting(item) => Some(item),
            other => {
                *place = other;
                None
            }
        }
    }
}

impl Job {
    /// Makes the sample, unless its stream was broken off.
    pub(super) fn run(self, engine: &Shared, way: &mut Way) {
        let Some(item) = self.slots.take_waiting(self.at) else {
            return;
        };
        let allowed = engine.check_run(self.slots.run);
        let result = allowed.and_then(|()| way.walk(&self.slots.version, item.tensor(), item.random));
        self.slots.replace(self.at, Slot::Done(Done { item, result }));
        self.slots.gate.notify_one();
    }
}

/// Why a sample was not taken; with the sample.
#[derive(Debug)]
pub enum Refused {
    /// All slots are taken: take a result first.
    Full(Item),
    /// The engine is stopped, or was left behind by a fork.
    Stopped(Item, PluginError),
}

/// What there is to take.
#[derive(Debug)]
pub enum Next {
    /// The oldest sample.
    Done(Done),
    /// The oldest sample is not ready yet.
    Pending,
    /// No sample is under way.
    Empty,
}

/// An ordered stream through an engine's chain, as the chain was when the stream was opened. Dropping it waits for the
/// samples that are being made, and gives up the others.
#[derive(Debug)]
pub struct Stream {
    engine: Arc<Shared>,
    slots: Arc<Slots>,
    /// Samples that came in and that went out.
    submitted: usize,
    taken: usize,
    way: Way,
}

impl Stream {
    pub(super) fn new(engine: Arc<Shared>, version: Arc<Version>, capacity: usize) -> Self {
        let slots = (0..capacity).map(|_| Mutex::default()).collect();
        let run = engine.run.load(Ordering::Acquire);
        let slots = Arc::new(Slots { slots, version, run, gate: Gate::new() });
        Self { engine, slots, submitted: 0, taken: 0, way: Way::default() }
    }

    /// How many samples may be under way.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.slots.len()
    }

    /// How many samples are under way: submitted and not yet taken.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.submitted - self.taken
    }

    /// Whether the oldest `count` samples are there to be taken.
    #[must_use]
    pub fn is_ready(&self, count: usize) -> bool {
        let is_done = |number: usize| {
            let slot = &self.slots.slots[number % self.capacity()];
            matches!(*slot.lock().unwrap_or_else(PoisonError::into_inner), Slot::Done(_))
        };
        // The youngest of them is mostly the last to be made.
        count <= self.in_flight() && (self.taken..self.taken + count).rev().all(is_done)
    }

    /// Puts a sample in line. Does not wait.
    ///
    /// # Errors
    /// [`Refused`], which gives the sample back.
    #[expect(clippy::result_large_err, reason = "the error gives the sample back")]
    pub fn submit(&mut self, item: Item) -> Result<(), Refused> {
        if let Err(error) = self.engine.check_intake(self.slots.run) {
            return Err(Refused::Stopped(item, error));
        }
        if self.in_flight() == self.capacity() {
            return Err(Refused::Full(item));
        }
        let at = self.submitted % self.capacity();
        self.slots.replace(at, Slot::Waiting(item));
        self.submitted += 1;
        self.engine.enqueue(Job { slots: self.slots.clone(), at });
        Ok(())
    }

    /// Waits for the oldest sample; [`Next::Empty`] when there is none under way.
    ///
    /// # Errors
    /// [`PluginError::ForkedEngine`] in a child process, which has no workers; [`PluginError::Stopped`] and
    /// [`PluginError::Closed`] once the engine has broken it off.
    #[expect(
        clippy::should_implement_trait,
        reason = "it fails apart from the samples, and its end is not for ever"
    )]
    pub fn next(&mut self) -> Result<Next, PluginError> {
        loop {
            match self.next_within(Duration::from_secs(3600))? {
                Next::Pending => {}
                next => return Ok(next),
            }
        }
    }

    /// Waits for the oldest sample for about `patience`; a sample that this thread makes meanwhile is not broken off.
    ///
    /// # Errors
    /// As [`Stream::next`].
    pub fn next_within(&mut self, patience: Duration) -> Result<Next, PluginError> {
        if self.in_flight() == 0 {
            return Ok(Next::Empty);
        }
        self.engine.check_run(self.slots.run)?;
        let at = self.taken % self.capacity();
        let deadline = Instant::now() + patience;
        loop {
            if let Some(done) = self.slots.take_done(at) {
                self.taken += 1;
                return Ok(Next::Done(done));
            }
            if let Some(job) = self.engine.dequeue() {
                job.run(&self.engine, &mut self.way);
                if Instant::now() >= deadline {
                    break;
                }
                continue;
            }
            // Nothing waits, so a worker has the oldest sample.
            let slots = &self.slots;
            let Some(done) = slots.gate.until_deadline(|| slots.take_done(at), deadline) else {
                break;
            };
            self.taken += 1;
            return Ok(Next::Done(done));
        }
        Ok(Next::Pending)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.engine.check_process().is_err() {
            return;
        }
        while self.taken != self.submitted {
            let at = self.taken % self.capacity();
            let slots = &self.slots;
            // Workers end what they have begun; what they have not is dropped here, where it came from.
            slots.gate.until(|| {
                let mut place = slots.slots[at].lock().unwrap_or_else(PoisonError::into_inner);
                match std::mem::take(&mut *place) {
                    Slot::Running => {
                        *place = Slot::Running;
                        None
                    }
                    gone => Some(gone),
                }
            });
            self.taken += 1;
        }
    }
}
