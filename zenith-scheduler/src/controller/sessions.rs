//! The ways to the nodes: who is connected, when each was last heard, and how what the core decided becomes messages. Decides
//! nothing about jobs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use zenith_proto::v1;

use super::clock;
use super::outbox::{Action, Gang};
use super::ports::Ports;
use crate::core::job::Placement;
use crate::core::{Core, JobId, NodeId, Time};

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

/// When a node was last heard. Noting it costs the controller nothing.
#[derive(Clone, Debug)]
pub struct Alive(Arc<AtomicU64>);

impl Alive {
    /// Something came from the node.
    pub fn heard(&self) {
        self.0.store(clock::now().0, Ordering::Relaxed);
    }

    fn at(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    sender: mpsc::Sender<v1::ControllerMessage>,
    alive: Alive,
}

/// The ways to the nodes.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    of: BTreeMap<NodeId, Session>,
    /// Since when nodes without a connection have not been heard.
    away: BTreeMap<NodeId, Time>,
    addresses: BTreeMap<NodeId, String>,
    next: u64,
    ports: Ports,
    /// Gangs that found no port, with their attempts.
    pub(super) portless: Vec<(JobId, u32)>,
}

impl Sessions {
    /// A node has connected. An older connection of it ends.
    pub(super) fn open(
        &mut self,
        node: NodeId,
        address: String,
        sender: mpsc::Sender<v1::ControllerMessage>,
    ) -> (SessionId, Alive) {
        self.next += 1;
        let (id, alive) = (SessionId(self.next), Alive(Arc::new(AtomicU64::new(0))));
        alive.heard();
        self.of.insert(node, Session { id, sender, alive: alive.clone() });
        self.away.remove(&node);
        self.addresses.insert(node, address);
        (id, alive)
    }

    /// A connection has ended; false where the node has another one by now.
    pub(super) fn close(&mut self, node: NodeId, session: SessionId, now: Time) -> bool {
        let is_it = self.of.get(&node).is_some_and(|known| known.id == session);
        if is_it {
            self.drop_session(node, now);
        }
        is_it
    }

    /// Ends a node's connection.
    pub(super) fn drop_session(&mut self, node: NodeId, now: Time) {
        if let Some(session) = self.of.remove(&node) {
            self.away.insert(node, session.alive.at().min(now));
        }
    }

    /// A connection is the present one of its node.
    pub(super) fn is_current(&self, node: NodeId, session: SessionId) -> bool {
        self.of.get(&node).is_some_and(|known| known.id == session)
    }

    /// When a node was last heard; `now` for one that nobody has looked for yet.
    pub(super) fn heard(&mut self, node: NodeId, now: Time) -> Time {
        match self.of.get(&node) {
            Some(session) => session.alive.at(),
            None => *self.away.entry(node).or_insert(now),
        }
    }

    /// There is a way to a node.
    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.of.contains_key(&node)
    }

    /// Where processes of other nodes reach a node that is or was connected.
    pub(super) fn address(&self, node: NodeId) -> Option<String> {
        self.addresses.get(&node).cloned()
    }

    /// Sends a message. False where there is no way, or the node does not take it; then the connection ends.
    pub(super) fn send(&mut self, node: NodeId, message: v1::controller_message::Kind, now: Time) -> bool {
        let Some(session) = self.of.get(&node) else { return false };
        if session.sender.try_send(v1::ControllerMessage { kind: Some(message) }).is_ok() {
            return true;
        }
        tracing::warn!(%node, "the node does not take its messages: its connection ends");
        self.drop_session(node, now);
        false
    }

    /// An attempt that a node knows has a port.
    pub(super) fn note_port(&mut self, job: JobId, master: &str, port: u32) {
        if let Ok(port) = u16::try_from(port) {
            self.ports.note(job, master, port);
        }
    }

    /// A job is no longer placed.
    pub(super) fn give_back_port(&mut self, job: JobId) {
        self.ports.give_back(job);
    }

    /// Tells nodes what was decided. What does not reach a node is told when it has returned.
    pub(super) fn act(&mut self, core: &Core, action: &Action, now: Time) {
        match action {
            Action::Start(gang) => self.start(core, gang, now),
            Action::Signal { job, attempt, kill, nodes } => {
                for node in nodes {
                    let signal = v1::Signal { job: job.0, attempt: *attempt, kill: *kill, number: None };
                    self.send(*node, v1::controller_message::Kind::Signal(signal), now);
                }
            }
        }
    }

    fn start(&mut self, core: &Core, gang: &Gang, now: Time) {
        let Some(first) = gang.placement.slices.first() else { return };
        let address = self.addresses.get(&first.node).cloned().unwrap_or_default();
        let Some(port) = self.ports.take(gang.job, &address) else {
            self.portless.push((gang.job, gang.attempt));
            return;
        };
        for (node, start) in orders(core, gang, &address, port) {
            if gang.only.is_none_or(|only| only == node) {
                self.send(node, v1::controller_message::Kind::Start(start), now);
            }
        }
    }
}

/// What each node of a gang is told.
fn orders(core: &Core, gang: &Gang, address: &str, port: u16) -> Vec<(NodeId, v1::Start)> {
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
            master_address: address.to_owned(),
            master_port: u32::from(port),
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
