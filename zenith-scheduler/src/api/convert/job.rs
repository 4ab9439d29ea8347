//! Jobs as they are shown, built from the core within one call.

use zenith_proto::v1;

use super::submission::submission_on_wire;
use crate::core::job::{Batch, Cause, Exit, Placement, Rank};
use crate::core::node::Slice;
use crate::core::state::State;
use crate::core::{Core, Error, Job, JobId, NodeId, Time};
use crate::policy::why::{Reason, why};
use crate::refusal::Refusal;

/// A state as it is said on the wire.
pub fn state_on_wire(state: State) -> v1::JobState {
    match state {
        State::Held => v1::JobState::Held,
        State::Waiting => v1::JobState::Waiting,
        State::Queued => v1::JobState::Queued,
        State::Starting => v1::JobState::Starting,
        State::Running => v1::JobState::Running,
        State::Stopping => v1::JobState::Stopping,
        State::Completed => v1::JobState::Completed,
        State::Failed => v1::JobState::Failed,
        State::Cancelled => v1::JobState::Cancelled,
    }
}

/// A state from the wire; none where it says nothing, or nothing that this program knows.
pub fn state_of(state: i32) -> Option<State> {
    State::ALL.into_iter().find(|known| i32::from(state_on_wire(*known)) == state)
}

/// A job in a list.
pub fn job_of(core: &Core, job: &Job, batch: &Batch) -> v1::Job {
    let submission = &batch.submission;
    let placement = placement_of(job);
    let cause = job.cause.or_else(|| job.gang.as_ref()?.stop.map(|stop| stop.cause));
    v1::Job {
        id: job.id.0,
        first: job.first.0,
        state: state_on_wire(job.state).into(),
        name: submission.name.clone(),
        user: submission.user.clone(),
        queue: submission.queue.clone(),
        priority: submission.priority,
        gpus: placement.map_or_else(|| batch.shape.gpus(), Placement::gpus),
        submitted_ms: job.submitted.0,
        started_ms: placement.and(job.placed).map(|at| at.0),
        ended_ms: job.ended.map(|at| at.0),
        attempt: job.attempt,
        restarts: job.restarts,
        nodes: placement.map_or_else(Vec::new, |placement| {
            placement.slices.iter().map(|slice| name_of(core, slice.node)).collect()
        }),
        cause: cause.map_or_else(String::new, |cause| cause_text(core, cause)),
        exit_code: exit_code_of(job, cause),
    }
}

/// Where a job is, or was when it ended.
fn placement_of(job: &Job) -> Option<&Placement> {
    match &job.gang {
        Some(gang) => Some(&gang.placement),
        None if job.state.is_final() => job.last.as_deref(),
        None => None,
    }
}

/// Signals are added to 128, as shells do.
fn exit_code_of(job: &Job, cause: Option<Cause>) -> Option<i32> {
    match (job.state, cause) {
        (State::Completed, _) => Some(0),
        (_, Some(Cause::RankFailed { exit, .. } | Cause::RankDied { exit, .. })) => match exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(signal) => Some(signal.saturating_add(128)),
            Exit::OutOfMemory => Some(137),
            Exit::NotStarted | Exit::Unfit | Exit::NodeFault | Exit::PortTaken | Exit::NodeLost => None,
        },
        _ => None,
    }
}

/// A job with everything that is known of it.
///
/// # Errors
/// No such job.
pub fn detail_of(core: &Core, id: JobId, is_own: bool) -> Result<v1::JobDetail, Error> {
    let (job, batch) = known(core, id)?;
    let placed = job.gang.as_ref().map(|gang| &gang.placement);
    Ok(v1::JobDetail {
        job: Some(job_of(core, job, batch)),
        submission: Some(submission_on_wire(&batch.submission, is_own)),
        ranks: ranks_of(core, job, batch),
        preemptions: job.preemptions,
        deaths: job.deaths,
        failures: job.failures,
        not_before_ms: job.not_before.map(|at| at.0),
        slices: placed.map_or_else(Vec::new, |placement| {
            placement.slices.iter().map(|slice| slice_of(core, slice)).collect()
        }),
        usage: Some(v1::Usage {
            user_ms: job.used.user_ms,
            system_ms: job.used.system_ms,
            max_rss_kib: job.used.max_rss_kib,
        }),
        notes: job.notes.clone(),
    })
}

fn ranks_of(core: &Core, job: &Job, batch: &Batch) -> Vec<v1::Rank> {
    let Some(gang) = &job.gang else { return Vec::new() };
    let per = batch.shape.ranks;
    let nodes = gang.placement.slices.iter().flat_map(|slice| {
        let node = name_of(core, slice.node);
        std::iter::repeat_n(node, slice.ranks(per) as usize)
    });
    let ranks = (0..).zip(&gang.ranks).zip(nodes);
    ranks
        .map(|((rank, state), node)| {
            let state = match state {
                Rank::Pending => "pending".to_owned(),
                Rank::Running => "running".to_owned(),
                Rank::Gone(exit) => exit_text(*exit),
            };
            v1::Rank { rank, node, state, usage: None }
        })
        .collect()
}

fn slice_of(core: &Core, slice: &Slice) -> v1::Slice {
    v1::Slice {
        node: name_of(core, slice.node),
        gpus: slice.gpus.iter().map(u32::from).collect(),
        cpus: slice.cpus,
        memory_mib: slice.memory_mib,
    }
}

