//! The clock that compiled code looks at: one thread for each host that advances the engines' epochs while calls are
//! under way, and sleeps otherwise. When a call must end is decided in `live`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use zenith_runtime_cpu::sync::Gate;
use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use crate::PluginError;
use crate::stats::Meter;

/// One step of the epoch.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// How long the thread sleeps between two advances.
const PERIOD: Duration = Duration::from_millis(2);

/// After so many periods without a call the thread goes to sleep: falling asleep after each call would make the next one
/// wake it by a system call.
const IDLE_PERIODS: u32 = 16;

/// The thread and what it shares with callers. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    /// Joined on drop.
    _thread: Thread<()>,
}

struct Shared {
    /// Where the thread sleeps while there are no calls.
    gate: Gate,
    stop: AtomicBool,
    meters: Mutex<Vec<Weak<Meter>>>,
    engines: Mutex<Vec<wasmtime::Engine>>,
    /// Periods that the thread went through.
    periods: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// What the meters say at one moment.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Activity {
    inside: bool,
    turns: u64,
}

impl Shared {
    fn activity(&self) -> Activity {
        let mut activity = Activity { inside: false, turns: 0 };
        self.meters.lock().unwrap_or_else(PoisonError::into_inner).retain(|meter| {
            let Some(meter) = meter.upgrade() else {
                return false;
            };
            let turns = meter.turns();
            activity.inside |= turns % 2 == 1;
            activity.turns = activity.turns.wrapping_add(turns);
            true
        });
        activity
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn run(&self) {
        let mut seen = 0;
        while !self.stops() {
            self.gate.until(|| {
                let now = self.activity();
                (now.inside || now.turns != seen || self.stops()).then_some(())
            });
            seen = self.tick();
        }
    }

    /// Advances the epochs until there were no calls for a while; the turns that were last seen.
    fn tick(&self) -> u64 {
        let mut seen = self.activity().turns;
        let mut last = Instant::now();
        let mut idle = 0;
        while idle < IDLE_PERIODS && !self.stops() {
            std::thread::sleep(PERIOD);
            self.periods.fetch_add(1, Ordering::Relaxed);
            let ticks = u32::try_from(last.elapsed().as_millis() / TICK.as_millis()).unwrap_or(u32::MAX);
            last += TICK * ticks;
            for engine in &*self.engines.lock().unwrap_or_else(PoisonError::into_inner) {
                for _ in 0..ticks {
                    engine.increment_epoch();
                }
            }
            let now = self.activity();
            idle = if now.inside || now.turns != seen { 0 } else { idle + 1 };
            seen = now.turns;
        }
        seen
    }
}

impl Ticker {
    /// Starts the thread, which sleeps.
    pub(crate) fn new() -> Result<Self, PluginError> {
        let shared = Arc::new(Shared {
            gate: Gate::new(),
            stop: AtomicBool::new(false),
            meters: Mutex::default(),
            engines: Mutex::default(),
            periods: AtomicU64::new(0),
        });
        let other = shared.clone();
        let thread = Thread::spawn(ThreadConfig::named("zenith-ticker"), move || other.run())
            .map_err(|error| PluginError::Host(error.to_string()))?;
        Ok(Self { shared, _thread: thread })
    }

    /// Advances the epoch of one more engine.
    pub(crate) fn drive(&self, engine: wasmtime::Engine) {
        self.shared.engines.lock().unwrap_or_else(PoisonError::into_inner).push(engine);
    }

    /// Watches one more meter for calls.
    pub(crate) fn watch(&self, meter: Weak<Meter>) {
        self.shared.meters.lock().unwrap_or_else(PoisonError::into_inner).push(meter);
    }

    /// A call begins: from now on time passes. `meter` must be watched.
    #[inline]
    pub(crate) fn enter(&self, meter: &Meter) {
        meter.enter();
        // The gate's fence orders the meter before the look at who sleeps.
        self.shared.gate.notify_one();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.gate.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> (Ticker, Arc<Meter>) {
        let ticker = Ticker::new().unwrap();
        let meter = Arc::new(Meter::default());
        ticker.watch(Arc::downgrade(&meter));
        (ticker, meter)
    }

    fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < patience, "{what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn it_runs_during_calls_and_sleeps_between_them() {
        let (ticker, meter) = watched();
        let periods = || ticker.shared.periods.load(Ordering::Relaxed);
        for _ in 0..3 {
            let before = periods();
            ticker.enter(&meter);
            until("it ticks for as long as a call lasts", || {
                periods() > before + u64::from(2 * IDLE_PERIODS)
            });
            meter.leave();
            let mut last = (periods(), Instant::now());
            until("it falls asleep after the call", || {
                if periods() != last.0 {
                    last = (periods(), Instant::now());
                }
                last.1.elapsed() > PERIOD * 20
            });
        }
    }

    #[test]
    fn no_call_is_ever_without_a_clock() {
        let (ticker, meter) = watched();
        let engine = wasmtime::Engine::default();
        ticker.drive(engine);
        let periods = || ticker.shared.periods.load(Ordering::Relaxed);
        // Calls that begin around the moment in which the thread falls asleep.
        for pause in 0..40 {
            std::thread::sleep(PERIOD * IDLE_PERIODS + Duration::from_micros(pause * 100));
            ticker.enter(&meter);
            let before = periods();
            until("a call that found no clock", || periods() > before + 1);
            meter.leave();
        }
    }

    #[test]
    fn meters_that_are_gone_are_forgotten() {
        let (ticker, meter) = watched();
        drop(meter);
        ticker.shared.activity();
        assert!(ticker.shared.meters.lock().unwrap().is_empty());
    }
}
