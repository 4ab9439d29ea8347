//! `zenith job`: hand work to the scheduler, and see what becomes of it.

mod change;
mod logs;
mod ls;
mod show;
mod signal;
mod submit;
mod wait;
mod why;

use std::io::Write;

use clap::Subcommand;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Hand work to the scheduler and print its id [Slurm: sbatch, srun].
    Submit(Box<submit::Arguments>),
    /// List jobs, the newest last [Slurm: squeue, sacct].
    Ls(ls::Arguments),
    /// Show everything that is known of a job [Slurm: scontrol show job].
    Show(show::Arguments),
    /// Say why a job does not run, what will unblock it, and when it may start.
    Why(why::Arguments),
    /// Show what a job wrote.
    Logs(logs::Arguments),
    /// End jobs for good [Slurm: scancel].
    Cancel(change::Arguments),
    /// Put jobs aside [Slurm: scontrol hold].
    Hold(change::Arguments),
    /// Let held jobs queue [Slurm: scontrol release].
    Release(change::Arguments),
    /// End the present attempt of jobs and queue them again [Slurm: scontrol requeue].
    Requeue(change::Arguments),
    /// Send a signal to every process of running jobs [Slurm: scancel --signal].
    ///
    /// The attempt goes on, unless its processes end because of the signal. It is the twin of `scancel --signal=USR1 JOB`; a
    /// program that saves its state on USR1, as with `sbatch --signal=USR1@600`, is asked for it this way.
    Signal(signal::Arguments),
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    use zenith_scheduler::controller::ops::Act;
    match task {
        Task::Submit(arguments) => submit::run(arguments, out),
        Task::Ls(arguments) => ls::run(arguments, out),
        Task::Show(arguments) => show::run(arguments, out),
        Task::Why(arguments) => why::run(arguments, out),
        Task::Logs(arguments) => logs::run(arguments, out),
        Task::Cancel(arguments) => change::run(arguments, Act::Cancel, out),
        Task::Hold(arguments) => change::run(arguments, Act::Hold, out),
        Task::Release(arguments) => change::run(arguments, Act::Release, out),
        Task::Requeue(arguments) => change::run(arguments, Act::Requeue, out),
        Task::Signal(arguments) => signal::run(arguments, out),
    }
}
