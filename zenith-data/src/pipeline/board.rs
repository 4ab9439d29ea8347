//! The board: which batches are in the making, and who takes which part of them.
//!
//! One short lock guards it. Workers and a waiting consumer claim parts of the batch that is open; a batch is opened
//! only while fewer than `depth` batches are queued, which is all the back-pressure there is.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use zenith_runtime_cpu::buffer::Lease;
use zenith_runtime_cpu::sync::Gate;
use zenith_runtime_cpu::thread::panic_message;

use super::parts::{Parts, Spill};
use super::stream::{Making, Place, Scout, Stream, StreamSpec};
use crate::source::SampleKey;
use crate::{Error, SampleError};

/// A batch in the making.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) making: Making,
    /// The slab; leased by the first worker that gets to the batch.
    pub(super) slab: OnceLock<Result<Arc<Lease>, String>>,
    /// The slots that do not hold one sample each, where that can be.
    pub(super) parts: Option<Parts>,
    /// Samples whose slot nobody has finished yet.
    left: AtomicUsize,
    ready: AtomicBool,
    /// Whether the user has been told about the bad samples.
    raised: AtomicBool,
    faults: Mutex<Vec<Fault>>,
    /// Where the consumer waits for it.
    done: Arc<Gate>,
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
    fn new(making: Making, done: Arc<Gate>, spill: Option<&Arc<Spill>>) -> Self {
        let len = (making.positions.end - making.positions.start) as usize;
        Self {
            making,
            slab: OnceLock::new(),
            parts: spill.map(Parts::new),
            left: AtomicUsize::new(len),
            ready: AtomicBool::new(false),
            raised: AtomicBool::new(false),
            faults: Mutex::new(Vec::new()),
            done,
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

    /// Says that `count` more slots are done with; whoever does so last publishes the batch.
    fn account(&self, count: usize) {
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            self.ready.store(true, Ordering::Release);
            self.done.notify_one();
        }
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

/// Some slots of a batch that one thread has taken on itself to write. However it ends, by [`Claim::settle`],
/// [`Claim::fail`] or by being dropped on the way of a panic, its slots are accounted for: a batch with a part that nobody
/// accounts for would be waited for without end.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) work: Arc<Work>,
    pub(super) first: usize,
    pub(super) len: usize,
    /// Later batches that came into sight when this one was opened.
    pub(super) upcoming: Vec<Making>,
    settled: bool,
}

impl Claim {
    /// The samples of its slots.
    pub(super) fn keys(&self) -> impl Iterator<Item = SampleKey> + '_ {
        let making = &self.work.making;
        let start = making.positions.start + self.first as u64;
        (start..start + self.len as u64).map(|position| making.plan.key(position))
    }

    /// Its slots are written, or the faults say which are not.
    pub(super) fn settle(mut self) {
        self.settled = true;
    }

    /// Its slots cannot be written, which is the fault of its batch.
    pub(super) fn fail(self, error: Error) {
        self.work.fault(Fault::Batch(error));
        self.settle();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.settled {
            let reason = "a part of this batch was given up by the thread that had it".to_owned();
            self.work.fault(Fault::Batch(Error::Machine(reason)));
        }
        self.work.account(self.len);
    }
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
    /// What comes next cannot be found out: finding out panicked, with this message.
    Broken(String),
}

#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    depth: usize,
    /// Slots of one claim; `usize::MAX` where a claim is a whole batch.
    grain: usize,
    /// The memory of split samples, where samples may be dropped or split.
    spill: Option<Arc<Spill>>,
    /// Samples that claims tell of before they are made; 0 for none.
    lead: u64,
    done: Arc<Gate>,
}

#[derive(Debug)]
struct State {
    stream: Stream,
    scout: Option<Scout>,
    queue: VecDeque<Arc<Work>>,
    open: Option<Open>,
    stopped: bool,
    /// The message of a panic of the stream, which would only panic again.
    broken: Option<String>,
}

/// The queue's last batch, as long as it has a slot that nobody has claimed.
#[derive(Debug)]
struct Open {
    work: Arc<Work>,
    /// The first such slot.
    first: usize,
    /// For the next claim.
    upcoming: Vec<Making>,
}

