//! `zenith job signal`: sends a signal to the processes of running jobs, whose attempts go on.

use std::io::Write;

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::{ClientError, notation, signals};
use zenith_scheduler::view::Outcome;

use super::change::tell;
use crate::Failure;
use crate::connection::Connection;
use crate::shown::ranges;

/// Who gets which signal.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Jobs that run: 12, or 12-20 for several.
    #[arg(value_name = "JOB", value_parser = notation::jobs)]
    jobs: (u64, u64),
    /// Signal: USR1, SIGTERM, or a number from 1 to 31 [Slurm: scancel --signal].
    #[arg(value_name = "SIGNAL", value_parser = signals::number)]
    signal: u32,
    /// Print JSON: what became of each job.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let (first, last) = arguments.jobs;
    let mut outcomes = Vec::new();
    for job in first..=last {
        let sent = client.call(|mut client| async move { client.signal(job, arguments.signal).await });
        let refusal = match sent {
            Ok(()) => None,
            Err(ClientError::Refused { code, message, hint }) => Some(v1::Refusal { code, message, hint }),
            Err(error) => return Err(error.into()),
        };
        outcomes.push(v1::JobOutcome { job, refusal });
    }
    if arguments.json {
        let shown: Vec<Outcome> = outcomes.iter().cloned().map(Outcome::from).collect();
        writeln!(out, "{}", serde_json::to_string(&shown)?)?;
    } else {
        let done = ranges(outcomes.iter().filter(|o| o.refusal.is_none()).map(|o| o.job));
        if !done.is_empty() {
            writeln!(out, "sent {} to {done}", signals::name(arguments.signal))?;
        }
    }
    out.flush()?;
    tell(&outcomes)
}
