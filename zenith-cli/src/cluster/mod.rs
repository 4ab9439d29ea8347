//! `zenith cluster`: look into the work of clusters.

mod simulate;

use std::io::Write;

use clap::Subcommand;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Replay recorded work under a scheduling policy, on a clock of its own.
    Simulate(simulate::Arguments),
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    match task {
        Task::Simulate(arguments) => simulate::run(arguments, out),
    }
}
