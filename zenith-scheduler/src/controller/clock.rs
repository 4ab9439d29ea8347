//! The controller's time. What is written down is wall time at the start and runs on from there at the pace of a clock that
//! nobody sets: a step of the wall clock, or a suspended machine, makes no time limit, grace or pause any shorter or longer.
//! Who is alive is asked of that clock alone. The next start takes the wall clock's word again, unless that is behind what
//! was written down.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::Time;

/// The wall clock and the controller's time may be so far apart before it is worth a line in the log.
const APART: u64 = 10_000;

/// Where the time comes from. Tests bring their own.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since 1970-01-01 UTC, as the system has them: they go back and leap when somebody sets the clock.
    fn wall(&self) -> Time;

    /// The time since some moment. It never goes back, and stands still while the machine is suspended.
    fn steady(&self) -> Duration;
}

/// The system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    begun: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { begun: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn steady(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// The time of one life of the controller.
#[derive(Clone, Debug)]
pub(super) struct Course {
    clock: Arc<dyn Clock>,
    /// The controller's time at `since`.
    begun: Time,
    since: Duration,
    /// The wall clock went another way, and the log says so.
    is_apart: bool,
}

impl Course {
    /// Begins now, and not before what was written down last.
    pub(super) fn new(clock: Arc<dyn Clock>, written: Time) -> Self {
        let (begun, since) = (clock.wall().max(written), clock.steady());
        Self { clock, begun, since, is_apart: false }
    }

    /// The time by which things are written down.
    pub(super) fn now(&self) -> Time {
        let passed = self.clock.steady().saturating_sub(self.since);
        Time(self.begun.0.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time by which is judged who is alive.
    pub(super) fn steady(&self) -> Duration {
        self.clock.steady()
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Says in the log when the wall clock and the controller's time part, once each time.
    pub(super) fn compare(&mut self) {
        let (now, wall) = (self.now(), self.clock.wall());
        let is_apart = now.0.abs_diff(wall.0) > APART;
        if is_apart && !self.is_apart {
            let ahead_ms = i128::from(now.0) - i128::from(wall.0);
            tracing::warn!(
                ahead_ms,
                "the wall clock was set, or the machine slept; times of jobs go on evenly until the next start"
            );
        }
        self.is_apart = is_apart;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Debug)]
    struct Set(Mutex<(u64, u64)>);

    impl Clock for Set {
        fn wall(&self) -> Time {
            Time(self.0.lock().unwrap().0)
        }

        fn steady(&self) -> Duration {
            Duration::from_millis(self.0.lock().unwrap().1)
        }
    }

    #[test]
    fn time_goes_on_evenly_whatever_the_wall_clock_does() {
        let clock = Arc::new(Set(Mutex::new((1_000_000, 50))));
        let course = Course::new(clock.clone(), Time(0));
        for (wall, steady) in [(9_000_000, 60), (3, 75), (u64::MAX, 90)] {
            *clock.0.lock().unwrap() = (wall, steady);
            assert_eq!(course.now(), Time(1_000_000 + steady - 50));
        }
    }

    #[test]
    fn a_start_goes_on_from_what_was_written_and_does_not_stand_still() {
        let clock = Arc::new(Set(Mutex::new((1_000, 0))));
        let course = Course::new(clock.clone(), Time(31_536_000_000));
        *clock.0.lock().unwrap() = (2_000, 1_000);
        assert_eq!(course.now(), Time(31_536_001_000));
    }
}
