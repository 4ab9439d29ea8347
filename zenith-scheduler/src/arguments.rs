//! The command line of `zenith-scheduler`. Logs go to stderr; the exit status is 0, or 1 for an error, or 2 for arguments that
//! make no sense.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::agent;
use crate::agent::arguments::{AgentArguments, NodeArguments, NurseryArguments};
use crate::api::auth::{Role, Tokens};
use crate::daemon::{self, config, config::Raw};

/// Gang scheduling of GPUs. Without a command: the controller, and an agent that makes this machine its node
#[derive(Debug, Parser)]
#[command(name = "zenith-scheduler", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    serve: ServeArguments,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Join this machine to a cluster as a node
    Agent(Box<AgentArguments>),
    /// Start processes for an agent
    #[command(hide = true)]
    Nursery(NurseryArguments),
    /// Make, list and remove the tokens by which users and agents are known
    #[command(subcommand)]
    Token(TokenTask),
}

/// What the controller is told, and the agent within.
#[derive(Args, Debug)]
struct ServeArguments {
    #[command(flatten)]
    state: StateArguments,
    /// Where gRPC is served [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS:PORT")]
    grpc: Option<SocketAddr>,
    /// Where REST is served [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    rest: Option<SocketAddr>,
    /// Do not make this machine a node
    #[arg(long)]
    no_agent: bool,
    #[command(flatten, next_help_heading = "This machine as a node")]
    node: NodeArguments,
    /// File with the certificates (PEM) that both show; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// File with their key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Know nobody without a token, on this machine either: jobs run as the scheduler's user
    #[arg(long)]
    require_tokens: bool,
    /// Let tokens cross the network without TLS
    #[arg(long)]
    insecure: bool,
    /// Seconds between signs of life of nodes [default: 1]
    #[arg(long, value_name = "SECONDS")]
    heartbeat: Option<f64>,
    /// Seconds without one after which a node gets nothing new [default: 5]
    #[arg(long, value_name = "SECONDS")]
    silent_after: Option<f64>,
    /// Seconds without one after which its gangs are queued again [default: 60]
    #[arg(long, value_name = "SECONDS")]
    lost_after: Option<f64>,
    /// Seconds between the signal to end and the kill [default: 30]
    #[arg(long, value_name = "SECONDS")]
    grace: Option<f64>,
    /// File (TOML) with these and more settings; arguments go before it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where the state is.
#[derive(Args, Debug)]
struct StateArguments {
    /// Folder of the state [default: the user's data directory, zenith/scheduler within]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum TokenTask {
    /// Make a token and print it, once
    Add {
        /// Whose it is
        name: String,
        /// They may do everything
        #[arg(long, conflicts_with = "agent")]
        admin: bool,
        /// It lets nodes join, and does nothing else
        #[arg(long)]
        agent: bool,
        #[command(flatten)]
        state: StateArguments,
    },
    /// List who has tokens
    Ls {
        #[command(flatten)]
        state: StateArguments,
    },
    /// Take all tokens of a name away
    Rm {
        /// Whose they are
        name: String,
        #[command(flatten)]
        state: StateArguments,
    },
}

/// Why the program failed, for one line on stderr.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the program with `arguments`, its name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            // Nobody is there to be told.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match command.task {
        None => serve(command.serve),
        Some(Task::Agent(arguments)) => join(&arguments),
        // It forks, so that nothing may have started a thread before.
        Some(Task::Nursery(_)) => agent::nursery().map_err(Failure::from),
        Some(Task::Token(task)) => token(task),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is there to be told.
            let _ = writeln!(io::stderr(), "zenith-scheduler: {error}");
            ExitCode::FAILURE
        }
    }
}

fn subscribe() {
    let wanted = env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::builder().parse_lossy(wanted);
    // A subscriber that is there already stays.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let _ = subscriber.with_ansi(io::stderr().is_terminal()).try_init();
}

fn join(arguments: &AgentArguments) -> Result<(), Failure> {
    subscribe();
    Ok(daemon::join(arguments.config()?)?)
}

fn serve(arguments: ServeArguments) -> Result<(), Failure> {
    subscribe();
    let mut raw = match &arguments.config {
        Some(path) => Raw::read(path)?,
        None => Raw::default(),
    };
    let ServeArguments { state, grpc, rest, tls_cert, tls_key, no_agent, node, .. } = arguments;
    let ServeArguments { insecure, require_tokens, .. } = arguments;
    let ServeArguments { heartbeat, silent_after, lost_after, grace, .. } = arguments;
    raw.state = state.state.or(raw.state);
    raw.grpc = grpc.or(raw.grpc);
    raw.rest = rest.or(raw.rest);
    raw.tls_cert = tls_cert.or(raw.tls_cert);
    raw.tls_key = tls_key.or(raw.tls_key);
    raw.insecure |= insecure;
    raw.require_tokens |= require_tokens;
    raw.no_agent |= no_agent;
    raw.heartbeat = heartbeat.or(raw.heartbeat);
    raw.silent_after = silent_after.or(raw.silent_after);
    raw.lost_after = lost_after.or(raw.lost_after);
    raw.grace = grace.or(raw.grace);
    Ok(daemon::run(&raw.check()?, &node)?)
}

fn token(task: TokenTask) -> Result<(), Failure> {
    let tokens = |state: StateArguments| -> Result<Tokens, Failure> {
        let folder = config::state(state.state)?;
        config::make_private(&folder)?;
        Ok(Tokens::at(&folder))
    };
    let mut out = io::stdout().lock();
    match task {
        TokenTask::Add { name, admin, agent, state } => {
            let role = match (admin, agent) {
                (true, _) => Role::Admin,
                (_, true) => Role::Agent,
                _ => Role::User,
            };
            let secret = tokens(state)?.add(&name, role)?;
            writeln!(out, "{}", secret.reveal())?;
        }
        TokenTask::Ls { state } => {
            for (name, role) in tokens(state)?.list()? {
                writeln!(out, "{role:6} {name}")?;
            }
        }
        TokenTask::Rm { name, state } => {
            let removed = tokens(state)?.remove(&name)?;
            writeln!(io::stderr(), "{removed} removed")?;
        }
    }
    Ok(out.flush()?)
}
