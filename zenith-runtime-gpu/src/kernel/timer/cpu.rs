//! Timing what processors do, with the wall's clock and the process's processor time: where the second falls behind the first, or the
//! system took a processor away, somebody else had it, and the sample is taken again.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{Pace, Sample, Timer, TimerError};
use crate::kernel::candidate::Prepared;

/// What a sample lasts, where calls are shorter: long against reading clocks and against waking threads up.
const SAMPLE: Duration = Duration::from_millis(1);
/// What a candidate runs before a sample and is not measured: others ran before it, and its threads may be asleep by now.
const WARM: Duration = Duration::from_micros(300);
/// Calls that take longer than this are not repeated to be warm.
const WARM_BELOW: Duration = Duration::from_millis(3);
/// What a candidate runs at least before its pace is taken.
const FIRST_WARM: Duration = Duration::from_millis(3);
/// The most calls of a sample.
const MAX_CALLS: u64 = 1 << 20;
/// How often a disturbed sample is taken again.
const RETRIES: usize = 2;
/// A sample that lasts longer than this is not taken again: that would cost more than it tells.
const RETRY_BELOW: Duration = Duration::from_millis(20);
/// The part of the wall's time that an undisturbed candidate keeps a processor busy for.
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
    /// How often the system took a processor from one of this process's threads.
    taken: u64,
}

impl Lap {
    fn is_quiet(&self) -> bool {
        self.busy >= UNDISTURBED && self.taken == 0
    }
}

impl CpuTimer {
    /// A timer.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    fn lap(prepared: &mut dyn Prepared, calls: u64) -> Result<Lap, TimerError> {
        let (taken, processor, start) = (usage::processors_taken(), processor_time(), Instant::now());
        prepared.run(calls)?;
        let wall = start.elapsed().max(Duration::from_nanos(1));
        let used = processor_time().saturating_sub(processor);
        let taken = usage::processors_taken().saturating_sub(taken);
        Ok(Lap { wall, busy: used.as_secs_f64() / wall.as_secs_f64(), taken })
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
        let start = self.now();
        let mut calls = 1;
        loop {
            let lap = Self::lap(prepared, calls)?;
            let ns = lap.wall.as_nanos() as f64 / calls as f64;
            let long = lap.wall * 2 >= SAMPLE || calls >= MAX_CALLS;
            let spent = self.now() - start;
            if (long && spent >= FIRST_WARM) || spent >= limit {
                let fitting = (SAMPLE.as_nanos() as f64 / ns).round() as u64;
                return Ok(Pace { calls: fitting.clamp(1, MAX_CALLS), ns, busy: lap.busy });
            }
            // The first calls are slower than the later ones, so the next number is not guessed from them.
            calls = if long { calls } else { (calls * 4).min(MAX_CALLS) };
        }
    }

    fn sample(&mut self, prepared: &mut dyn Prepared, pace: &mut Pace) -> Result<Sample, TimerError> {
        if pace.ns < WARM_BELOW.as_nanos() as f64 {
            let calls = (WARM.as_nanos() as f64 / pace.ns).ceil().max(1.0) as u64;
            prepared.run(calls.min(pace.calls))?;
        }
        let mut lap = Self::lap(prepared, pace.calls)?;
        for _ in 0..RETRIES {
            if lap.is_quiet() || lap.wall > RETRY_BELOW {
                break;
            }
            lap = Self::lap(prepared, pace.calls)?;
        }
        Ok(Sample { ns: lap.wall.as_nanos() as f64 / pace.calls as f64, quiet: lap.is_quiet() })
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

mod usage {
    //! What the system counts of this process.
    #![expect(unsafe_code, reason = "getrusage has no safe form in the crates at hand")]

    use std::mem::MaybeUninit;

    /// How often a thread of this process lost its processor to another one that wanted it; 0 where that is not counted.
    pub(super) fn processors_taken() -> u64 {
        let mut usage = MaybeUninit::<libc::rusage>::uninit();
        // SAFETY: the pointer is to memory for a `rusage`, which the call fills where it returns zero.
        if unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0 {
            return 0;
        }
        // SAFETY: the call returned zero.
        u64::try_from(unsafe { usage.assume_init() }.ru_nivcsw).unwrap_or(0)
    }
}
