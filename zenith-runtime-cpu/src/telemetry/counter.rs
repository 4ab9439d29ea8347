//! A number that only grows.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{LANES, Padded, lane};

/// A count, such as of bytes read. Threads add on cache lines of their own; reading adds the lines up.
#[derive(Debug, Default)]
pub struct Counter {
    lanes: [Padded<AtomicU64>; LANES],
}

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.lanes[lane()].0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What was added until now, wrapping at 2^64. Additions that happen meanwhile may or may not be in it.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.lanes.iter().fold(0, |sum, lane| sum.wrapping_add(lane.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_of_all_threads_are_counted() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            for _ in 0..LANES + 3 {
                scope.spawn(|| (0..1000).for_each(|n| counter.add(n % 3)));
            }
        });
        assert_eq!(counter.get(), (LANES as u64 + 3) * 999);
    }
}
