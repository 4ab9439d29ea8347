//! The `zenith-scheduler` program: an agent, and the nursery it starts processes from.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use zenith_scheduler::agent;
use zenith_scheduler::agent::arguments::{AgentArguments, NurseryArguments};

#[derive(Parser)]
#[command(version, about = "Zenith's scheduler")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Join this machine to a cluster as a node
    Agent(Box<AgentArguments>),
    /// Start processes for an agent
    #[command(hide = true)]
    Nursery(NurseryArguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Nursery(_) => agent::nursery().map_err(|error| error.to_string()),
        Command::Agent(arguments) => join(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn join(arguments: &AgentArguments) -> Result<(), String> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let config = arguments.config().map_err(|error| error.to_string())?;
    runtime.block_on(agent::run(config, std::future::pending())).map_err(|error| error.to_string())
}
