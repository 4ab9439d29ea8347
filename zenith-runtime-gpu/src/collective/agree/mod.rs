//! Decisions that all ranks take alike: choices of kernels, shard maps, checkpoints.
//!
//! Each of these makes the same collectives whatever the ranks know, have cached or have failed at, so that no rank waits
//! for a call that another one does not make. The last one is [`Communicator::decide`]: only after all ranks have what they
//! need does anybody act on it. Whatever goes wrong on any rank, everybody keeps to the default.

mod rule;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use self::rule::{Candidate, Choice, Choices, DELTA_PERCENT, Evidence, Row, choose};
use super::communicator::Communicator;
use super::error::CollectiveError;
use super::{Dtype, Result};

/// Bytes of one rank's proposal at most.
pub const MAX_PROPOSAL: usize = 64 << 20;

/// What came of looking for common choices.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The same choices on all ranks.
    Agreed(Choices),
    /// Every rank keeps to its defaults.
    Defaults(Cause),
}

/// Why ranks keep to their defaults.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// These ranks had nothing to propose, and said why.
    #[error("{}", told(.0))]
    Failed(BTreeMap<usize, String>),
    /// The ranks could not speak to each other to the end.
    #[error(transparent)]
    Collective(#[from] CollectiveError),
    /// A rank had not understood the others, or did not answer the last question in time.
    #[error("not every rank has confirmed the choices")]
    Unconfirmed,
}

/// What came of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Every rank has the step and knows that the others have it.
    Done,
    /// Nobody commits; these ranks were not ready or at another step. Empty where one was lost at the very end.
    Nobody {
        /// The ranks, in order.
        ranks: Vec<usize>,
    },
}

#[derive(Serialize, Deserialize)]
enum Proposal {
    Rows(Vec<Row>),
    Failed(String),
}

/// The same choices on all ranks from what each of them knows, by [`choose`]. A rank that could not find out what it knows
/// says why instead, and everybody keeps to the defaults.
///
/// Always three collectives: lengths, proposals, the decision.
pub fn choices(
    ranks: &mut dyn Communicator,
    rows: std::result::Result<Vec<Row>, String>,
    limit: Duration,
) -> Outcome {
    match attempt(ranks, rows, limit) {
        Ok(choices) => Outcome::Agreed(choices),
        Err(cause) => Outcome::Defaults(cause),
    }
}

fn attempt(
    ranks: &mut dyn Communicator,
    rows: std::result::Result<Vec<Row>, String>,
    limit: Duration,
) -> std::result::Result<Choices, Cause> {
    let start = Instant::now();
    let mine = encode_proposal(rows);
    let all = gather(ranks, &mine, limit)?;
    let read = read_proposals(&all);
    let left = limit.saturating_sub(start.elapsed());
    // The vote is not left out, whatever was read.
    let unanimous = ranks.decide(read.is_ok(), left)?;
    let rows = read?;
    if unanimous { Ok(choose(&rows)) } else { Err(Cause::Unconfirmed) }
}

/// A proposal as it goes to the other ranks, for transports that are not a [`Communicator`].
#[must_use]
pub fn encode_proposal(rows: std::result::Result<Vec<Row>, String>) -> Vec<u8> {
    let proposal = match rows {
        Ok(rows) => Proposal::Rows(rows),
        Err(reason) => Proposal::Failed(reason),
    };
    let text = serde_json::to_vec(&proposal).unwrap_or_default();
    if text.is_empty() || text.len() > MAX_PROPOSAL {
        let reason = format!("its proposal has {} bytes, of which {MAX_PROPOSAL} are allowed", text.len());
        return serde_json::to_vec(&Proposal::Failed(reason)).unwrap_or_default();
    }
    text
}

/// The rows of all ranks, from their proposals in the order of ranks.
///
/// # Errors
/// When ranks had none, with what they said.
pub fn read_proposals(all: &[Vec<u8>]) -> std::result::Result<Vec<Vec<Row>>, Cause> {
    let (mut rows, mut failed) = (Vec::new(), BTreeMap::new());
    for (rank, text) in all.iter().enumerate() {
        match serde_json::from_slice(text) {
            Ok(Proposal::Rows(of_rank)) => rows.push(of_rank),
            Ok(Proposal::Failed(reason)) => drop(failed.insert(rank, reason)),
            Err(error) => drop(failed.insert(rank, format!("its proposal cannot be read: {error}"))),
        }
    }
    if failed.is_empty() { Ok(rows) } else { Err(Cause::Failed(failed)) }
}

