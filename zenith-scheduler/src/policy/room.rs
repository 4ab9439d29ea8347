//! What a node has, or will have, for a part of a gang: GPUs, processors, memory. By it are judged dates and victims, so that
//! nothing is kept or cleared where the gang has no place in the end.

use crate::core::cluster::Domains;
use crate::core::node::{GpuSet, Node, Slice};
use crate::core::placement::{Reserve, is_tight, kept, needs, pick};
use crate::core::request::Shape;

/// GPUs, processors and memory of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) gpus: GpuSet,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
}

/// So much of a node, whichever of its GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) gpus: u32,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
}

impl Amount {
    /// What a part of a gang with so many GPUs takes.
    pub(crate) fn of(shape: &Shape, gpus: u32) -> Self {
        let (cpus, memory_mib) = needs(shape, gpus);
        Self { gpus, cpus, memory_mib }
    }

    /// It is enough for that.
    pub(crate) fn covers(&self, need: &Self) -> bool {
        self.gpus >= need.gpus && self.cpus >= need.cpus && self.memory_mib >= need.memory_mib
    }

    /// What is left without that.
    pub(crate) fn less(&self, taken: &Self) -> Self {
        Self {
            gpus: self.gpus.saturating_sub(taken.gpus),
            cpus: self.cpus.saturating_sub(taken.cpus),
            memory_mib: self.memory_mib.saturating_sub(taken.memory_mib),
        }
    }
}

impl From<&Slice> for Amount {
    fn from(slice: &Slice) -> Self {
        Self { gpus: slice.gpus.len(), cpus: slice.cpus, memory_mib: slice.memory_mib }
    }
}

impl Room {
    /// What is free on a node now.
    pub(crate) fn free(node: &Node) -> Self {
        Self { gpus: node.free(), cpus: node.free_cpus(), memory_mib: node.free_memory_mib() }
    }

    /// The room once a part of a gang has given back what it holds.
    pub(crate) fn with(self, slice: &Slice, node: &Node) -> Self {
        Self {
            gpus: self.gpus | (slice.gpus & node.sound()),
            cpus: self.cpus.saturating_add(slice.cpus),
            memory_mib: self.memory_mib.saturating_add(slice.memory_mib),
        }
    }

    /// The room if a part of a gang keeps what it holds.
    pub(crate) fn without(self, slice: &Slice) -> Self {
        Self {
            gpus: self.gpus & !slice.gpus,
            cpus: self.cpus.saturating_sub(slice.cpus),
            memory_mib: self.memory_mib.saturating_sub(slice.memory_mib),
        }
    }

    /// The same processors and memory, and of the GPUs these.
    pub(crate) fn within(self, gpus: GpuSet) -> Self {
        Self { gpus: self.gpus & gpus, ..self }
    }

    pub(crate) fn amount(&self) -> Amount {
        Amount { gpus: self.gpus.len(), cpus: self.cpus, memory_mib: self.memory_mib }
    }

    /// A part of a gang with so many GPUs has a place in it, as near each other as it requires.
    pub(crate) fn holds(
        &self,
        node: &Node,
        domains: &Domains,
        shape: &Shape,
        gpus: u32,
        reserve: Reserve,
    ) -> bool {
        self.amount().covers(&self.need(node, shape, gpus, reserve))
            && (!is_tight(shape.topology) || pick(self.gpus, domains, gpus, shape.topology).is_some())
    }

    /// What a part of a gang needs here: work without GPUs leaves alone what is kept for those that are free.
    pub(crate) fn need(&self, node: &Node, shape: &Shape, gpus: u32, reserve: Reserve) -> Amount {
        let mut need = Amount::of(shape, gpus);
        if shape.is_cpu_only() {
            let (cpus, memory_mib) = kept(reserve, node, self.gpus.len());
            need.cpus = need.cpus.saturating_add(cpus);
            need.memory_mib = need.memory_mib.saturating_add(memory_mib);
        }
        need
    }
}
