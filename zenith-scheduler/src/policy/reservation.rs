//! Dates and nodes for gangs that have to wait, so that those that come later do not take them away piece by piece.

use super::room::{Amount, Room};
use crate::core::Core;
use crate::core::id::{JobId, NodeId};
use crate::core::node::{Holding, Node, Slice};
use crate::core::node_set::NodeSet;
use crate::core::placement::Cut;
use crate::core::request::{Level, Shape};
use crate::core::time::Time;

/// Nodes that are kept for a gang from a time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) job: JobId,
    /// When all of them are expected to have room.
    pub(crate) at: Time,
    pub(crate) parts: Vec<Part>,
}

/// What is kept on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) node: NodeId,
    /// What others may hold there at that time.
    pub(crate) spare: Amount,
    /// Others of the nodes have room later than this one.
    pub(crate) idles: bool,
}

impl Reservation {
    /// Closes the nodes that a job that takes so much of a node must not be placed on if it is over at `end`. Returns whether
    /// the reservation concerns it.
    pub(crate) fn close(&self, job: JobId, end: Time, need: &Amount, closed: &mut NodeSet) -> bool {
        if job == self.job {
            return false;
        }
        let may_wait = |part: &Part| end <= self.at && part.idles;
        let mut concerned = false;
        for part in self.parts.iter().filter(|part| !part.spare.covers(need) && !may_wait(part)) {
            closed.insert(part.node);
            concerned = true;
        }
        concerned || end > self.at
    }

    /// Others have taken a part of a node beyond the date.
    pub(crate) fn spend(&mut self, slice: &Slice) {
        for part in self.parts.iter_mut().filter(|part| part.node == slice.node) {
            part.spare = part.spare.less(&Amount::from(slice));
        }
    }
}

/// The earliest date at which a gang is expected to have a place, and the nodes of it; `None` if it never has.
pub(crate) fn reserve(
    core: &Core,
    job: JobId,
    shape: &Shape,
    taken: &NodeSet,
    now: Time,
) -> Option<Reservation> {
    let cluster = core.cluster();
    let cut = Cut::of(shape.form, cluster.node_size())?;
    let open = cluster.nodes().iter().filter(|node| node.is_open() && !taken.contains(node.id));
    let mut releases = Vec::new();
    let mut dates: Vec<(Time, NodeId)> = Vec::new();
    let mut tails: Vec<(Time, NodeId)> = Vec::new();
    for node in open {
        releases.clear();
        let end = |holding: &Holding| (core.expected_end(holding.job, now), holding.slice);
        releases.extend(node.holdings.iter().map(end));
        releases.sort_unstable_by_key(|(end, _)| *end);
        if let Some(date) = date(core, node, shape, cut.per_node, &releases, now) {
            dates.push((date, node.id));
        }
        if cut.tail > 0
            && let Some(date) = date(core, node, shape, cut.tail, &releases, now)
        {
            tails.push((date, node.id));
        }
    }
    let same_rack = shape.topology.level == Level::Rack && shape.topology.required && cluster.racks() > 1;
    let racks = if same_rack { 0..cluster.racks() as u32 } else { 0..1 };
    let choices = racks.filter_map(|rack| {
        let inside = |node: NodeId| !same_rack || cluster.rack(node) == rack;
        choose(cut, &dates, &tails, inside)
    });
    let (at, nodes) = choices.min_by_key(|(at, _)| *at)?;
    let parts = nodes.into_iter().map(|(node, need)| {
        let spare = cluster.node(node).map_or_else(Amount::default, |node| {
            let room = room_at(core, node, at, now);
            room.amount().less(&room.need(node, shape, need, core.policy.reserve()))
        });
        let early = |(date, other): &(Time, NodeId)| *other == node && *date < at;
        let idles = core.policy.knows_runtimes() || dates.iter().chain(&tails).any(early);
        Part { node, spare, idles }
    });
    Some(Reservation { job, at, parts: parts.collect() })
}

type Choice = (Time, Vec<(NodeId, u32)>);

fn choose(
    cut: Cut,
    dates: &[(Time, NodeId)],
    tails: &[(Time, NodeId)],
    inside: impl Fn(NodeId) -> bool,
) -> Option<Choice> {
    let mut first: Vec<(Time, NodeId)> = dates.iter().copied().filter(|(_, node)| inside(*node)).collect();
    let count = cut.min as usize;
    if count == 0 || first.len() < count {
        return None;
    }
    first.select_nth_unstable(count - 1);
    first.truncate(count);
    let mut at = first.iter().map(|(date, _)| *date).max()?;
    let mut nodes: Vec<(NodeId, u32)> = first.iter().map(|(_, node)| (*node, cut.per_node)).collect();
    if cut.tail > 0 {
        let other = |node: NodeId| inside(node) && !nodes.iter().any(|(taken, _)| *taken == node);
        let (date, node) = tails.iter().copied().filter(|(_, node)| other(*node)).min()?;
        at = at.max(date);
        nodes.push((node, cut.tail));
    }
    Some((at, nodes))
}

/// When a node is expected to have room for a part of a gang.
fn date(
    core: &Core,
    node: &Node,
    shape: &Shape,
    gpus: u32,
    releases: &[(Time, Slice)],
    now: Time,
) -> Option<Time> {
    let (domains, reserve) = (core.cluster().domains(node.id), core.policy.reserve());
    let mut room = Room::free(node);
    if room.holds(node, domains, shape, gpus, reserve) {
        return Some(now);
    }
    for (end, slice) in releases {
        room = room.with(slice, node);
        if room.holds(node, domains, shape, gpus, reserve) {
            return Some(*end);
        }
    }
    None
}

/// What of a node is expected to be free at a time, if nothing is added.
fn room_at(core: &Core, node: &Node, at: Time, now: Time) -> Room {
    let ended = node.holdings.iter().filter(|holding| core.expected_end(holding.job, now) <= at);
    ended.fold(Room::free(node), |room, holding| room.with(&holding.slice, node))
}
