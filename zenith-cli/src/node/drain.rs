//! `zenith node drain|resume`: closes nodes for new work, or opens them.

use std::io::Write;

use clap::Args;

use crate::Failure;
use crate::connection::Connection;
use crate::shown::plain;

/// Nodes to close or to open.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Nodes, by name.
    #[arg(required = true, value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, drained: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    for node in &arguments.nodes {
        let name = node.clone();
        client.call(|mut client| async move { client.drain(name, drained).await })?;
        writeln!(out, "{} {}", if drained { "drained" } else { "resumed" }, plain(node))?;
    }
    Ok(())
}
