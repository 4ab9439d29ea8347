//! What programs see: the scheduler's answers as JSON, with the names of `zenith.proto`, states as words, and null for what is unknown.
//! One shape for `--json` and for Python.

use std::collections::BTreeMap;

use serde::Serialize;
use zenith_proto::v1;

use super::notation;
use super::rows::Row;

/// A job of a list.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Job` in zenith.proto")]
pub struct JobView<'a> {
    pub id: u64,
    pub first: u64,
    pub state: &'static str,
    pub name: &'a str,
    pub user: &'a str,
    pub queue: &'a str,
    pub priority: i32,
    pub gpus: u32,
    pub submitted_ms: u64,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub attempt: u32,
    pub restarts: u32,
    pub nodes: Vec<&'a str>,
    pub cause: &'a str,
    pub exit_code: Option<i32>,
}

impl<'a> From<&'a v1::Job> for JobView<'a> {
    fn from(job: &'a v1::Job) -> Self {
        Self {
            id: job.id,
            first: job.first,
            state: notation::state(job.state()),
            name: &job.name,
            user: &job.user,
            queue: &job.queue,
            priority: job.priority,
            gpus: job.gpus,
            submitted_ms: job.submitted_ms,
            started_ms: job.started_ms,
            ended_ms: job.ended_ms,
            attempt: job.attempt,
            restarts: job.restarts,
            nodes: job.nodes.iter().map(String::as_str).collect(),
            cause: &job.cause,
            exit_code: job.exit_code,
        }
    }
}

impl<'a> From<&Row<'a>> for JobView<'a> {
    fn from(row: &Row<'a>) -> Self {
        Self {
            id: row.id,
            first: row.first,
            state: notation::state(row.state),
            name: row.name,
            user: row.user,
            queue: row.queue,
            priority: row.priority,
            gpus: row.gpus,
            submitted_ms: row.submitted_ms,
            started_ms: row.started_ms,
            ended_ms: row.ended_ms,
            attempt: row.attempt,
            restarts: row.restarts,
            nodes: row.nodes().collect(),
            cause: row.cause,
            exit_code: row.exit_code,
        }
    }
}

/// One job with everything that is known of it.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `JobDetail` in zenith.proto")]
pub struct DetailView<'a> {
    pub job: Option<JobView<'a>>,
    pub submission: Option<SubmissionView<'a>>,
    pub ranks: Vec<RankView<'a>>,
    pub preemptions: u32,
    pub deaths: u32,
    pub failures: u32,
    pub not_before_ms: Option<u64>,
    pub slices: Vec<SliceView<'a>>,
    pub usage: UsageView,
    pub notes: &'a [String],
}

/// What is to be run.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Submission` in zenith.proto")]
pub struct SubmissionView<'a> {
    pub name: &'a str,
    pub user: &'a str,
    pub queue: &'a str,
    pub priority: i32,
    pub resources: Option<ResourcesView>,
    pub time_limit_ms: Option<u64>,
    pub preemptible: bool,
    pub retries: u32,
    pub after: Vec<DependencyView>,
    pub held: bool,
    pub count: u32,
    pub command: &'a [String],
    pub environment: &'a BTreeMap<String, String>,
    pub directory: &'a str,
}

/// What a job needs.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Resources` in zenith.proto")]
pub struct ResourcesView {
    pub gpus: Option<u32>,
    pub nodes_min: Option<u32>,
    pub nodes_max: Option<u32>,
    pub gpus_per_node: Option<u32>,
    pub cpus: u32,
    pub memory_mib: u64,
    pub topology: Option<&'static str>,
    pub topology_required: Option<bool>,
    pub ranks_per: &'static str,
}

/// A submission that has to end first.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Dependency` in zenith.proto")]
pub struct DependencyView {
    pub job: u64,
    pub completed: bool,
}

/// A process of a gang.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Rank` in zenith.proto")]
pub struct RankView<'a> {
    pub rank: u32,
    pub node: &'a str,
    pub state: &'a str,
    pub usage: Option<UsageView>,
}

/// What a process and its descendants used.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Usage` in zenith.proto")]
pub struct UsageView {
    pub user_ms: u64,
    pub system_ms: u64,
    pub max_rss_kib: u64,
}

/// What a gang holds on one node.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Slice` in zenith.proto")]
pub struct SliceView<'a> {
    pub node: &'a str,
    pub gpus: &'a [u32],
    pub cpus: u32,
    pub memory_mib: u64,
}

