//! The cluster: nodes, queues, users and counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zenith_proto::v1;

use super::JobState;

/// Everything but the jobs.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Cluster {
    /// The scheduler's version.
    pub version: String,
    /// When the scheduler was started.
    pub started_ms: u64,
    /// Every node that ever joined.
    pub nodes: Vec<Node>,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The users that are known.
    pub users: Vec<User>,
    /// Jobs by state, for each state that has any.
    pub counts: BTreeMap<JobState, u64>,
}

impl From<v1::ClusterResponse> for Cluster {
    fn from(cluster: v1::ClusterResponse) -> Self {
        let counts = cluster.counts.iter();
        Self {
            version: cluster.version,
            started_ms: cluster.started_ms,
            nodes: cluster.nodes.into_iter().map(Node::from).collect(),
            queues: cluster.queues.into_iter().map(Queue::from).collect(),
            users: cluster.users.into_iter().map(User::from).collect(),
            counts: counts.filter_map(|count| Some((JobState::of(count.state())?, count.jobs))).collect(),
        }
    }
}

/// A node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Node {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Its rack; empty where it has none.
    pub rack: String,
    /// Whether it can be reached.
    // Null only where a newer scheduler tells this program what it does not know: by REST it is always there.
    #[schema(value_type = Contact)]
    pub contact: Option<Contact>,
    /// Closed for new work.
    pub drained: bool,
    /// Processors.
    pub cpus: u32,
    /// Processors that jobs hold.
    pub cpus_used: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Memory that jobs hold.
    pub memory_used_mib: u64,
    /// Its GPUs; their numbers are their places in this list.
    pub gpus: Vec<Gpu>,
    /// Numbers of the GPUs that jobs hold.
    pub gpus_used: Vec<u32>,
    /// Numbers of the GPUs that failed.
    pub gpus_ill: Vec<u32>,
    /// Why they are that.
    pub ill: Vec<IllGpu>,
    /// Jobs that hold something on it.
    pub jobs: Vec<u64>,
    /// What it has become, with other GPUs than before, while something still holds some of those: nothing new is placed on it until
    /// nothing does. Null otherwise.
    pub next: Option<NodeSpec>,
}

impl From<v1::Node> for Node {
    fn from(node: v1::Node) -> Self {
        let contact = Contact::of(node.contact());
        let spec = node.spec.unwrap_or_default();
        let gpus = spec.gpus.into_iter();
        Self {
            id: node.id,
            name: spec.name,
            rack: spec.rack,
            contact,
            drained: node.drained,
            cpus: spec.cpus,
            cpus_used: node.cpus_used,
            memory_mib: spec.memory_mib,
            memory_used_mib: node.memory_used_mib,
            gpus: gpus.map(Gpu::from).collect(),
            gpus_used: node.gpus_used,
            gpus_ill: node.gpus_ill,
            ill: node.ill.into_iter().map(|v1::IllGpu { gpu, reason }| IllGpu { gpu, reason }).collect(),
            jobs: node.jobs,
            next: node.next.map(NodeSpec::from),
        }
    }
}

/// What a node has.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct NodeSpec {
    /// Its rack; empty where it has none.
    pub rack: String,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
    /// Its GPUs; their numbers are their places in this list.
    pub gpus: Vec<Gpu>,
}

impl From<v1::NodeSpec> for NodeSpec {
    fn from(spec: v1::NodeSpec) -> Self {
        let v1::NodeSpec { rack, cpus, memory_mib, gpus, .. } = spec;
        Self { rack, cpus, memory_mib, gpus: gpus.into_iter().map(Gpu::from).collect() }
    }
}

/// A GPU.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Gpu {
    /// The NUMA node it hangs on.
    pub numa: u32,
    /// The group of GPUs that NVLink joins.
    pub nvlink: u32,
    /// What it is called; empty where that is not known.
    pub model: String,
    /// Its memory; null where that is not known.
    pub memory_mib: Option<u64>,
}

impl From<v1::Gpu> for Gpu {
    fn from(gpu: v1::Gpu) -> Self {
        let v1::Gpu { numa, nvlink, model, memory_mib } = gpu;
        Self { numa, nvlink, model, memory_mib }
    }
}

/// A GPU on which nothing new is placed.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct IllGpu {
    /// Its number on the node.
    pub gpu: u32,
    /// What its driver says; empty where it says nothing.
    pub reason: String,
}

/// Whether a node can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Contact {
    /// It is heard.
    Up,
    /// It was not heard for a while.
    Silent,
    /// It is taken to be gone.
    Lost,
}

impl Contact {
    /// None where nothing is said, or what a newer scheduler knows.
    pub fn of(contact: v1::NodeContact) -> Option<Self> {
        match contact {
            v1::NodeContact::Unspecified => None,
            v1::NodeContact::Up => Some(Self::Up),
            v1::NodeContact::Silent => Some(Self::Silent),
            v1::NodeContact::Lost => Some(Self::Lost),
        }
    }
}

/// A queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// GPUs that its jobs hold.
    pub gpus_used: u32,
    /// GPUs it can have whenever it wants.
    pub guarantee: u32,
    /// GPUs it may have at most; as many as there are where null.
    #[schema(required)]
    pub limit: Option<u32>,
    /// Its share of what is shared.
    pub weight: f64,
}

impl From<v1::Queue> for Queue {
    fn from(queue: v1::Queue) -> Self {
        let v1::QueueSettings { guarantee, limit, weight } = queue.settings.unwrap_or_default();
        Self { name: queue.name, gpus_used: queue.gpus_used, guarantee, limit, weight }
    }
}

/// A user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct User {
    /// Their name.
    pub name: String,
    /// GPUs that their jobs hold.
    pub gpus_used: u32,
    /// GPUs they may have at most; as many as there are where null.
    #[schema(required)]
    pub limit: Option<u32>,
    /// Their share against other users.
    pub weight: f64,
}

impl From<v1::User> for User {
    fn from(user: v1::User) -> Self {
        let v1::UserSettings { limit, weight } = user.settings.unwrap_or_default();
        Self { name: user.name, gpus_used: user.gpus_used, limit, weight }
    }
}

/// What holds for a queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueSettings {
    /// GPUs it can have whenever it wants.
    #[schema(maximum = 4294967295_u64)]
    #[serde(default)]
    pub guarantee: u32,
    /// GPUs it may have at most; as many as there are where absent.
    #[schema(maximum = 4294967295_u64)]
    pub limit: Option<u32>,
    /// Its share of what is shared; 1 where absent.
    #[schema(exclusive_minimum = 0, maximum = 1000000)]
    #[serde(default = "usual_weight")]
    pub weight: f64,
}

/// What holds for a user.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserSettings {
    /// GPUs they may have at most; as many as there are where absent.
    #[schema(maximum = 4294967295_u64)]
    pub limit: Option<u32>,
    /// Their share against other users; 1 where absent.
    #[schema(exclusive_minimum = 0, maximum = 1000000)]
    #[serde(default = "usual_weight")]
    pub weight: f64,
}

fn usual_weight() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::notation;

    #[test]
    fn contacts_are_the_same_words_everywhere() {
        for contact in [v1::NodeContact::Up, v1::NodeContact::Silent, v1::NodeContact::Lost] {
            let shown = Contact::of(contact).unwrap();
            assert_eq!(serde_json::to_value(shown).unwrap(), notation::contact(contact));
        }
        assert_eq!(Contact::of(v1::NodeContact::Unspecified), None);
    }
}
