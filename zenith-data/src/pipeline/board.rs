//! The board: which batches are in the making, and who takes which part of them.
//!
//! One short lock guards it. Workers and a waiting consumer claim parts of the batch that is open; a batch is opened
//! only while fewer than `depth` batches are queued, which is all the back-pressure there is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use zenith_runtime_cpu::buffer::Lease;

use super::stream::{Making, Place, Stream, StreamSpec};
use crate::{Error, SampleError};

/// A batch in the making.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) making: Making,
    /// The slab; leased by the first worker that gets to the batch.
    pub(super) slab: OnceLock<Result<Arc<Lease>, String>>,
    /// Samples whose slot nobody has finished yet.
    left: AtomicUsize,
    ready: AtomicBool,
    /// Whether the user has been told about the bad samples.
    raised: AtomicBool,
    faults: Mutex<Vec<Fault>>,
}

/// What went wrong with a part of a batch.
#[derive(Debug)]
pub(super) enum Fault {
    /// The sample of a slot cannot be delivered.
    Sample(usize, SampleError),
    /// The batch cannot be made at all.
    Batch(Error),
}

impl Work {
    fn new(making: Making) -> Self {
        let len = (making.positions.end - making.positions.start) as usize;
        Self {
            making,
            slab: OnceLock::new(),
            left: AtomicUsize::new(len),
            ready: AtomicBool::new(false),
            raised: AtomicBool::new(false),
            faults: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        (self.making.positions.end - self.making.positions.start) as usize
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.faults().push(fault);
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that `count` more slots are written; true for the caller that finished the batch, who is alone with it.
    pub(super) fn finished(&self, count: usize) -> bool {
        self.left.fetch_sub(count, Ordering::AcqRel) == count
    }

    pub(super) fn publish(&self) {
        self.ready.store(true, Ordering::Release);
    }

    pub(super) fn raised(&self) {
        self.raised.store(true, Ordering::Relaxed);
    }

    pub(super) fn was_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Some slots of a batch that one thread has taken on itself to write.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) work: Arc<Work>,
    pub(super) first: usize,
    pub(super) len: usize,
}

/// What the consumer finds when it looks at the board.
#[derive(Debug)]
pub(super) enum Front {
    /// The next batch is finished.
    Ready(Arc<Work>),
    /// The next batch is in the making, and here is a part of it nobody has taken.
    Help(Claim),
    /// The next batch is in other hands entirely.
    Wait,
    /// There is no further batch in the consumer's epoch.
    End,
}

#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    depth: usize,
    /// Slots of one claim; `usize::MAX` where a claim is a whole batch.
    grain: usize,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    queue: VecDeque<Arc<Work>>,
    /// The queue's last batch and its first slot that nobody has claimed, as long as there is one.
    open: Option<(Arc<Work>, usize)>,
    stopped: bool,
}

impl State {
    /// Takes a part of the open batch, after opening one if there is room.
    fn claim(&mut self, depth: usize, grain: usize) -> Option<Claim> {
        if self.stopped {
            return None;
        }
        if self.open.is_none() {
            if self.queue.len() >= depth {
                return None;
            }
            let work = Arc::new(Work::new(self.stream.next()?));
            self.queue.push_back(Arc::clone(&work));
            self.open = Some((work, 0));
        }
        let (work, first) = self.open.take()?;
        let len = grain.min(work.len() - first);
        if first + len < work.len() {
            self.open = Some((Arc::clone(&work), first + len));
        }
        Some(Claim { work, first, len })
    }
}

impl Board {
    pub(super) fn new(spec: StreamSpec, place: Place, depth: usize, grain: usize) -> Self {
        let state =
            State { stream: Stream::new(spec, place), queue: VecDeque::new(), open: None, stopped: false };
        Self { state: Mutex::new(state), depth, grain }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts over from `place`. Parts that are in hand are finished into batches nobody will see.
    pub(super) fn restart(&self, spec: StreamSpec, place: Place) {
        let stream = Stream::new(spec, place);
        let mut state = self.state();
        state.stream = stream;
        state.open = None;
        state.queue.clear();
    }

    /// Lets no further part be claimed.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.open = None;
        state.queue.clear();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.state().stopped
    }

    /// A part for a worker, if there is one.
    pub(super) fn claim(&self) -> Option<Claim> {
        self.state().claim(self.depth, self.grain)
    }

    /// What the consumer, who stands at `place`, should do.
    pub(super) fn front(&self, epoch: u64) -> Front {
        let mut state = self.state();
        match state.queue.front() {
            Some(front) if front.making.plan.epoch() != epoch => Front::End,
            Some(front) if front.is_ready() => Front::Ready(Arc::clone(front)),
            Some(front) => {
                let open = state.open.as_ref().is_some_and(|(work, _)| Arc::ptr_eq(work, front));
                match open.then(|| state.claim(self.depth, self.grain)).flatten() {
                    Some(claim) => Front::Help(claim),
                    None => Front::Wait,
                }
            }
            None => match state.claim(self.depth, self.grain) {
                None => Front::End,
                // A claim that is the next epoch's is given back: the consumer may never come for it.
                Some(claim) if claim.work.making.plan.epoch() != epoch => {
                    state.open = Some((claim.work, claim.first));
                    Front::End
                }
                Some(claim) => Front::Help(claim),
            },
        }
    }

    /// Whether the front batch is still in other hands.
    pub(super) fn is_waiting(&self) -> bool {
        self.state().queue.front().is_some_and(|front| !front.is_ready())
    }

    /// Whether the front batch is one whose error the consumer has been told.
    pub(super) fn front_was_raised(&self) -> bool {
        self.state().queue.front().is_some_and(|front| front.was_raised())
    }

    /// Takes the finished front batch out; how many batches remain queued.
    pub(super) fn take(&self) -> usize {
        let mut state = self.state();
        state.queue.pop_front();
        state.queue.len()
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}
