//! Wall and processor seconds between two moments.
#![expect(unsafe_code, reason = "getrusage has no safe form in std")]

use std::time::Instant;

/// What something took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Seconds on the clock.
    pub(crate) wall: f64,
    /// Seconds of all threads of the process, in user and kernel mode.
    pub(crate) cpu: f64,
}

/// A moment to measure from.
pub(crate) struct Meter {
    wall: Instant,
    cpu: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        let cpu = cpu_seconds();
        Self { wall: Instant::now(), cpu }
    }

    /// What was spent since the start.
    pub(crate) fn read(&self) -> Cost {
        Cost { wall: self.wall.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.cpu }
    }
}

fn cpu_seconds() -> f64 {
    // SAFETY: getrusage fills the plain struct it is given, for which all zeroes is a valid value.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 * 1e-6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_processor_time_and_sleep_does_not() {
        let meter = Meter::start();
        std::thread::sleep(std::time::Duration::from_millis(30));
        let slept = meter.read();
        let mut sum = 0_u64;
        while meter.read().cpu < slept.cpu + 0.02 {
            sum = std::hint::black_box(sum + 1);
        }
        let worked = meter.read();
        assert!(slept.wall >= 0.03, "{slept:?}");
        assert!(worked.cpu >= slept.cpu + 0.02 && worked.wall > slept.wall);
    }
}
