//! What people ask of jobs: submit, hold, release, cancel, requeue, forget.

use super::Core;
use super::apply::{is_met, trigger_of};
use super::comm::Comm;
use super::error::Error;
use super::event::Change;
use super::id::JobId;
use super::job::{Cause, Stop, Submission, Then, When};
use super::state::{Forbidden, State, Trigger};
use super::time::Time;

/// Most jobs of one submission.
pub const MAX_COUNT: u32 = 1_000_000;

/// Takes a submission in. Returns the id of its first job; the others follow without a gap.
///
/// # Errors
/// A request that makes no sense, a queue or a dependency that does not exist, no jobs or too many.
pub fn on_submit(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    submission: Submission,
) -> Result<JobId, Error> {
    submission.request.check()?;
    if submission.count == 0 || submission.count > MAX_COUNT {
        return Err(Error::Count { count: submission.count, most: MAX_COUNT });
    }
    if !core.ledger.queue_ids.contains_key(&submission.queue) {
        let known: Vec<&str> = core.ledger.queue_ids.keys().map(String::as_str).collect();
        return Err(Error::NoQueue { name: submission.queue, known: known.join(", ") });
    }
    let mut failed = None;
    for dependency in &submission.after {
        let on = core.ledger.jobs.of(dependency.on)?.first;
        let batch = core.ledger.batch(on)?;
        if dependency.when == When::Completed && batch.unwell > 0 {
            failed = Some(on);
        }
    }
    let first = core.ledger.next;
    let (held, count) = (submission.held, submission.count);
    core.emit(comm, now, Change::Submitted { first, submission: Box::new(submission) })?;
    if let Some(on) = failed {
        return cancel_batch(core, comm, now, first, on).map(|()| first);
    }
    if !held && core.ledger.batch(first)?.unmet == 0 {
        for index in 0..u64::from(count) {
            moved(core, comm, now, JobId(first.0 + index), Trigger::Ready, None)?;
        }
    }
    Ok(first)
}

/// Puts a job aside. A job that is placed is asked to end first.
///
/// # Errors
/// No such job; a job that has ended, is held, or is being ended for good.
pub fn on_hold(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId) -> Result<(), Error> {
    match core.ledger.jobs.of(job)?.state {
        State::Starting | State::Running | State::Stopping => {
            end(core, comm, now, job, Cause::Asked, Then::Hold)
        }
        _ => moved(core, comm, now, job, Trigger::Hold, Some(Cause::Asked)),
    }
}

/// Lets a held job queue.
///
/// # Errors
/// No such job; a job that is not held.
pub fn on_release(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId) -> Result<(), Error> {
    moved(core, comm, now, job, Trigger::Release, None)?;
    let first = core.ledger.jobs.of(job)?.first;
    if core.ledger.batch(first)?.unmet == 0 {
        moved(core, comm, now, job, Trigger::Ready, None)?;
    }
    Ok(())
}

/// Ends a job for good. A job that is placed is asked to end first, and killed after the grace time.
///
/// # Errors
/// No such job; a job that has ended.
pub fn on_cancel(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId) -> Result<(), Error> {
    match core.ledger.jobs.of(job)?.state {
        State::Starting | State::Running | State::Stopping => {
            end(core, comm, now, job, Cause::Asked, Then::Cancel)
        }
        _ => {
            moved(core, comm, now, job, Trigger::Cancel, Some(Cause::Asked))?;
            ended(core, comm, now, job)
        }
    }
}

/// Ends a placed job's attempt and queues it again at once.
///
/// # Errors
/// No such job; a job that is not placed.
pub fn on_requeue(core: &mut Core, comm: &mut impl Comm, now: Time, job: JobId) -> Result<(), Error> {
    end(core, comm, now, job, Cause::Asked, Then::Requeue)
}

/// Drops submissions whose jobs all ended before `before`. Returns how many.
///
/// # Errors
/// None that the core itself does not cause.
pub fn on_forget(core: &mut Core, comm: &mut impl Comm, now: Time, before: Time) -> Result<usize, Error> {
    let is_old = |first: JobId, count: u32| {
        let jobs = (0..u64::from(count)).map(|index| core.ledger.jobs.get(JobId(first.0 + index)));
        jobs.flatten().all(|job| job.ended.is_some_and(|ended| ended < before))
    };
    let batches = core.ledger.batches.iter().filter(|(_, batch)| batch.open == 0);
    let old = batches.filter(|(first, batch)| is_old(**first, batch.submission.count));
    let old: Vec<JobId> = old.map(|(first, _)| *first).collect();
    for first in &old {
        core.emit(comm, now, Change::Forgotten { first: *first })?;
    }
    Ok(old.len())
}

