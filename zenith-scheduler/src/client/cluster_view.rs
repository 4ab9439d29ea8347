//! The cluster as programs see it: nodes, queues, users and counts as JSON, with the names of `zenith.proto`.

use std::collections::BTreeMap;

use serde::Serialize;
use zenith_proto::v1;

use super::notation;

/// Nodes, queues, users, counts.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `ClusterResponse` in zenith.proto")]
pub struct ClusterView<'a> {
    pub nodes: Vec<NodeView<'a>>,
    pub queues: Vec<QueueView<'a>>,
    pub users: Vec<UserView<'a>>,
    /// By state.
    pub counts: BTreeMap<&'static str, u64>,
    pub version: &'a str,
    pub started_ms: u64,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Node` in zenith.proto")]
pub struct NodeView<'a> {
    pub id: u32,
    pub spec: SpecView<'a>,
    pub contact: &'static str,
    pub drained: bool,
    pub gpus_used: &'a [u32],
    pub gpus_ill: &'a [u32],
    pub cpus_used: u32,
    pub memory_used_mib: u64,
    pub jobs: &'a [u64],
    pub ill: Vec<IllGpuView<'a>>,
}

/// A GPU on which nothing new is placed.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `IllGpu` in zenith.proto")]
pub struct IllGpuView<'a> {
    pub gpu: u32,
    pub reason: &'a str,
}

/// What a node has.
#[derive(Clone, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `NodeSpec` in zenith.proto")]
pub struct SpecView<'a> {
    pub name: &'a str,
    pub rack: &'a str,
    pub cpus: u32,
    pub memory_mib: u64,
    pub gpus: Vec<GpuView<'a>>,
}

/// A GPU.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Gpu` in zenith.proto")]
pub struct GpuView<'a> {
    pub numa: u32,
    pub nvlink: u32,
    pub model: &'a str,
    pub memory_mib: Option<u64>,
}

/// A queue.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Queue` in zenith.proto")]
pub struct QueueView<'a> {
    pub name: &'a str,
    pub gpus_used: u32,
    pub settings: QueueSettingsView,
}

/// What holds for a queue.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `QueueSettings` in zenith.proto")]
pub struct QueueSettingsView {
    pub guarantee: u32,
    pub limit: Option<u32>,
    pub weight: f64,
}

/// A user.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `User` in zenith.proto")]
pub struct UserView<'a> {
    pub name: &'a str,
    pub gpus_used: u32,
    pub settings: UserSettingsView,
}

/// What holds for a user.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `UserSettings` in zenith.proto")]
pub struct UserSettingsView {
    pub limit: Option<u32>,
    pub weight: f64,
}

impl<'a> From<&'a v1::ClusterResponse> for ClusterView<'a> {
    fn from(cluster: &'a v1::ClusterResponse) -> Self {
        Self {
            nodes: cluster.nodes.iter().map(NodeView::from).collect(),
            queues: cluster.queues.iter().map(QueueView::from).collect(),
            users: cluster.users.iter().map(UserView::from).collect(),
            counts: cluster.counts.iter().map(|c| (notation::state(c.state()), c.jobs)).collect(),
            version: &cluster.version,
            started_ms: cluster.started_ms,
        }
    }
}

impl<'a> From<&'a v1::Node> for NodeView<'a> {
    fn from(node: &'a v1::Node) -> Self {
        Self {
            id: node.id,
            spec: node.spec.as_ref().map(SpecView::from).unwrap_or_default(),
            contact: notation::contact(node.contact()),
            drained: node.drained,
            gpus_used: &node.gpus_used,
            gpus_ill: &node.gpus_ill,
            cpus_used: node.cpus_used,
            memory_used_mib: node.memory_used_mib,
            jobs: &node.jobs,
            ill: node.ill.iter().map(|ill| IllGpuView { gpu: ill.gpu, reason: &ill.reason }).collect(),
        }
    }
}

impl<'a> From<&'a v1::NodeSpec> for SpecView<'a> {
    fn from(spec: &'a v1::NodeSpec) -> Self {
        let gpu = |gpu: &'a v1::Gpu| GpuView {
            numa: gpu.numa,
            nvlink: gpu.nvlink,
            model: &gpu.model,
            memory_mib: gpu.memory_mib,
        };
        let gpus = spec.gpus.iter().map(gpu).collect();
        Self { name: &spec.name, rack: &spec.rack, cpus: spec.cpus, memory_mib: spec.memory_mib, gpus }
    }
}

impl<'a> From<&'a v1::Queue> for QueueView<'a> {
    fn from(queue: &'a v1::Queue) -> Self {
        let v1::QueueSettings { guarantee, limit, weight } = queue.settings.unwrap_or_default();
        let settings = QueueSettingsView { guarantee, limit, weight };
        Self { name: &queue.name, gpus_used: queue.gpus_used, settings }
    }
}

impl<'a> From<&'a v1::User> for UserView<'a> {
    fn from(user: &'a v1::User) -> Self {
        let v1::UserSettings { limit, weight } = user.settings.unwrap_or_default();
        Self { name: &user.name, gpus_used: user.gpus_used, settings: UserSettingsView { limit, weight } }
    }
}
