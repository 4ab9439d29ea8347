//! What time brings: pauses that are over, gangs that did not end in time, runs that took too long; and the round that
//! gives places to what waits.

use super::Core;
use super::comm::Comm;
use super::error::Error;
use super::event::Change;
use super::id::JobId;
use super::job::{Cause, Then};
use super::on_job::{end, moved};
use super::state::{State, Trigger};
use super::time::Time;
use crate::policy::round;
pub use crate::policy::round::Round;

/// Does what is due by now. To be called when [`Core::next_timer`] has come; earlier and more often does no harm.
///
/// # Errors
/// None that the core itself does not cause.
pub fn on_tick(core: &mut Core, comm: &mut impl Comm, now: Time) -> Result<(), Error> {
    while let Some((at, id)) = core.timers.first().copied().filter(|(at, _)| *at <= now) {
        core.timers.remove(&(at, id));
        due(core, comm, now, id)?;
    }
    Ok(())
}

/// Starts what has a place and whose turn it is. To be called after other calls, once for many of them, while
/// [`Core::wants_round`].
///
/// # Errors
/// None that the core itself does not cause.
pub fn on_round(core: &mut Core, comm: &mut impl Comm, now: Time) -> Result<Round, Error> {
    core.dirty = false;
    round::run(core, comm, now)
}

fn due(core: &mut Core, comm: &mut impl Comm, now: Time, id: JobId) -> Result<(), Error> {
    let Some(job) = core.ledger.jobs.get(id) else { return Ok(()) };
    match job.state {
        State::Waiting if job.not_before.is_some_and(|at| at <= now) => {
            moved(core, comm, now, id, Trigger::Ready, None)
        }
        State::Starting | State::Running => {
            let limit = core.batch(job).and_then(|batch| batch.submission.time_limit);
            match (limit, job.placed) {
                (Some(limit), Some(placed)) if placed + limit <= now => {
                    end(core, comm, now, id, Cause::TimeLimit, Then::Fail)
                }
                _ => Ok(()),
            }
        }
        State::Stopping => {
            let Some(gang) = &job.gang else { return Ok(()) };
            match gang.stop {
                Some(stop) if stop.kill_at <= now && !stop.killed => {
                    let (attempt, placement) = (job.attempt, gang.placement.clone());
                    core.emit(comm, now, Change::Killed { job: id })?;
                    comm.kill(id, attempt, &placement);
                    Ok(())
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}
