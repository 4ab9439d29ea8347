//! How soon one turn follows another. A write to disk costs nearly as much for one call as for a hundred, so where many come turns
//! keep a distance and take what has come meanwhile; who calls alone never waits.

use std::time::{Duration, Instant};

/// How long calls are counted before it is said whether there are many.
const WINDOW: Duration = Duration::from_millis(10);

/// So many within that are many.
const MANY: usize = 20;

/// The distance from the beginning of a turn to that of the next where there are many.
const DISTANCE: Duration = Duration::from_millis(3);

/// What has come lately.
#[derive(Debug)]
pub(super) struct Pace {
    /// When counting began, and what has come since.
    since: Instant,
    calls: usize,
    is_busy: bool,
    /// When the last turn began.
    last: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, calls: 0, is_busy: false, last: now }
    }

    /// How long to wait for more calls before the next turn.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let is_busy = self.is_busy && now.duration_since(self.since) < 2 * WINDOW;
        if is_busy { DISTANCE.saturating_sub(now.duration_since(self.last)) } else { Duration::ZERO }
    }

    /// A turn begins, with so many calls.
    pub(super) fn begin(&mut self, now: Instant, calls: usize) {
        self.last = now;
        self.calls += calls;
        let counted = now.duration_since(self.since);
        if counted >= WINDOW {
            self.is_busy = self.calls >= MANY && counted < 2 * WINDOW;
            (self.since, self.calls) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long each turn waited, for calls that come `every` so often and turns that take no time.
    fn waits(every: Duration, turns: u32) -> Vec<Duration> {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut came = now;
        let one = |_| {
            // The next call comes when it comes, and the turn takes those that came while it waited.
            came = came.max(now) + every;
            now = came;
            let wait = pace.wait(now);
            now += wait;
            let mut calls = 1;
            while came + every <= now {
                came += every;
                calls += 1;
            }
            pace.begin(now, calls);
            wait
        };
        (0..turns).map(one).collect()
    }

    #[test]
    fn who_calls_alone_never_waits() {
        assert!(waits(Duration::from_millis(1), 200).iter().all(Duration::is_zero));
    }

    #[test]
    fn many_calls_share_turns_that_keep_their_distance() {
        let waits = waits(Duration::from_micros(100), 200);
        let waited = waits.iter().filter(|wait| !wait.is_zero()).count();
        assert!(waited > 90, "{waited}");
        assert!(waits.iter().all(|wait| *wait <= DISTANCE));
    }

    #[test]
    fn what_was_busy_and_is_no_more_is_not_held_up() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..50 {
            now += Duration::from_millis(1);
            pace.begin(now, 10);
        }
        assert!(pace.wait(now) == DISTANCE);
        assert!(pace.wait(now + 2 * WINDOW).is_zero());
    }
}
