//! From a position in an epoch's global sequence to a sample.

use std::sync::Arc;

use super::blocks::BlockOrder;
use super::permutation::Permutation;
use super::rng::mix;
use super::weighted::Weights;

/// How epochs are ordered; holds for all epochs.
#[derive(Clone, Debug)]
pub enum OrderSpec {
    /// As stored.
    Sequential,
    /// An exact global shuffle, another one each epoch.
    Shuffled,
    /// A shuffle in windows of runs; see [`super::blocks`].
    Blocks {
        /// End of each run.
        ends: Arc<[u64]>,
        /// Samples a window may hold.
        window: u64,
    },
    /// Draws with replacement.
    Weighted {
        /// The alias table.
        weights: Arc<Weights>,
        /// Draws per epoch.
        draws: u64,
    },
    /// The user's own order of this one epoch.
    Listed(Arc<[u64]>),
}

impl OrderSpec {
    /// The order of one epoch over `len` samples.
    #[must_use]
    pub fn epoch(&self, len: u64, seed: u64, epoch: u64) -> Order {
        let key = mix(mix(seed ^ 0x6f72_6465_7200).wrapping_add(epoch));
        match self {
            OrderSpec::Sequential => Order::Sequential(len),
            OrderSpec::Shuffled => Order::Shuffled(Permutation::new(len, key)),
            OrderSpec::Blocks { ends, window } => Order::Blocks(BlockOrder::new(ends, *window, key)),
            OrderSpec::Weighted { weights, draws } => {
                Order::Weighted { weights: Arc::clone(weights), draws: *draws, seed, epoch }
            }
            OrderSpec::Listed(list) => Order::Listed(Arc::clone(list)),
        }
    }

    /// Whether the next epoch's order is known before its user asks for it.
    #[must_use]
    pub const fn continues(&self) -> bool {
        !matches!(self, OrderSpec::Listed(_))
    }
}

/// The order of one epoch.
#[derive(Clone, Debug)]
pub enum Order {
    /// As stored.
    Sequential(u64),
    /// An exact global shuffle.
    Shuffled(Permutation),
    /// A shuffle in windows of runs.
    Blocks(BlockOrder),
    /// Draws with replacement.
    Weighted {
        /// The alias table.
        weights: Arc<Weights>,
        /// Draws in the epoch.
        draws: u64,
        /// The loader's seed.
        seed: u64,
        /// The epoch.
        epoch: u64,
    },
    /// The user's own.
    Listed(Arc<[u64]>),
}

impl Order {
    /// Positions in the epoch.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Order::Sequential(len) => *len,
            Order::Shuffled(permutation) => permutation.len(),
            Order::Blocks(blocks) => blocks.len(),
            Order::Weighted { draws, .. } => *draws,
            Order::Listed(list) => list.len() as u64,
        }
    }

    /// Whether the epoch has no positions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sample at `position`.
    ///
    /// # Panics
    /// When `position` is not below `len`.
    #[must_use]
    pub fn at(&self, position: u64) -> u64 {
        match self {
            Order::Sequential(len) => {
                assert!(position < *len, "position {position} of {len}");
                position
            }
            Order::Shuffled(permutation) => permutation.at(position),
            Order::Blocks(blocks) => blocks.at(position),
            Order::Weighted { weights, seed, epoch, .. } => weights.at(*seed, *epoch, position),
            Order::Listed(list) => list[position as usize],
        }
    }
}
