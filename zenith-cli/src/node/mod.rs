//! `zenith node`: the nodes of the cluster.

mod drain;
pub(crate) mod ls;

use std::io::Write;

use clap::Subcommand;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List the nodes and what is in use of them [Slurm: sinfo -N].
    Ls(ls::Arguments),
    /// Close nodes for new work; what runs there goes on [Slurm: scontrol update state=drain].
    Drain(drain::Arguments),
    /// Open nodes for work again [Slurm: scontrol update state=resume].
    Resume(drain::Arguments),
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    match task {
        Task::Ls(arguments) => ls::run(arguments, out),
        Task::Drain(arguments) => drain::run(arguments, true, out),
        Task::Resume(arguments) => drain::run(arguments, false, out),
    }
}
