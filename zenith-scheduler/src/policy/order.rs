//! Who comes first: one number per class of alike jobs, made of age, expected cost, priority and fair share. Whether there
//! is a place is not asked here.

use std::cmp::Ordering;

use super::backlog::{Class, Entry, Forecast, Kind};
use super::history::History;
use super::quota::{Queue, User};
use super::{Order, Policy, Runtimes};
use crate::core::id::JobId;
use crate::core::time::{Span, Time};

/// Runs are never taken to cost less than this many seconds: below, starting them costs more.
const CHEAPEST: f64 = 30.0;
/// GPUs held now count as if they had been held for so long, so that one round does not give everything to one user.
const PRESENT: f64 = 3600.0;
/// The share can raise or lower urgency by at most this power of two.
const SHARE_BOUND: f64 = 4.0;

/// A class's turn, by its first job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// Its queue gets no more than it is promised.
    pub(crate) promised: bool,
    pub(crate) urgency: f64,
    pub(crate) order: u64,
    pub(crate) job: JobId,
    pub(crate) class: u32,
}

impl Ord for Turn {
    /// The greatest is first.
    fn cmp(&self, other: &Self) -> Ordering {
        let promised = self.promised.cmp(&other.promised);
        let urgency = || self.urgency.total_cmp(&other.urgency);
        let age = || other.order.cmp(&self.order).then_with(|| other.job.cmp(&self.job));
        promised.then_with(urgency).then_with(age)
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Turn {}

/// What each queue and each user has had, against what is theirs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares {
    queues: Vec<f64>,
    users: Vec<f64>,
}

impl Shares {
    pub(crate) fn of(queues: &[Queue], users: &[User], policy: &Policy, now: Time) -> Self {
        if policy.order != Order::Urgency || policy.weights.share <= 0.0 {
            return Self::default();
        }
        let queues: Vec<(f64, f64)> =
            queues.iter().map(|queue| (used(&queue.usage, now), queue.settings.weight)).collect();
        let users: Vec<(f64, f64)> =
            users.iter().map(|user| (used(&user.usage, now), user.settings.weight)).collect();
        Self { queues: excess(&queues), users: excess(&users) }
    }

    /// The power of two by which urgency falls.
    fn excess(&self, kind: &Kind) -> f64 {
        let of = |list: &[f64], at: usize| list.get(at).copied().unwrap_or(0.0);
        of(&self.queues, kind.queue.index()) + of(&self.users, kind.user.index())
    }
}

fn used(usage: &super::usage::Usage, now: Time) -> f64 {
    usage.at(now) + f64::from(usage.gpus()) * PRESENT
}

/// Use as a multiple of the fair share among those that use anything, less one.
fn excess(accounts: &[(f64, f64)]) -> Vec<f64> {
    let present = || accounts.iter().filter(|(used, _)| *used > 1.0);
    let (used, weight) = present().fold((0.0, 0.0), |(u, w), (used, weight)| (u + used, w + weight));
    let count = present().count();
    let one = |(mine, my_weight): &(f64, f64)| {
        if count < 2 || *mine <= 1.0 { if count < 2 { 0.0 } else { -1.0 } } else { mine / used * weight / my_weight - 1.0 }
    };
    accounts.iter().map(one).collect()
}

/// The turn of a class's first job. Pure: the same arguments give the same turn.
pub(crate) fn turn(
    policy: &Policy,
    class: &Class,
    at: u32,
    entry: &Entry,
    shares: &Shares,
    promised: bool,
    now: Time,
) -> Turn {
    let urgency = match policy.order {
        Order::Submitted => -(entry.submitted.0 as f64),
        Order::Shortest => -(entry.runtime.map_or(f64::INFINITY, Span::as_secs_f64)),
        Order::Urgency => {
            let cost = class.forecast.map_or(1.0, |forecast| forecast.cost);
            urgency(policy, &class.kind, cost, entry.submitted, shares, now)
        }
    };
    Turn { promised, urgency, order: entry.order, job: entry.job, class: at }
}

/// Waiting over cost, weighed. It grows without bound while a job waits, and it does not for those that come later: so
/// everyone's turn comes.
pub(crate) fn urgency(
    policy: &Policy,
    kind: &Kind,
    cost: f64,
    submitted: Time,
    shares: &Shares,
    now: Time,
) -> f64 {
    let weights = &policy.weights;
    let waited = (now.since(submitted) + weights.patience).as_secs_f64().max(1.0);
    let lift = f64::from(kind.priority) / weights.priority_step
        - (weights.share * shares.excess(kind)).clamp(-SHARE_BOUND, SHARE_BOUND);
    waited / cost * lift.exp2()
}

/// What a class is expected to take, by the experience there is.
pub(crate) fn forecast(policy: &Policy, history: &History, kind: &Kind, runtime: Option<Span>) -> Forecast {
    let version = history.version(kind.group);
    let (mean, cautious) = match (policy.runtimes, runtime) {
        (Runtimes::Known, Some(runtime)) => (runtime.as_secs_f64(), runtime.as_secs_f64()),
        _ => {
            let estimate = history.estimate(kind.group);
            let mean = estimate.mean_left(Span::ZERO, kind.time_limit);
            (mean, estimate.quantile_left(policy.weights.caution, Span::ZERO, kind.time_limit))
        }
    };
    let weights = &policy.weights;
    let gpus = f64::from(kind.shape.gpus().max(1));
    let cost = mean.max(CHEAPEST).powf(weights.runtime) * gpus.powf(weights.gpus);
    Forecast { version, mean, cautious, cost }
}
