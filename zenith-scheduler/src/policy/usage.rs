//! GPU time that queues and users have had, older time counting less. Exact at any moment, though it is only touched when
//! something starts or ends.

use serde::{Deserialize, Serialize};

use crate::core::time::{Span, Time};

/// Use after which this much time has passed counts half.
pub const HALF_LIFE: Span = Span::from_secs(24 * 3600);

/// The use of one queue or one user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Faded GPU-seconds at `at`.
    past: f64,
    at: Time,
    /// GPUs held since then.
    gpus: u32,
}

impl Usage {
    /// GPUs held now.
    pub fn gpus(&self) -> u32 {
        self.gpus
    }

    /// Faded GPU-seconds at a time that is not before the last change.
    pub fn at(&self, now: Time) -> f64 {
        let span = now.since(self.at).as_secs_f64();
        let half_life = HALF_LIFE.as_secs_f64();
        let fade = (-span / half_life).exp2();
        self.past * fade + f64::from(self.gpus) * half_life / std::f64::consts::LN_2 * (1.0 - fade)
    }

    pub(crate) fn take(&mut self, gpus: u32, now: Time) {
        *self = Self { past: self.at(now), at: now, gpus: self.gpus + gpus };
    }

    pub(crate) fn give_back(&mut self, gpus: u32, now: Time) {
        *self = Self { past: self.at(now), at: now, gpus: self.gpus.saturating_sub(gpus) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_counted_while_it_lasts_and_fades_after() {
        let mut usage = Usage::default();
        usage.take(2, Time(0));
        let minute = Time(60_000);
        assert!((usage.at(minute) - 120.0).abs() < 0.1);
        usage.give_back(2, minute);
        let later = minute + HALF_LIFE;
        assert!((usage.at(later) / usage.at(minute) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn it_does_not_matter_how_often_one_looks() {
        let (mut often, mut once) = (Usage::default(), Usage::default());
        often.take(3, Time(0));
        once.take(3, Time(0));
        for hour in 1..100 {
            often.take(0, Time(hour * 3_600_000));
        }
        let end = Time(100 * 3_600_000);
        assert!((often.at(end) / once.at(end) - 1.0).abs() < 1e-9);
    }
}