/// Why a job does not run.
///
/// # Errors
/// No such job.
pub fn why_of(core: &Core, id: JobId, now: Time) -> Result<v1::WhyResponse, Error> {
    let why = why(core, id, now)?;
    let reason = match &why.reason {
        Reason::Ended { cause: Some(cause) } => format!("it has ended: {}", cause_text(core, *cause)),
        Reason::Stopping { cause: Some(cause) } => format!("it is being ended: {}", cause_text(core, *cause)),
        Reason::NodesAway { nodes } => format!("{} are away", names_of(core, nodes)),
        Reason::GpusIll { gpus } => illnesses(core, gpus),
        Reason::MakingRoom { nodes } => format!("room is being made for it on {}", names_of(core, nodes)),
        reason => reason.to_string(),
    };
    Ok(v1::WhyResponse {
        job: id.0,
        state: state_on_wire(why.state).into(),
        code: word_of(&why.reason).to_owned(),
        reason,
        unblocked_by: why.reason.unblocks().to_owned(),
        predicted_start_ms: why.predicted_start.map(|at| at.0),
    })
}

fn word_of(reason: &Reason) -> &'static str {
    match reason {
        Reason::Running => "running",
        Reason::Ended { .. } => "ended",
        Reason::Stopping { .. } => "stopping",
        Reason::Held => "held",
        Reason::Dependencies { .. } => "dependencies",
        Reason::Pause { .. } => "pause",
        Reason::QueueLimit { .. } => "queue_limit",
        Reason::UserLimit { .. } => "user_limit",
        Reason::TooLarge { .. } => "too_large",
        Reason::NodesAway { .. } => "nodes_away",
        Reason::GpusIll { .. } => "gpus_ill",
        Reason::MakingRoom { .. } => "making_room",
        Reason::Next { .. } => "next",
        Reason::Behind { .. } => "behind",
        Reason::Fragmented { .. } => "fragmented",
        Reason::Reserved { .. } => "reserved",
        Reason::NextRound => "next_round",
    }
}

/// Why a gang was ended, for people.
pub fn cause_text(core: &Core, cause: Cause) -> String {
    match cause {
        Cause::Asked => "somebody asked for it".to_owned(),
        Cause::Preempted { by } => format!("job {by} needed its place"),
        Cause::RankFailed { rank, exit } | Cause::RankDied { rank, exit } => {
            format!("rank {rank} {}", exit_text(exit))
        }
        Cause::NodeLost { node } => format!("node {} was lost", name_of(core, node)),
        Cause::GpuUnhealthy { node, gpu } => format!("GPU {gpu} of node {} fell ill", name_of(core, node)),
        Cause::TimeLimit => "it ran as long as it may".to_owned(),
        Cause::Dependency { on } => format!("job {on}, which it waited for, did not complete"),
    }
}

fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited {code}"),
        Exit::Signal(signal) => format!("killed by signal {signal}"),
        Exit::OutOfMemory => "killed at its limit of memory".to_owned(),
        Exit::NotStarted => "could not be started".to_owned(),
        Exit::Unfit => "could not be started: its command is at fault".to_owned(),
        Exit::NodeFault => "could not be started: its node is at fault".to_owned(),
        Exit::PortTaken => "could not be started: the port to meet at is in use".to_owned(),
        Exit::NodeLost => "lost with its node".to_owned(),
    }
}

/// The outcome for one of several jobs.
pub fn outcome_of(job: u64, outcome: Result<(), Refusal>) -> v1::JobOutcome {
    v1::JobOutcome { job, refusal: outcome.err().map(|refusal| refusal.on_wire()) }
}

/// A job with its submission.
pub(super) fn known(core: &Core, id: JobId) -> Result<(&Job, &Batch), Error> {
    let job = core.job(id).ok_or(Error::NoJob(id))?;
    let batch = core.batch(job).ok_or(Error::NoJob(id))?;
    Ok((job, batch))
}

fn name_of(core: &Core, node: NodeId) -> String {
    core.cluster().node(node).map_or_else(|| node.to_string(), |node| node.spec.name.clone())
}

/// The first few names, and how many more there are.
fn names_of(core: &Core, nodes: &[NodeId]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = nodes.iter().take(SHOWN).map(|node| name_of(core, *node)).collect();
    match nodes.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more nodes", shown.join(", ")),
    }
}

/// The first few GPUs that are ill and why, and how many more there are.
fn illnesses(core: &Core, gpus: &[(NodeId, u8)]) -> String {
    const SHOWN: usize = 3;
    let one = |(node, gpu): &(NodeId, u8)| {
        let reason = core.cluster().node(*node).and_then(|node| node.illnesses.get(gpu));
        let reason = reason.filter(|reason| !reason.is_empty()).map(|reason| format!(" ({reason})"));
        format!("GPU {gpu} of node {} is ill{}", name_of(core, *node), reason.unwrap_or_default())
    };
    let shown: Vec<String> = gpus.iter().take(SHOWN).map(one).collect();
    match gpus.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more GPUs are", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_the_same_on_both_sides() {
        for state in State::ALL {
            assert_eq!(state_of(state_on_wire(state).into()), Some(state));
        }
        assert_eq!(state_of(0), None);
        assert_eq!(state_of(77), None);
    }
}
