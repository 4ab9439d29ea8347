//! A scheduling round: classes of alike jobs in the order of their turn; each starts what has a place, the first that have
//! none get a reservation, and whoever comes after must not be in their way.

use std::collections::{BinaryHeap, HashSet};

use super::backlog::Entry;
use super::order::{self, Shares, Turn};
use super::reservation::{Reservation, reserve};
use crate::core::Core;
use crate::core::comm::{Comm, Start};
use crate::core::error::Error;
use crate::core::event::Change;
use crate::core::id::JobId;
use crate::core::job::Placement;
use crate::core::node_set::NodeSet;
use crate::core::placement::{Cut, Search};
use crate::core::request::Shape;
use crate::core::time::{Span, Time};

/// Jobs of one class that a round tries after the first had no place, where run times are known and may differ.
const TRIES_PER_CLASS: u32 = 32;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Gangs that were told to start.
    pub started: usize,
    /// Gangs that were asked to make room.
    pub preempted: usize,
    /// The first job, in the order of turns, that had no place.
    pub head: Option<JobId>,
}

/// What the last round found out, for those who ask why they wait.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) reservations: Vec<Reservation>,
    pub(crate) head: Option<JobId>,
}

pub(crate) fn run(core: &mut Core, comm: &mut impl Comm, now: Time) -> Result<Round, Error> {
    let mut round = Round::default();
    core.plan.reservations.clear();
    core.plan.head = None;
    if core.backlog.len() == 0 {
        return Ok(round);
    }
    core.refresh_forecasts();
    let mut shares = core.shares(now);
    let mut turns = core.turns(&shares, now);
    let has_cpu_only = turns.iter().any(|turn| core.backlog.class(turn.class).kind.shape.is_cpu_only());
    let mut hopeless: HashSet<(Shape, u64)> = HashSet::new();
    let mut closed = NodeSet::default();
    let mut taken = NodeSet::default();
    let mut tries: Vec<(u32, u32)> = Vec::new();
    core.refresh_expectations(now);

    while let Some(turn) = turns.pop() {
        if core.cluster().free_gpus() == 0 && !has_cpu_only {
            round.head = round.head.or(Some(turn.job));
            break;
        }
        let class = core.backlog.class(turn.class);
        let Some(entry) = class.entries.iter().find(|entry| entry.job == turn.job).copied() else { continue };
        let (kind, forecast) = (class.kind, class.forecast);
        if !core.may_have(&kind) {
            continue;
        }
        let cautious = match entry.runtime {
            Some(runtime) => runtime,
            None => Span::from_secs_f64(forecast.map_or(0.0, |forecast| forecast.cautious)),
        };
        let mask = core.close(&mut closed, &kind.shape, now + cautious);
        let known_hopeless = hopeless.contains(&(kind.shape, mask));
        let search = Search { cluster: &core.ledger.cluster, reserve: core.policy.reserve() };
        let found = if known_hopeless { None } else { search.place(&kind.shape, &closed) };
        if let Some(placement) = found {
            start(core, comm, now, turn.job, placement, now + cautious)?;
            round.started += 1;
            if core.policy.weights.share > 0.0 {
                shares = core.shares(now);
            }
            if let Some(next) = core.next_turn(turn.class, &shares, now) {
                turns.push(next);
            }
            continue;
        }
        hopeless.insert((kind.shape, mask));
        round.head = round.head.or(Some(turn.job));
        if core.policy.reservations == 0 {
            break;
        }
        if core.plan.reservations.len() < core.policy.reservations {
            let cluster = &core.ledger.cluster;
            let made = reserve(cluster, &core.ledger.jobs, turn.job, &kind.shape, &taken, now);
            if let Some(made) = made {
                made.parts.iter().for_each(|part| taken.insert(part.node));
                core.plan.reservations.push(made);
            }
        }
        if entry.runtime.is_some()
            && let Some(next) = core.another_turn(turn, &mut tries, &shares, now)
        {
            turns.push(next);
        }
    }
    core.plan.head = round.head;
    Ok(round)
}

/// Gives a gang its place.
fn start(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    id: JobId,
    placement: Placement,
    end: Time,
) -> Result<(), Error> {
    let attempt = core.ledger.jobs.of(id)?.attempt + 1;
    for reservation in core.plan.reservations.iter_mut().filter(|reservation| end > reservation.at) {
        for slice in &placement.slices {
            reservation.spend(slice.node, slice.gpus.len());
        }
    }
    core.emit(comm, now, Change::Placed { job: id, attempt, placement })?;
    let job = core.ledger.jobs.of(id)?;
    let (restarts, first) = (job.restarts, job.first);
    if let Some(gang) = &job.gang {
        let submission = &core.ledger.batch(first)?.submission;
        comm.start(Start { job: id, first, attempt, restarts, placement: &gang.placement, submission });
    }
    Ok(())
}

