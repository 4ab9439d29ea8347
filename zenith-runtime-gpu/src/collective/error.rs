//! Why a collective did not come about: a variant per cause, and the ranks at fault.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::call::Kind;

/// A rank and where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub rank: usize,
    /// The name of its machine.
    pub host: String,
}

/// Why a collective, or the meeting before the first one, did not come about.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// Time ran out, and these ranks are the farthest behind.
    #[error(
        "{call}: no answer within {waited:.1?} from {}; look at what they do, or allow more time",
        list(stragglers)
    )]
    Deadline {
        /// What was called.
        call: Kind,
        /// How long this rank has waited.
        waited: Duration,
        /// Who is the farthest behind.
        stragglers: Vec<Peer>,
    },
    /// These ranks' processes ended.
    #[error("{call}: {} died (seen after {waited:.1?})", list(dead))]
    Died {
        /// What was called.
        call: Kind,
        /// How long this rank had waited.
        waited: Duration,
        /// Who died.
        dead: Vec<Peer>,
    },
    /// A rank gave its communicator up while others still called.
    #[error("{call}: {peer} has closed its communicator")]
    Left {
        /// What was called.
        call: Kind,
        /// Who left.
        peer: Peer,
    },
    /// Two ranks called different things.
    #[error(
        "this rank calls {ours}, but {peer} calls {theirs}; all ranks must make the same calls in the same order"
    )]
    Mismatch {
        /// Another rank.
        peer: Peer,
        /// What this rank called.
        ours: String,
        /// What the other one called.
        theirs: String,
    },
    /// The others waited for this rank until their deadline.
    #[error("{call}: {by} has given this rank up after waiting for it")]
    GivenUp {
        /// What was called.
        call: Kind,
        /// Who noticed.
        by: Peer,
    },
    /// An earlier call failed; the communicator cannot be used any more.
    #[error("the communicator broke in an earlier call, make a new one: {0}")]
    Broken(Arc<CollectiveError>),
    /// The arguments make no sense; nothing was sent.
    #[error("{call}: {reason}")]
    Refused {
        /// What was called.
        call: Kind,
        /// What is wrong.
        reason: String,
    },
    /// The ranks did not find each other.
    #[error("the ranks did not meet: {reason}")]
    Meeting {
        /// What happened.
        reason: String,
        /// Ranks that did not come, as far as it is known.
        missing: Vec<usize>,
    },
    /// What the launcher says of this rank makes no sense.
    #[error("{variable}: {reason}")]
    Environment {
        /// The variable of the environment.
        variable: &'static str,
        /// What is wrong, and what would work.
        reason: String,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Machine {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: Arc<io::Error>,
    },
}

impl CollectiveError {
    pub(crate) fn machine(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Machine { doing, source: Arc::new(error) }
    }

    pub(crate) fn meeting(reason: impl Into<String>) -> Self {
        Self::Meeting { reason: reason.into(), missing: Vec::new() }
    }

    /// The ranks at fault, as far as they are known.
    #[must_use]
    pub fn ranks(&self) -> Vec<usize> {
        match self {
            Self::Deadline { stragglers: peers, .. } | Self::Died { dead: peers, .. } => {
                peers.iter().map(|peer| peer.rank).collect()
            }
            Self::Left { peer, .. } | Self::Mismatch { peer, .. } => vec![peer.rank],
            Self::Broken(first) => first.ranks(),
            Self::Meeting { missing, .. } => missing.clone(),
            Self::GivenUp { .. } | Self::Refused { .. } | Self::Environment { .. } | Self::Machine { .. } => {
                Vec::new()
            }
        }
    }

    /// The cause in a word, which does not change.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Deadline { .. } => "deadline",
            Self::Died { .. } => "died",
            Self::Left { .. } => "left",
            Self::Mismatch { .. } => "mismatch",
            Self::GivenUp { .. } => "given_up",
            Self::Broken(_) => "broken",
            Self::Refused { .. } => "refused",
            Self::Meeting { .. } => "meeting",
            Self::Environment { .. } => "environment",
            Self::Machine { .. } => "machine",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} on {}", self.rank, self.host)
    }
}

fn list(peers: &[Peer]) -> String {
    peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
