//! `zenith cluster`: how the cluster is, and how one would have done.

mod simulate;
pub(crate) mod status;

use std::io::Write;

use clap::Subcommand;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Replay recorded work under a scheduling policy, on a clock of its own.
    Simulate(simulate::Arguments),
    /// Show nodes, GPUs, queues, users and counts of jobs [Slurm: sinfo, sshare].
    Status(status::Arguments),
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    match task {
        Task::Simulate(arguments) => simulate::run(arguments, out),
        Task::Status(arguments) => status::run(arguments, out),
    }
}
