//! Making a part of a batch: what a worker thread does all day, and the consumer while it would otherwise wait.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use zenith_runtime_cpu::buffer::Lease;
use zenith_runtime_cpu::thread::panic_message;

use super::board::{Claim, Fault, Work};
use super::shared::Shared;
use super::slots::Slots;
use super::stats::{Stats, nanos};
use super::stream::Making;
use crate::Error;
use crate::source::{Filler, SampleKey, Spent};

/// Claims a worker holds ahead of the one it works on, so that their bytes are on the way.
const CLAIMS_AHEAD: usize = 2;

/// Samples of a later batch that are announced at most: enough to name its blocks, few enough to cost nothing.
const ANNOUNCED: u64 = 16;

/// A batch that costs one thread less than this is made by one worker at a time: waking a second costs more.
const WAKE_WORTH_NS: u64 = 50_000;

/// One thread's means of making batches.
pub(super) struct Hands {
    filler: Box<dyn Filler>,
    keys: Vec<SampleKey>,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").finish_non_exhaustive()
    }
}

impl Hands {
    pub(super) fn new(filler: Box<dyn Filler>) -> Self {
        Self { filler, keys: Vec::new() }
    }

    /// Tells the reader what it will be asked for next, all of it, so that bytes are on the way.
    fn read_ahead(&mut self, claims: &VecDeque<Claim>, stats: &Stats) {
        let start = Instant::now();
        self.keys.clear();
        self.keys.extend(claims.iter().flat_map(Claim::keys));
        self.filler.read_ahead(&self.keys);
        stats.add(&Spent { read_ns: nanos(start.elapsed()), ..Spent::default() }, 0);
    }

    /// Tells the source of later batches, by some of their samples.
    fn announce(&mut self, upcoming: &[Making]) {
        for Making { plan, positions, .. } in upcoming {
            let step = (positions.end - positions.start).div_ceil(ANNOUNCED).max(1) as usize;
            self.keys.clear();
            self.keys.extend(positions.clone().step_by(step).map(|position| plan.key(position)));
            self.filler.announce(&self.keys);
        }
    }

    /// Writes the claimed slots. Whatever happens, the claim is accounted for; a panic becomes the batch's fault.
    pub(super) fn make(&mut self, shared: &Shared, claim: Claim) {
        match catch_unwind(AssertUnwindSafe(|| self.fill(shared, &claim))) {
            Ok(()) => claim.settle(),
            Err(panic) => claim.fail(Error::Panic(panic_message(&*panic))),
        }
    }

    fn fill(&mut self, shared: &Shared, claim: &Claim) {
        let lease = claim.work.slab.get_or_init(|| shared.slab(claim.work.len()));
        let lease = match lease {
            Ok(lease) => lease,
            Err(reason) => return claim.work.fault(Fault::Batch(Error::Machine(reason.clone()))),
        };
        self.announce(&claim.upcoming);
        let start = Instant::now();
        self.keys.clear();
        self.keys.extend(claim.keys());
        let mut spent = Spent::default();
        let mut done = 0;
        let mut slots = shared.slots(lease, claim);
        while done < claim.len {
            let mut rest = slots.tail(done);
            match self.filler.fill(&self.keys[done..], &mut rest, &mut spent) {
                Ok(()) => break,
                Err((place, error)) => {
                    claim.work.fault(Fault::Sample(claim.first + done + place, error));
                    done += place + 1;
                }
            }
        }
        shared.stats.add(&spent, claim.len);
        shared.stats.batch_cost(start.elapsed(), claim.len, claim.work.len());
    }
}

impl Shared {
    /// A slab for a batch of `len` samples. The one place where a batch meets the memory it is written to.
    fn slab(&self, len: usize) -> Result<Arc<Lease>, String> {
        if len > self.layout.batch_size() {
            return Err(format!("a batch of {len} samples in a loader for {}", self.layout.batch_size()));
        }
        self.pool.lease().map(Arc::new).map_err(|error| error.to_string())
    }

    /// The claimed slots of a batch's slab.
    #[expect(unsafe_code, reason = "claims are disjoint parts of one slab")]
    fn slots<'a>(&'a self, lease: &'a Lease, claim: &'a Claim) -> Slots<'a> {
        // SAFETY: the slab has the layout's length and is initialised; the board gives every slot of a batch to
        // exactly one claim, and the consumer does not look before all claims are finished.
        let slots = unsafe { Slots::new(lease.as_mut_ptr(), &self.layout, claim.first, claim.len) };
        slots.with_parts(claim.work.parts.as_ref())
    }

    /// The life of a worker thread. What panics outside of a filling, too, is the fault of the batch in hand.
    pub(super) fn work(&self, mut hands: Hands) {
        let mut held = VecDeque::with_capacity(1 + CLAIMS_AHEAD);
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.step(&mut hands, &mut held))) {
                Ok(true) => {}
                Ok(false) => return,
                Err(panic) => {
                    let message = panic_message(&*panic);
                    match held.pop_front() {
                        Some(claim) => claim.fail(Error::Panic(message)),
                        None => {
                            tracing::error!(panic = message, "a worker without work panicked");
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Makes the first of the claims in `held`, after filling it up; false when there will be none any more.
    fn step(&self, hands: &mut Hands, held: &mut VecDeque<Claim>) -> bool {
        if held.is_empty() {
            let Some(claim) = self.wait_for_claim() else { return false };
            held.push_back(claim);
        }
        if !self.whole_batches {
            let before = held.len();
            while held.len() <= CLAIMS_AHEAD {
                let Some(next) = self.board.claim() else { break };
                held.push_back(next);
            }
            if held.len() > before {
                hands.read_ahead(held, &self.stats);
            }
        }
        if !self.whole_batches || self.stats.batch_ns() > WAKE_WORTH_NS {
            // One wakes the next, as long as there is something to claim; a vain waking costs a look at the board.
            self.work.notify_one();
        }
        if let Some(claim) = held.pop_front() {
            hands.make(self, claim);
        }
        true
    }

    fn wait_for_claim(&self) -> Option<Claim> {
        if let Some(claim) = self.board.claim() {
            return Some(claim);
        }
        let start = Instant::now();
        let claim = self.work.until(|| match self.board.claim() {
            Some(claim) => Some(Some(claim)),
            None if self.board.is_stopped() => Some(None),
            None => None,
        });
        self.stats.worker_waited(start.elapsed());
        claim
    }

    /// Wakes workers after the consumer took a batch. Cheap batches are made in runs: nobody is woken for one.
    pub(super) fn room(&self, queued: usize) {
        if self.stats.batch_ns() > WAKE_WORTH_NS || queued * 2 <= self.board.depth() {
            self.work.notify_one();
        }
    }
}

/// Moves the samples of a finished batch together over the slots in `bad` (ascending); how many are left.
#[expect(unsafe_code, reason = "moves samples inside a slab that is exclusively ours")]
pub(super) fn close_gaps(shared: &Shared, lease: &Lease, work: &Work, bad: &[usize]) -> usize {
    let mut good = 0;
    for slot in 0..work.len() {
        if bad.binary_search(&slot).is_ok() {
            continue;
        }
        if good != slot {
            for (offset, size) in shared.layout.offsets().iter().zip(shared.layout.sizes()) {
                // SAFETY: the batch is finished and not handed out, so nobody else touches the slab; both slots lie in
                // the field, and `good < slot` keeps them apart.
                unsafe {
                    let base = lease.as_mut_ptr().add(*offset);
                    std::ptr::copy_nonoverlapping(base.add(slot * size), base.add(good * size), *size);
                }
            }
        }
        good += 1;
    }
    good
}
