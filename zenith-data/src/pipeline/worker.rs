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
use crate::Error;
use crate::source::{Filler, SampleKey, Spent};

/// Claims a worker holds ahead of the one it works on, so that their bytes are on the way.
const CLAIMS_AHEAD: usize = 2;

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

    fn collect_keys(&mut self, claim: &Claim) {
        let making = &claim.work.making;
        let start = making.positions.start + claim.first as u64;
        self.keys.clear();
        self.keys.extend((start..start + claim.len as u64).map(|position| making.plan.key(position)));
    }

    fn read_ahead(&mut self, claim: &Claim) {
        self.collect_keys(claim);
        self.filler.read_ahead(&self.keys);
    }

    /// Writes the claimed slots. Whatever happens, the claim is accounted for; a panic becomes the batch's fault.
    pub(super) fn make(&mut self, shared: &Shared, claim: &Claim) {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.fill(shared, claim)));
        if let Err(panic) = outcome {
            claim.work.fault(Fault::Batch(Error::Panic(panic_message(&*panic))));
        }
        shared.account(claim);
    }

    fn fill(&mut self, shared: &Shared, claim: &Claim) {
        let lease = claim
            .work
            .slab
            .get_or_init(|| shared.pool.lease().map(Arc::new).map_err(|error| error.to_string()));
        let lease = match lease {
            Ok(lease) => lease,
            Err(reason) => return claim.work.fault(Fault::Batch(Error::Machine(reason.clone()))),
        };
        let start = Instant::now();
        self.collect_keys(claim);
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
    /// Says that a claim is done with; whoever does so last publishes the batch.
    fn account(&self, claim: &Claim) {
        if claim.work.finished(claim.len) {
            claim.work.publish();
            self.done.notify_one();
        }
    }

    /// Makes `error` the fault of the batch whose part cannot be made. A claim that was taken must be accounted for, or
    /// its batch would never be finished.
    pub(super) fn give_up(&self, claim: &Claim, error: Error) {
        claim.work.fault(Fault::Batch(error));
        self.account(claim);
    }

    /// The claimed slots of a batch's slab.
    #[expect(unsafe_code, reason = "claims are disjoint parts of one slab")]
    fn slots<'a>(&'a self, lease: &'a Lease, claim: &'a Claim) -> Slots<'a> {
        // SAFETY: the slab has the layout's length and is initialised; the board gives every slot of a batch to
        // exactly one claim, and the consumer does not look before all claims are finished.
        let slots = unsafe {
            Slots::new(lease.as_mut_ptr(), &self.layout.offsets, &self.layout.sizes, claim.first, claim.len)
        };
        slots.with_parts(claim.work.parts.as_ref())
    }

    /// The life of a worker thread.
    pub(super) fn work(self: &Arc<Self>, mut hands: Hands) {
        let mut ahead: VecDeque<Claim> = VecDeque::with_capacity(CLAIMS_AHEAD);
        let lookahead = if self.whole_batches { 0 } else { CLAIMS_AHEAD };
        loop {
            let claim = match ahead.pop_front() {
                Some(claim) => claim,
                None => match self.wait_for_claim() {
                    Some(claim) => claim,
                    None => return,
                },
            };
            while ahead.len() < lookahead {
                let Some(next) = self.board.claim() else { break };
                hands.read_ahead(&next);
                ahead.push_back(next);
            }
            if !self.whole_batches || self.stats.batch_ns() > WAKE_WORTH_NS {
                // One wakes the next, as long as there is something to claim; a vain waking costs a look at the board.
                self.work.notify_one();
            }
            hands.make(self, &claim);
        }
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
            for (offset, size) in shared.layout.offsets.iter().zip(&shared.layout.sizes) {
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
