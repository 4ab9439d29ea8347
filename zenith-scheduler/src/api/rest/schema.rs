//! What JSON looks like: the messages of `zenith.proto` in the words of JSON, with the bounds that hold for them. Unknown fields
//! are refused, absent ones are unknown or not asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zenith_proto::v1;

use crate::api::convert::state_of;
use crate::core::state;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobState {
    Held,
    Waiting,
    Queued,
    Starting,
    Running,
    Stopping,
    Completed,
    Failed,
    Cancelled,
}

impl JobState {
    pub(super) fn known(self) -> state::State {
        match self {
            Self::Held => state::State::Held,
            Self::Waiting => state::State::Waiting,
            Self::Queued => state::State::Queued,
            Self::Starting => state::State::Starting,
            Self::Running => state::State::Running,
            Self::Stopping => state::State::Stopping,
            Self::Completed => state::State::Completed,
            Self::Failed => state::State::Failed,
            Self::Cancelled => state::State::Cancelled,
        }
    }
}

impl From<state::State> for JobState {
    fn from(state: state::State) -> Self {
        match state {
            state::State::Held => Self::Held,
            state::State::Waiting => Self::Waiting,
            state::State::Queued => Self::Queued,
            state::State::Starting => Self::Starting,
            state::State::Running => Self::Running,
            state::State::Stopping => Self::Stopping,
            state::State::Completed => Self::Completed,
            state::State::Failed => Self::Failed,
            state::State::Cancelled => Self::Cancelled,
        }
    }
}

/// A state that this program sends is one that it knows.
pub(super) fn shown_state(state: i32) -> Option<JobState> {
    state_of(state).map(JobState::from)
}

/// How near each other the GPUs of a gang have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Topology {
    Nvlink,
    Numa,
    Node,
    Rack,
}

/// What one process of a gang has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RanksPer {
    Gpu,
    Node,
}

/// What each job needs: GPUs in all, or nodes and GPUs per node, or processors alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Resources {
    /// GPUs in all.
    #[schema(maximum = 1048576, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    gpus: Option<u32>,
    /// Fewest nodes.
    #[schema(minimum = 1, maximum = 1048576, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    nodes_min: Option<u32>,
    /// Most nodes.
    #[schema(minimum = 1, maximum = 1048576, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    nodes_max: Option<u32>,
    #[schema(maximum = 64, nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    gpus_per_node: Option<u32>,
    /// Processors for each GPU, or for each node of work without GPUs.
    #[schema(maximum = 65536)]
    cpus: u32,
    /// Memory for each GPU, or for each node of work without GPUs.
    #[schema(maximum = 1073741824)]
    memory_mib: u64,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    topology: Option<Topology>,
    /// The topology is a condition; otherwise it is a wish. A condition where absent.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    topology_required: Option<bool>,
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    ranks_per: Option<RanksPer>,
}

/// A submission that has to end first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    /// Any of its jobs.
    #[schema(maximum = 9007199254740991_u64)]
    job: u64,
    /// It has to complete; otherwise it only has to end.
    #[serde(default)]
    completed: bool,
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Submission {
    /// For people.
    #[schema(max_length = 256)]
    #[serde(default)]
    name: String,
    /// Whose it is; the caller's where absent. Only administrators may name somebody else than themselves.
    #[schema(max_length = 128)]
    #[serde(default)]
    user: String,
    /// The queue; "default" where absent.
    #[schema(max_length = 128)]
    #[serde(default)]
    queue: String,
    /// Higher goes first; 0 is usual.
    #[schema(minimum = -1000, maximum = 1000)]
    #[serde(default)]
    priority: i32,
    resources: Resources,
    /// How long a run may take.
    #[schema(minimum = 1, maximum = 9007199254740991_u64, nullable = false)]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    time_limit_ms: Option<u64>,
    /// Jobs of a higher priority may take its place.
    #[serde(default)]
    preemptible: bool,
    /// How often a run that ended badly by its own doing is tried again.
    #[schema(maximum = 4294967295_u64)]
    #[serde(default)]
    retries: u32,
    /// What has to end first.
    #[schema(max_items = 1000)]
    #[serde(default)]
    after: Vec<Dependency>,
    /// Put aside until it is released.
    #[serde(default)]
    held: bool,
    /// Jobs of the array.
    #[schema(minimum = 1, maximum = 1000000)]
    #[serde(default = "one")]
    count: u32,
    /// The program and its arguments.
    #[schema(min_items = 1)]
    command: Vec<String>,
    /// Variables on top of those that the scheduler sets. Shown to its owner and to administrators alone.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Where it runs, from the root; the agent's own folder where absent.
    #[schema(max_length = 4096)]
    #[serde(default)]
    directory: String,
}

fn one() -> u32 {
    1
}

