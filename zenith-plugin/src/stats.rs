//! What calls cost: counters that one thread writes and anybody reads. Shows nothing itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, Weak};
use std::time::Duration;

/// What a plugin did since it was loaded, over all its instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Calls that were begun, those that failed included. Making an instance is no call.
    pub calls: u64,
    /// Time spent in calls, with the copies into and out of the plugin's memory, in nanoseconds over all threads.
    pub nanoseconds: u64,
    /// Calls that were stopped: traps, limits and results that break the ABI. Each cost an instance.
    pub traps: u64,
    /// Log lines that were not shown, because there were too many.
    pub suppressed: u64,
}

/// The counters of one instance; on a cache line of its own, because every call writes it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Meter {
    /// Entries and exits of guest code: odd while a thread is inside.
    turns: AtomicU64,
    calls: AtomicU64,
    nanoseconds: AtomicU64,
    traps: AtomicU64,
}

/// Adds to a counter that no other thread writes.
fn add(counter: &AtomicU64, value: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(value), Ordering::Relaxed);
}

impl Meter {
    /// Guest code is about to be entered.
    #[inline]
    pub(crate) fn enter(&self) {
        add(&self.turns, 1);
    }

    /// Guest code has ended.
    #[inline]
    pub(crate) fn leave(&self) {
        add(&self.turns, 1);
    }

    /// How often guest code was entered and left; odd while a thread is inside.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// A call has ended.
    #[inline]
    pub(crate) fn record(&self, took: Duration, stopped: bool) {
        add(&self.calls, 1);
        add(&self.nanoseconds, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        if stopped {
            add(&self.traps, 1);
        }
    }
}

/// The meters of a plugin: lent to its instances, kept when they go, so that nothing is lost and nothing grows.
#[derive(Debug, Default)]
pub(crate) struct Meters {
    lists: Mutex<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    all: Vec<Arc<Meter>>,
    free: Vec<Arc<Meter>>,
}

impl Meters {
    /// A meter that nobody else writes; `announce` is told of one that is new.
    pub(crate) fn lend(&self, announce: impl FnOnce(Weak<Meter>)) -> Arc<Meter> {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.free.pop().unwrap_or_else(|| {
            let meter = Arc::new(Meter::default());
            lists.all.push(meter.clone());
            announce(Arc::downgrade(&meter));
            meter
        })
    }

    /// Takes a meter back.
    pub(crate) fn give_back(&self, meter: Arc<Meter>) {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner).free.push(meter);
    }

    /// The sums of all meters.
    pub(crate) fn sum(&self) -> Stats {
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Stats::default();
        for meter in &lists.all {
            sum.calls += meter.calls.load(Ordering::Relaxed);
            sum.nanoseconds += meter.nanoseconds.load(Ordering::Relaxed);
            sum.traps += meter.traps.load(Ordering::Relaxed);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meters_are_used_again_and_nothing_is_lost() {
        let meters = Meters::default();
        let mut announced = 0;
        for round in 1..=3 {
            let meter = meters.lend(|_| announced += 1);
            meter.record(Duration::from_nanos(10), round == 2);
            meters.give_back(meter);
        }
        assert_eq!(announced, 1);
        assert_eq!(meters.sum(), Stats { calls: 3, nanoseconds: 30, traps: 1, suppressed: 0 });
    }
}
