//! `zenith topology`: processors, memory nodes and devices, of this machine or of a copy of another's `/sys`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use zenith_runtime_cpu::numa::Topology;

use crate::Failure;

/// Show processors, memory nodes and devices.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A folder that holds another machine's `sys`.
    #[arg(long)]
    root: Option<PathBuf>,
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let topology = match &arguments.root {
        Some(root) => Topology::read(root)?,
        None => Topology::host()?,
    };
    match arguments.format {
        Format::Text => write!(out, "{topology}")?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&topology)?)?,
    }
    Ok(())
}
