//! The account of a training loop, step by step: sums and distributions of all steps, and the newest one by one.
//!
//! A step begins when the loop asks for its batch. It waits until it has it, and works until it asks for the next. What a
//! device says of a step comes later than what the host says, and for those steps only for which it was asked.

use std::collections::VecDeque;

use serde::Serialize;
use zenith_runtime_cpu::telemetry::{Histogram, Summary};

/// Steps that are kept one by one; of older ones the sums and distributions are left.
pub const KEPT: usize = 4096;

/// A step. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Its number, from 0.
    pub number: u64,
    /// When its batch was asked for, on the caller's clock.
    pub start: u64,
    /// Blocked until the batch was there.
    pub wait: u64,
    /// From then until the next batch was asked for.
    pub work: u64,
    /// The device had nothing to do between the end of the step before and this one's beginning.
    pub gap: Option<u64>,
    /// The device's time from this step's beginning to its end.
    pub device: Option<u64>,
}

/// The account of a loop.
#[derive(Debug)]
pub struct Steps {
    newest: VecDeque<Step>,
    count: u64,
    /// The wait for the very first batch: starting workers is no step's fault.
    first_wait: u64,
    wait: Histogram,
    work: Histogram,
    step: Histogram,
    gap: Histogram,
    device: Histogram,
}

/// A distribution, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Values.
    pub count: u64,
    /// Their sum, exact.
    pub sum: u64,
    /// The middle one, to within a sixteenth.
    pub p50: u64,
    /// Nine of ten are not above it.
    pub p90: u64,
    /// 99 of a hundred are not above it.
    pub p99: u64,
}

/// What the account says. What there is no number for is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Told {
    /// Steps in all.
    pub steps: u64,
    /// Waiting for the very first batch, which no other number includes.
    pub first_wait: u64,
    /// Waiting for batches.
    pub wait: Option<Spread>,
    /// Working on them.
    pub work: Option<Spread>,
    /// Both.
    pub step: Option<Spread>,
    /// Gaps on the device between steps.
    pub gap: Option<Spread>,
    /// The device's time for a step.
    pub device: Option<Spread>,
    /// The part of the loop's time that is waiting, 0 to 1.
    pub wait_fraction: Option<f64>,
    /// The part of the device's time that is gaps, 0 to 1, over the steps that the device told of.
    pub gap_fraction: Option<f64>,
}

impl Steps {
    /// An empty account. It takes about half a megabyte when it is full, however long it runs.
    #[must_use]
    pub fn new() -> Self {
        Self {
            newest: VecDeque::new(),
            count: 0,
            first_wait: 0,
            wait: Histogram::new(),
            work: Histogram::new(),
            step: Histogram::new(),
            gap: Histogram::new(),
            device: Histogram::new(),
        }
    }

    /// Adds a step; its number.
    pub fn add(&mut self, start: u64, wait: u64, work: u64) -> u64 {
        let number = self.count;
        self.count += 1;
        if number == 0 {
            self.first_wait = wait;
        } else {
            self.wait.record(wait);
        }
        self.work.record(work);
        self.step.record(if number == 0 { work } else { wait.saturating_add(work) });
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(Step { number, start, wait, work, gap: None, device: None });
        number
    }

    /// What the device says of step `number`; the first step has no gap before it.
    pub fn on_device(&mut self, number: u64, gap: Option<u64>, device: u64) {
        if let Some(gap) = gap {
            self.gap.record(gap);
        }
        self.device.record(device);
        let oldest = self.newest.front().map_or(0, |step| step.number);
        let place = number.checked_sub(oldest).and_then(|place| usize::try_from(place).ok());
        if let Some(step) = place.and_then(|place| self.newest.get_mut(place)) {
            (step.gap, step.device) = (gap, Some(device));
        }
    }

    /// The newest steps in their order.
    pub fn newest(&self) -> impl ExactSizeIterator<Item = &Step> {
        self.newest.iter()
    }

    /// What the account says now.
    #[must_use]
    pub fn told(&self) -> Told {
        let wait = spread(&self.wait.summary());
        let step = spread(&self.step.summary());
        let gap = spread(&self.gap.summary());
        let device = spread(&self.device.summary());
        let part = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        Told {
            steps: self.count,
            first_wait: self.first_wait,
            wait_fraction: step.and_then(|step| part(wait.map_or(0, |wait| wait.sum), step.sum)),
            gap_fraction: gap.zip(device).and_then(|(gap, device)| part(gap.sum, gap.sum + device.sum)),
            wait,
            work: spread(&self.work.summary()),
            step,
            gap,
            device,
        }
    }
}

impl Default for Steps {
    fn default() -> Self {
        Self::new()
    }
}

fn spread(summary: &Summary) -> Option<Spread> {
    Some(Spread {
        count: summary.count(),
        sum: summary.sum(),
        p50: summary.quantile(0.5)?,
        p90: summary.quantile(0.9)?,
        p99: summary.quantile(0.99)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_account_invents_nothing() {
        let told = Steps::new().told();
        assert_eq!((told.steps, told.wait, told.step, told.gap), (0, None, None, None));
        assert_eq!((told.wait_fraction, told.gap_fraction), (None, None));
    }

    #[test]
    fn the_first_wait_stands_apart() {
        let mut steps = Steps::new();
        steps.add(0, 5_000_000, 100);
        assert_eq!((steps.told().wait, steps.told().wait_fraction), (None, Some(0.0)));
        steps.add(5_000_100, 300, 100);
        let told = steps.told();
        assert_eq!((told.first_wait, told.wait.unwrap().sum, told.step.unwrap().sum), (5_000_000, 300, 500));
        assert_eq!((told.wait_fraction, told.gap_fraction), (Some(0.6), None));
    }

    #[test]
    fn a_device_that_tells_late_or_of_some_is_told_of_those() {
        let mut steps = Steps::new();
        for _ in 0..KEPT + 10 {
            steps.add(0, 1, 1);
        }
        steps.on_device(3, Some(50), 50);
        steps.on_device(KEPT as u64 + 9, Some(0), 100);
        steps.on_device(u64::MAX, None, 50);
        assert_eq!(steps.newest().filter(|step| step.device.is_some()).count(), 1);
        assert_eq!(steps.newest().last().and_then(|step| step.device), Some(100));
        let told = steps.told();
        assert_eq!((told.gap.unwrap().count, told.device.unwrap().count), (2, 3));
        assert_eq!(told.gap_fraction, Some(0.2));
    }

    proptest! {
        #[test]
        fn sums_are_exact_and_memory_is_bounded(
            times in prop::collection::vec((0_u64..1 << 30, 0_u64..1 << 30), 1..200),
            repeat in 1_usize..60,
        ) {
            let mut steps = Steps::new();
            let mut added = 0;
            for _ in 0..repeat {
                for (wait, work) in &times {
                    prop_assert_eq!(steps.add(added, *wait, *work), added);
                    added += 1;
                }
            }
            let told = steps.told();
            let waits: u64 = times.iter().map(|(wait, _)| wait).sum::<u64>() * repeat as u64 - times[0].0;
            let works: u64 = times.iter().map(|(_, work)| work).sum::<u64>() * repeat as u64;
            prop_assert_eq!(told.step.unwrap().sum, waits + works);
            prop_assert_eq!(told.work.unwrap().sum, works);
            prop_assert_eq!(told.wait.map_or(0, |wait| wait.sum), waits);
            prop_assert_eq!(steps.newest().len(), KEPT.min(added as usize));
            prop_assert_eq!(steps.newest().last().unwrap().number, added - 1);
        }
    }
}
