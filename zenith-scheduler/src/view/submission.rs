//! What is to be run, both ways: as it is submitted by REST, and as it is shown by every door. Unknown fields are refused; null is the
//! same as absent, so that what is shown can be submitted again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zenith_proto::v1;

/// How near each other the GPUs of a gang have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Topology {
    /// Joined by NVLink.
    Nvlink,
    /// On one NUMA node.
    Numa,
    /// In one machine.
    Node,
    /// In one rack.
    Rack,
}

/// What one process of a gang has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RanksPer {
    /// A GPU.
    Gpu,
    /// Everything that the gang has on a node.
    Node,
}

/// What each job needs: GPUs in all, or nodes and GPUs per node, or processors alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// GPUs in all.
    #[schema(maximum = 1048576)]
    pub gpus: Option<u32>,
    /// Fewest nodes.
    #[schema(minimum = 1, maximum = 1048576)]
    pub nodes_min: Option<u32>,
    /// Most nodes.
    #[schema(minimum = 1, maximum = 1048576)]
    pub nodes_max: Option<u32>,
    /// GPUs on each node.
    #[schema(maximum = 64)]
    pub gpus_per_node: Option<u32>,
    /// Processors for each GPU, or for each node of work without GPUs.
    #[schema(maximum = 65536)]
    pub cpus: u32,
    /// Memory for each GPU, or for each node of work without GPUs.
    #[schema(maximum = 1073741824)]
    pub memory_mib: u64,
    /// How near each other its GPUs have to be; in one machine where absent.
    pub topology: Option<Topology>,
    /// The topology is a condition; otherwise it is a wish. A condition where absent.
    pub topology_required: Option<bool>,
    /// What each process has; a GPU where absent.
    pub ranks_per: Option<RanksPer>,
}

/// A submission that has to end first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Any of its jobs.
    #[schema(maximum = 9007199254740991_u64)]
    pub job: u64,
    /// It has to complete; otherwise it only has to end.
    #[serde(default)]
    pub completed: bool,
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// For people.
    #[schema(max_length = 256)]
    #[serde(default)]
    pub name: String,
    /// Whose it is; the caller's where absent. Only administrators may name somebody else than themselves.
    #[schema(max_length = 128)]
    #[serde(default)]
    pub user: String,
    /// The queue; "default" where absent.
    #[schema(max_length = 128)]
    #[serde(default)]
    pub queue: String,
    /// Higher goes first; 0 is usual.
    #[schema(minimum = -1000, maximum = 1000)]
    #[serde(default)]
    pub priority: i32,
    /// What each job needs.
    pub resources: Resources,
    /// How long a run may take.
    #[schema(minimum = 1, maximum = 9007199254740991_u64)]
    pub time_limit_ms: Option<u64>,
    /// Jobs of a higher priority may take its place.
    #[serde(default)]
    pub preemptible: bool,
    /// How often a run that ended badly by its own doing is tried again.
    #[schema(maximum = 4294967295_u64)]
    #[serde(default)]
    pub retries: u32,
    /// What has to end first.
    #[schema(max_items = 1000)]
    #[serde(default)]
    pub after: Vec<Dependency>,
    /// Put aside until it is released.
    #[serde(default)]
    pub held: bool,
    /// Jobs of the array.
    #[schema(minimum = 1, maximum = 1000000)]
    #[serde(default = "one")]
    pub count: u32,
    /// The program and its arguments.
    #[schema(min_items = 1)]
    pub command: Vec<String>,
    /// Variables on top of those that the scheduler sets. Shown to its owner and to administrators alone.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Where it runs, from the root; the agent's own folder where absent.
    #[schema(max_length = 4096)]
    #[serde(default)]
    pub directory: String,
}

fn one() -> u32 {
    1
}

