//! Why a job does not run: the one reason that matters most, what would change it, and when it will probably start.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::outlook::Outlook;
use crate::core::Core;
use crate::core::error::Error;
use crate::core::id::{JobId, NodeId};
use crate::core::job::{Cause, Job};
use crate::core::node::{Contact, Node};
use crate::core::node_set::NodeSet;
use crate::core::placement::{Cut, Search, needs};
use crate::core::request::Shape;
use crate::core::state::State;
use crate::core::time::Time;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Where the job is.
    pub state: State,
    /// The reason that matters most.
    pub reason: Reason,
    /// When it will probably start, if that can be said.
    pub predicted_start: Option<Time>,
    /// How far off that may be.
    pub outlook: Option<Outlook>,
}

/// Why a job does not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reason {
    /// It does run, or has its place already.
    Running,
    /// It has ended.
    Ended {
        /// Why, where it was not its own good end.
        cause: Option<Cause>,
    },
    /// It is being ended.
    Stopping {
        /// Why.
        cause: Option<Cause>,
    },
    /// Somebody put it aside.
    Held,
    /// Other submissions have to end first.
    Dependencies {
        /// Their first jobs.
        on: Vec<JobId>,
    },
    /// It failed and pauses before the next attempt.
    Pause {
        /// Until then.
        until: Time,
    },
    /// Its queue has what it may have.
    QueueLimit {
        /// The queue.
        queue: String,
        /// GPUs it has.
        used: u32,
        /// GPUs it may have.
        limit: u32,
    },
    /// Its user has what they may have.
    UserLimit {
        /// The user.
        user: String,
        /// GPUs they have.
        used: u32,
        /// GPUs they may have.
        limit: u32,
    },
    /// No cluster of the present nodes could hold it, even if it were empty.
    TooLarge {
        /// GPUs it needs.
        gpus: u32,
        /// GPUs there are, on nodes that are not lost.
        usable: u32,
        /// GPUs of the largest node.
        node_size: u32,
    },
    /// It would have a place if these nodes were back or open.
    NodesAway {
        /// Nodes that are silent, lost or drained.
        nodes: Vec<NodeId>,
    },
    /// It would have a place if these GPUs were well.
    GpusIll {
        /// GPUs that are ill, on nodes that are open.
        gpus: Vec<(NodeId, u8)>,
    },
    /// Room is being made for it.
    MakingRoom {
        /// Nodes that are being cleared.
        nodes: Vec<NodeId>,
    },
    /// There are too few free GPUs, and it is next.
    Next {
        /// GPUs it needs.
        gpus: u32,
        /// GPUs that are free.
        free: u32,
    },
    /// Others have their turn before it.
    Behind {
        /// How many jobs.
        jobs: usize,
    },
    /// There are enough free GPUs, but not as near each other as it needs them.
    Fragmented {
        /// GPUs it needs on one node.
        per_node: u32,
        /// GPUs that are free.
        free: u32,
        /// GPUs free on the node that has most.
        most: u32,
    },
    /// There is room, but it is kept for a gang that has waited longer.
    Reserved {
        /// That gang.
        for_job: JobId,
        /// From when on it needs the room.
        from: Time,
    },
    /// Nothing is in its way: the next round starts it.
    NextRound,
}