impl Core {
    /// Every class's first job, the most urgent on top.
    fn turns(&self, shares: &Shares, now: Time) -> BinaryHeap<Turn> {
        let classes = self.backlog.active().iter();
        classes.filter_map(|class| self.next_turn(*class, shares, now)).collect::<Vec<_>>().into()
    }

    pub(crate) fn next_turn(&self, at: u32, shares: &Shares, now: Time) -> Option<Turn> {
        let class = self.backlog.class(at);
        class.entries.front().map(|entry| self.turn(at, entry, shares, now))
    }

    /// The job after one that had no place: it may be shorter and fit.
    fn another_turn(&self, turn: Turn, tries: &mut Vec<(u32, u32)>, shares: &Shares, now: Time) -> Option<Turn> {
        let known = tries.iter_mut().find(|(class, _)| *class == turn.class);
        let tried = match known {
            Some((_, tried)) => tried,
            None => {
                tries.push((turn.class, 0));
                tries.last_mut().map(|(_, tried)| tried)?
            }
        };
        *tried += 1;
        let class = self.backlog.class(turn.class);
        let entry = class.entries.get(*tried as usize).filter(|_| *tried < TRIES_PER_CLASS)?;
        Some(self.turn(turn.class, entry, shares, now))
    }

    fn turn(&self, at: u32, entry: &Entry, shares: &Shares, now: Time) -> Turn {
        let class = self.backlog.class(at);
        let promised = self.ledger.queue(class.kind.queue).is_promised(class.kind.shape.gpus());
        order::turn(&self.policy, class, at, entry, shares, promised, now)
    }

    pub(crate) fn shares(&self, now: Time) -> Shares {
        Shares::of(&self.ledger.queues, &self.ledger.users, &self.policy, now)
    }

    /// Brings the forecasts of all classes up to what has been learned.
    fn refresh_forecasts(&mut self) {
        for at in 0..self.backlog.active().len() {
            let at = self.backlog.active()[at];
            let class = self.backlog.class_mut(at);
            let version = self.ledger.history.version(class.kind.group);
            if class.forecast.is_none_or(|forecast| forecast.version != version) {
                let runtime = class.entries.front().and_then(|entry| entry.runtime);
                class.forecast = Some(order::forecast(&self.policy, &self.ledger.history, &class.kind, runtime));
            }
        }
    }

    fn may_have(&self, kind: &super::backlog::Kind) -> bool {
        let gpus = kind.shape.gpus();
        self.ledger.queue(kind.queue).may_have(gpus) && self.ledger.user(kind.user).may_have(gpus)
    }

    /// The nodes that are closed to work of a shape that is over at `end`. Returns which reservations close some.
    fn close(&self, closed: &mut NodeSet, shape: &Shape, end: Time) -> u64 {
        closed.clear();
        let per_node = Cut::of(shape.form, self.cluster().node_size()).map_or(0, |cut| cut.per_node);
        let mut mask = 0;
        for (at, reservation) in self.plan.reservations.iter().enumerate() {
            mask |= u64::from(reservation.close(end, per_node, closed)) << at.min(63);
        }
        mask
    }

    /// Expects a placed job to end at a time.
    pub(crate) fn expect(&mut self, id: JobId, at: Time) {
        let gang = self.ledger.jobs.get_mut(id).and_then(|job| job.gang.as_mut());
        if let Some(gang) = gang {
            self.expected.remove(&(gang.expected, id));
            gang.expected = at;
            self.expected.insert((at, id));
        }
    }

    /// Expects nothing of a job any more.
    pub(crate) fn unexpect(&mut self, id: JobId) {
        let gang = self.ledger.jobs.get(id).and_then(|job| job.gang.as_ref());
        if let Some(gang) = gang {
            self.expected.remove(&(gang.expected, id));
        }
    }

    /// Makes expectations anew where they have not come true.
    pub(crate) fn refresh_expectations(&mut self, now: Time) {
        while let Some((at, id)) = self.expected.first().copied().filter(|(at, _)| *at <= now) {
            match self.expectation(id, now) {
                Some(end) => self.expect(id, end.max(now + Span(1))),
                None => {
                    self.expected.remove(&(at, id));
                }
            }
        }
    }

    fn expectation(&self, id: JobId, now: Time) -> Option<Time> {
        let job = self.ledger.jobs.get(id)?;
        let placed = job.placed?;
        let gang = job.gang.as_ref()?;
        if let Some(stop) = gang.stop {
            return Some(stop.kill_at.max(now + Span::from_secs(1)));
        }
        let batch = self.batch(job)?;
        let elapsed = now.since(placed);
        if let Some(runtime) = batch.submission.runtime.filter(|_| self.policy.knows_runtimes()) {
            return Some((placed + runtime).max(now + Span(1)));
        }
        let estimate = self.ledger.history.estimate(batch.group);
        let limit = batch.submission.time_limit;
        let left = estimate.quantile_left(self.policy.weights.release, elapsed, limit);
        Some(now + Span::from_secs_f64(left.max(1.0)))
    }
}