impl From<Submission> for v1::Submission {
    fn from(given: Submission) -> Self {
        let Resources { gpus, nodes_min, nodes_max, gpus_per_node, cpus, memory_mib, .. } = given.resources;
        let topology = given.resources.topology.map_or(v1::TopologyLevel::Unspecified, |level| match level {
            Topology::Nvlink => v1::TopologyLevel::Nvlink,
            Topology::Numa => v1::TopologyLevel::Numa,
            Topology::Node => v1::TopologyLevel::Node,
            Topology::Rack => v1::TopologyLevel::Rack,
        });
        let ranks_per = given.resources.ranks_per.map_or(v1::RanksPer::Unspecified, |per| match per {
            RanksPer::Gpu => v1::RanksPer::Gpu,
            RanksPer::Node => v1::RanksPer::Node,
        });
        let after = given.after.into_iter();
        Self {
            name: given.name,
            user: given.user,
            queue: given.queue,
            priority: given.priority,
            resources: Some(v1::Resources {
                gpus,
                nodes_min,
                nodes_max,
                gpus_per_node,
                cpus,
                memory_mib,
                topology: topology.into(),
                topology_required: given.resources.topology_required,
                ranks_per: ranks_per.into(),
            }),
            time_limit_ms: given.time_limit_ms,
            preemptible: given.preemptible,
            retries: given.retries,
            after: after.map(|on| v1::Dependency { job: on.job, completed: on.completed }).collect(),
            held: given.held,
            count: given.count,
            command: given.command,
            environment: given.environment,
            directory: given.directory,
        }
    }
}

impl From<v1::Submission> for Submission {
    fn from(known: v1::Submission) -> Self {
        let resources = known.resources.unwrap_or_default();
        let after = known.after.into_iter();
        Self {
            name: known.name,
            user: known.user,
            queue: known.queue,
            priority: known.priority,
            resources: Resources {
                topology: match resources.topology() {
                    v1::TopologyLevel::Unspecified => None,
                    v1::TopologyLevel::Nvlink => Some(Topology::Nvlink),
                    v1::TopologyLevel::Numa => Some(Topology::Numa),
                    v1::TopologyLevel::Node => Some(Topology::Node),
                    v1::TopologyLevel::Rack => Some(Topology::Rack),
                },
                ranks_per: match resources.ranks_per() {
                    v1::RanksPer::Unspecified => None,
                    v1::RanksPer::Gpu => Some(RanksPer::Gpu),
                    v1::RanksPer::Node => Some(RanksPer::Node),
                },
                gpus: resources.gpus,
                nodes_min: resources.nodes_min,
                nodes_max: resources.nodes_max,
                gpus_per_node: resources.gpus_per_node,
                cpus: resources.cpus,
                memory_mib: resources.memory_mib,
                topology_required: resources.topology_required,
            },
            time_limit_ms: known.time_limit_ms,
            preemptible: known.preemptible,
            retries: known.retries,
            after: after.map(|on| Dependency { job: on.job, completed: on.completed }).collect(),
            held: known.held,
            count: known.count,
            command: known.command,
            environment: known.environment,
            directory: known.directory,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_says_the_same_in_json() {
        let text = r#"{"name": "a", "resources": {"nodes_min": 2, "nodes_max": 4, "gpus_per_node": 8, "topology": "rack",
            "topology_required": false, "ranks_per": "node"}, "command": ["true"], "after": [{"job": 3}],
            "time_limit_ms": 5, "environment": {"A": "b"}}"#;
        let given: Submission = serde_json::from_str(text).unwrap();
        let on_wire = v1::Submission::from(given.clone());
        assert_eq!(on_wire.count, 1);
        assert_eq!(on_wire.resources.unwrap().ranks_per(), v1::RanksPer::Node);
        assert_eq!(Submission::from(on_wire), given);
    }

    #[test]
    fn what_is_shown_can_be_submitted() {
        let given: Submission =
            serde_json::from_str(r#"{"resources": {"gpus": 1}, "command": ["true"]}"#).unwrap();
        let shown = serde_json::to_value(&given).unwrap();
        assert!(shown["time_limit_ms"].is_null() && shown["resources"]["nodes_min"].is_null());
        assert_eq!(serde_json::from_value::<Submission>(shown).unwrap(), given);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refused = |text: &str| serde_json::from_str::<Submission>(text).is_err();
        assert!(!refused(r#"{"resources": {}, "command": []}"#));
        assert!(refused(r#"{"resources": {}, "command": [], "colour": 1}"#));
        assert!(
            refused(r#"{"resources": {"cpus": null}, "command": []}"#),
            "a number of processors is never unknown"
        );
        assert!(refused(r#"{"resources": {"gpu": 1}, "command": []}"#));
        assert!(refused(r#"{"command": []}"#));
    }
}
