//! Nodes, queues, users and counts as they are shown, and settings as they come.

use zenith_proto::v1;

use super::job::state_on_wire;
use super::{invalid, text};
use crate::core::Core;
use crate::core::node::{Contact, Node, NodeSpec};
use crate::core::state::State;
use crate::policy::quota::{QueueSettings, UserSettings};
use crate::refusal::Refusal;

/// The largest weight of a queue or a user.
const MAX_WEIGHT: f64 = 1e6;

/// Everything but the jobs.
pub fn cluster_of(core: &Core, started_ms: u64) -> v1::ClusterResponse {
    let queues = core.queues().iter().map(|queue| v1::Queue {
        name: queue.name.clone(),
        gpus_used: queue.usage.gpus(),
        settings: Some(v1::QueueSettings {
            guarantee: queue.settings.guarantee,
            limit: queue.settings.limit,
            weight: queue.settings.weight,
        }),
    });
    let users = core.users().iter().map(|user| v1::User {
        name: user.name.clone(),
        gpus_used: user.usage.gpus(),
        settings: Some(v1::UserSettings { limit: user.settings.limit, weight: user.settings.weight }),
    });
    let counts = State::ALL.into_iter().filter_map(|state| {
        let jobs = core.count(state) as u64;
        (jobs > 0).then(|| v1::StateCount { state: state_on_wire(state).into(), jobs })
    });
    v1::ClusterResponse {
        nodes: core.cluster().nodes().iter().map(node_of).collect(),
        queues: queues.collect(),
        users: users.collect(),
        counts: counts.collect(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_ms,
    }
}

fn spec_of(spec: &NodeSpec) -> v1::NodeSpec {
    let gpus = spec.gpus.iter().enumerate().map(|(index, gpu)| v1::Gpu {
        numa: gpu.numa.into(),
        nvlink: gpu.nvlink.into(),
        model: spec.models.get(index).cloned().unwrap_or_default(),
        memory_mib: spec.gpu_memory_mib.get(index).copied().filter(|memory| *memory > 0),
    });
    v1::NodeSpec {
        name: spec.name.clone(),
        rack: spec.rack.clone(),
        cpus: spec.cpus,
        memory_mib: spec.memory_mib,
        gpus: gpus.collect(),
    }
}

fn node_of(node: &Node) -> v1::Node {
    let spec = &node.spec;
    let mut jobs: Vec<u64> = node.holdings.iter().map(|holding| holding.job.0).collect();
    jobs.sort_unstable();
    jobs.dedup();
    v1::Node {
        id: node.id.0,
        spec: Some(spec_of(spec)),
        next: node.next.as_deref().map(spec_of),
        contact: match node.contact {
            Contact::Up => v1::NodeContact::Up,
            Contact::Silent => v1::NodeContact::Silent,
            Contact::Lost => v1::NodeContact::Lost,
        }
        .into(),
        drained: node.drained,
        gpus_used: node.used().iter().map(u32::from).collect(),
        gpus_ill: node.ill.iter().map(u32::from).collect(),
        cpus_used: spec.cpus.saturating_sub(node.free_cpus()),
        memory_used_mib: spec.memory_mib.saturating_sub(node.free_memory_mib()),
        jobs,
        ill: node.ill.iter().map(|gpu| ill(node, gpu)).collect(),
    }
}

fn ill(node: &Node, gpu: u8) -> v1::IllGpu {
    v1::IllGpu { gpu: gpu.into(), reason: node.illnesses.get(&gpu).cloned().unwrap_or_default() }
}

/// A queue's name and settings, as they came.
///
/// # Errors
/// Settings that are missing; a name that cannot be one. Whether they contradict themselves is the core's to say.
pub fn queue_settings(given: v1::SetQueueRequest) -> Result<(String, QueueSettings), Refusal> {
    text::word("name", &given.name, true)?;
    let v1::QueueSettings { guarantee, limit, weight } =
        given.settings.ok_or_else(|| invalid("settings", "they are missing"))?;
    Ok((given.name, QueueSettings { weight: weight_of(weight)?, guarantee, limit }))
}

/// A user's name and settings, as they came.
///
/// # Errors
/// As [`queue_settings`].
pub fn user_settings(given: v1::SetUserRequest) -> Result<(String, UserSettings), Refusal> {
    text::word("name", &given.name, true)?;
    let v1::UserSettings { limit, weight } =
        given.settings.ok_or_else(|| invalid("settings", "they are missing"))?;
    Ok((given.name, UserSettings { weight: weight_of(weight)?, limit }))
}

/// A weight that was left out is the usual one: on the wire it is zero, which no weight can be.
fn weight_of(given: f64) -> Result<f64, Refusal> {
    if given > MAX_WEIGHT {
        return Err(invalid("weight", format!("{given}; at most {MAX_WEIGHT} is possible")));
    }
    Ok(if given == 0.0 { QueueSettings::default().weight } else { given })
}