impl Reason {
    /// What would change it.
    pub fn unblocks(&self) -> &'static str {
        match self {
            Self::Running | Self::Ended { .. } => "nothing has to",
            Self::Stopping { .. } => "the end of its last process",
            Self::Held => "releasing it",
            Self::Dependencies { .. } => "the end of the jobs it waits for",
            Self::Pause { .. } => "the end of the pause",
            Self::QueueLimit { .. } => "an end of a job of the queue, or a higher limit",
            Self::UserLimit { .. } => "an end of a job of the user, or a higher limit",
            Self::TooLarge { .. } => "more or larger nodes, or a smaller request",
            Self::NodesAway { .. } => "the return of nodes, or the end of their draining",
            Self::GpusIll { .. } => "the repair of GPUs, or a smaller request",
            Self::MakingRoom { .. } => "the end of the jobs that were asked to make room",
            Self::Next { .. } => "the end of running jobs",
            Self::Behind { .. } => "the start of the jobs before it",
            Self::Fragmented { .. } => "a node that becomes free as a whole, or a weaker topology",
            Self::Reserved { .. } => {
                "the start of that gang, or a time limit that lets this job be over before"
            }
            Self::NextRound => "the next scheduling round",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("it has its place"),
            Self::Ended { .. } => f.write_str("it has ended"),
            Self::Stopping { .. } => f.write_str("it is being ended"),
            Self::Held => f.write_str("it is held"),
            Self::Dependencies { on } => {
                f.write_str("it waits for")?;
                on.iter().try_for_each(|job| write!(f, " {job}"))
            }
            Self::Pause { until } => write!(f, "it pauses until {}", until.0),
            Self::QueueLimit { queue, used, limit } => {
                write!(f, "queue {queue} has {used} of at most {limit} GPUs")
            }
            Self::UserLimit { user, used, limit } => {
                write!(f, "user {user} has {used} of at most {limit} GPUs")
            }
            Self::TooLarge { gpus, usable, node_size } => write!(
                f,
                "it needs {gpus} GPUs; there are {usable}, with at most {node_size} on a node, and they do not hold it"
            ),
            Self::NodesAway { nodes } => write!(f, "{} nodes that it would need are away", nodes.len()),
            Self::GpusIll { gpus } => write!(f, "{} GPUs that it would need are ill", gpus.len()),
            Self::MakingRoom { nodes } => write!(f, "room is being made for it on {} nodes", nodes.len()),
            Self::Next { gpus, free } => {
                write!(f, "it is next, and needs {gpus} GPUs of which {free} are free")
            }
            Self::Behind { jobs } => write!(f, "{jobs} jobs have their turn before it"),
            Self::Fragmented { per_node, free, most } => {
                write!(f, "{free} GPUs are free, but at most {most} on one node and it needs {per_node}")
            }
            Self::Reserved { for_job, .. } => write!(f, "the free room is kept for job {for_job}"),
            Self::NextRound => f.write_str("the next round starts it"),
        }
    }
}

/// Why a job does not run.
///
/// # Errors
/// No such job.
pub fn why(core: &Core, id: JobId, now: Time) -> Result<Why, Error> {
    let job = core.ledger.jobs.of(id)?;
    let reason = match job.state {
        State::Completed | State::Failed | State::Cancelled => Reason::Ended { cause: job.cause },
        State::Starting | State::Running => Reason::Running,
        State::Stopping => {
            Reason::Stopping { cause: job.gang.as_ref().and_then(|gang| gang.stop).map(|stop| stop.cause) }
        }
        State::Held => Reason::Held,
        State::Waiting => match job.not_before {
            Some(until) => Reason::Pause { until },
            None => Reason::Dependencies { on: waits_for(core, job) },
        },
        State::Queued => queued(core, job, now)?,
    };
    let outlook = core.outlook(id, now);
    Ok(Why { state: job.state, reason, predicted_start: outlook.map(|outlook| outlook.likely), outlook })
}

fn waits_for(core: &Core, job: &Job) -> Vec<JobId> {
    let batches = core.ledger.batches.iter();
    let open = batches.filter(|(_, batch)| batch.open > 0);
    open.filter(|(_, batch)| batch.dependents.iter().any(|(first, _)| *first == job.first))
        .map(|(first, _)| *first)
        .collect()
}

