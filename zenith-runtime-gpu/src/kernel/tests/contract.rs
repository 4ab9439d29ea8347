//! What every timer has to keep, run by the processors' and by the made-up one. None of it is decided by a time.

use std::sync::Arc;
use std::time::Duration;

use super::fakes::{Clock, FakeTimer};
use crate::kernel::candidate::{Failure, Prepared};
use crate::kernel::timer::{CpuTimer, Timer, TimerError};

/// Counts its calls, takes some time, and fails when told to.
struct Counter {
    clock: Arc<Clock>,
    calls: u64,
    runs: Vec<u64>,
    fails_after: u64,
}

impl Prepared for Counter {
    fn run(&mut self, calls: u64) -> Result<(), Failure> {
        self.runs.push(calls);
        for _ in 0..calls {
            self.calls += 1;
            if self.calls > self.fails_after {
                return Err(Failure("enough".into()));
            }
            self.clock.work();
        }
        Ok(())
    }
}

fn suite(mut make: impl FnMut() -> (Box<dyn Timer>, Arc<Clock>)) {
    let counter = |clock: &Arc<Clock>, fails_after| Counter {
        clock: Arc::clone(clock),
        calls: 0,
        runs: Vec::new(),
        fails_after,
    };

    let (mut timer, clock) = make();
    let mut work = counter(&clock, u64::MAX);
    let start = timer.now();
    let mut pace = timer.pace(&mut work, Duration::from_millis(5)).unwrap();
    assert!(work.calls >= 1 && pace.calls >= 1);
    assert!(pace.ns.is_finite() && pace.ns > 0.0);
    for _ in 0..5 {
        work.runs.clear();
        let sample = timer.sample(&mut work, &mut pace).unwrap();
        assert!(sample.ns.is_finite() && sample.ns > 0.0);
        // It may warm up, with no more calls than are measured; what is measured comes last.
        assert!(work.runs.iter().all(|&calls| calls <= pace.calls), "{:?}", work.runs);
        assert_eq!(work.runs.last(), Some(&pace.calls));
    }
    assert!(timer.now() >= start);

    // With no time to warm up one call is made all the same.
    let mut work = counter(&clock, u64::MAX);
    assert!(timer.pace(&mut work, Duration::ZERO).unwrap().calls >= 1 && work.calls >= 1);

    // A failure is the candidate's and comes as it was said; the timer goes on.
    let failure = TimerError::Candidate(Failure("enough".into()));
    assert_eq!(timer.pace(&mut counter(&clock, 0), Duration::from_millis(5)).unwrap_err(), failure);
    let mut tired = counter(&clock, 0);
    assert_eq!(timer.sample(&mut tired, &mut pace).unwrap_err(), failure);
    assert!(timer.sample(&mut counter(&clock, u64::MAX), &mut pace).is_ok());
}

#[test]
fn processors() {
    suite(|| (Box::new(CpuTimer::new()), Clock::new(0.0, 1)));
}

#[test]
fn made_up() {
    suite(|| {
        let clock = Clock::new(0.05, 1);
        (Box::new(FakeTimer(Arc::clone(&clock))), clock)
    });
}

#[test]
fn short_calls_are_measured_many_at_once() {
    let mut timer = CpuTimer::new();
    let clock = Clock::new(0.0, 1);
    let mut work = Counter { clock, calls: 0, runs: Vec::new(), fails_after: u64::MAX };
    // A call is some tens of nanoseconds; that it is a millisecond would be a machine that cannot be measured on.
    let pace = timer.pace(&mut work, Duration::from_secs(10)).unwrap();
    assert!(pace.calls > 1, "{pace:?}");
}
