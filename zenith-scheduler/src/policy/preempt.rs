//! Makes room: which gangs have to go so that one that matters more can start, at the least loss of work. Only preemptible
//! gangs of a lower priority go, or such as use what was lent to their queue by the queue that now wants it back.

use std::collections::BTreeSet;

use super::backlog::Kind;
use super::reservation::{Part, Reservation};
use super::room::{Amount, Room};
use crate::core::Core;
use crate::core::comm::Comm;
use crate::core::error::Error;
use crate::core::id::{JobId, NodeId};
use crate::core::job::{Cause, Job, Then};
use crate::core::node::{GpuSet, Node};
use crate::core::on_job::end;
use crate::core::placement::{Cut, is_tight};
use crate::core::request::{Level, Topology};
use crate::core::state::State;
use crate::core::time::{Span, Time};

/// Gangs that one round makes room for; the others have to wait for the next.
pub(crate) const MAX_CLAIMS_PER_ROUND: usize = 16;
/// How long after the last victim should be gone its room is kept.
const PATIENCE: Span = Span::from_secs(10);

/// Room that is being made for a job, and kept for it until it has started.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) reservation: Reservation,
    /// When it is given up.
    until: Time,
}

/// What taking a node for a gang costs.
struct Offer {
    node: NodeId,
    victims: Vec<JobId>,
    /// GPU-seconds of work that are lost.
    loss: f64,
}

impl Core {
    /// Ends gangs so that a job gets a place, if there are any whose end would help. Returns how many were asked to end;
    /// zero also where the room is being made already.
    pub(crate) fn make_room(
        &mut self,
        comm: &mut impl Comm,
        now: Time,
        id: JobId,
        kind: &Kind,
        promised: bool,
    ) -> Result<usize, Error> {
        let may_help =
            promised || self.preemptible.first().is_some_and(|(priority, _)| *priority < kind.priority);
        if !may_help || self.claims.iter().any(|claim| claim.reservation.job == id) {
            return Ok(0);
        }
        let Some(offers) = self.offers(id, kind, promised, now) else { return Ok(0) };
        let victims: BTreeSet<JobId> =
            offers.iter().flat_map(|offer| offer.victims.iter().copied()).collect();
        let kill_at = now + self.policy.grace;
        let parts = offers
            .iter()
            .map(|offer| Part { node: offer.node, spare: Amount::default(), idles: false })
            .collect();
        let reservation = Reservation { job: id, at: now, parts };
        self.claims.push(Claim { reservation, until: kill_at + PATIENCE });
        for victim in &victims {
            end(self, comm, now, *victim, Cause::Preempted { by: id }, Then::Requeue)?;
        }
        Ok(victims.len())
    }

    /// Drops claims that have served their purpose, and gives the others.
    pub(crate) fn current_claims(&mut self, now: Time) -> Vec<Reservation> {
        let mut claims = std::mem::take(&mut self.claims);
        claims.retain(|claim| {
            let job = self.ledger.jobs.get(claim.reservation.job);
            claim.until > now && job.is_some_and(|job| job.state == State::Queued)
        });
        self.claims = claims;
        self.claims.iter().map(|claim| claim.reservation.clone()).collect()
    }

    /// The nodes that a gang would get, with what has to go from each; `None` where that is not enough.
    fn offers(&self, id: JobId, kind: &Kind, promised: bool, now: Time) -> Option<Vec<Offer>> {
        let cut = Cut::of(kind.shape.form, self.cluster().node_size())?;
        let claimed = |node: NodeId| {
            let others = self.claims.iter().filter(|claim| claim.reservation.job != id);
            others.flat_map(|claim| &claim.reservation.parts).any(|part| part.node == node)
        };
        let avoided = self.job(id).map_or(&[][..], |job| self.avoided_by(job, &kind.shape));
        let open = self.cluster().nodes().iter().filter(|node| node.is_open() && !claimed(node.id));
        let open: Vec<&Node> = open.filter(|node| !avoided.contains(&node.id)).collect();
        let cluster = self.cluster();
        let Topology { level, required } = kind.shape.topology;
        let racks = match level == Level::Rack && required && cluster.racks() > 1 {
            true => 0..cluster.racks() as u32,
            false => 0..1,
        };
        let loss = |offers: &Vec<Offer>| offers.iter().map(|offer| offer.loss).sum::<f64>();
        let choices = racks.clone().filter_map(|rack| {
            let inside = |node: &&Node| racks.len() == 1 || cluster.rack(node.id) == rack;
            let open: Vec<&Node> = open.iter().copied().filter(inside).collect();
            self.choose(&open, cut, kind, promised, now)
        });
        choices.min_by(|a, b| loss(a).total_cmp(&loss(b)))
    }

