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

/// What becomes of a job one of whose ranks ended badly.
fn verdict(core: &Core, id: JobId, rank: u32, exit: Exit) -> Result<(Cause, Then), Error> {
    let job = core.ledger.jobs.of(id)?;
    let retries = core.ledger.batch(job.first)?.submission.retries;
    Ok(match exit {
        Exit::Code(_) => {
            let pause = Span(core.policy.retry_pause.0 << job.failures.min(6));
            let then = if job.failures < retries { Then::Retry(pause) } else { Then::Fail };
            (Cause::RankFailed { rank, exit }, then)
        }
        Exit::Signal(_) | Exit::NotStarted | Exit::NodeLost => {
            (Cause::RankDied { rank, exit }, after_death(core, id)?)
        }
    })
}

/// What becomes of a job that died by no fault of its own.
pub(crate) fn after_death(core: &Core, id: JobId) -> Result<Then, Error> {
    let job = core.ledger.jobs.of(id)?;
    Ok(if job.deaths < core.policy.max_deaths { Then::Requeue } else { Then::Fail })
}
