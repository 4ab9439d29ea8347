//! What agents report of processes. The death of one member ends its whole gang.

use super::Core;
use super::comm::Comm;
use super::error::Error;
use super::event::Change;
use super::id::{JobId, NodeId};
use super::job::{Cause, Exit, Job, MAX_NOTES, Rank, Then, Used};
use super::on_job::{end, ended, gone, moved};
use super::state::{State, Trigger};
use super::time::{Span, Time};

/// A report about one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Where it is.
    pub node: NodeId,
    /// Its job.
    pub job: JobId,
    /// The attempt it was started for.
    pub attempt: u32,
    /// Its place in the gang.
    pub rank: u32,
}

/// Whether a report was about the present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It was, and it is noted.
    Noted,
    /// It was known already, or is about an attempt that has been given up. Nothing changed.
    Stale,
}

/// A process runs.
///
/// # Errors
/// None for reports about the past; those are [`Heard::Stale`].
pub fn on_rank_started(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    process: Process,
) -> Result<Heard, Error> {
    let Process { job, rank, .. } = process;
    if seat(core, process) != Some(Rank::Pending) {
        return Ok(Heard::Stale);
    }
    core.emit(comm, now, Change::RankStarted { job, rank })?;
    vouch(core, comm, now, process)?;
    up(core, comm, now, job)?;
    Ok(Heard::Noted)
}

/// A process has ended, or could not be started ([`Exit::NotStarted`]).
///
/// # Errors
/// None for reports about the past; those are [`Heard::Stale`].
pub fn on_rank_exited(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    process: Process,
    exit: Exit,
) -> Result<Heard, Error> {
    let Process { job, rank, .. } = process;
    match seat(core, process) {
        Some(Rank::Pending | Rank::Running) => {}
        Some(Rank::Gone(_)) | None => return Ok(Heard::Stale),
    }
    core.emit(comm, now, Change::RankGone { job, rank, exit })?;
    let record = core.ledger.jobs.of(job)?;
    let alive = record.gang.as_ref().map_or(0, |gang| gang.alive);
    if record.state == State::Stopping {
        if alive == 0 {
            gone(core, comm, now, job)?;
        }
    } else if exit == Exit::Code(0) {
        up(core, comm, now, job)?;
        if alive == 0 {
            moved(core, comm, now, job, Trigger::Finish, None)?;
            ended(core, comm, now, job)?;
        }
    } else {
        if matches!(exit, Exit::NotStarted | Exit::NodeFault) {
            refused(core, comm, now, process, exit)?;
        }
        let (cause, then) = verdict(core, job, rank, exit)?;
        end(core, comm, now, job, cause, then)?;
    }
    Ok(Heard::Noted)
}

/// What a process used that is about to be reported gone.
///
/// # Errors
/// None for reports about the past; those are [`Heard::Stale`].
pub fn on_rank_used(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    process: Process,
    used: Used,
) -> Result<Heard, Error> {
    match seat(core, process) {
        Some(Rank::Pending | Rank::Running) => {
            core.emit(comm, now, Change::RankUsed { job: process.job, used })?;
            Ok(Heard::Noted)
        }
        Some(Rank::Gone(_)) | None => Ok(Heard::Stale),
    }
}

/// What a node could not do for a process, for people.
///
/// # Errors
/// None for reports about the past; those are [`Heard::Stale`].
pub fn on_rank_note(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    process: Process,
    note: &str,
) -> Result<Heard, Error> {
    let job = process.job;
    let known = |job: &Job| job.notes.len() >= MAX_NOTES || job.notes.iter().any(|known| known == note);
    match seat(core, process) {
        Some(_) if !known(core.ledger.jobs.of(job)?) => {
            core.emit(comm, now, Change::Noted { job, note: note.to_owned() })?;
            Ok(Heard::Noted)
        }
        _ => Ok(Heard::Stale),
    }
}

/// The job is up once every rank has run.
fn up(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId) -> Result<(), Error> {
    let record = core.ledger.jobs.of(job)?;
    let all = record.gang.as_ref().is_some_and(|gang| gang.pending == 0);
    if all && record.state == State::Starting {
        moved(core, comm, now, job, Trigger::Up, None)?;
    }
    Ok(())
}

