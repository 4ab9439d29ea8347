//! Timing what processors do, with the wall's clock and the process's processor time: where the second falls behind what the
//! candidate was seen to use, somebody else had the processors, and the sample is taken again.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{Pace, Sample, Timer, TimerError};
use crate::kernel::candidate::Prepared;

/// What a sample lasts, where calls are shorter: long against reading two clocks, short against a scheduler's time slice, so
/// that most samples have nobody else's slice in them.
const SAMPLE: Duration = Duration::from_micros(400);
/// The most calls of a sample.
const MAX_CALLS: u64 = 1 << 20;
/// How often a disturbed sample is taken again.
const RETRIES: usize = 3;
/// A sample that lasts longer than this is not taken again: that would cost more than it tells.
const RETRY_BELOW: Duration = Duration::from_millis(20);
/// The part of the processor time it was seen to use that a candidate has to get for its sample to count as undisturbed.
const UNDISTURBED: f64 = 0.95;

/// The timer of processors. Operands stay in the caches from call to call, as they do in a step that uses them again.
#[derive(Debug)]
pub struct CpuTimer {
    start: Instant,
}

/// What the clocks say of some calls.
struct Lap {
    wall: Duration,
    busy: f64,
}

impl CpuTimer {
    /// A timer.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    fn lap(prepared: &mut dyn Prepared, calls: u64) -> Result<Lap, TimerError> {
        let (processor, start) = (processor_time(), Instant::now());
        prepared.run(calls)?;
        let wall = start.elapsed().max(Duration::from_nanos(1));
        let used = processor_time().saturating_sub(processor);
        Ok(Lap { wall, busy: used.as_secs_f64() / wall.as_secs_f64() })
    }
}

impl Default for CpuTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Timer for CpuTimer {
    fn now(&mut self) -> Duration {
        self.start.elapsed()
    }

    fn pace(&mut self, prepared: &mut dyn Prepared, limit: Duration) -> Result<Pace, TimerError> {
        let end = self.now() + limit;
        let mut calls = 1;
        let mut busy: f64 = 0.0;
        loop {
            let lap = Self::lap(prepared, calls)?;
            busy = busy.max(lap.busy);
            let ns = lap.wall.as_nanos() as f64 / calls as f64;
            if lap.wall * 2 >= SAMPLE || calls >= MAX_CALLS || self.now() >= end {
                let fitting = (SAMPLE.as_nanos() as f64 / ns).round() as u64;
                return Ok(Pace { calls: fitting.clamp(1, MAX_CALLS), ns, busy });
            }
            // The first calls are slower than the later ones, so the next number is not guessed from them.
            calls = (calls * 4).min(MAX_CALLS);
        }
    }

    fn sample(&mut self, prepared: &mut dyn Prepared, pace: &mut Pace) -> Result<Sample, TimerError> {
        let mut best: Option<Lap> = None;
        for _ in 0..=RETRIES {
            let lap = Self::lap(prepared, pace.calls)?;
            let long = lap.wall > RETRY_BELOW;
            pace.busy = pace.busy.max(lap.busy);
            if best.as_ref().is_none_or(|best| lap.wall < best.wall) {
                best = Some(lap);
            }
            if long || best.as_ref().is_some_and(|best| is_quiet(best.busy, pace.busy)) {
                break;
            }
        }
        let best = best.ok_or_else(|| TimerError::Timer("no sample was taken".to_owned()))?;
        Ok(Sample {
            ns: best.wall.as_nanos() as f64 / pace.calls as f64,
            quiet: is_quiet(best.busy, pace.busy),
        })
    }
}

/// Whether a candidate that keeps `most` processors busy when undisturbed was undisturbed while it had `busy` of them.
fn is_quiet(busy: f64, most: f64) -> bool {
    busy >= most * UNDISTURBED
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
