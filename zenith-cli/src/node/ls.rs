//! `zenith node ls`: the nodes and what is in use of them.

use std::io::Write;

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::notation::{self, Memory};
use zenith_scheduler::view::Node;

use crate::Failure;
use crate::connection::Connection;
use crate::shown::{columns, plain, ranges};

/// List the nodes and what is in use of them.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let client = arguments.connection.open()?;
    let cluster = client.call(|mut client| async move { client.cluster().await })?;
    if arguments.json {
        let nodes: Vec<Node> = cluster.nodes.into_iter().map(Node::from).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&nodes)?)?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = cluster.nodes.iter().map(row).collect();
    let head = ["NAME", "RACK", "STATE", "GPUS", "ILL", "CPUS", "MEMORY", "JOBS", "MODEL"];
    columns(out, &head, &[3, 5, 6], &rows)?;
    for node in cluster.nodes.iter().filter(|node| node.next.is_some()) {
        writeln!(out, "{}", changing(node))?;
    }
    illnesses(out, &cluster.nodes)?;
    Ok(())
}

/// Why GPUs get nothing new, one a line.
fn illnesses(out: &mut dyn Write, nodes: &[v1::Node]) -> std::io::Result<()> {
    for node in nodes {
        let name = node.spec.as_ref().map_or("", |spec| &spec.name);
        for v1::IllGpu { gpu, reason } in &node.ill {
            let reason = if reason.is_empty() { "its driver does not say why" } else { reason };
            writeln!(out, "GPU {gpu} of {} is ill: {}", plain(name), plain(reason))?;
        }
    }
    Ok(())
}

/// What a node waits for that has other GPUs than before.
fn changing(node: &v1::Node) -> String {
    let none = v1::NodeSpec::default();
    let (spec, next) = (node.spec.as_ref().unwrap_or(&none), node.next.as_ref().unwrap_or(&none));
    format!(
        "{} had {} GPUs and has {} now; it takes new work when jobs {} have ended there, or were cancelled",
        plain(&spec.name),
        spec.gpus.len(),
        next.gpus.len(),
        ranges(node.jobs.iter().copied())
    )
}

fn row(node: &v1::Node) -> Vec<String> {
    let none = v1::NodeSpec::default();
    let spec = node.spec.as_ref().unwrap_or(&none);
    let ill = ranges(node.gpus_ill.iter().map(|gpu| u64::from(*gpu)));
    let jobs = ranges(node.jobs.iter().copied());
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        plain(&spec.name).into_owned(),
        or_dash(plain(&spec.rack).into_owned()),
        state(node).to_owned(),
        format!("{}/{}", node.gpus_used.len(), spec.gpus.len()),
        or_dash(ill),
        format!("{}/{}", node.cpus_used, spec.cpus),
        format!("{}/{}", Memory(node.memory_used_mib), Memory(spec.memory_mib)),
        or_dash(jobs),
        or_dash(plain(spec.gpus.first().map_or("", |gpu| &gpu.model)).into_owned()),
    ]
}

/// Whether it takes work, and why not.
pub(crate) fn state(node: &v1::Node) -> &'static str {
    match (node.contact(), node.drained) {
        (v1::NodeContact::Up, true) => "drained",
        (v1::NodeContact::Up, false) if node.next.is_some() => "changing",
        (contact, _) => notation::contact(contact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ill_gpu_has_its_reason() {
        let ill = |gpu, reason: &str| v1::IllGpu { gpu, reason: reason.to_owned() };
        let node = v1::Node {
            spec: Some(v1::NodeSpec { name: "a".to_owned(), ..Default::default() }),
            ill: vec![ill(1, "Xid 79: the GPU fell off the bus"), ill(4, "")],
            ..Default::default()
        };
        let mut out = Vec::new();
        illnesses(&mut out, &[v1::Node::default(), node]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "GPU 1 of a is ill: Xid 79: the GPU fell off the bus\nGPU 4 of a is ill: its driver does not say why\n"
        );
    }
}
