//! `zenith job why`: the one reason that keeps a job from running.

use std::io::Write;

use clap::Args;
use zenith_scheduler::client::notation::{self, Span};
use zenith_scheduler::view::Why;

use crate::Failure;
use crate::connection::Connection;
use crate::shown::{local_time, now_ms, plain};

/// Say why a job does not run, what will unblock it, and when it may start.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The job.
    job: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let job = arguments.job;
    let client = arguments.connection.open()?;
    let why = client.call(|mut client| async move { client.why(job).await })?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&Why::from(why))?)?;
        return Ok(());
    }
    writeln!(out, "job {} is {}: {}", why.job, notation::state(why.state()), plain(&why.reason))?;
    if !why.unblocked_by.is_empty() {
        writeln!(out, "unblocked by     {}", plain(&why.unblocked_by))?;
    }
    if let Some(start) = why.predicted_start_ms {
        let until = Span(start.saturating_sub(now_ms()));
        writeln!(out, "predicted start  {} (in {until})", local_time(start))?;
    }
    Ok(())
}