/// Everybody's bytes, by rank. Two collectives.
///
/// # Errors
/// As for every collective, and when somebody has more than [`MAX_PROPOSAL`].
pub fn gather(ranks: &mut dyn Communicator, mine: &[u8], limit: Duration) -> Result<Vec<Vec<u8>>> {
    let start = Instant::now();
    let (rank, world) = (ranks.rank(), ranks.world());
    let mut lengths = vec![0u8; world * 8];
    lengths[rank * 8..][..8].copy_from_slice(&(mine.len() as u64).to_ne_bytes());
    ranks.all_gather(&mut lengths, Dtype::I64, limit)?;
    let (lengths, _) = lengths.as_chunks::<8>();
    let lengths: Vec<usize> = lengths.iter().map(|length| u64::from_ne_bytes(*length) as usize).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    if longest > MAX_PROPOSAL {
        let reason =
            format!("a rank has {longest} bytes for the others, of which {MAX_PROPOSAL} are allowed");
        return Err(CollectiveError::Refused { call: super::Kind::AllGather, reason });
    }
    let mut all = vec![0u8; world * longest];
    all[rank * longest..][..mine.len()].copy_from_slice(mine);
    ranks.all_gather(&mut all, Dtype::U8, limit.saturating_sub(start.elapsed()))?;
    Ok((0..world).map(|rank| all[rank * longest..][..lengths[rank]].to_vec()).collect())
}

/// Rank 0's bytes, on every rank or on none: a shard map, a plan. Always three collectives; the others' bytes are ignored.
///
/// # Errors
/// When ranks were lost on the way; then nobody who lives has them.
pub fn adopt(ranks: &mut dyn Communicator, of_first: &[u8], limit: Duration) -> Result<Vec<u8>> {
    let start = Instant::now();
    let left = || limit.saturating_sub(start.elapsed());
    let mut length = (of_first.len() as u64).to_ne_bytes();
    ranks.broadcast(&mut length, 0, limit)?;
    let length = u64::from_ne_bytes(length) as usize;
    if length > MAX_PROPOSAL {
        let reason = format!("rank 0 has {length} bytes for the others, of which {MAX_PROPOSAL} are allowed");
        return Err(CollectiveError::Refused { call: super::Kind::Broadcast, reason });
    }
    let mut bytes = vec![0; length];
    if ranks.rank() == 0 {
        bytes.copy_from_slice(of_first);
    }
    ranks.broadcast(&mut bytes, 0, left())?;
    if ranks.decide(true, left())? {
        return Ok(bytes);
    }
    let reason = "a rank was lost before all had confirmed";
    Err(CollectiveError::Refused { call: super::Kind::Decide, reason: reason.to_owned() })
}

/// Whether all ranks have a checkpoint of `step` and may count on it: all or nobody. `ready` is whether this rank has
/// written its part. Always two collectives.
///
/// # Errors
/// When ranks were lost on the way; then nobody who lives commits.
pub fn commit(ranks: &mut dyn Communicator, step: u64, ready: bool, limit: Duration) -> Result<Commit> {
    let start = Instant::now();
    let (rank, world) = (ranks.rank(), ranks.world());
    let mut states = vec![0u8; world * 16];
    states[rank * 16..][..8].copy_from_slice(&step.to_ne_bytes());
    states[rank * 16 + 8..][..8].copy_from_slice(&u64::from(ready).to_ne_bytes());
    // As many elements of every rank, so that a share is a state.
    ranks.all_gather(&mut states, Dtype::I64, limit)?;
    let (states, _) = states.as_chunks::<16>();
    let ready = |state: &[u8; 16]| state[8..].iter().any(|byte| *byte != 0);
    let late: Vec<usize> =
        (0..world).filter(|rank| !ready(&states[*rank]) || states[*rank][..8] != states[0][..8]).collect();
    let done = ranks.decide(late.is_empty(), limit.saturating_sub(start.elapsed()))?;
    Ok(if done { Commit::Done } else { Commit::Nobody { ranks: late } })
}

fn told(failed: &BTreeMap<usize, String>) -> String {
    failed.iter().map(|(rank, reason)| format!("rank {rank}: {reason}")).collect::<Vec<_>>().join("; ")
}