/// A field that is there has a value: `null` is none.
fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// Jobs that were taken in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Submitted {
    /// The first job; the others follow without a gap.
    pub(super) job: u64,
    pub(super) count: u32,
    /// The key was known: nothing new was taken in.
    pub(super) known: bool,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Job {
    id: u64,
    /// The first job of its array.
    first: u64,
    state: Option<JobState>,
    name: String,
    user: String,
    queue: String,
    priority: i32,
    gpus: u32,
    submitted_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_ms: Option<u64>,
    attempt: u32,
    restarts: u32,
    /// Names of the nodes it is on, or was on when it ended.
    nodes: Vec<String>,
    /// Why it is not running, where that was not its own good end; empty otherwise.
    cause: String,
    /// The status of the first rank that ended badly, with signals added to 128; 0 once completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
}

impl Job {
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

/// Jobs in the order asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Jobs {
    pub(super) jobs: Vec<Job>,
    /// There may be more: give this as `after`, or as `before` where the newest come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<u64>,
}

/// A job with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JobDetail {
    job: Job,
    submission: Submission,
    ranks: Vec<Rank>,
    preemptions: u32,
    deaths: u32,
    failures: u32,
    /// Until when it pauses before its next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_before_ms: Option<u64>,
    slices: Vec<Slice>,
    /// What all processes that have ended used together.
    usage: Usage,
    /// What the nodes could not do for it.
    notes: Vec<String>,
}

/// A process of a gang.
#[derive(Debug, Serialize, ToSchema)]
struct Rank {
    rank: u32,
    node: String,
    /// "pending", "running", "exited 0", "killed by signal 9" ...
    state: String,
}

/// What a gang holds on one node.
#[derive(Debug, Serialize, ToSchema)]
struct Slice {
    node: String,
    gpus: Vec<u32>,
    cpus: u32,
    memory_mib: u64,
}

/// What processes used.
#[derive(Debug, Serialize, ToSchema)]
struct Usage {
    user_ms: u64,
    system_ms: u64,
    max_rss_kib: u64,
}

/// Why a job does not run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Why {
    job: u64,
    state: Option<JobState>,
    /// The kind of the reason, as a word: "next", "queue_limit" ...
    code: String,
    reason: String,
    unblocked_by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_start_ms: Option<u64>,
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

impl From<v1::Job> for Job {
    fn from(job: v1::Job) -> Self {
        Self {
            id: job.id,
            first: job.first,
            state: shown_state(job.state),
            name: job.name,
            user: job.user,
            queue: job.queue,
            priority: job.priority,
            gpus: job.gpus,
            submitted_ms: job.submitted_ms,
            started_ms: job.started_ms,
            ended_ms: job.ended_ms,
            attempt: job.attempt,
            restarts: job.restarts,
            nodes: job.nodes,
            cause: job.cause,
            exit_code: job.exit_code,
        }
    }
}

impl From<v1::JobDetail> for JobDetail {
    fn from(detail: v1::JobDetail) -> Self {
        let usage = detail.usage.unwrap_or_default();
        let ranks = detail.ranks.into_iter();
        let slices = detail.slices.into_iter();
        Self {
            job: detail.job.unwrap_or_default().into(),
            submission: detail.submission.unwrap_or_default().into(),
            ranks: ranks.map(|v1::Rank { rank, node, state, .. }| Rank { rank, node, state }).collect(),
            preemptions: detail.preemptions,
            deaths: detail.deaths,
            failures: detail.failures,
            not_before_ms: detail.not_before_ms,
            slices: slices
                .map(|v1::Slice { node, gpus, cpus, memory_mib }| Slice { node, gpus, cpus, memory_mib })
                .collect(),
            usage: Usage {
                user_ms: usage.user_ms,
                system_ms: usage.system_ms,
                max_rss_kib: usage.max_rss_kib,
            },
            notes: detail.notes,
        }
    }
}

impl From<v1::WhyResponse> for Why {
    fn from(why: v1::WhyResponse) -> Self {
        Self {
            job: why.job,
            state: shown_state(why.state),
            code: why.code,
            reason: why.reason,
            unblocked_by: why.unblocked_by,
            predicted_start_ms: why.predicted_start_ms,
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
    fn what_is_not_known_is_refused() {
        let refused = |text: &str| serde_json::from_str::<Submission>(text).is_err();
        assert!(!refused(r#"{"resources": {}, "command": []}"#));
        assert!(refused(r#"{"resources": {}, "command": [], "colour": 1}"#));
        assert!(refused(r#"{"resources": {"gpus": null}, "command": []}"#));
        assert!(refused(r#"{"resources": {"gpu": 1}, "command": []}"#));
        assert!(refused(r#"{"command": []}"#));
    }
}