fn queued(core: &Core, job: &Job, now: Time) -> Result<Reason, Error> {
    let batch = core.ledger.batch(job.first)?;
    let (shape, cluster) = (&batch.shape, core.cluster());
    let gpus = shape.gpus();
    let (queue, user) = (core.ledger.queue(batch.queue), core.ledger.user(batch.user));
    if let (Some(limit), false) = (queue.settings.limit, queue.may_have(gpus)) {
        return Ok(Reason::QueueLimit { queue: queue.name.clone(), used: queue.usage.gpus(), limit });
    }
    if let (Some(limit), false) = (user.settings.limit, user.may_have(gpus)) {
        return Ok(Reason::UserLimit { user: user.name.clone(), used: user.usage.gpus(), limit });
    }
    let away: Vec<NodeId> =
        cluster.nodes().iter().filter(|node| !node.is_open()).map(|node| node.id).collect();
    let present = Counting { away: false, ill: false };
    if !could_hold(core, shape, &[], present) {
        let ill = core.cluster().nodes().iter().filter(|node| node.is_open());
        let ill: Vec<(NodeId, u8)> = ill.flat_map(|node| node.ill.iter().map(|gpu| (node.id, gpu))).collect();
        if !away.is_empty() && could_hold(core, shape, &[], Counting { away: true, ..present }) {
            return Ok(Reason::NodesAway { nodes: away });
        }
        if !ill.is_empty() && could_hold(core, shape, &[], Counting { ill: true, ..present }) {
            return Ok(Reason::GpusIll { gpus: ill });
        }
        let (usable, node_size) = (cluster.usable_gpus(), cluster.node_size());
        return Ok(Reason::TooLarge { gpus, usable, node_size });
    }
    if let Some(claim) = core.claims.iter().find(|claim| claim.reservation.job == job.id) {
        let nodes = claim.reservation.parts.iter().map(|part| part.node).collect();
        return Ok(Reason::MakingRoom { nodes });
    }
    let free = cluster.free_gpus();
    let search = Search { cluster, reserve: core.policy.reserve(), most: u32::MAX, stays: &|_| now };
    let mut closed = NodeSet::default();
    core.avoided_by(job, shape).iter().for_each(|node| closed.insert(*node));
    let has_room = search.place(shape, &closed).is_some();
    let others = core.plan.reservations.iter().find(|reservation| reservation.job != job.id);
    match (has_room, others) {
        (true, Some(other)) => return Ok(Reason::Reserved { for_job: other.job, from: other.at }),
        (true, None) => return Ok(Reason::NextRound),
        (false, _) => {}
    }
    let jobs = core.ahead(job, now).map_or(0, |ahead| ahead.jobs);
    if jobs > 0 && core.plan.head != Some(job.id) {
        return Ok(Reason::Behind { jobs });
    }
    let per_node = Cut::of(shape.form, cluster.node_size()).map_or(0, |cut| cut.per_node);
    if gpus > 0 && free >= gpus {
        let most = cluster.nodes().iter().map(|node| node.free().len()).max().unwrap_or(0);
        return Ok(Reason::Fragmented { per_node, free, most });
    }
    Ok(Reason::Next { gpus, free })
}

impl Core {
    /// Nodes that a job is not placed on because they could not start it. None once no others could hold it.
    pub(crate) fn avoided_by<'j>(&self, job: &'j Job, shape: &Shape) -> &'j [NodeId] {
        match job.avoided.as_slice() {
            [] => &[],
            avoided if could_hold(self, shape, avoided, Counting { away: false, ill: false }) => avoided,
            _ => &[],
        }
    }
}

/// What counts beside the GPUs that are well on nodes that are open.
#[derive(Clone, Copy)]
struct Counting {
    /// Nodes that are lost or closed.
    away: bool,
    /// GPUs that are ill.
    ill: bool,
}

/// The nodes but those that are left out could hold a gang if nothing else were on them.
fn could_hold(core: &Core, shape: &Shape, without: &[NodeId], counting: Counting) -> bool {
    let cluster = core.cluster();
    let nodes = || {
        let nodes = cluster.nodes().iter().filter(move |node| counting.away || node.is_open());
        nodes.filter(|node| !without.contains(&node.id))
    };
    let size = nodes().map(|node| node.spec.gpus.len() as u32).max().unwrap_or(0);
    let Some(cut) = Cut::of(shape.form, size) else { return false };
    let usable = |node: &Node| if counting.ill { node.gpus().len() } else { node.sound().len() };
    let holds = |node: &&Node, gpus: u32| {
        let (cpus, memory_mib) = needs(shape, gpus);
        let reachable = node.contact != Contact::Lost || counting.away;
        reachable && usable(node) >= gpus && node.spec.cpus >= cpus && node.spec.memory_mib >= memory_mib
    };
    let fit = nodes().filter(|node| holds(node, cut.per_node)).count();
    let with_tail = cut.tail == 0 || nodes().filter(|node| holds(node, cut.tail)).count() > cut.min as usize;
    let scattered =
        !shape.topology.required && nodes().map(usable).sum::<u32>() >= shape.gpus() && !shape.is_cpu_only();
    (fit >= cut.min as usize && with_tail) || scattered
}
