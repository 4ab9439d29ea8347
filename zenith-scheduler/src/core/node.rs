//! Nodes and their GPUs: what they have, how it is connected, what of it is in use. No search; that is `cluster` and `placement`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not};

use serde::{Deserialize, Serialize};

use super::id::{JobId, NodeId};

/// Most GPUs of a node: a set of them is one machine word.
pub const MAX_GPUS_PER_NODE: u32 = 64;

/// A set of GPUs of one node, by index.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GpuSet(pub u64);

impl GpuSet {
    /// No GPU.
    pub const EMPTY: Self = Self(0);

    /// The first `count` GPUs.
    pub fn first(count: u32) -> Self {
        if count >= u64::BITS { Self(u64::MAX) } else { Self((1 << count) - 1) }
    }

    /// How many.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// None.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Their indices, upwards.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let next = (rest != 0).then(|| rest.trailing_zeros() as u8);
            rest &= rest.wrapping_sub(1);
            next
        })
    }

    /// The `count` lowest of them, or all.
    pub fn lowest(self, count: u32) -> Self {
        self.iter().take(count as usize).fold(Self::EMPTY, |set, gpu| set | Self(1 << gpu))
    }
}

impl BitAnd for GpuSet {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl BitOr for GpuSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Not for GpuSet {
    type Output = Self;
    fn not(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for GpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As `0-3,6`.
impl fmt::Display for GpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gpus = self.iter().peekable();
        let mut separator = "";
        while let Some(from) = gpus.next() {
            let mut to = from;
            while let Some(next) = gpus.next_if(|next| *next == to + 1) {
                to = next;
            }
            match from == to {
                true => write!(f, "{separator}{from}")?,
                false => write!(f, "{separator}{from}-{to}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

/// What a node says of itself when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeSpec {
    /// Its host name; a node that joins again by the same name is the same node.
    pub name: String,
    /// Where processes of other nodes reach it; by its name where that is not said.
    pub address: String,
    /// Its rack or switch; nodes of one rack are near each other.
    pub rack: String,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// GPUs, by index.
    pub gpus: Vec<Gpu>,
    /// What each of them is, for people; empty where that is not known.
    pub models: Vec<String>,
    /// What tells this machine from another of the same name; empty where that is not known.
    pub identity: String,
    /// Memory of each of them in MiB, 0 where it does not say; empty where none does.
    pub gpu_memory_mib: Vec<u64>,
}

/// One GPU's place in its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gpu {
    /// The NUMA node it hangs on.
    pub numa: u8,
    /// The group of GPUs that NVLink joins.
    pub nvlink: u8,
}

impl NodeSpec {
    /// Where processes of other nodes reach it.
    pub fn address(&self) -> &str {
        if self.address.is_empty() { &self.name } else { &self.address }
    }

    /// The GPUs are those of `other`, and perhaps more: each is known by the same index in both.
    pub(crate) fn begins_with_gpus_of(&self, other: &Self) -> bool {
        let model = |spec: &Self, at: usize| spec.models.get(at).cloned().unwrap_or_default();
        self.gpus.starts_with(&other.gpus)
            && (0..other.gpus.len()).all(|at| model(self, at) == model(other, at))
    }

    /// A node with so many GPUs, all joined by NVLink, halves of them on two NUMA nodes, and 12 processors and 120 GiB for each.
    pub fn with_gpus(name: &str, gpus: u32) -> Self {
        let gpu = |index| Gpu { numa: u8::from(index * 2 >= gpus && gpus > 1), nvlink: 0 };
        Self {
            name: name.to_owned(),
            address: String::new(),
            rack: String::new(),
            cpus: 12 * gpus.max(1),
            memory_mib: 120 * 1024 * u64::from(gpus.max(1)),
            gpus: (0..gpus).map(gpu).collect(),
            models: Vec::new(),
            identity: String::new(),
            gpu_memory_mib: Vec::new(),
        }
    }

    /// It is another machine. Of one that is not known by more than its name nobody can say that.
    pub(crate) fn is_other_than(&self, spec: &Self) -> bool {
        !self.identity.is_empty() && self.identity != spec.identity
    }
}

/// Whether a node can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contact {
    /// It answers.
    #[default]
    Up,
    /// It has not answered for a while: nothing new is placed on it, and what runs there is left alone.
    Silent,
    /// It has not answered for so long that its gangs were ended elsewhere. What it holds is not given away until it
    /// has come back and said what is left of it.
    Lost,
}

/// A part of a gang: what it holds on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slice {
    /// The node.
    pub node: NodeId,
    /// The GPUs.
    pub gpus: GpuSet,
    /// Processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

/// A start that a node could not make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The job that was to be started, or the first one of its submission.
    pub job: JobId,
    /// Why it was not, for people.
    pub reason: String,
}

/// What a job holds on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The job.
    pub job: JobId,
    /// Its attempt.
    pub attempt: u32,
    /// The part.
    pub slice: Slice,
    /// The gang has gone on without this node: nobody waits for these ranks, but they may still be there.
    pub orphan: bool,
}

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    /// Its name as a number.
    pub id: NodeId,
    /// What it has.
    pub spec: NodeSpec,
    /// Whether it can be reached.
    pub contact: Contact,
    /// Nothing new is wanted on it: a person said so, or it could start nothing.
    pub drained: bool,
    /// What it could not start since it last started anything; the last of them say why where it is drained for that.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// GPUs that are ill: nothing new is placed on them; the rest of the node stays in use.
    pub ill: GpuSet,
    /// Why they are ill, for people.
    #[serde(default)]
    pub illnesses: BTreeMap<u8, String>,
    /// What is in use, and by whom.
    pub holdings: Vec<Holding>,
    /// What it has become, with other GPUs than before, while something still holds some of those: it is that as soon as
    /// nothing does, and nothing new comes before.
    #[serde(default)]
    pub next: Option<Box<NodeSpec>>,
    /// GPUs in use.
    pub(crate) used: GpuSet,
    /// Processors in use.
    pub(crate) used_cpus: u32,
    /// Memory in use, in MiB.
    pub(crate) used_memory_mib: u64,
}

