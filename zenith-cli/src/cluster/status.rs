//! `zenith cluster status`: the cluster in a few lines.

use std::io::Write;

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::notation::{self, Span};
use zenith_scheduler::view::Cluster;

use crate::Failure;
use crate::connection::Connection;
use crate::shown::{columns, local_time, now_ms, plain};

/// Show nodes, GPUs, queues, users and counts of jobs.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What there is and what is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) nodes: usize,
    pub(crate) up: usize,
    pub(crate) drained: usize,
    pub(crate) gpus: usize,
    pub(crate) gpus_used: usize,
    pub(crate) gpus_ill: usize,
    pub(crate) cpus: u64,
    pub(crate) cpus_used: u64,
}

impl Totals {
    pub(crate) fn of(cluster: &v1::ClusterResponse) -> Self {
        let mut totals = Self::default();
        for node in &cluster.nodes {
            totals.nodes += 1;
            totals.up += usize::from(node.contact() == v1::NodeContact::Up);
            totals.drained += usize::from(node.drained);
            totals.gpus_used += node.gpus_used.len();
            totals.gpus_ill += node.gpus_ill.len();
            totals.cpus_used += u64::from(node.cpus_used);
            totals.gpus += node.spec.as_ref().map_or(0, |spec| spec.gpus.len());
            totals.cpus += node.spec.as_ref().map_or(0, |spec| u64::from(spec.cpus));
        }
        totals
    }
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let cluster = client.call(|mut client| async move { client.cluster().await })?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&Cluster::from(cluster))?)?;
        return Ok(());
    }
    let Totals { nodes, up, drained, gpus, gpus_used, gpus_ill, cpus, cpus_used } = Totals::of(&cluster);
    let since = Span(now_ms().saturating_sub(cluster.started_ms));
    let at = client.target().endpoint();
    let version = plain(&cluster.version);
    writeln!(out, "scheduler  {version} at {at}, since {} ({since})", local_time(cluster.started_ms))?;
    writeln!(out, "nodes      {up} of {nodes} up, {drained} drained")?;
    writeln!(out, "GPUs       {gpus_used} of {gpus} in use, {gpus_ill} ill")?;
    writeln!(out, "CPUs       {cpus_used} of {cpus} in use")?;
    let counts = cluster.counts.iter().filter(|count| count.jobs > 0);
    let counts: Vec<String> =
        counts.map(|count| format!("{} {}", count.jobs, notation::state(count.state()))).collect();
    writeln!(out, "jobs       {}", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") })?;
    let limit = |limit: Option<u32>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
    if !cluster.queues.is_empty() {
        writeln!(out)?;
        let row = |queue: &v1::Queue| {
            let v1::QueueSettings { guarantee, limit: most, weight } = queue.settings.unwrap_or_default();
            let name = plain(&queue.name).into_owned();
            vec![name, queue.gpus_used.to_string(), guarantee.to_string(), limit(most), weight.to_string()]
        };
        let rows: Vec<Vec<String>> = cluster.queues.iter().map(row).collect();
        columns(out, &["QUEUE", "GPUS", "GUARANTEE", "LIMIT", "WEIGHT"], &[1, 2, 3, 4], &rows)?;
    }
    if !cluster.users.is_empty() {
        writeln!(out)?;
        let row = |user: &v1::User| {
            let v1::UserSettings { limit: most, weight } = user.settings.unwrap_or_default();
            let name = plain(&user.name).into_owned();
            vec![name, user.gpus_used.to_string(), limit(most), weight.to_string()]
        };
        let rows: Vec<Vec<String>> = cluster.users.iter().map(row).collect();
        columns(out, &["USER", "GPUS", "LIMIT", "WEIGHT"], &[1, 2, 3], &rows)?;
    }
    Ok(())
}
