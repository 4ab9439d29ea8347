//! The ways to the nodes: who is connected, when each was last heard, and how what the core decided becomes messages. Decides
//! nothing about jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use zenith_proto::v1;

use super::clock::Clock;
use super::outbox::{Action, Gang};
use crate::core::job::Placement;
use crate::core::{Core, NodeId};

/// Messages for one node that wait at most. A node that does not take them is disconnected, and told anew when it is back.
pub const OUTSTANDING: usize = 4096;

/// One connection of a node, as opposed to its next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(u64);

/// What a node gets when it has been let in.
#[derive(Clone, Debug)]
pub struct Welcome {
    /// Its id.
    pub node: NodeId,
    /// Its connection.
    pub session: SessionId,
    /// How often it is to say that it is there.
    pub heartbeat: Duration,
    /// To be told whenever something came from the node.
    pub alive: Alive,
}

/// When a node was last heard, by the clock that nobody sets. Noting it costs the controller nothing.
#[derive(Clone, Debug)]
pub struct Alive {
    clock: Arc<dyn Clock>,
    at_ms: Arc<AtomicU64>,
}

impl Alive {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let alive = Self { clock, at_ms: Arc::default() };
        alive.heard();
        alive
    }

    /// Something came from the node.
    pub fn heard(&self) {
        let now = u64::try_from(self.clock.steady().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Relaxed);
    }

    fn at(&self) -> Duration {
        Duration::from_millis(self.at_ms.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    sender: mpsc::Sender<v1::ControllerMessage>,
    alive: Alive,
}

/// The ways to the nodes.
#[derive(Debug)]
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    of: BTreeMap<NodeId, Session>,
    /// Since when nodes without a connection have not been heard.
    away: BTreeMap<NodeId, Duration>,
    next: u64,
    /// Nodes that have connected in this turn.
    fresh: Vec<NodeId>,
}

impl Sessions {
    /// Nobody is connected yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, of: BTreeMap::new(), away: BTreeMap::new(), next: 0, fresh: Vec::new() }
    }

    /// A node has connected. An older connection of it ends.
    pub(super) fn open(
        &mut self,
        node: NodeId,
        sender: mpsc::Sender<v1::ControllerMessage>,
    ) -> (SessionId, Alive) {
        self.next += 1;
        let (id, alive) = (SessionId(self.next), Alive::new(Arc::clone(&self.clock)));
        self.of.insert(node, Session { id, sender, alive: alive.clone() });
        self.away.remove(&node);
        self.fresh.push(node);
        (id, alive)
    }

    /// A connection has ended; false where the node has another one by now.
    pub(super) fn close(&mut self, node: NodeId, session: SessionId) -> bool {
        let is_it = self.of.get(&node).is_some_and(|known| known.id == session);
        if is_it {
            self.drop_session(node);
        }
        is_it
    }

    /// Ends a node's connection.
    pub(super) fn drop_session(&mut self, node: NodeId) {
        if let Some(session) = self.of.remove(&node) {
            self.away.insert(node, session.alive.at());
        }
    }

    /// What this turn's nodes said when they joined is on disk.
    pub(super) fn keep_fresh(&mut self) {
        self.fresh.clear();
    }

    /// It is not: they have to come again, and are no way to anybody until then.
    pub(super) fn drop_fresh(&mut self) {
        std::mem::take(&mut self.fresh).into_iter().for_each(|node| self.drop_session(node));
    }

    /// The controller itself could hear nobody for a while: the nodes' time begins anew.
    pub(super) fn forgive(&mut self) {
        let now = self.clock.steady();
        self.of.values().for_each(|session| session.alive.heard());
        self.away.values_mut().for_each(|since| *since = now);
    }

    /// A connection is the present one of its node.
    pub(super) fn is_current(&self, node: NodeId, session: SessionId) -> bool {
        self.of.get(&node).is_some_and(|known| known.id == session)
    }

    /// For how long a node was not heard; no time at all for one that nobody has looked for yet.
    pub(super) fn unheard(&mut self, node: NodeId) -> Duration {
        let now = self.clock.steady();
        let heard = match self.of.get(&node) {
            Some(session) => session.alive.at(),
            None => *self.away.entry(node).or_insert(now),
        };
        now.saturating_sub(heard)
    }

    /// There is a way to a node.
    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.of.contains_key(&node)
    }

    /// Sends a message. False where there is no way, or the node does not take it; then the connection ends.
    pub(super) fn send(&mut self, node: NodeId, message: v1::controller_message::Kind) -> bool {
        let Some(session) = self.of.get(&node) else { return false };
        if session.sender.try_send(v1::ControllerMessage { kind: Some(message) }).is_ok() {
            return true;
        }
        tracing::warn!(%node, "the node does not take its messages: its connection ends");
        self.drop_session(node);
        false
    }

    /// Tells nodes what was decided. What does not reach a node is told when it has returned.
    pub(super) fn act(&mut self, core: &Core, action: &Action) {
        match action {
            Action::Start(gang) => {
                for (node, start) in orders(core, gang) {
                    if gang.only.is_none_or(|only| only == node) {
                        self.send(node, v1::controller_message::Kind::Start(start));
                    }
                }
            }
            Action::End { job, attempt, kill, nodes } => {
                let signal = v1::Signal { job: job.0, attempt: *attempt, kill: *kill, number: None };
                self.signal(nodes, signal);
            }
            Action::Signal { job, attempt, number, nodes } => {
                let number = Some(*number);
                self.signal(nodes, v1::Signal { job: job.0, attempt: *attempt, kill: false, number });
            }
            Action::ReadLog { node, read } => {
                self.send(*node, v1::controller_message::Kind::ReadLog(*read));
            }
        }
    }

    fn signal(&mut self, nodes: &[NodeId], signal: v1::Signal) {
        for node in nodes {
            self.send(*node, v1::controller_message::Kind::Signal(signal));
        }
    }
}

/// What each node of a gang is told.
fn orders(core: &Core, gang: &Gang) -> Vec<(NodeId, v1::Start)> {
    let per = gang.submission.request.ranks;
    let Placement { slices } = &gang.placement;
    let world_size = gang.placement.ranks(per);
    let mut rank_offset = 0;
    let mut orders = Vec::with_capacity(slices.len());
    for (node_rank, slice) in (0..).zip(slices) {
        let local_ranks = slice.ranks(per);
        let name = core.cluster().node(slice.node).map_or_else(String::new, |node| node.spec.name.clone());
        let start = v1::Start {
            job: gang.job.0,
            attempt: gang.attempt,
            first: gang.first.0,
            restarts: gang.restarts,
            command: gang.submission.work.command.clone(),
            environment: gang.submission.work.environment.clone(),
            directory: gang.submission.work.directory.clone(),
            rank_offset,
            local_ranks,
            world_size,
            node_rank,
            nodes: slices.len() as u32,
            master_address: gang.meeting.address.clone(),
            master_port: u32::from(gang.meeting.port),
            slice: Some(v1::Slice {
                node: name,
                gpus: slice.gpus.iter().map(u32::from).collect(),
                cpus: slice.cpus,
                memory_mib: slice.memory_mib,
            }),
            name: gang.submission.name.clone(),
            user: gang.submission.user.clone(),
        };
        orders.push((slice.node, start));
        rank_offset += local_ranks;
    }
    orders
}