impl Node {
    pub(crate) fn new(id: NodeId, spec: NodeSpec) -> Self {
        Self {
            id,
            spec,
            contact: Contact::Up,
            drained: false,
            faults: Vec::new(),
            ill: GpuSet::EMPTY,
            illnesses: BTreeMap::new(),
            holdings: Vec::new(),
            next: None,
            used: GpuSet::EMPTY,
            used_cpus: 0,
            used_memory_mib: 0,
        }
    }

    /// All its GPUs.
    pub fn gpus(&self) -> GpuSet {
        GpuSet::first(self.spec.gpus.len() as u32)
    }

    /// GPUs that may be used at all.
    pub fn sound(&self) -> GpuSet {
        self.gpus() & !self.ill
    }

    /// GPUs in use.
    pub fn used(&self) -> GpuSet {
        self.used
    }

    /// Something may be placed on it.
    pub fn is_open(&self) -> bool {
        self.contact == Contact::Up && !self.drained && self.next.is_none()
    }

    /// GPUs that something may be placed on now.
    pub fn free(&self) -> GpuSet {
        if self.is_open() { self.sound() & !self.used } else { GpuSet::EMPTY }
    }

    /// Processors not in use.
    pub fn free_cpus(&self) -> u32 {
        self.spec.cpus.saturating_sub(self.used_cpus)
    }

    /// Memory not in use, in MiB.
    pub fn free_memory_mib(&self) -> u64 {
        self.spec.memory_mib.saturating_sub(self.used_memory_mib)
    }

    /// It has become this. Processors, memory and names may change under what runs; GPUs that are held have to keep their
    /// numbers, so that it can still be said which are free.
    pub(crate) fn become_this(&mut self, spec: &NodeSpec) {
        if self.next.is_some() || self.spec.is_other_than(spec) || !spec.begins_with_gpus_of(&self.spec) {
            self.ill = GpuSet::EMPTY;
            self.illnesses.clear();
        }
        // Who it is holds from now on, whatever it still has to wait for: it may come again.
        self.spec.identity.clone_from(&spec.identity);
        self.next = Some(Box::new(spec.clone()));
    }

