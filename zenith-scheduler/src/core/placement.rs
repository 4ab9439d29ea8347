//! Finds a place for a whole gang, or none: nodes by best fit, so that whole nodes stay free for large gangs, and GPUs
//! that are near each other. Pure; whose turn it is and what is kept free for others is decided by the caller.

use std::cmp::Reverse;

use super::cluster::{Cluster, Domains};
use super::id::NodeId;
use super::job::Placement;
use super::node::{GpuSet, Node, Slice};
use super::node_set::NodeSet;
use super::request::{Form, Level, Shape, Topology};
use super::time::Time;

/// What is kept of processors and memory for each GPU that is free, so that work without GPUs does not make GPUs useless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reserve {
    /// Processors per free GPU; never more than half of the GPU's share.
    pub(crate) cpus: u32,
    /// MiB per free GPU; never more than half of the GPU's share.
    pub(crate) memory_mib: u64,
}

/// A gang cut into parts of a node's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// GPUs on each of the equal nodes.
    pub(crate) per_node: u32,
    /// The fewest equal nodes.
    pub(crate) min: u32,
    /// The most.
    pub(crate) max: u32,
    /// GPUs on one node more.
    pub(crate) tail: u32,
}

impl Cut {
    /// Cuts a gang for nodes of at most `node_size` GPUs; `None` where there are no GPUs to cut by.
    pub(crate) fn of(form: Form, node_size: u32) -> Option<Self> {
        match form {
            Form::PerNode { gpus, min, max } => Some(Self { per_node: gpus, min, max, tail: 0 }),
            Form::Total(gpus) if gpus <= node_size => Some(Self { per_node: gpus, min: 1, max: 1, tail: 0 }),
            Form::Total(gpus) => {
                let nodes = gpus.checked_div(node_size)?;
                Some(Self { per_node: node_size, min: nodes, max: nodes, tail: gpus % node_size })
            }
        }
    }
}

/// A search for places.
#[derive(Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) reserve: Reserve,
    /// GPUs that a gang may have at most. One that may have more nodes or fewer gets fewer.
    pub(crate) most: u32,
    /// When a node is expected to be free as a whole if nothing is added to it.
    pub(crate) stays: &'a dyn Fn(NodeId) -> Time,
}

impl<'c> Search<'c> {
    /// A place for a gang outside of the nodes that are `closed` to it.
    pub(crate) fn place(&self, shape: &Shape, closed: &NodeSet) -> Option<Placement> {
        if shape.gpus() > self.cluster.free_gpus() {
            return None;
        }
        let mut cut = Cut::of(shape.form, self.cluster.node_size())?;
        if let Some(nodes) = self.most.checked_div(cut.per_node) {
            cut.max = cut.max.min(nodes.max(cut.min));
        }
        // Work with GPUs may take what is kept for other GPUs if it cannot be placed otherwise; work without may not.
        let strictness: &[bool] = if shape.is_cpu_only() { &[true] } else { &[true, false] };
        for strict in strictness {
            if let Some(placement) = self.by_cut(shape, cut, closed, *strict) {
                return Some(placement);
            }
        }
        let Topology { level, required } = shape.topology;
        match shape.form {
            Form::Total(gpus) if gpus > 1 && level == Level::Node && !required => {
                self.scattered(shape, gpus, closed)
            }
            _ => None,
        }
    }