/// Why a job does not run.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `WhyResponse` in zenith.proto")]
pub struct WhyView<'a> {
    pub job: u64,
    pub state: &'static str,
    pub code: &'a str,
    pub reason: &'a str,
    pub unblocked_by: &'a str,
    pub predicted_start_ms: Option<u64>,
}

/// What became of one job of a call.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `JobOutcome` in zenith.proto")]
pub struct OutcomeView<'a> {
    pub job: u64,
    pub refusal: Option<RefusalView<'a>>,
}

/// Why a call was refused.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Refusal` in zenith.proto")]
pub struct RefusalView<'a> {
    pub code: &'a str,
    pub message: &'a str,
    pub hint: &'a str,
}

impl<'a> From<&'a v1::JobDetail> for DetailView<'a> {
    fn from(detail: &'a v1::JobDetail) -> Self {
        Self {
            job: detail.job.as_ref().map(JobView::from),
            submission: detail.submission.as_ref().map(SubmissionView::from),
            ranks: detail.ranks.iter().map(RankView::from).collect(),
            preemptions: detail.preemptions,
            deaths: detail.deaths,
            failures: detail.failures,
            not_before_ms: detail.not_before_ms,
            slices: detail.slices.iter().map(SliceView::from).collect(),
            usage: detail.usage.as_ref().map(UsageView::from).unwrap_or_default(),
            notes: &detail.notes,
        }
    }
}

impl<'a> From<&'a v1::Submission> for SubmissionView<'a> {
    fn from(submission: &'a v1::Submission) -> Self {
        let after = submission.after.iter();
        Self {
            name: &submission.name,
            user: &submission.user,
            queue: &submission.queue,
            priority: submission.priority,
            resources: submission.resources.as_ref().map(ResourcesView::from),
            time_limit_ms: submission.time_limit_ms,
            preemptible: submission.preemptible,
            retries: submission.retries,
            after: after.map(|d| DependencyView { job: d.job, completed: d.completed }).collect(),
            held: submission.held,
            count: submission.count,
            command: &submission.command,
            environment: &submission.environment,
            directory: &submission.directory,
        }
    }
}

impl From<&v1::Resources> for ResourcesView {
    fn from(resources: &v1::Resources) -> Self {
        Self {
            gpus: resources.gpus,
            nodes_min: resources.nodes_min,
            nodes_max: resources.nodes_max,
            gpus_per_node: resources.gpus_per_node,
            cpus: resources.cpus,
            memory_mib: resources.memory_mib,
            topology: notation::topology_word(resources.topology()),
            topology_required: resources.topology_required,
            ranks_per: if resources.ranks_per() == v1::RanksPer::Node { "node" } else { "gpu" },
        }
    }
}

impl<'a> From<&'a v1::Rank> for RankView<'a> {
    fn from(rank: &'a v1::Rank) -> Self {
        let usage = rank.usage.as_ref().map(UsageView::from);
        Self { rank: rank.rank, node: &rank.node, state: &rank.state, usage }
    }
}

impl From<&v1::Usage> for UsageView {
    fn from(usage: &v1::Usage) -> Self {
        Self { user_ms: usage.user_ms, system_ms: usage.system_ms, max_rss_kib: usage.max_rss_kib }
    }
}

impl<'a> From<&'a v1::Slice> for SliceView<'a> {
    fn from(slice: &'a v1::Slice) -> Self {
        Self { node: &slice.node, gpus: &slice.gpus, cpus: slice.cpus, memory_mib: slice.memory_mib }
    }
}

impl<'a> From<&'a v1::WhyResponse> for WhyView<'a> {
    fn from(why: &'a v1::WhyResponse) -> Self {
        Self {
            job: why.job,
            state: notation::state(why.state()),
            code: &why.code,
            reason: &why.reason,
            unblocked_by: &why.unblocked_by,
            predicted_start_ms: why.predicted_start_ms,
        }
    }
}

impl<'a> From<&'a v1::JobOutcome> for OutcomeView<'a> {
    fn from(outcome: &'a v1::JobOutcome) -> Self {
        let refusal = outcome.refusal.as_ref();
        let refusal = refusal.map(|r| RefusalView { code: &r.code, message: &r.message, hint: &r.hint });
        Self { job: outcome.job, refusal }
    }
}
