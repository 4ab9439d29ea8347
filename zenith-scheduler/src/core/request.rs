//! What a gang asks for: raw as a user wrote it, and checked once into a [`Shape`]. Whether there is a place is not known here.

use serde::{Deserialize, Serialize};

use super::node::MAX_GPUS_PER_NODE;

/// Most GPUs one gang may ask for.
pub const MAX_GANG: u32 = 1 << 20;

/// What a job wants, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// GPUs in all. Left out where `nodes` and `gpus_per_node` say it; zero for work without GPUs.
    pub gpus: Option<u32>,
    /// Nodes, from the fewest to the most. The gang takes as many as are free, up to the most.
    pub nodes: Option<NodeCount>,
    /// GPUs on each node.
    pub gpus_per_node: Option<u32>,
    /// Processors for each GPU, or for each node of work without GPUs.
    pub cpus: u32,
    /// Memory for each GPU, or for each node of work without GPUs, in MiB.
    pub memory_mib: u64,
    /// How near each other the GPUs have to be.
    pub topology: Topology,
    /// How many processes there are.
    pub ranks: RanksPer,
}

/// A range of nodes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCount {
    /// Fewest nodes that are of use.
    pub min: u32,
    /// Most nodes that are of use.
    pub max: u32,
}

/// How near the GPUs of a gang have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Topology {
    /// The distance meant.
    pub level: Level,
    /// Rather wait than be placed worse. Without it the distance is a wish.
    pub required: bool,
}

/// Distances between GPUs, each wider than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// On each node, all in one NVLink domain.
    NvLink,
    /// On each node, all at one NUMA node.
    Numa,
    /// On as few nodes as the nodes' size permits.
    Node,
    /// As few nodes as possible, and all of them in one rack.
    Rack,
}

impl Default for Topology {
    fn default() -> Self {
        Self { level: Level::Node, required: true }
    }
}

/// What one process of a gang has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RanksPer {
    /// One GPU (one process per node where there is none).
    #[default]
    Gpu,
    /// Everything the gang has on one node.
    Node,
}

/// A checked request; equal ones share their fate in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// How the GPUs are cut into nodes.
    pub form: Form,
    /// Processors per GPU, or per node of work without GPUs.
    pub cpus: u32,
    /// MiB per GPU, or per node of work without GPUs.
    pub memory_mib: u64,
    /// How near the GPUs have to be.
    pub topology: Topology,
    /// What one process has.
    pub ranks: RanksPer,
}

/// How a gang is cut into nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// So many GPUs, cut by the size of the nodes: whole nodes and at most one part of a node.
    Total(u32),
    /// The same number on each of `min` to `max` nodes; `gpus` is zero for work without GPUs.
    PerNode {
        /// GPUs on each node.
        gpus: u32,
        /// Fewest nodes.
        min: u32,
        /// Most nodes.
        max: u32,
    },
}

/// Why a request makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The range of nodes is empty or begins at zero.
    #[error("{min}..{max} nodes; the fewest must be at least 1 and at most the most")]
    Nodes {
        /// Fewest, as written.
        min: u32,
        /// Most, as written.
        max: u32,
    },
    /// More GPUs on a node than a node may have.
    #[error("{0} GPUs per node; a node has at most {MAX_GPUS_PER_NODE}")]
    PerNode(u32),
    /// More GPUs than any gang may have.
    #[error("{0} GPUs; a gang has at most {MAX_GANG}")]
    TooMany(u64),
    /// The three numbers do not fit each other.
    #[error("{gpus} GPUs are not {nodes} nodes of {per_node} GPUs; leave one of the three out")]
    Contradiction {
        /// GPUs in all.
        gpus: u32,
        /// Nodes.
        nodes: u32,
        /// GPUs per node.
        per_node: u32,
    },
    /// The GPUs cannot be spread evenly.
    #[error("{gpus} GPUs cannot be spread evenly over {nodes} nodes")]
    Uneven {
        /// GPUs in all.
        gpus: u32,
        /// Nodes.
        nodes: u32,
    },
    /// A range of nodes and a fixed number of GPUs.
    #[error("a range of nodes needs GPUs per node instead of GPUs in all")]
    Range,
    /// Nothing was asked for.
    #[error("nothing was asked for; say GPUs or processors")]
    Nothing,
}

impl Request {
    /// `gpus` GPUs as near each other as possible, nothing else.
    pub fn gpus(gpus: u32) -> Self {
        Self { gpus: Some(gpus), ..Self::default() }
    }

    /// The request as a shape.
    ///
    /// # Errors
    /// [`RequestError`] where the numbers contradict each other or go beyond what a gang may be.
    pub fn check(&self) -> Result<Shape, RequestError> {
        let form = self.form()?;
        if form.gpus_min() == 0 && self.cpus == 0 {
            return Err(RequestError::Nothing);
        }
        let Self { cpus, memory_mib, topology, ranks, .. } = *self;
        Ok(Shape { form, cpus, memory_mib, topology, ranks })
    }