    /// Takes over what it has become, if what is held permits; false where it does not, or nothing has changed.
    pub(crate) fn settle(&mut self) -> bool {
        let fits = |next: &NodeSpec| self.used.is_empty() || next.begins_with_gpus_of(&self.spec);
        let Some(next) = self.next.take_if(|next| fits(next)) else { return false };
        self.spec = *next;
        self.forget_absent_gpus();
        true
    }

    /// Takes note that a GPU is ill, and why, or that it is well.
    pub(crate) fn note_health(&mut self, gpu: u8, healthy: bool, reason: &str) {
        let set = GpuSet(1_u64.checked_shl(u32::from(gpu)).unwrap_or(0));
        if healthy {
            self.ill = self.ill & !set;
            self.illnesses.remove(&gpu);
        } else {
            self.ill = self.ill | set;
            self.illnesses.insert(gpu, reason.to_owned());
        }
    }

    /// Forgets the illness of GPUs that the node does not have any more.
    pub(crate) fn forget_absent_gpus(&mut self) {
        self.ill = self.ill & self.gpus();
        let ill = self.ill;
        self.illnesses.retain(|gpu, _| ill.iter().any(|left| left == *gpu));
    }

    pub(crate) fn take(&mut self, holding: Holding) {
        let Slice { gpus, cpus, memory_mib, .. } = holding.slice;
        self.used = self.used | gpus;
        self.used_cpus += cpus;
        self.used_memory_mib += memory_mib;
        self.holdings.push(holding);
    }

    /// Gives back what an attempt of a job holds; false where it holds nothing.
    pub(crate) fn give_back(&mut self, job: JobId, attempt: u32) -> bool {
        let is_it = |holding: &Holding| holding.job == job && holding.attempt == attempt;
        let Some(at) = self.holdings.iter().position(is_it) else { return false };
        let Slice { gpus, cpus, memory_mib, .. } = self.holdings.swap_remove(at).slice;
        self.used = self.used & !gpus;
        self.used_cpus -= cpus;
        self.used_memory_mib -= memory_mib;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_shows_itself_as_ranges() {
        assert_eq!(GpuSet(0b1100_1111).to_string(), "0-3,6-7");
        assert_eq!(GpuSet(0b101).to_string(), "0,2");
        assert_eq!(GpuSet::EMPTY.to_string(), "");
        assert_eq!(GpuSet::first(64).len(), 64);
        assert_eq!(GpuSet(0b1_1010).lowest(2), GpuSet(0b1010));
        assert_eq!(GpuSet(0b1010).lowest(9), GpuSet(0b1010));
    }

    #[test]
    fn what_is_given_back_is_what_was_taken() {
        let mut node = Node::new(NodeId(0), NodeSpec::with_gpus("a", 8));
        let slice = |gpus| Slice { node: NodeId(0), gpus: GpuSet(gpus), cpus: 3, memory_mib: 10 };
        let holding = |job, gpus| Holding { job: JobId(job), attempt: 1, slice: slice(gpus), orphan: false };
        node.take(holding(1, 0b11));
        node.take(holding(2, 0b100));
        assert_eq!(node.free().to_string(), "3-7");
        assert!(!node.give_back(JobId(1), 2));
        assert!(node.give_back(JobId(1), 1));
        assert!(node.give_back(JobId(2), 1));
        assert_eq!(
            (node.free(), node.free_cpus(), node.free_memory_mib()),
            (node.gpus(), 96, 8 * 120 * 1024)
        );
    }

    #[test]
    fn one_ill_gpu_leaves_the_others_in_use() {
        let mut node = Node::new(NodeId(0), NodeSpec::with_gpus("a", 4));
        node.note_health(1, false, "Xid 79");
        assert_eq!((node.free().to_string().as_str(), node.illnesses[&1].as_str()), ("0,2-3", "Xid 79"));
        node.note_health(1, true, "");
        assert_eq!((node.free(), node.illnesses.len()), (node.gpus(), 0));
    }
}
