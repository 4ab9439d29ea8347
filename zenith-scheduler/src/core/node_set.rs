//! A set of nodes as bits: small enough to copy, fast enough to search thousands of nodes in a microsecond.

use super::id::NodeId;

/// A set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    /// Adds a node.
    pub(crate) fn insert(&mut self, node: NodeId) {
        let (word, bit) = place(node);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Takes a node out.
    pub(crate) fn remove(&mut self, node: NodeId) {
        let (word, bit) = place(node);
        if let Some(word) = self.words.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Whether a node is in it.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        let (word, bit) = place(node);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Takes every node out and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Adds all nodes of another set.
    pub(crate) fn extend(&mut self, other: Option<&Self>) {
        let Some(other) = other else { return };
        self.words.resize(self.words.len().max(other.words.len()), 0);
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    /// The nodes that are in here and not in `without`, upwards.
    pub(crate) fn iter_without<'a>(&'a self, without: &'a Self) -> impl Iterator<Item = NodeId> + 'a {
        self.words.iter().enumerate().flat_map(move |(at, word)| {
            let mut rest = word & !without.words.get(at).copied().unwrap_or(0);
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(NodeId(at as u32 * u64::BITS + bit))
            })
        })
    }
}

fn place(node: NodeId) -> (usize, u64) {
    (node.index() / u64::BITS as usize, 1 << (node.0 % u64::BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_out_upwards_and_without_the_others() {
        let set = |nodes: &[u32]| {
            let mut set = NodeSet::default();
            nodes.iter().for_each(|node| set.insert(NodeId(*node)));
            set
        };
        let (mut all, some) = (set(&[3, 64, 5, 200]), set(&[5, 300]));
        assert_eq!(all.iter_without(&some).map(|node| node.0).collect::<Vec<_>>(), [3, 64, 200]);
        all.remove(NodeId(64));
        all.remove(NodeId(4096));
        assert!(!all.contains(NodeId(64)) && all.contains(NodeId(200)));
        all.extend(Some(&some));
        assert!(all.contains(NodeId(300)) && all.contains(NodeId(3)));
        all.clear();
        assert_eq!(all.iter_without(&NodeSet::default()).count(), 0);
    }
}
