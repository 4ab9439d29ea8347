//! One rank's board in the segment: how far it is, what it calls, and the bell for those who wait for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use super::futex;
use crate::collective::call::WORDS;

/// What a rank does in every round, in this order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Its operands are in its slot.
    Contributed = 0,
    /// Its result is in its slot.
    Reduced = 1,
    /// It has taken what it needs from all others' slots.
    Gathered = 2,
}

/// A packed call and the vote that goes with it.
type Announcement = [AtomicU64; WORDS + 1];

/// Lies in memory of all zeros at first. Only its owner writes, but for the bell.
#[derive(Debug)]
#[repr(C, align(128))]
pub(super) struct Board {
    /// Rounds, by step.
    steps: [AtomicU32; 3],
    /// Changes with every ring; what waiting ranks sleep on.
    pub(super) bell: AtomicU32,
    /// Ranks that may be asleep. One that dies asleep is counted for ever, which costs system calls and nothing else.
    pub(super) sleepers: AtomicU32,
    left: AtomicU32,
    /// A rank cannot be two calls ahead of another one, so two places do.
    calls: [Announcement; 2],
}

impl Board {
    /// Puts down how far the owner is, and wakes who waits for it.
    pub(super) fn reach(&self, step: Step, rounds: u32) {
        self.steps[step as usize].store(rounds, Ordering::Release);
        // Pairs with the fence of a waiter: either it sees the step, or this sees the sleeper.
        fence(Ordering::SeqCst);
        if self.sleepers.load(Ordering::Relaxed) != 0 {
            self.ring();
        }
    }

    /// Whether the owner is that far.
    pub(super) fn has_reached(&self, step: Step, rounds: u32) -> bool {
        is_at_least(self.steps[step as usize].load(Ordering::Acquire), rounds)
    }

    /// All steps of all rounds, as one number that grows with every step.
    pub(super) fn position(&self) -> u32 {
        self.steps.iter().map(|step| step.load(Ordering::Acquire)).fold(0, u32::wrapping_add)
    }

    /// Wakes everybody who waits for the owner.
    pub(super) fn ring(&self) {
        self.bell.fetch_add(1, Ordering::SeqCst);
        futex::wake_all(&self.bell);
    }

    /// The owner calls nothing any more.
    pub(super) fn leave(&self) {
        self.left.store(1, Ordering::Release);
        self.ring();
    }

    /// Whether the owner has said so.
    pub(super) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire) != 0
    }

    /// Writes a call down; it is seen with the next step.
    pub(super) fn announce(&self, sequence: u32, call: [u64; WORDS], vote: bool) {
        let place = &self.calls[sequence as usize % 2];
        for (word, value) in place.iter().zip(call.into_iter().chain([u64::from(vote)])) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// What the owner called under this number.
    pub(super) fn announced(&self, sequence: u32) -> [u64; WORDS] {
        let place = &self.calls[sequence as usize % 2];
        std::array::from_fn(|word| place[word].load(Ordering::Relaxed))
    }

    /// Whether the owner said yes.
    pub(super) fn voted(&self, sequence: u32) -> bool {
        self.calls[sequence as usize % 2][WORDS].load(Ordering::Relaxed) != 0
    }
}

/// Compares counters that may have wrapped around.
pub(super) const fn is_at_least(counter: u32, value: u32) -> bool {
    counter.wrapping_sub(value).cast_signed() >= 0
}
