//! What engines differ in, and what a gang needs of it.

use std::fmt;

use crate::core::Submission;
use crate::core::request::Level;

/// Something that not every engine can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Several jobs in one submission.
    Arrays,
    /// Jobs that wait for others.
    Dependencies,
    /// Jobs that give their place to more important ones.
    Preemption,
    /// Another try for a job that failed.
    Retries,
    /// An end to runs that take too long.
    TimeLimits,
    /// A number of nodes between two bounds.
    NodeRanges,
    /// All GPUs of a node's part in one NVLink domain.
    NvLink,
    /// All GPUs of a node's part at one NUMA node.
    Numa,
    /// All nodes of a gang in one rack.
    Racks,
    /// Signals to running jobs.
    Signals,
}

/// A set of capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

impl Capability {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Arrays,
        Self::Dependencies,
        Self::Preemption,
        Self::Retries,
        Self::TimeLimits,
        Self::NodeRanges,
        Self::NvLink,
        Self::Numa,
        Self::Racks,
        Self::Signals,
    ];

    /// Its name, as refusals have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arrays => "arrays of jobs",
            Self::Dependencies => "dependencies between jobs",
            Self::Preemption => "preemption",
            Self::Retries => "retries",
            Self::TimeLimits => "time limits",
            Self::NodeRanges => "ranges of nodes",
            Self::NvLink => "placement by NVLink",
            Self::Numa => "placement by NUMA node",
            Self::Racks => "placement by rack",
            Self::Signals => "signals to jobs",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Capabilities {
    /// Everything.
    pub fn all() -> Self {
        Capability::ALL.into_iter().collect()
    }

    /// It is among them.
    pub fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u16 != 0
    }

    /// What a gang needs. A topology that is only wished for needs nothing.
    pub fn needed(gang: &Submission) -> Self {
        let level = gang.request.topology;
        let nodes = gang.request.nodes;
        let needs = [
            (gang.count > 1, Capability::Arrays),
            (!gang.after.is_empty(), Capability::Dependencies),
            (gang.preemptible, Capability::Preemption),
            (gang.retries > 0, Capability::Retries),
            (gang.time_limit.is_some(), Capability::TimeLimits),
            (nodes.is_some_and(|nodes| nodes.min != nodes.max), Capability::NodeRanges),
            (level.required && level.level == Level::NvLink, Capability::NvLink),
            (level.required && level.level == Level::Numa, Capability::Numa),
            (level.required && level.level == Level::Rack, Capability::Racks),
        ];
        needs.into_iter().filter(|(needed, _)| *needed).map(|(_, capability)| capability).collect()
    }

    /// The first that is needed and not among them.
    pub fn missing(self, needed: Self) -> Option<Capability> {
        Capability::ALL.into_iter().find(|capability| needed.has(*capability) && !self.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        Self(capabilities.into_iter().fold(0, |set, capability| set | 1 << capability as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::request::{NodeCount, Request, Topology};

    #[test]
    fn a_plain_gang_needs_nothing() {
        assert_eq!(Capabilities::needed(&Submission::default()), Capabilities::default());
        assert_eq!(Capabilities::default().missing(Capabilities::needed(&Submission::default())), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let request = Request {
            nodes: Some(NodeCount { min: 1, max: 2 }),
            topology: Topology { level: Level::NvLink, required: true },
            ..Request::gpus(1)
        };
        let gang = Submission { count: 3, request, ..Submission::default() };
        let needed = Capabilities::needed(&gang);
        let has = |capabilities: &[Capability]| capabilities.iter().copied().collect::<Capabilities>();
        assert_eq!(needed, has(&[Capability::Arrays, Capability::NodeRanges, Capability::NvLink]));
        assert_eq!(has(&[Capability::Arrays]).missing(needed), Some(Capability::NodeRanges));
        assert_eq!(Capabilities::all().missing(needed), None);
    }

    #[test]
    fn a_wish_is_no_need() {
        let topology = Topology { level: Level::Numa, required: false };
        let gang = Submission { request: Request { topology, ..Request::gpus(1) }, ..Submission::default() };
        assert_eq!(Capabilities::needed(&gang), Capabilities::default());
    }
}
