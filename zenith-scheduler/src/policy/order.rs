//! Who comes first: one number per class of alike jobs, made of age, expected cost, priority and fair share. Whether there
//! is a place is not asked here.

use std::cmp::Ordering;

use super::backlog::{Class, Entry, Forecast, Kind};
use super::history::History;
use super::quota::{Queue, User};
use super::usage::Usage;
use super::{Order, Policy, Runtimes};
use crate::core::id::JobId;
use crate::core::time::{Span, Time};

/// Runs are never taken to cost less than this many seconds: below, starting them costs more.
const CHEAPEST: f64 = 30.0;
/// GPUs held now count as if they had been held for so long, so that one round does not give everything to one user.
const PRESENT: f64 = 3600.0;
/// GPU-seconds below which somebody counts as not using anything.
const NOTHING: f64 = 1.0;
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
    /// It may be placed where it takes the room of waiting work with up to so many GPUs a node.
    pub(crate) breaks: u32,
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
    queues: Accounts,
    users: Accounts,
}

/// Use and weight of each, and the sums over those that use anything.
#[derive(Clone, Debug, Default)]
struct Accounts {
    each: Vec<(f64, f64)>,
    used: f64,
    weight: f64,
    users: usize,
}

impl Accounts {
    fn of<'a>(each: impl Iterator<Item = (&'a Usage, f64)>, now: Time) -> Self {
        let used = |usage: &Usage| usage.at(now) + f64::from(usage.gpus()) * PRESENT;
        let each: Vec<(f64, f64)> = each.map(|(usage, weight)| (used(usage), weight)).collect();
        let mut accounts = Self { each: Vec::new(), used: 0.0, weight: 0.0, users: 0 };
        for (used, weight) in each.iter().filter(|(used, _)| *used > NOTHING) {
            accounts.used += used;
            accounts.weight += weight;
            accounts.users += 1;
        }
        Self { each, ..accounts }
    }

    /// Use as a multiple of the fair share among those that use anything, less one.
    fn excess(&self, at: usize) -> f64 {
        match self.each.get(at) {
            Some((used, weight)) if *used > NOTHING && self.users > 1 => {
                used / self.used * self.weight / weight - 1.0
            }
            Some(_) if self.users > 0 => -1.0,
            _ => 0.0,
        }
    }

    fn took(&mut self, at: usize, gpus: u32) {
        let Some((used, weight)) = self.each.get_mut(at) else { return };
        if *used <= NOTHING {
            self.used += *used;
            self.weight += *weight;
            self.users += 1;
        }
        *used += f64::from(gpus) * PRESENT;
        self.used += f64::from(gpus) * PRESENT;
    }
}

impl Shares {
    pub(crate) fn of(queues: &[Queue], users: &[User], policy: &Policy, now: Time) -> Self {
        if policy.order != Order::Urgency || policy.weights.share <= 0.0 {
            return Self::default();
        }
        let queues = queues.iter().map(|queue| (&queue.usage, queue.settings.weight));
        let users = users.iter().map(|user| (&user.usage, user.settings.weight));
        Self { queues: Accounts::of(queues, now), users: Accounts::of(users, now) }
    }

    /// Somebody was given GPUs in this round.
    pub(crate) fn took(&mut self, kind: &Kind, gpus: u32) {
        self.queues.took(kind.queue.index(), gpus);
        self.users.took(kind.user.index(), gpus);
    }

    fn excess(&self, kind: &Kind) -> f64 {
        self.queues.excess(kind.queue.index()) + self.users.excess(kind.user.index())
    }
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
    Turn { promised, urgency, order: entry.order, job: entry.job, class: at, breaks: 0 }
}

/// Waiting over cost, weighed. It grows without bound while a job waits, and it does not for those that come later: so
/// everyone's turn comes.
fn urgency(policy: &Policy, kind: &Kind, cost: f64, submitted: Time, shares: &Shares, now: Time) -> f64 {
    let waited = (now.since(submitted) + policy.weights.patience).as_secs_f64().max(1.0);
    let long = (waited / policy.weights.long_wait.as_secs_f64().max(1.0)).max(1.0);
    waited * long * long / cost * lift(policy, kind, shares)
}

/// What priority and share make of a class's urgency.
pub(crate) fn lift(policy: &Policy, kind: &Kind, shares: &Shares) -> f64 {
    if policy.order != Order::Urgency {
        return 1.0;
    }
    let weights = &policy.weights;
    let share = (weights.share * shares.excess(kind)).clamp(-SHARE_BOUND, SHARE_BOUND);
    (f64::from(kind.priority) / weights.priority_step - share).exp2()
}

/// What a class is expected to take, by the experience there is.
pub(crate) fn forecast(
    policy: &Policy,
    history: &History,
    kind: &Kind,
    runtime: Option<Span>,
    node_size: u32,
) -> Forecast {
    // A node is late if one of its jobs is: each may be by its part of what the node may.
    let part = f64::from(kind.shape.gpus().clamp(1, node_size.max(1))) / f64::from(node_size.max(1));
    let caution = 1.0 - (1.0 - policy.weights.caution) * part;
    let (version, mean, cautious) = match (policy.runtimes, runtime) {
        (Runtimes::Known, Some(runtime)) => (0, runtime.as_secs_f64(), runtime.as_secs_f64()),
        _ => {
            let version = history.version(kind.group);
            let estimate = history.estimate(kind.group);
            let mean = estimate.mean_left(Span::ZERO, kind.time_limit);
            (version, mean, estimate.promised(caution, kind.time_limit))
        }
    };
    let weights = &policy.weights;
    let gpus = f64::from(kind.shape.gpus().max(1));
    let cost = mean.max(CHEAPEST).powf(weights.runtime) * gpus.powf(weights.gpus);
    Forecast { version, mean, cautious, cost }
}
