//! All nodes, and an index of them by free GPUs that follows every change. Chooses nothing; `placement` does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::id::NodeId;
use super::node::{Contact, GpuSet, MAX_GPUS_PER_NODE, Node, NodeSpec};
use super::node_set::NodeSet;

/// The nodes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Cluster {
    nodes: Vec<Node>,
    by_name: BTreeMap<String, NodeId>,
    #[serde(skip)]
    index: Index,
}

/// What follows from the nodes and would be slow to compute each time.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Open nodes by the number of their free GPUs.
    by_free: Vec<NodeSet>,
    /// The row of `by_free` that a node is in.
    row: Vec<Option<u8>>,
    free_gpus: u32,
    /// Sound GPUs of nodes that are not lost, per node and in all.
    usable: Vec<u32>,
    usable_gpus: u32,
    /// Nodes that are not lost, by size.
    sizes: Vec<u32>,
    size: Vec<Option<u8>>,
    domains: Vec<Domains>,
    /// The rack of each node, and how many racks there are.
    rack: Vec<u32>,
    racks: BTreeMap<String, u32>,
}

/// Which GPUs of a node are near each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Domains {
    pub(crate) nvlink: Vec<GpuSet>,
    pub(crate) numa: Vec<GpuSet>,
}

impl Domains {
    fn of(spec: &NodeSpec) -> Self {
        let group = |key: fn(&super::node::Gpu) -> u8| {
            let mut sets: BTreeMap<u8, GpuSet> = BTreeMap::new();
            for (index, gpu) in spec.gpus.iter().enumerate() {
                let set = sets.entry(key(gpu)).or_default();
                *set = *set | GpuSet(1 << index);
            }
            sets.into_values().collect()
        };
        Self { nvlink: group(|gpu| gpu.nvlink), numa: group(|gpu| gpu.numa) }
    }
}

impl Cluster {
    /// Every node that ever joined, by id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its id.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())
    }

    /// A node by its host name.
    pub fn by_name(&self, name: &str) -> Option<&Node> {
        self.by_name.get(name).and_then(|id| self.node(*id))
    }

    /// GPUs that something may be placed on now.
    pub fn free_gpus(&self) -> u32 {
        self.index.free_gpus
    }

    /// Sound GPUs of nodes that are not lost, in use or not.
    pub fn usable_gpus(&self) -> u32 {
        self.index.usable_gpus
    }

    /// GPUs of the largest node that is not lost.
    pub fn node_size(&self) -> u32 {
        self.index.sizes.iter().rposition(|count| *count > 0).unwrap_or(0) as u32
    }

    /// Open nodes with exactly so many free GPUs.
    pub(crate) fn with_free(&self, gpus: u32) -> Option<&NodeSet> {
        self.index.by_free.get(gpus as usize)
    }

    pub(crate) fn domains(&self, node: NodeId) -> &Domains {
        &self.index.domains[node.index()]
    }

    /// The rack of a node, as a number below [`Cluster::racks`].
    pub(crate) fn rack(&self, node: NodeId) -> u32 {
        self.index.rack[node.index()]
    }

    /// How many racks there are.
    pub(crate) fn racks(&self) -> usize {
        self.index.racks.len()
    }

    /// A node joins, or joins again with what it has now.
    pub(crate) fn join(&mut self, id: NodeId, spec: &NodeSpec) {
        match self.nodes.get_mut(id.index()) {
            Some(node) => {
                node.become_this(spec);
                node.contact = Contact::Up;
                node.forget_absent_gpus();
            }
            None => {
                self.by_name.insert(spec.name.clone(), id);
                self.nodes.push(Node::new(id, spec.clone()));
                self.index.describe(id, spec);
            }
        }
        self.refresh(id);
    }

    /// Changes a node and brings the index up to date; nothing happens where there is no such node.
    pub(crate) fn change(&mut self, id: NodeId, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.nodes.get_mut(id.index()) {
            change(node);
            self.refresh(id);
        }
    }

    /// Makes the index from the nodes, after they were read from a snapshot.
    pub(crate) fn rebuild(&mut self) {
        self.index = Index::default();
        for at in 0..self.nodes.len() {
            self.index.describe(NodeId(at as u32), &self.nodes[at].spec);
            self.refresh(NodeId(at as u32));
        }
    }

    fn refresh(&mut self, id: NodeId) {
        let (node, index) = (&mut self.nodes[id.index()], &mut self.index);
        if node.settle() {
            index.describe(id, &node.spec);
        }
        let at = id.index();

        let row = node.is_open().then(|| node.free().len() as u8);
        if index.row[at] != row {
            if let Some(old) = index.row[at] {
                index.by_free[usize::from(old)].remove(id);
                index.free_gpus -= u32::from(old);
            }
            if let Some(new) = row {
                index.by_free[usize::from(new)].insert(id);
                index.free_gpus += u32::from(new);
            }
            index.row[at] = row;
        }

        let here = node.contact != Contact::Lost;
        let usable = if here { node.sound().len() } else { 0 };
        index.usable_gpus = index.usable_gpus - index.usable[at] + usable;
        index.usable[at] = usable;

        let size = here.then_some(node.spec.gpus.len() as u8);
        if index.size[at] != size {
            if let Some(old) = index.size[at] {
                index.sizes[usize::from(old)] -= 1;
            }
            if let Some(new) = size {
                index.sizes[usize::from(new)] += 1;
            }
            index.size[at] = size;
        }
    }
}

impl Index {
    fn describe(&mut self, id: NodeId, spec: &NodeSpec) {
        let rows = MAX_GPUS_PER_NODE as usize + 1;
        self.by_free.resize_with(rows, NodeSet::default);
        self.sizes.resize(rows, 0);
        let nodes = self.row.len().max(id.index() + 1);
        self.row.resize(nodes, None);
        self.usable.resize(nodes, 0);
        self.size.resize(nodes, None);
        self.domains.resize_with(nodes, Domains::default);
        self.rack.resize(nodes, 0);

        self.domains[id.index()] = Domains::of(spec);
        let next = self.racks.len() as u32;
        self.rack[id.index()] = *self.racks.entry(spec.rack.clone()).or_insert(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_the_nodes() {
        let mut cluster = Cluster::default();
        cluster.join(NodeId(0), &NodeSpec::with_gpus("a", 8));
        cluster.join(NodeId(1), &NodeSpec::with_gpus("b", 4));
        assert_eq!((cluster.free_gpus(), cluster.usable_gpus(), cluster.node_size()), (12, 12, 8));

        cluster.change(NodeId(0), |node| node.used = GpuSet::first(3));
        assert!(cluster.with_free(5).unwrap().contains(NodeId(0)));
        cluster.change(NodeId(0), |node| node.drained = true);
        assert_eq!((cluster.free_gpus(), cluster.usable_gpus()), (4, 12));
        cluster.change(NodeId(0), |node| node.contact = Contact::Lost);
        assert_eq!((cluster.free_gpus(), cluster.usable_gpus(), cluster.node_size()), (4, 4, 4));

        let mut again: Cluster = serde_json::from_str(&serde_json::to_string(&cluster).unwrap()).unwrap();
        again.rebuild();
        assert_eq!((again.free_gpus(), again.usable_gpus(), again.node_size()), (4, 4, 4));
        assert!(again.by_name("b").is_some());
    }
}
