//! The `zenith` command: what limits this machine, what is in a dataset, how fast it loads, what a plugin does, how a cluster
//! would have done.
//!
//! One file per subcommand. Answers go to stdout, everything else to stderr; the exit status is 0, or 1 for an error,
//! or 2 for arguments that make no sense.

use std::io::Write;

use clap::{Parser, Subcommand};

mod cluster;
mod data;
mod doctor;
pub mod log;
mod plugin;
mod topology;

/// A performance layer under PyTorch: what limits this machine, what is in a dataset, how fast it loads.
#[derive(Debug, Parser)]
#[command(name = "zenith", version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show what limits this machine, each finding with its fix.
    Doctor(doctor::Arguments),
    /// Show processors, memory nodes and devices.
    Topology(topology::Arguments),
    /// Look into the work of clusters.
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// Look into datasets.
    #[command(subcommand)]
    Data(data::Task),
    /// Look into WebAssembly plugins.
    #[command(subcommand)]
    Plugin(plugin::Task),
}

/// Why a command failed, for one line on stderr.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command with `arguments` (the program's name first); the exit status.
pub fn run(arguments: impl IntoIterator<Item = String>) -> u8 {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let mut out = std::io::stdout().lock();
    let outcome = match command.task {
        Task::Doctor(arguments) => doctor::run(&arguments, &mut out),
        Task::Topology(arguments) => topology::run(&arguments, &mut out),
        Task::Cluster(task) => cluster::run(&task, &mut out),
        Task::Data(task) => data::run(&task, &mut out),
        Task::Plugin(task) => plugin::run(&task, &mut out),
    };
    match outcome.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => 0,
        // A reader that has seen enough (`zenith topology | head`) is no error.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "zenith: {error}");
            1
        }
    }
}

fn is_broken_pipe(error: &Failure) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