/// Begins to end a placed job, or changes what becomes of one that is being ended: what ends it for good goes before what
/// would bring it back.
pub(crate) fn end(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    id: JobId,
    cause: Cause,
    then: Then,
) -> Result<(), Error> {
    let is_dead = matches!(
        cause,
        Cause::RankFailed { .. }
            | Cause::RankDied { .. }
            | Cause::NodeLost { .. }
            | Cause::GpuUnhealthy { .. }
    );
    let kill_at = now + if is_dead { core.policy.death_grace } else { core.policy.grace };
    let job = core.ledger.jobs.of(id)?;
    let forbidden =
        || Error::Forbidden { job: id, source: Forbidden { from: job.state, trigger: Trigger::Stop } };
    let gang = job.gang.as_ref().ok_or_else(forbidden)?;
    let stop = match gang.stop {
        None => Stop { cause, then, kill_at, killed: false },
        Some(stop) if rank_of(then) > rank_of(stop.then) => Stop { cause, then, ..stop },
        Some(_) => return Err(forbidden()),
    };
    let (attempt, placement, alive) = (job.attempt, gang.placement.clone(), gang.alive);
    if gang.stop.is_some() {
        return core.emit(comm, now, Change::StopChanged { job: id, stop });
    }
    core.emit(comm, now, Change::Stopping { job: id, stop })?;
    if alive == 0 {
        return gone(core, comm, now, id);
    }
    comm.signal(id, attempt, &placement);
    Ok(())
}

fn rank_of(then: Then) -> u8 {
    match then {
        Then::Requeue => 0,
        Then::Retry(_) => 1,
        Then::Hold => 2,
        Then::Fail => 3,
        Then::Cancel => 4,
    }
}

/// The last rank of a gang that was being ended is gone.
pub(crate) fn gone(core: &mut Core, comm: &mut impl Comm, now: Time, id: JobId) -> Result<(), Error> {
    let gang = core.ledger.jobs.of(id)?.gang.as_ref();
    let Some(stop) = gang.and_then(|gang| gang.stop) else {
        return Err(Error::Journal("a gang is gone that was not being ended"));
    };
    let not_before = match stop.then {
        Then::Retry(pause) => Some(now + pause),
        _ => None,
    };
    let trigger = trigger_of(stop.then);
    core.emit(comm, now, Change::Moved { job: id, trigger, cause: Some(stop.cause), not_before })?;
    ended(core, comm, now, id)
}

/// What follows for others from a job having ended; nothing if it has not.
pub(crate) fn ended(core: &mut Core, comm: &mut impl Comm, now: Time, id: JobId) -> Result<(), Error> {
    let job = core.ledger.jobs.of(id)?;
    if !job.state.is_final() {
        return Ok(());
    }
    // A submission that is cancelled for another's sake may have others waiting for it in turn.
    let mut open = vec![job.first];
    while let Some(on) = open.pop() {
        let batch = core.ledger.batch(on)?;
        let (left, unwell, dependents) = (batch.open, batch.unwell, batch.dependents.clone());
        for (first, when) in dependents {
            if when == When::Completed && unwell > 0 {
                if core.ledger.batch(first).is_ok_and(|batch| batch.open > 0) {
                    cancel_waiting(core, comm, now, first, on)?;
                    open.push(first);
                }
            } else if left == 0 && is_met(when, unwell) {
                core.emit(comm, now, Change::DependencyMet { first })?;
                if core.ledger.batch(first)?.unmet == 0 {
                    ready(core, comm, now, first)?;
                }
            }
        }
    }
    Ok(())
}

fn ready(core: &mut Core, comm: &mut impl Comm, now: Time, first: JobId) -> Result<(), Error> {
    for id in ids(core, first)? {
        if core.ledger.jobs.of(id)?.state == State::Waiting {
            moved(core, comm, now, id, Trigger::Ready, None)?;
        }
    }
    Ok(())
}

fn cancel_batch(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    first: JobId,
    on: JobId,
) -> Result<(), Error> {
    cancel_waiting(core, comm, now, first, on)?;
    ended(core, comm, now, first)
}

fn cancel_waiting(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    first: JobId,
    on: JobId,
) -> Result<(), Error> {
    for id in ids(core, first)? {
        if matches!(core.ledger.jobs.of(id)?.state, State::Waiting | State::Held) {
            moved(core, comm, now, id, Trigger::Cancel, Some(Cause::Dependency { on }))?;
        }
    }
    Ok(())
}

fn ids(core: &Core, first: JobId) -> Result<impl Iterator<Item = JobId> + use<>, Error> {
    let count = u64::from(core.ledger.batch(first)?.submission.count);
    Ok((0..count).map(move |index| JobId(first.0 + index)))
}

pub(crate) fn moved(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    job: JobId,
    trigger: Trigger,
    cause: Option<Cause>,
) -> Result<(), Error> {
    core.emit(comm, now, Change::Moved { job, trigger, cause, not_before: None })
}