impl State {
    /// Opens the next batch if none is open and there is room; the epoch of the one that is open.
    fn open(&mut self, board: &Board) -> Option<u64> {
        if self.stopped || self.broken.is_some() {
            return None;
        }
        if self.open.is_none() && self.queue.len() < board.depth {
            let (stream, scout) = (&mut self.stream, &mut self.scout);
            let next = catch_unwind(AssertUnwindSafe(|| {
                let making = stream.next()?;
                Some((making, scout.as_mut().map(Scout::follow).unwrap_or_default()))
            }));
            match next {
                Ok(next) => {
                    let (making, upcoming) = next?;
                    let work = Arc::new(Work::new(making, Arc::clone(&board.done), board.spill.as_ref()));
                    self.queue.push_back(Arc::clone(&work));
                    self.open = Some(Open { work, first: 0, upcoming });
                }
                Err(panic) => self.broken = Some(panic_message(&*panic)),
            }
        }
        self.open.as_ref().map(|open| open.work.making.plan.epoch())
    }

    /// Takes a part of the open batch.
    fn claim(&mut self, grain: usize) -> Option<Claim> {
        let Open { work, first, upcoming } = self.open.take()?;
        let len = grain.min(work.len() - first);
        if first + len < work.len() {
            self.open = Some(Open { work: Arc::clone(&work), first: first + len, upcoming: Vec::new() });
        }
        Some(Claim { work, first, len, upcoming, settled: false })
    }
}

impl Board {
    /// A board for the batches of `spec` from `place` on, `depth` of them at a time, in claims of `grain` slots. Claims
    /// tell of batches up to `lead` samples ahead of theirs, where the order has a locality that makes it useful.
    pub(super) fn new(
        spec: StreamSpec,
        place: Place,
        depth: usize,
        grain: usize,
        lead: u64,
        spill: Option<Arc<Spill>>,
    ) -> Self {
        let state = State {
            scout: Scout::new(&spec, place, lead),
            stream: Stream::new(spec, place),
            queue: VecDeque::new(),
            open: None,
            stopped: false,
            broken: None,
        };
        Self { state: Mutex::new(state), depth, grain, lead, spill, done: Arc::new(Gate::new()) }
    }

    /// Where the consumer waits for a finished batch.
    pub(super) fn done(&self) -> &Gate {
        &self.done
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts over from `place`. Parts that are in hand are finished into batches nobody will see.
    pub(super) fn restart(&self, spec: StreamSpec, place: Place) {
        let scout = Scout::new(&spec, place, self.lead);
        let stream = Stream::new(spec, place);
        let mut state = self.state();
        state.scout = scout;
        state.stream = stream;
        state.open = None;
        state.queue.clear();
        state.broken = None;
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

    /// A part for a worker, if there is one. Where split samples fill their memory, only the consumer makes more.
    pub(super) fn claim(&self) -> Option<Claim> {
        if self.spill.as_ref().is_some_and(|spill| spill.is_full()) {
            return None;
        }
        let mut state = self.state();
        state.open(self)?;
        state.claim(self.grain)
    }

    /// What the consumer, who stands at `place`, should do.
    pub(super) fn front(&self, epoch: u64) -> Front {
        let mut state = self.state();
        match state.queue.front() {
            Some(front) if front.making.plan.epoch() != epoch => Front::End,
            Some(front) if front.is_ready() => Front::Ready(Arc::clone(front)),
            Some(front) => {
                let open = state.open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.work, front));
                match open.then(|| state.claim(self.grain)).flatten() {
                    Some(claim) => Front::Help(claim),
                    None => Front::Wait,
                }
            }
            None => match state.open(self) {
                Some(opened) if opened == epoch => state.claim(self.grain).map_or(Front::End, Front::Help),
                // The next epoch's: the consumer may never come for it.
                Some(_) => Front::End,
                None => state.broken.clone().map_or(Front::End, Front::Broken),
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

#[cfg(test)]
mod tests {
    use super::super::parts::SPILL_BYTES;
    use super::*;
    use crate::sampler::{Cut, OrderSpec};

    #[test]
    fn where_split_samples_fill_their_memory_only_the_consumer_goes_on() {
        let cut = Cut::Even { batch_size: 4, rank: 0, world: 1, drop_last: false };
        let spec = StreamSpec { order: OrderSpec::Sequential, cut, samples: 100, seed: 0 };
        let spill = Arc::<Spill>::default();
        let board = Board::new(spec, Place::default(), 3, 1, 0, Some(Arc::clone(&spill)));
        let claim = board.claim().expect("there is room");
        let parts = claim.work.parts.as_ref().expect("samples may be split");
        // Zeros that nobody looks at take no memory.
        parts.note(0, 2, 0, &mut vec![0; SPILL_BYTES]);
        assert!(board.claim().is_none());
        assert!(matches!(board.front(0), Front::Help(help) if help.first == 1));
        drop(parts.take());
        assert!(board.claim().is_some_and(|claim| claim.first == 2));
    }
}