    fn by_cut(&self, shape: &Shape, cut: Cut, closed: &NodeSet, strict: bool) -> Option<Placement> {
        if cut.max == 1 && cut.tail == 0 {
            let slice = self.best_fit(shape, cut.per_node, closed, strict, |_| true)?;
            return Some(Placement { slices: vec![slice] });
        }
        let mut nodes = self.candidates(shape, cut.per_node, closed, strict).collect::<Vec<_>>();
        let wanted = cut.max as usize + usize::from(cut.tail > 0);
        let same_rack = shape.topology.level == Level::Rack && shape.topology.required;
        let together = match self.cluster.racks() {
            0 | 1 => nodes.len(),
            _ => self.near(&mut nodes, wanted, same_rack),
        };
        nodes.truncate(together.min(cut.max as usize));
        if nodes.len() < cut.min as usize {
            return None;
        }
        let mut slices: Vec<Slice> = Vec::with_capacity(wanted);
        for node in &nodes {
            slices.push(self.slice(shape, *node, cut.per_node)?);
        }
        if cut.tail > 0 {
            let first = *nodes.first()?;
            let rack = self.cluster.rack(first);
            let other = |node: NodeId| !nodes.contains(&node);
            let near = |node: NodeId| other(node) && self.cluster.rack(node) == rack;
            let slice = self.best_fit(shape, cut.tail, closed, strict, near).or_else(|| {
                let anywhere = !same_rack && self.cluster.racks() > 1;
                anywhere.then(|| self.best_fit(shape, cut.tail, closed, strict, other)).flatten()
            })?;
            slices.push(slice);
        }
        slices.sort_by_key(|slice| slice.node);
        Some(Placement { slices })
    }

    /// The fullest node that has room for `gpus` GPUs; of equally full ones that which stays busy longest anyway, so that the
    /// others become free as a whole.
    fn best_fit(
        &self,
        shape: &Shape,
        gpus: u32,
        closed: &NodeSet,
        strict: bool,
        wanted: impl Fn(NodeId) -> bool,
    ) -> Option<Slice> {
        let mut nodes = self.candidates(shape, gpus, closed, strict).filter(|node| wanted(*node)).peekable();
        let first = *nodes.peek()?;
        let free = |node: NodeId| self.cluster.node(node).map_or(0, |node| node.free().len());
        let least = free(first);
        if least == self.cluster.node(first)?.spec.gpus.len() as u32 {
            return nodes.find_map(|node| self.slice(shape, node, gpus));
        }
        let alike: Vec<NodeId> = nodes.take_while(|node| free(*node) == least).collect();
        let node = match alike.as_slice() {
            [only] => *only,
            _ => *alike.iter().max_by_key(|node| ((self.stays)(**node), Reverse(**node)))?,
        };
        self.slice(shape, node, gpus)
    }

    /// Nodes with room for `gpus` GPUs, the fullest first.
    fn candidates<'s>(
        &'s self,
        shape: &'s Shape,
        gpus: u32,
        closed: &'s NodeSet,
        strict: bool,
    ) -> impl Iterator<Item = NodeId> + use<'s, 'c> {
        let most = self.cluster.node_size();
        let sets = (gpus..=most).filter_map(|free| self.cluster.with_free(free));
        let nodes = sets.flat_map(move |set| set.iter_without(closed));
        nodes.filter(move |node| self.fits(*node, shape, gpus, strict))
    }

    fn fits(&self, id: NodeId, shape: &Shape, gpus: u32, strict: bool) -> bool {
        let Some(node) = self.cluster.node(id) else { return false };
        let (cpus, memory_mib) = needs(shape, gpus);
        let rest = node.free().len().saturating_sub(gpus);
        let (kept_cpus, kept_memory) = if strict { kept(self.reserve, node, rest) } else { (0, 0) };
        cpus.saturating_add(kept_cpus) <= node.free_cpus()
            && memory_mib.saturating_add(kept_memory) <= node.free_memory_mib()
            && (!is_tight(shape.topology) || self.pick(node, shape, gpus).is_some())
    }

    fn slice(&self, shape: &Shape, id: NodeId, gpus: u32) -> Option<Slice> {
        let node = self.cluster.node(id)?;
        let (cpus, memory_mib) = needs(shape, gpus);
        Some(Slice { node: id, gpus: self.pick(node, shape, gpus)?, cpus, memory_mib })
    }

    fn pick(&self, node: &Node, shape: &Shape, gpus: u32) -> Option<GpuSet> {
        pick(node.free(), self.cluster.domains(node.id), gpus, shape.topology)
    }

    /// Orders candidates so that the first `wanted` are in as few racks as possible. Returns how many of them may be
    /// used together.
    fn near(&self, nodes: &mut [NodeId], wanted: usize, same_rack: bool) -> usize {
        let mut count = vec![0_usize; self.cluster.racks()];
        for node in nodes.iter() {
            count[self.cluster.rack(*node) as usize] += 1;
        }
        // The rack that is just large enough, else the largest first.
        let rank = |rack: u32| match count[rack as usize] {
            enough if enough >= wanted => (0, enough),
            too_few => (1, usize::MAX - too_few),
        };
        nodes.sort_by_key(|node| {
            let rack = self.cluster.rack(*node);
            (rank(rack), rack)
        });
        match nodes.first() {
            Some(first) if same_rack => count[self.cluster.rack(*first) as usize],
            _ => nodes.len(),
        }
    }

    /// GPUs wherever they are, on as few nodes as possible.
    fn scattered(&self, shape: &Shape, gpus: u32, closed: &NodeSet) -> Option<Placement> {
        let mut missing = gpus;
        let mut slices = Vec::new();
        let sets = (1..=self.cluster.node_size()).rev().filter_map(|free| self.cluster.with_free(free));
        for node in sets.flat_map(|set| set.iter_without(closed)) {
            let free = self.cluster.node(node).map_or(0, |node| node.free().len());
            let part = free.min(missing);
            if self.fits(node, shape, part, false) {
                slices.push(self.slice(shape, node, part)?);
                missing -= part;
            }
            if missing == 0 {
                slices.sort_by_key(|slice| slice.node);
                return Some(Placement { slices });
            }
        }
        None
    }
}

