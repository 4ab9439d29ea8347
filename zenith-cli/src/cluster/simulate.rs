//! `zenith cluster simulate`: recorded work under one scheduling policy or several, and what came of it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use zenith_scheduler::simulate::{self, ClusterShape, Named, POLICIES, Trace, plot, table};

use crate::Failure;
use crate::topology::Format;

/// Replay recorded work under a scheduling policy, on a clock of its own.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// CSV of jobs, with a head: submit time and run time in seconds, GPUs, and who submitted.
    trace: PathBuf,
    /// Nodes of the cluster.
    #[arg(long, default_value_t = 64)]
    nodes: u32,
    /// GPUs of each node.
    #[arg(long, default_value_t = 8)]
    gpus_per_node: u32,
    /// A policy, or several: default, fifo, easy, sjf-oracle [default: all].
    #[arg(long)]
    policy: Vec<String>,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Draw waits and usage into this SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let policies = if arguments.policy.is_empty() {
        POLICIES.iter().map(|name| Named::find(name)).collect::<Result<Vec<_>, _>>()?
    } else {
        arguments.policy.iter().map(|name| Named::find(name)).collect::<Result<_, _>>()?
    };
    let cluster = ClusterShape { nodes: arguments.nodes, gpus_per_node: arguments.gpus_per_node };
    let trace = Trace::open(&arguments.trace)?;
    let outcomes = simulate::run_each(&trace, cluster, &policies)?;
    match arguments.format {
        Format::Text => writeln!(out, "{}", table::table(&outcomes).trim_end())?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&outcomes)?)?,
    }
    if let Some(path) = &arguments.plot {
        fs::write(path, plot::plot(&outcomes)).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}
