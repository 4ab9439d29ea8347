//! `zenith job cancel|hold|release|requeue`: does something to jobs, given by number, by range, or by array.

use std::io::{Write, stderr};

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::{Blocking, ClientError, notation};
use zenith_scheduler::controller::ops::Act;
use zenith_scheduler::view::Outcome;

use crate::Failure;
use crate::connection::{Connection, Status};
use crate::shown::{plain, ranges};

/// Jobs of one call; more go in several.
const AT_ONCE: usize = 10_000;
/// Refusals that are told; more are counted.
const TOLD: usize = 20;

/// Jobs to change.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs: 12, or 12-20 for several.
    #[arg(required = true, value_name = "JOB", value_parser = notation::jobs)]
    jobs: Vec<(u64, u64)>,
    /// Every job of the arrays that these belong to.
    #[arg(long)]
    array: bool,
    /// Print JSON: what became of each job.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, act: Act, out: &mut dyn Write) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let named = arguments.jobs.iter().flat_map(|&(first, last)| first..=last);
    let mut jobs: Vec<u64> = if arguments.array { arrays(&client, named)? } else { named.collect() };
    jobs.sort_unstable();
    jobs.dedup();
    let mut outcomes = Vec::with_capacity(jobs.len());
    for part in jobs.chunks(AT_ONCE) {
        let part = part.to_vec();
        outcomes.extend(client.call(|mut client| async move { client.act(act, part).await })?);
    }
    if arguments.json {
        let shown: Vec<Outcome> = outcomes.iter().cloned().map(Outcome::from).collect();
        writeln!(out, "{}", serde_json::to_string(&shown)?)?;
    } else {
        let done = ranges(outcomes.iter().filter(|o| o.refusal.is_none()).map(|o| o.job));
        if !done.is_empty() {
            writeln!(out, "{} {done}", past(act))?;
        }
    }
    out.flush()?;
    tell(&outcomes)
}

fn past(act: Act) -> &'static str {
    match act {
        Act::Cancel => "cancelled",
        Act::Hold => "held",
        Act::Release => "released",
        Act::Requeue => "requeued",
    }
}

/// Says on stderr what was refused.
pub(super) fn tell(outcomes: &[v1::JobOutcome]) -> Result<(), Failure> {
    let refusals: Vec<&v1::Refusal> =
        outcomes.iter().filter_map(|outcome| outcome.refusal.as_ref()).collect();
    let mut hints: Vec<&str> = Vec::new();
    for refusal in refusals.iter().take(TOLD) {
        let _ = writeln!(stderr(), "zenith: {}", plain(&refusal.message));
        if !hints.contains(&refusal.hint.as_str()) {
            hints.push(&refusal.hint);
        }
    }
    if refusals.len() > TOLD {
        let _ = writeln!(stderr(), "zenith: and {} more; --json has them all", refusals.len() - TOLD);
    }
    for hint in hints.iter().filter(|hint| !hint.is_empty()) {
        let _ = writeln!(stderr(), "  hint: {}", plain(hint));
    }
    if refusals.is_empty() { Ok(()) } else { Err(Status(1).into()) }
}

/// Every job of the arrays that these belong to.
fn arrays(client: &Blocking, named: impl Iterator<Item = u64>) -> Result<Vec<u64>, ClientError> {
    let mut jobs: Vec<u64> = Vec::new();
    for job in named {
        if jobs.contains(&job) {
            continue;
        }
        let detail = client.call(|mut client| async move { client.get(job).await })?;
        let first = detail.job.map_or(job, |job| job.first);
        let count = detail.submission.map_or(1, |submission| submission.count.max(1));
        jobs.extend(first..first + u64::from(count));
    }
    Ok(jobs)
}