/// What has to stay free of a node's processors and memory while so many of its GPUs are free.
pub(crate) fn kept(reserve: Reserve, node: &Node, free: u32) -> (u32, u64) {
    let total = node.spec.gpus.len() as u32;
    if total == 0 || free == 0 {
        return (0, 0);
    }
    let cpus = reserve.cpus.min(node.spec.cpus / total / 2);
    let memory = reserve.memory_mib.min(node.spec.memory_mib / u64::from(total) / 2);
    (cpus * free, memory * u64::from(free))
}

/// Processors and memory of a part with so many GPUs.
pub(crate) fn needs(shape: &Shape, gpus: u32) -> (u32, u64) {
    let units = if shape.is_cpu_only() { 1 } else { gpus };
    (shape.cpus.saturating_mul(units), shape.memory_mib.saturating_mul(u64::from(units)))
}

/// It needs GPUs of one domain of a node.
pub(crate) fn is_tight(topology: Topology) -> bool {
    topology.required && matches!(topology.level, Level::NvLink | Level::Numa)
}

/// `gpus` of the free GPUs of a node: in the smallest domain that has room for them, and in as few as possible where none
/// has. `None` where a required domain has no room.
pub(crate) fn pick(free: GpuSet, domains: &Domains, gpus: u32, topology: Topology) -> Option<GpuSet> {
    if free.len() < gpus {
        return None;
    }
    if gpus == 0 || (free.len() == gpus && !is_tight(topology)) {
        return Some(if gpus == 0 { GpuSet::EMPTY } else { free });
    }
    let smallest = |sets: &[GpuSet], inside: GpuSet| {
        let parts = sets.iter().map(|set| *set & inside).filter(|part| part.len() >= gpus);
        parts.min_by_key(|part| part.len())
    };
    let (nvlink, numa) = (smallest(&domains.nvlink, free), smallest(&domains.numa, free));
    let domain = match topology {
        Topology { level: Level::NvLink, required: true } => Some(nvlink?),
        Topology { level: Level::Numa, required: true } => Some(numa?),
        Topology { level: Level::Numa, .. } => numa.or(nvlink),
        _ => nvlink.or(numa),
    };
    let Some(domain) = domain else { return Some(fill(free, domains, gpus)) };
    let inner = smallest(&domains.numa, domain).or_else(|| smallest(&domains.nvlink, domain));
    Some(inner.unwrap_or(domain).lowest(gpus))
}

/// Whole domains, the freest first, and a part of the last one.
fn fill(free: GpuSet, domains: &Domains, gpus: u32) -> GpuSet {
    let mut parts: Vec<GpuSet> = domains.nvlink.iter().map(|set| *set & free).collect();
    parts.sort_by_key(|part| u32::MAX - part.len());
    parts.iter().fold(GpuSet::EMPTY, |taken, part| taken | part.lowest(gpus - taken.len()))
}
