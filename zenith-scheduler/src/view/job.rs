//! Jobs: in lists, and with everything that is known of them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zenith_proto::v1;

use super::Submission;
use crate::core::state::State;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the states are those of `State`")]
pub enum JobState {
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
    /// None where nothing is said, or a state that a newer scheduler knows.
    pub fn of(state: v1::JobState) -> Option<Self> {
        Some(match state {
            v1::JobState::Unspecified => return None,
            v1::JobState::Held => Self::Held,
            v1::JobState::Waiting => Self::Waiting,
            v1::JobState::Queued => Self::Queued,
            v1::JobState::Starting => Self::Starting,
            v1::JobState::Running => Self::Running,
            v1::JobState::Stopping => Self::Stopping,
            v1::JobState::Completed => Self::Completed,
            v1::JobState::Failed => Self::Failed,
            v1::JobState::Cancelled => Self::Cancelled,
        })
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Held => Self::Held,
            JobState::Waiting => Self::Waiting,
            JobState::Queued => Self::Queued,
            JobState::Starting => Self::Starting,
            JobState::Running => Self::Running,
            JobState::Stopping => Self::Stopping,
            JobState::Completed => Self::Completed,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
        }
    }
}

/// Jobs that were taken in.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Submitted {
    /// The first job; the others follow without a gap.
    pub job: u64,
    /// How many there are.
    pub count: u32,
    /// The key was known: nothing new was taken in.
    pub known: bool,
}

impl From<v1::SubmitResponse> for Submitted {
    fn from(taken: v1::SubmitResponse) -> Self {
        Self { job: taken.job, count: taken.count, known: taken.known }
    }
}

/// A job.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Job<'a> {
    /// Its id.
    pub id: u64,
    /// The first job of its array.
    pub first: u64,
    /// Where it is in its life.
    // Null only where a newer scheduler tells this program of a state that it does not know: by REST it is always there.
    #[schema(value_type = JobState)]
    pub state: Option<JobState>,
    /// For people.
    pub name: Cow<'a, str>,
    /// Whose it is.
    pub user: Cow<'a, str>,
    /// Its queue.
    pub queue: Cow<'a, str>,
    /// Higher goes first.
    pub priority: i32,
    /// GPUs in all.
    pub gpus: u32,
    /// When it was submitted.
    pub submitted_ms: u64,
    /// When its present or last attempt got its place.
    #[schema(required)]
    pub started_ms: Option<u64>,
    /// When it ended.
    #[schema(required)]
    pub ended_ms: Option<u64>,
    /// Attempts so far.
    pub attempt: u32,
    /// How often it began again.
    pub restarts: u32,
    /// Names of the nodes it is on, or was on when it ended.
    pub nodes: Vec<Cow<'a, str>>,
    /// Why it is not running, where that was not its own good end; empty otherwise.
    pub cause: Cow<'a, str>,
    /// The status of the first rank that ended badly, with signals added to 128; 0 once completed.
    #[schema(required)]
    pub exit_code: Option<i32>,
}

impl From<v1::Job> for Job<'_> {
    fn from(job: v1::Job) -> Self {
        Self {
            id: job.id,
            first: job.first,
            state: JobState::of(job.state()),
            name: job.name.into(),
            user: job.user.into(),
            queue: job.queue.into(),
            priority: job.priority,
            gpus: job.gpus,
            submitted_ms: job.submitted_ms,
            started_ms: job.started_ms,
            ended_ms: job.ended_ms,
            attempt: job.attempt,
            restarts: job.restarts,
            nodes: job.nodes.into_iter().map(Cow::from).collect(),
            cause: job.cause.into(),
            exit_code: job.exit_code,
        }
    }
}

/// A job with everything that is known of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct JobDetail {
    /// The job.
    pub job: Job<'static>,
    /// What was asked for.
    pub submission: Submission,
    /// Its processes, as long as it has a place.
    pub ranks: Vec<Rank>,
    /// How often more urgent work took its place.
    pub preemptions: u32,
    /// How often a node was lost under it.
    pub deaths: u32,
    /// How often it failed.
    pub failures: u32,
    /// Until when it pauses before its next attempt.
    #[schema(required)]
    pub not_before_ms: Option<u64>,
    /// What it holds.
    pub slices: Vec<Slice>,
    /// What all processes that have ended used together.
    pub usage: Usage,
    /// What the nodes could not do for it.
    pub notes: Vec<String>,
}

