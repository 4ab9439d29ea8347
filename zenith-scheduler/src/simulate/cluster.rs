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

    pub(crate) fn specs(&self) -> Result<impl Iterator<Item = NodeSpec> + use<>, SimulateError> {
        let Self { nodes, gpus_per_node } = *self;
        if nodes == 0 || !(1..=MAX_GPUS_PER_NODE).contains(&gpus_per_node) {
            return Err(SimulateError::Cluster { nodes, gpus_per_node });
        }
        Ok((0..nodes).map(move |node| NodeSpec::with_gpus(&format!("node-{node:04}"), gpus_per_node)))
    }
}
