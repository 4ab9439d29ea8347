//! A scheduling round: classes of alike jobs in the order of their turn; each starts what has a place, the first that have
//! none get a reservation, and whoever comes after must not be in their way.

use std::collections::{BinaryHeap, HashSet};

use super::Order;
use super::backlog::{Entry, Kind};
use super::order::{self, Shares, Turn};
use super::preempt::MAX_CLAIMS_PER_ROUND;
use super::reservation::{Reservation, reserve};
use super::room::Amount;
use super::slots::takes_room;
use crate::core::Core;
use crate::core::comm::{Comm, Start};
use crate::core::error::Error;
use crate::core::event::Change;
use crate::core::id::{JobId, NodeId};
use crate::core::job::Placement;
use crate::core::node_set::NodeSet;
use crate::core::placement::{Cut, Search};
use crate::core::request::Shape;
use crate::core::state::State;
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
    /// The gang of several nodes that nodes are kept for until it has started, whoever comes: if others took its place again and
    /// again, nodes would be cleared in vain and it would never start.
    pub(crate) promised: Option<(JobId, Shape)>,
}

pub(crate) fn run(core: &mut Core, comm: &mut impl Comm, now: Time) -> Result<Round, Error> {
    let promised = core.promised_to();
    core.plan.reservations = core.current_claims(now);
    core.plan.head = None;
    let mut scratch = Scratch::new(core);
    if !scratch.is_of_use(core) {
        core.plan.promised = promised;
        core.watch_prediction(now);
        return Ok(Round::default());
    }
    core.refresh_forecasts();
    core.refresh_expectations(now);
    let mut shares = core.shares(now);
    let mut turns = core.turns(&shares, now);
    let mut round = Round::default();
    if let Some((job, shape)) = promised {
        scratch.reserve(core, job, &shape, now);
        if let Some(turn) = core.turn_of(job, &shares, now) {
            turns.push(turn);
        }
    }
    while let Some(turn) = turns.pop() {
        if !scratch.is_of_use(core) {
            round.head = round.head.or(Some(turn.job));
            break;
        }
        if !scratch.may_matter(core, &turn, &round) {
            continue;
        }
        // A gang whose room is being kept has two turns, and may have started in the first.
        if core.ledger.jobs.get(turn.job).is_none_or(|job| job.state != State::Queued) {
            continue;
        }
        let Some((kind, entry, run)) = core.subject(&turn, scratch.has_limits) else { continue };
        if scratch.has_limits && !core.may_have(&kind) {
            turns.extend(core.another_turn(turn, &mut scratch.tries, &shares, now));
            continue;
        }
        let end = now + run;
        let larger = core.larger(&turn, &kind, &entry, now);
        if let Some(placement) = scratch.find(core, &turn, &kind, end, &larger, now) {
            let gpus = placement.gpus();
            if !start(core, comm, now, turn.job, placement, end)? {
                // Its ranks have nowhere to meet before another gang has ended there.
                round.head = round.head.or(Some(turn.job));
                continue;
            }
            round.started += 1;
            shares.took(&kind, gpus);
            turns.extend(core.next_turn(turn.class, &shares, now));
            continue;
        }
        if let Some(again) = core.discounted(turn, &kind, &entry, &larger, now) {
            turns.push(again);
            continue;
        }
        round.head = round.head.or(Some(turn.job));
        if core.policy.reservations == 0 {
            break;
        }
        if core.policy.preemption && scratch.claims < MAX_CLAIMS_PER_ROUND {
            let ended = core.make_room(comm, now, turn.job, &kind, turn.promised)?;
            if ended > 0 {
                round.preempted += ended;
                scratch.claims += 1;
                core.plan.reservations.extend(core.claims.last().map(|claim| claim.reservation.clone()));
                continue;
            }
        }
        scratch.reserve(core, turn.job, &kind.shape, now);
        turns.extend(core.another_turn(turn, &mut scratch.tries, &shares, now));
    }
    core.plan.head = round.head;
    core.watch_prediction(now);
    Ok(round)
}

/// What a round remembers from turn to turn.
struct Scratch {
    has_cpu_only: bool,
    /// Some queue or user may not have everything.
    has_limits: bool,
    /// Shapes that had no place, with the reservations that were in their way.
    hopeless: HashSet<(Shape, u64)>,
    closed: NodeSet,
    reserved: NodeSet,
    made: usize,
    claims: usize,
    tries: Vec<(u32, u32)>,
}

