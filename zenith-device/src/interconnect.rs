//! How GPUs are joined: what each pair has between it, and which GPUs form a group. Pure; sources tell the pairs.

use serde::Serialize;

/// How the GPUs of a machine are joined. Numbers are places in [`Discovery::gpus`](crate::Discovery::gpus).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interconnect {
    /// GPUs that reach each other by links of their own, directly or by way of others of the group. A GPU that is
    /// joined to none is in no group.
    pub groups: Vec<Vec<usize>>,
    /// What each pair has between it, as far as its source tells; a pair of different sources is not listed.
    pub pairs: Vec<Pair>,
}

/// Two GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The one.
    pub first: usize,
    /// The other, which comes later.
    pub second: usize,
    /// Where their ways over PCIe meet; `None` where the source does not say.
    pub ancestor: Option<Ancestor>,
    /// The links of their own; `None` where the source does not say.
    pub join: Option<Join>,
}

/// Where the ways of two GPUs over PCIe meet, the nearest first. `nvidia-smi topo -m` has other names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ancestor {
    /// They are on one board.
    Board,
    /// One PCIe switch (PIX).
    PcieSwitch,
    /// Several PCIe switches, and no host bridge (PXB).
    PcieSwitches,
    /// One host bridge (PHB).
    HostBridge,
    /// One memory node (NODE).
    NumaNode,
    /// Nothing nearer than the link between sockets (SYS).
    System,
}

/// Links between two GPUs that are not PCIe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Join {
    /// None.
    Apart,
    /// NVLinks from the one to the other.
    NvLink {
        /// How many are up.
        links: u32,
    },
    /// NVLinks to switches that both reach.
    NvSwitch {
        /// How many the one with fewer has up.
        links: u32,
    },
    /// AMD's Infinity Fabric.
    Xgmi,
}

impl Interconnect {
    /// The groups that follow from `pairs` among `gpus` GPUs.
    pub(crate) fn new(gpus: usize, pairs: Vec<Pair>) -> Self {
        // Every GPU points to an earlier one of its group, or to itself.
        let mut leader: Vec<usize> = (0..gpus).collect();
        let find = |leader: &[usize], mut gpu: usize| {
            while leader[gpu] != gpu {
                gpu = leader[gpu];
            }
            gpu
        };
        for pair in &pairs {
            if !matches!(pair.join, None | Some(Join::Apart)) {
                let (a, b) = (find(&leader, pair.first), find(&leader, pair.second));
                leader[a.max(b)] = a.min(b);
            }
        }
        let mut groups: Vec<Vec<usize>> = vec![Vec::new(); gpus];
        for gpu in 0..gpus {
            groups[find(&leader, gpu)].push(gpu);
        }
        groups.retain(|group| group.len() > 1);
        Self { groups, pairs }
    }

    /// What is between two GPUs, in whichever order they are named.
    #[must_use]
    pub fn between(&self, one: usize, other: usize) -> Option<&Pair> {
        let (first, second) = (one.min(other), one.max(other));
        self.pairs.iter().find(|pair| (pair.first, pair.second) == (first, second))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair(first: usize, second: usize, join: Option<Join>) -> Pair {
        Pair { first, second, ancestor: None, join }
    }

    #[test]
    fn a_chain_is_a_group_and_what_is_unknown_joins_nothing() {
        let link = Some(Join::NvLink { links: 1 });
        let joined = Interconnect::new(
            6,
            vec![
                pair(0, 1, Some(Join::Apart)),
                pair(0, 3, link),
                pair(1, 2, None),
                pair(3, 5, link),
                pair(2, 4, Some(Join::Xgmi)),
            ],
        );
        assert_eq!(joined.groups, [vec![0, 3, 5], vec![2, 4]]);
        assert_eq!(joined.between(3, 0).unwrap().join, link);
        assert_eq!(joined.between(4, 5), None);
    }

    proptest! {
        #[test]
        fn groups_are_disjoint_and_hold_every_joined_pair(
            edges in proptest::collection::vec((0usize..12, 0usize..12), 0..30),
        ) {
            let pairs: Vec<Pair> = edges
                .iter()
                .filter(|(a, b)| a < b)
                .map(|&(a, b)| pair(a, b, Some(Join::NvSwitch { links: 18 })))
                .collect();
            let joined = Interconnect::new(12, pairs.clone());
            let mut members: Vec<usize> = joined.groups.concat();
            members.sort_unstable();
            let count = members.len();
            members.dedup();
            prop_assert_eq!(members.len(), count);
            for pair in &pairs {
                let together =
                    joined.groups.iter().any(|g| g.contains(&pair.first) && g.contains(&pair.second));
                prop_assert!(together);
            }
            for group in &joined.groups {
                for gpu in group {
                    prop_assert!(pairs.iter().any(|pair| pair.first == *gpu || pair.second == *gpu));
                }
            }
        }
    }
}
