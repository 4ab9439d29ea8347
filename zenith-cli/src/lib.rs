//! The `zenith` command: what limits this machine, what is in a dataset, how fast it loads, what a plugin does, which
//! kernel is the fastest, what runs on the cluster.
//!
//! One file per subcommand. Answers go to stdout, everything else to stderr; the exit status is 0, or 1 for an error or a
//! refusal, or 2 for arguments that make no sense, or that of a job which was waited for.

use std::io::Write;

use clap::{Parser, Subcommand};
use zenith_scheduler::client::ClientError;

mod cluster;
mod connection;
mod data;
mod doctor;
mod job;
mod kernels;
pub mod log;
mod node;
mod plugin;
mod shown;
mod top;
mod topology;

/// A performance layer under PyTorch: what limits this machine, how fast a dataset loads, what runs on the cluster.
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
    /// Hand work to the scheduler, and see what becomes of it.
    #[command(subcommand)]
    Job(job::Task),
    /// See the cluster's nodes, close and open them.
    #[command(subcommand)]
    Node(node::Task),
    /// See how the cluster is, or how one would have done.
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// Watch nodes, GPUs and jobs live.
    Top(top::Arguments),
    /// Look into datasets.
    #[command(subcommand)]
    Data(data::Task),
    /// Look into WebAssembly plugins.
    #[command(subcommand)]
    Plugin(plugin::Task),
    /// See which implementation of an operation is the fastest, and why.
    #[command(subcommand)]
    Kernels(kernels::Task),
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
        Task::Job(task) => job::run(&task, &mut out),
        Task::Node(task) => node::run(&task, &mut out),
        Task::Cluster(task) => cluster::run(&task, &mut out),
        Task::Top(arguments) => top::run(&arguments, &mut out),
        Task::Data(task) => data::run(&task, &mut out),
        Task::Plugin(task) => plugin::run(&task, &mut out),
        Task::Kernels(task) => kernels::run(&task, &mut out),
    };
    match outcome.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => 0,
        // A reader that has seen enough (`zenith topology | head`) is no error.
        Err(error) if is_broken_pipe(&error) => 0,
        Err(error) => match error.downcast_ref::<connection::Status>() {
            Some(connection::Status(status)) => *status,
            None => {
                complain(&error);
                1
            }
        },
    }
}

/// Says on stderr what went wrong, and what would work where that is known.
fn complain(error: &Failure) {
    let mut err = std::io::stderr();
    let _ = writeln!(err, "zenith: {}", shown::plain(&error.to_string()));
    let hint = error.downcast_ref::<ClientError>().map(ClientError::hint);
    if let Some(hint) = hint.filter(|hint| !hint.is_empty()) {
        let _ = writeln!(err, "  hint: {}", shown::plain(hint));
    }
}

fn is_broken_pipe(error: &Failure) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Command;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Command::command().debug_assert();
    }

    #[test]
    fn the_flags_of_a_submission_name_their_twins() {
        // What Slurm has no word for.
        const OWN: [&str; 7] = ["key", "json", "controller", "token_file", "tls_ca", "insecure", "help"];
        let command = Command::command();
        let submit = command.find_subcommand("job").and_then(|job| job.find_subcommand("submit")).unwrap();
        let flags = submit.get_opts().filter(|flag| !OWN.contains(&flag.get_id().as_str()));
        let without = |flag: &clap::Arg| {
            let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
            !help.contains("[sbatch: ") && !help.contains("[Slurm: ")
        };
        let silent: Vec<&str> =
            flags.filter(|flag| without(flag)).map(|flag| flag.get_id().as_str()).collect();
        assert!(silent.is_empty(), "say the twin of {silent:?} in sbatch");
    }
}
