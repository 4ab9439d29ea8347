//! Waiting for jobs, through restarts of the scheduler: jobs go on without it, so waiting for them does too.

use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::thread;
use std::time::{Duration, Instant};

use zenith_proto::v1;
use zenith_scheduler::client::{Blocking, ClientError, notation};

use crate::Failure;
use crate::connection::Status;
use crate::shown::plain;

/// How long the scheduler may be away.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is looked for then.
const AGAIN: Duration = Duration::from_millis(500);

/// Waits until all jobs have ended; says on stderr which of them ended badly.
///
/// # Errors
/// [`Status`] with the status of the first job that ended badly; a scheduler that stays away.
pub(super) fn until_ended(client: &Blocking, jobs: &[u64]) -> Result<(), Failure> {
    let mut ends: BTreeMap<u64, v1::Job> = BTreeMap::new();
    let mut away: Option<Instant> = None;
    while ends.len() < jobs.len() {
        let left: Vec<u64> = jobs.iter().copied().filter(|job| !ends.contains_key(job)).collect();
        match watch(client, left, &mut ends) {
            // The stream ends when all jobs have; what ended it otherwise shows in the next round.
            Ok(()) => away = None,
            Err(error) if error.is_passing() => {
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(error.into());
                }
                if since.elapsed() < AGAIN {
                    let _ = writeln!(stderr(), "zenith: {error}; waiting for it to come back");
                }
            }
            Err(error) => return Err(error.into()),
        }
        if ends.len() < jobs.len() {
            thread::sleep(AGAIN);
        }
    }
    let mut status = 0;
    for job in ends.values().filter(|job| job.state() != v1::JobState::Completed) {
        let cause = if job.cause.is_empty() { String::new() } else { format!(": {}", plain(&job.cause)) };
        let _ = writeln!(stderr(), "zenith: job {} {}{cause}", job.id, notation::state(job.state()));
        if status == 0 {
            status =
                job.exit_code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code > 0).unwrap_or(1);
        }
    }
    if status == 0 { Ok(()) } else { Err(Status(status).into()) }
}

fn watch(client: &Blocking, jobs: Vec<u64>, ends: &mut BTreeMap<u64, v1::Job>) -> Result<(), ClientError> {
    let mut pages = client.pages(|mut client| async move { client.watch(jobs).await })?;
    while let Some(page) = pages.next_page()? {
        let ended = page.jobs.into_iter().filter(|job| notation::FINISHED.contains(&job.state()));
        ends.extend(ended.map(|job| (job.id, job)));
    }
    Ok(())
}