impl Scratch {
    fn new(core: &Core) -> Self {
        let mut active = core.backlog.active().iter();
        let mut reserved = NodeSet::default();
        let parts = core.plan.reservations.iter().flat_map(|reservation| &reservation.parts);
        parts.for_each(|part| reserved.insert(part.node));
        let has_limits = core.ledger.queues.iter().any(|queue| queue.settings.limit.is_some())
            || core.ledger.users.iter().any(|user| user.settings.limit.is_some());
        Self {
            has_limits,
            has_cpu_only: active.any(|class| core.backlog.class(*class).kind.shape.is_cpu_only()),
            hopeless: HashSet::new(),
            closed: NodeSet::default(),
            reserved,
            made: 0,
            claims: 0,
            tries: Vec::new(),
        }
    }

    /// Something may start, or be made to.
    fn is_of_use(&self, core: &Core) -> bool {
        let may_preempt = core.policy.preemption && !core.preemptible.is_empty();
        core.backlog.len() > 0 && (core.cluster().free_gpus() > 0 || self.has_cpu_only || may_preempt)
    }

    /// A turn can lead to a start, a reservation or a preemption.
    fn may_matter(&self, core: &Core, turn: &Turn, round: &Round) -> bool {
        let gpus = core.backlog.class(turn.class).kind.shape.gpus();
        gpus <= core.cluster().free_gpus()
            || round.head.is_none()
            || self.made < core.policy.reservations
            || (core.policy.preemption && !core.preemptible.is_empty())
    }

    /// A place for the first job of a class, out of the way of reservations and of the larger work that is named.
    fn find(
        &mut self,
        core: &Core,
        turn: &Turn,
        kind: &Kind,
        end: Time,
        larger: &[u32],
        now: Time,
    ) -> Option<Placement> {
        let shape = &kind.shape;
        if shape.gpus() > core.cluster().free_gpus() {
            return None;
        }
        let node_size = core.cluster().node_size();
        let per_node = Cut::of(shape.form, node_size)?.per_node;
        let need = Amount::of(shape, per_node);
        self.closed.clear();
        let mut mask = 0_u64;
        for (at, reservation) in core.plan.reservations.iter().enumerate() {
            if reservation.close(turn.job, end, &need, &mut self.closed) {
                mask |= 1 << at.min(63);
            }
        }
        let avoided = core.job(turn.job).map_or(&[][..], |job| core.avoided_by(job, shape));
        avoided.iter().for_each(|node| self.closed.insert(*node));
        let is_known = core.plan.reservations.len() < 64;
        if is_known && self.hopeless.contains(&(*shape, mask)) {
            return None;
        }
        for free in (per_node..=node_size).filter(|free| takes_room(per_node, *free, larger)) {
            self.closed.extend(core.cluster().with_free(free));
        }
        let stays = |node: NodeId| core.stays_busy(node, now);
        let (cluster, reserve, most) = (core.cluster(), core.policy.reserve(), core.most(turn, kind));
        let search = Search { cluster, reserve, most, stays: &stays };
        let found = search.place(shape, &self.closed);
        if found.is_none() && larger.is_empty() && avoided.is_empty() {
            self.hopeless.insert((*shape, mask));
        }
        found
    }

    /// Gives a job that has no place a date, if there are dates left.
    fn reserve(&mut self, core: &mut Core, job: JobId, shape: &Shape, now: Time) {
        let has_one = core.plan.reservations.iter().any(|reservation| reservation.job == job);
        if has_one || self.made >= core.policy.reservations {
            return;
        }
        let mut taken = self.reserved.clone();
        let avoided = core.job(job).map_or(&[][..], |job| core.avoided_by(job, shape));
        avoided.iter().for_each(|node| taken.insert(*node));
        if let Some(made) = reserve(core, job, shape, &taken, now) {
            made.parts.iter().for_each(|part| self.reserved.insert(part.node));
            if made.parts.len() > 1 {
                core.plan.promised = Some((job, *shape));
            }
            core.plan.reservations.push(made);
            self.made += 1;
        }
    }
}

/// Gives a gang its place; false where no port is left for its ranks to meet at.
fn start(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    id: JobId,
    placement: Placement,
    end: Time,
) -> Result<bool, Error> {
    let first = placement.slices.first().map(|slice| slice.node);
    let Some(meeting) = first.and_then(|node| core.meeting_at(node)) else { return Ok(false) };
    let attempt = core.ledger.jobs.of(id)?.attempt + 1;
    for reservation in core.plan.reservations.iter_mut().filter(|reservation| end > reservation.at) {
        for slice in &placement.slices {
            reservation.spend(slice);
        }
    }
    core.emit(comm, now, Change::Placed { job: id, attempt, placement, meeting: Some(meeting) })?;
    let job = core.ledger.jobs.of(id)?;
    let (restarts, first) = (job.restarts, job.first);
    if let Some(gang) = &job.gang
        && let Some(meeting) = &gang.meeting
    {
        let submission = &core.ledger.batch(first)?.submission;
        let placement = &gang.placement;
        comm.start(Start { job: id, first, attempt, restarts, placement, meeting, only: None, submission });
    }
    Ok(true)
}