/// The state of a process's seat, if the report is about the present attempt and the right node.
fn seat(core: &Core, process: Process) -> Option<Rank> {
    let job = core.ledger.jobs.get(process.job).filter(|job| job.attempt == process.attempt)?;
    let gang = job.gang.as_ref()?;
    let per = core.batch(job)?.shape.ranks;
    let slice = gang.placement.slice_of(process.rank, per)?;
    (slice.node == process.node).then(|| gang.ranks.get(process.rank as usize).copied())?
}

/// A node has started a rank: it is not at fault for what it could not start before, and others are, on which the same job could
/// not be started for a reason that could have been its own.
fn vouch(core: &mut Core, comm: &mut impl Comm, now: Time, process: Process) -> Result<(), Error> {
    let Process { node, job, .. } = process;
    if !core.node(node)?.faults.is_empty() {
        core.emit(comm, now, Change::NodeSound { node })?;
    }
    let record = core.ledger.jobs.of(job)?;
    let first = record.first;
    for other in record.avoided.clone() {
        let is_known = core.node(other)?.faults.iter().any(|fault| fault.job == first);
        if other != node && !is_known {
            let reason = format!("job {job} could not be started here, and was on another node");
            blame(core, comm, now, other, first, reason)?;
        }
    }
    Ok(())
}

/// A node could not start a rank: the job is tried elsewhere, and the node is blamed where only it can be at fault.
fn refused(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    process: Process,
    exit: Exit,
) -> Result<(), Error> {
    let Process { node, job, .. } = process;
    let record = core.ledger.jobs.of(job)?;
    let reason = record.notes.last().cloned().unwrap_or_default();
    if !record.avoided.contains(&node) {
        core.emit(comm, now, Change::StartRefused { node, job })?;
    }
    if exit == Exit::NodeFault { blame(core, comm, now, node, job, reason) } else { Ok(()) }
}

/// Notes a fault of a node, and closes it for new work once it has failed so many in a row. Of what could have been a
/// job's own fault a whole submission counts once.
fn blame(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    job: JobId,
    reason: String,
) -> Result<(), Error> {
    let record = core.node(node)?;
    if record.drained || record.faults.iter().any(|fault| fault.job == job) {
        return Ok(());
    }
    core.emit(comm, now, Change::NodeFault { node, job, reason })?;
    if core.node(node)?.faults.len() >= core.policy.max_faults as usize {
        core.emit(comm, now, Change::NodeDrained { node, drained: true })?;
    }
    Ok(())
}

/// What becomes of a job one of whose ranks ended badly.
fn verdict(core: &Core, id: JobId, rank: u32, exit: Exit) -> Result<(Cause, Then), Error> {
    let job = core.ledger.jobs.of(id)?;
    let retries = core.ledger.batch(job.first)?.submission.retries;
    let pause = |before: u32| Span(core.policy.retry_pause.0 << before.min(6));
    if exit.is_own_doing() {
        let then = if job.failures < retries { Then::Retry(pause(job.failures)) } else { Then::Fail };
        return Ok((Cause::RankFailed { rank, exit }, then));
    }
    let then = match (after_death(core, id)?, exit) {
        (Then::Requeue, Exit::NotStarted | Exit::NodeFault) => Then::Retry(pause(job.deaths)),
        // The next port is probably free; where ports run out, nothing is gained by haste.
        (Then::Requeue, Exit::PortTaken) if job.deaths > 0 => Then::Retry(pause(job.deaths - 1)),
        (then, _) => then,
    };
    Ok((Cause::RankDied { rank, exit }, then))
}

/// What becomes of a job that died by no fault of its own.
pub(crate) fn after_death(core: &Core, id: JobId) -> Result<Then, Error> {
    let job = core.ledger.jobs.of(id)?;
    Ok(if job.deaths < core.policy.max_deaths { Then::Requeue } else { Then::Fail })
}
