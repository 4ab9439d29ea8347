//! How long an end leaves the other one alone before it looks again at an index that has not moved. Nothing is handed over or
//! waited for here: it is a matter of speed.
//!
//! An end that looks over and over keeps taking the index's line from the end that is writing to it, and slows both; one
//! that looks too seldom finds the whole ring used up and lets the other one stand still. What is right in between differs by a
//! factor of ten: with the way of a line between the two processors, which a virtual machine changes by itself, and with
//! how many values an operation moves. So it is learned from what the wait has brought.

use crate::sync::hint;

/// Pauses at the least: enough for a line's way between neighbours.
const LEAST: u32 = 8;
/// Pauses at the most: one to three microseconds, by the processor, so that a vain try stays short.
const MOST: u32 = 64;

/// What one end has learned.
pub(super) struct Patience {
    pauses: u32,
    /// A wait that brings less than this was too short to be worth the look.
    few: usize,
    /// A wait that brings more than this came near to stopping the other end.
    many: usize,
}

impl Patience {
    pub(super) fn new(capacity: usize) -> Self {
        Self { pauses: MOST, few: (capacity / 8).max(1), many: capacity / 2 }
    }

    #[inline(always)]
    pub(super) fn wait(&self) {
        // Under loom a pause is a switch to the other thread, and one is as good as many.
        let pauses = if cfg!(loom) { 0 } else { self.pauses };
        (0..pauses).for_each(|_| hint::spin_loop());
    }

    /// Takes note of how many values, or how much room, there was after a wait.
    #[inline(always)]
    pub(super) fn learn(&mut self, found: usize) {
        if found > self.many {
            self.pauses = (self.pauses / 2).max(LEAST);
        } else if found < self.few {
            self.pauses = (self.pauses * 2).min(MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_little_and_shrinks_with_much_within_bounds() {
        let mut patience = Patience::new(1024);
        let mut after = |found, times: usize| {
            (0..times).for_each(|_| patience.learn(found));
            patience.pauses
        };
        assert_eq!(after(0, 3), MOST);
        assert_eq!(after(513, 1), MOST / 2);
        assert_eq!(after(1024, 10), LEAST);
        assert_eq!(after(128, 10), LEAST, "neither little nor much");
        assert_eq!(after(127, 1), 2 * LEAST);
    }

    #[test]
    fn a_ring_of_one_slot_never_waits_long() {
        let mut patience = Patience::new(1);
        (0..10).for_each(|_| patience.learn(1));
        assert_eq!(patience.pauses, LEAST);
        patience.learn(0);
        assert_eq!(patience.pauses, 2 * LEAST, "and looks less often where it finds nothing");
    }
}