impl Core {
    /// The gang whose room is being kept since an earlier round, if it still waits, may have what it wants, and nobody waits
    /// who goes before it whatever their ages.
    fn promised_to(&mut self) -> Option<(JobId, Shape)> {
        let (id, shape) = self.plan.promised.take()?;
        let job = self.ledger.jobs.get(id).filter(|job| job.state == State::Queued)?;
        if self.policy.order != Order::Urgency {
            return None;
        }
        let rank = |kind: &Kind| {
            let promised = self.ledger.queue(kind.queue).is_promised(kind.shape.gpus());
            (promised, kind.priority)
        };
        let (own, _) = self.queue_entry(job)?;
        let mut waiting = self.backlog.active().iter().map(|at| self.backlog.class(*at));
        let is_first = waiting.all(|class| rank(&class.kind) <= rank(&own));
        (is_first && self.may_have(&own)).then_some((id, shape))
    }

    /// The turn of a gang whose room is being kept: before all others.
    fn turn_of(&self, id: JobId, shares: &Shares, now: Time) -> Option<Turn> {
        let (kind, entry) = self.queue_entry(self.ledger.jobs.get(id)?)?;
        let turn = self.turn(self.backlog.class_of(&kind)?, &entry, shares, now);
        Some(Turn { urgency: f64::INFINITY, ..turn })
    }

    /// The class and the job of a turn, and how long it is sure to take at most.
    fn subject(&self, turn: &Turn, has_limits: bool) -> Option<(Kind, Entry, Span)> {
        let class = self.backlog.class(turn.class);
        let entry =
            class.entries.iter().take(TRIES_PER_CLASS as usize).find(|entry| entry.job == turn.job)?;
        let cautious = class.forecast.map_or(f64::INFINITY, |forecast| forecast.cautious);
        let run = entry.runtime.unwrap_or_else(|| Span::from_secs_f64(cautious));
        let (queue, user) = match self.policy.order {
            Order::Submitted | Order::Shortest if has_limits => {
                let first = self.ledger.jobs.get(turn.job)?.first;
                self.ledger.batches.get(&first).map(|batch| (batch.queue, batch.user))?
            }
            _ => (class.kind.queue, class.kind.user),
        };
        Some((Kind { queue, user, ..class.kind }, *entry, run))
    }

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
    fn another_turn(
        &self,
        turn: Turn,
        tries: &mut Vec<(u32, u32)>,
        shares: &Shares,
        now: Time,
    ) -> Option<Turn> {
        if self.policy.order == Order::Urgency {
            return None;
        }
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
        let is_urgency = self.policy.order == Order::Urgency;
        let promised = is_urgency && self.ledger.queue(class.kind.queue).is_promised(class.kind.shape.gpus());
        order::turn(&self.policy, class, at, entry, shares, promised, now)
    }

    /// Brings the forecasts of all classes up to what has been learned.
    fn refresh_forecasts(&mut self) {
        let node_size = self.cluster().node_size();
        for at in 0..self.backlog.active().len() {
            let at = self.backlog.active()[at];
            let class = self.backlog.class_mut(at);
            let version = match class.kind.runtime {
                Some(_) => 0,
                None => self.ledger.history.version(class.kind.group),
            };
            if class.forecast.is_none_or(|forecast| forecast.version != version) {
                let runtime = class.entries.front().and_then(|entry| entry.runtime);
                class.forecast = Some(order::forecast(
                    &self.policy,
                    &self.ledger.history,
                    &class.kind,
                    runtime,
                    node_size,
                ));
            }
        }
    }

    /// GPUs that a gang may have at most: what its queue and its user may have, and no more than what the queue is promised where
    /// it has its turn by that and others wait.
    fn most(&self, turn: &Turn, kind: &Kind) -> u32 {
        let (queue, user) = (self.ledger.queue(kind.queue), self.ledger.user(kind.user));
        let most = queue.left().min(user.left());
        if turn.promised && self.backlog.len() > 1 { most.min(queue.promised_left()) } else { most }
    }

    fn may_have(&self, kind: &Kind) -> bool {
        let gpus = kind.shape.gpus();
        self.ledger.queue(kind.queue).may_have(gpus) && self.ledger.user(kind.user).may_have(gpus)
    }
}