    fn form(&self) -> Result<Form, RequestError> {
        if let Some(NodeCount { min, max }) = self.nodes
            && (min == 0 || min > max)
        {
            return Err(RequestError::Nodes { min, max });
        }
        let form = match (self.gpus, self.nodes, self.gpus_per_node) {
            (None | Some(0), nodes, None | Some(0)) => {
                let NodeCount { min, max } = nodes.unwrap_or(NodeCount { min: 1, max: 1 });
                Form::PerNode { gpus: 0, min, max }
            }
            (Some(gpus), None, None) => Form::Total(gpus),
            (Some(gpus), Some(nodes), None) if nodes.min == nodes.max => {
                if !gpus.is_multiple_of(nodes.min) {
                    return Err(RequestError::Uneven { gpus, nodes: nodes.min });
                }
                Form::PerNode { gpus: gpus / nodes.min, min: nodes.min, max: nodes.min }
            }
            (Some(_), Some(_), None) => return Err(RequestError::Range),
            (None, nodes, Some(gpus)) => {
                let NodeCount { min, max } = nodes.unwrap_or(NodeCount { min: 1, max: 1 });
                Form::PerNode { gpus, min, max }
            }
            (Some(gpus), nodes, Some(per_node)) => {
                let count = nodes.map_or(gpus.checked_div(per_node).unwrap_or(0), |nodes| nodes.max);
                let agrees = u64::from(count) * u64::from(per_node) == u64::from(gpus);
                if !agrees || nodes.is_some_and(|nodes| nodes.min != nodes.max) {
                    return Err(RequestError::Contradiction { gpus, nodes: count, per_node });
                }
                Form::PerNode { gpus: per_node, min: count, max: count }
            }
        };
        if let Form::PerNode { gpus, .. } = form
            && gpus > MAX_GPUS_PER_NODE
        {
            return Err(RequestError::PerNode(gpus));
        }
        match form.gpus_max() {
            gpus if gpus > u64::from(MAX_GANG) => Err(RequestError::TooMany(gpus)),
            _ => Ok(form),
        }
    }
}

impl Form {
    /// The fewest GPUs the gang starts with.
    pub fn gpus_min(self) -> u32 {
        match self {
            Self::Total(gpus) => gpus,
            Self::PerNode { gpus, min, .. } => gpus.saturating_mul(min),
        }
    }

    fn gpus_max(self) -> u64 {
        match self {
            Self::Total(gpus) => u64::from(gpus),
            Self::PerNode { gpus, max, .. } => u64::from(gpus) * u64::from(max),
        }
    }
}

impl Shape {
    /// The fewest GPUs the gang starts with.
    pub fn gpus(&self) -> u32 {
        self.form.gpus_min()
    }

    /// It does without GPUs.
    pub fn is_cpu_only(&self) -> bool {
        self.gpus() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(gpus: Option<u32>, nodes: Option<(u32, u32)>, gpus_per_node: Option<u32>) -> Request {
        let nodes = nodes.map(|(min, max)| NodeCount { min, max });
        Request { gpus, nodes, gpus_per_node, ..Request::default() }
    }

    #[test]
    fn the_three_numbers_are_brought_together() {
        let form = |gpus, nodes, per| request(gpus, nodes, per).check().map(|shape| shape.form);
        let even = |gpus, n| Ok(Form::PerNode { gpus, min: n, max: n });
        assert_eq!(form(Some(12), None, None), Ok(Form::Total(12)));
        assert_eq!(form(Some(12), Some((3, 3)), None), even(4, 3));
        assert_eq!(form(Some(12), None, Some(4)), even(4, 3));
        assert_eq!(form(Some(12), Some((3, 3)), Some(4)), even(4, 3));
        assert_eq!(form(None, None, Some(4)), even(4, 1));
        assert_eq!(form(None, Some((2, 5)), Some(4)), Ok(Form::PerNode { gpus: 4, min: 2, max: 5 }));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let error = |gpus, nodes, per| request(gpus, nodes, per).check().unwrap_err();
        assert_eq!(error(Some(4), Some((0, 2)), None), RequestError::Nodes { min: 0, max: 2 });
        assert_eq!(error(Some(4), Some((3, 2)), None), RequestError::Nodes { min: 3, max: 2 });
        assert_eq!(error(Some(4), Some((3, 3)), None), RequestError::Uneven { gpus: 4, nodes: 3 });
        assert_eq!(error(Some(4), Some((1, 3)), None), RequestError::Range);
        assert_eq!(error(None, None, Some(65)), RequestError::PerNode(65));
        assert_eq!(error(Some(u32::MAX), None, None), RequestError::TooMany(u64::from(u32::MAX)));
        assert_eq!(error(None, None, None), RequestError::Nothing);
        assert_eq!(
            error(Some(4), Some((2, 2)), Some(3)),
            RequestError::Contradiction { gpus: 4, nodes: 2, per_node: 3 }
        );
        assert_eq!(
            error(Some(4), None, Some(3)),
            RequestError::Contradiction { gpus: 4, nodes: 1, per_node: 3 }
        );
    }

    #[test]
    fn work_without_gpus_needs_processors() {
        let request = Request { cpus: 4, ..Request::default() };
        assert_eq!(request.check().unwrap().form, Form::PerNode { gpus: 0, min: 1, max: 1 });
        assert!(request.check().unwrap().is_cpu_only());
    }
}
