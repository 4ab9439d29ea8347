//! The cluster of a simulation: equal nodes.

use serde::{Deserialize, Serialize};

use super::SimulateError;
use crate::core::node::{MAX_GPUS_PER_NODE, NodeSpec};

/// So many nodes with so many GPUs each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterShape {
    /// Nodes.
    pub nodes: u32,
    /// GPUs on each.
    pub gpus_per_node: u32,
}

impl ClusterShape {
    /// GPUs in all.
    pub fn gpus(&self) -> u64 {
        u64::from(self.nodes) * u64::from(self.gpus_per_node)
    }

    /// The nodes of several kinds.
    pub(crate) fn specs(kinds: &[Self]) -> Result<Vec<NodeSpec>, SimulateError> {
        let mut specs = Vec::new();
        for Self { nodes, gpus_per_node } in kinds.iter().copied() {
            if nodes == 0 || !(1..=MAX_GPUS_PER_NODE).contains(&gpus_per_node) {
                return Err(SimulateError::Cluster { nodes, gpus_per_node });
            }
            let first = specs.len() as u32;
            let name = |node| format!("node-{node:04}");
            specs.extend((first..first + nodes).map(|node| NodeSpec::with_gpus(&name(node), gpus_per_node)));
        }
        Ok(specs)
    }
}