    /// The nodes of those that are open which lose least.
    fn choose(&self, open: &[&Node], cut: Cut, kind: &Kind, promised: bool, now: Time) -> Option<Vec<Offer>> {
        let mut chosen: Vec<Offer> = Vec::new();
        for (gpus, count) in [(cut.per_node, cut.min), (cut.tail, u32::from(cut.tail > 0))] {
            let free = |node: &&&Node| !chosen.iter().any(|offer| offer.node == node.id);
            let offers =
                open.iter().filter(free).filter_map(|node| self.offer(node, kind, gpus, promised, now));
            let mut offers: Vec<Offer> = offers.collect();
            if offers.len() < count as usize {
                return None;
            }
            offers.sort_by(|a, b| a.loss.total_cmp(&b.loss).then(a.node.cmp(&b.node)));
            offers.truncate(count as usize);
            chosen.extend(offers);
        }
        chosen.iter().any(|offer| !offer.victims.is_empty()).then_some(chosen)
    }

    /// What has to go from a node for it to have room for a part of a gang: of a gang that needs its GPUs near each other, what is
    /// in the domain where least is lost.
    fn offer(&self, node: &Node, kind: &Kind, gpus: u32, promised: bool, now: Time) -> Option<Offer> {
        let domains = self.cluster().domains(node.id);
        let Topology { level, .. } = kind.shape.topology;
        let sets: &[GpuSet] = match is_tight(kind.shape.topology) {
            true if level == Level::NvLink => &domains.nvlink,
            true => &domains.numa,
            false => &[node.gpus()],
        };
        let offers = sets.iter().filter_map(|set| self.offer_of(node, *set, kind, gpus, promised, now));
        offers.min_by(|a, b| a.loss.total_cmp(&b.loss))
    }

    /// The same, with GPUs of this set alone.
    fn offer_of(
        &self,
        node: &Node,
        set: GpuSet,
        kind: &Kind,
        gpus: u32,
        promised: bool,
        now: Time,
    ) -> Option<Offer> {
        let (domains, reserve) = (self.cluster().domains(node.id), self.policy.reserve());
        let mut room = Room::free(node);
        let mut candidates: Vec<(i32, f64, &Job)> = Vec::new();
        for holding in node.holdings.iter().filter(|holding| !holding.orphan) {
            let Some(job) = self.job(holding.job) else { continue };
            if job.state == State::Stopping {
                room = room.with(&holding.slice, node);
            } else if let Some(priority) = self.may_go(job, kind, promised) {
                candidates.push((priority, self.loss(job, now), job));
            }
        }
        // What is kept for free GPUs counts all of them, so that is asked of the whole room.
        let enough = |room: &Room| {
            room.within(set).amount().gpus >= gpus && room.holds(node, domains, &kind.shape, gpus, reserve)
        };
        // The lowest priority goes first, then what has least to lose.
        candidates.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.id.cmp(&b.2.id)));
        let own = |job: &Job| {
            let id = job.id;
            node.holdings.iter().filter(move |holding| holding.job == id).map(|holding| &holding.slice)
        };
        let mut victims: Vec<(&Job, f64)> = Vec::new();
        for (_, loss, job) in &candidates {
            if enough(&room) {
                break;
            }
            room = own(job).fold(room, |room, slice| room.with(slice, node));
            victims.push((job, *loss));
        }
        if !enough(&room) {
            return None;
        }
        // Whoever turns out not to be needed stays: the largest loss first.
        victims.sort_by(|a, b| b.1.total_cmp(&a.1));
        victims.retain(|(job, _)| {
            let without = own(job).fold(room, Room::without);
            let stays = enough(&without);
            if stays {
                room = without;
            }
            !stays
        });
        let loss = victims.iter().map(|(_, loss)| loss).sum();
        Some(Offer { node: node.id, victims: victims.iter().map(|(job, _)| job.id).collect(), loss })
    }

    /// The priority of a gang that may be ended for a job, if it may.
    fn may_go(&self, victim: &Job, kind: &Kind, promised: bool) -> Option<i32> {
        let batch = self.batch(victim)?;
        let submission = &batch.submission;
        if !submission.preemptible || victim.preemptions >= self.policy.max_preemptions {
            return None;
        }
        let lent = promised
            && batch.queue != kind.queue
            && self.ledger.queue(batch.queue).borrowed() > 0
            && submission.priority <= kind.priority;
        (lent || submission.priority < kind.priority).then_some(submission.priority)
    }

    fn loss(&self, job: &Job, now: Time) -> f64 {
        let placed = job.placed.unwrap_or(now);
        now.since(placed).as_secs_f64() * f64::from(job.gpus().max(1))
    }
}