impl From<v1::JobDetail> for JobDetail {
    fn from(detail: v1::JobDetail) -> Self {
        let usage = detail.usage.unwrap_or_default();
        Self {
            job: detail.job.unwrap_or_default().into(),
            submission: detail.submission.unwrap_or_default().into(),
            ranks: detail.ranks.into_iter().map(Rank::from).collect(),
            preemptions: detail.preemptions,
            deaths: detail.deaths,
            failures: detail.failures,
            not_before_ms: detail.not_before_ms,
            slices: detail.slices.into_iter().map(Slice::from).collect(),
            usage: Usage {
                user_ms: usage.user_ms,
                system_ms: usage.system_ms,
                max_rss_kib: usage.max_rss_kib,
            },
            notes: detail.notes,
        }
    }
}

/// A process of a gang.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Rank {
    /// Its number.
    pub rank: u32,
    /// Where it is.
    pub node: String,
    /// "pending", "running", "exited 0", "killed by signal 9" ...
    pub state: String,
}

impl From<v1::Rank> for Rank {
    fn from(rank: v1::Rank) -> Self {
        Self { rank: rank.rank, node: rank.node, state: rank.state }
    }
}

/// What a gang holds on one node.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Slice {
    /// The node's name.
    pub node: String,
    /// Numbers of its GPUs.
    pub gpus: Vec<u32>,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory_mib: u64,
}

impl From<v1::Slice> for Slice {
    fn from(slice: v1::Slice) -> Self {
        Self { node: slice.node, gpus: slice.gpus, cpus: slice.cpus, memory_mib: slice.memory_mib }
    }
}

/// What processes used.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Usage {
    /// Processor time of programs.
    pub user_ms: u64,
    /// Processor time of the system for them.
    pub system_ms: u64,
    /// Most memory that one of them had at a time.
    pub max_rss_kib: u64,
}

/// Why a job does not run.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Why {
    /// The job.
    pub job: u64,
    /// Where it is in its life.
    // As in `Job`.
    #[schema(value_type = JobState)]
    pub state: Option<JobState>,
    /// The kind of the reason, as a word: "next", "queue_limit" ...
    pub code: String,
    /// The one reason that matters most.
    pub reason: String,
    /// What will unblock it.
    pub unblocked_by: String,
    /// When it may start, where that can be said.
    #[schema(required)]
    pub predicted_start_ms: Option<u64>,
}

impl From<v1::WhyResponse> for Why {
    fn from(why: v1::WhyResponse) -> Self {
        Self {
            job: why.job,
            state: JobState::of(why.state()),
            code: why.code,
            reason: why.reason,
            unblocked_by: why.unblocked_by,
            predicted_start_ms: why.predicted_start_ms,
        }
    }
}

/// What became of one job of a call.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The job.
    pub job: u64,
    /// None where it was done.
    pub refusal: Option<Refusal>,
}

impl From<v1::JobOutcome> for Outcome {
    fn from(outcome: v1::JobOutcome) -> Self {
        Self { job: outcome.job, refusal: outcome.refusal.map(Refusal::from) }
    }
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refusal {
    /// What kind, as a word that does not change.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What would work.
    pub hint: String,
}

impl From<v1::Refusal> for Refusal {
    fn from(refusal: v1::Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message, hint: refusal.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::convert::state_on_wire;
    use crate::client::notation;

    #[test]
    fn states_are_the_same_words_everywhere() {
        for state in State::ALL {
            let on_wire = state_on_wire(state);
            let shown = JobState::of(on_wire).unwrap();
            assert_eq!(State::from(shown), state);
            assert_eq!(serde_json::to_value(shown).unwrap(), notation::state(on_wire));
        }
        assert_eq!(JobState::of(v1::JobState::Unspecified), None);
    }
}
