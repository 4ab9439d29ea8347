//! Cutting an epoch into global batches and each global batch into the ranks' slices.
//!
//! A step consumes `batch_size * world` positions and rank r takes the r-th slice. How many positions a step takes
//! depends only on how many are left, so a place in an epoch is one number and means the same on any rank of any
//! world size. The end of an epoch is levelled: all ranks do the same number of steps, and no slice is longer than
//! `batch_size`.
//!
//! No position is ever lost. Positions are repeated only by an epoch's last step, and only when fewer are left for it than
//! there are ranks; then every rank gets one of those left, so that exactly `world - left` come twice or more, at most
//! `world - 1` in an epoch. That happens
//! - with `batch_size` 1, where steps cannot be levelled: `left` is then what remains of the positions by `world`;
//! - when an epoch is resumed with more ranks than it has positions left (or has fewer positions than ranks at all).
//!
//! With `drop_last` there is no such step.

use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result};

/// How positions become batches.
#[derive(Clone, Debug)]
pub enum Cut {
    /// Batches of one size, shared among ranks.
    Even {
        /// Samples of a rank's batch.
        batch_size: u64,
        /// This rank.
        rank: u64,
        /// Number of ranks.
        world: u64,
        /// Whether an incomplete last step is left out.
        drop_last: bool,
    },
    /// The user's own batches: the end position of each. Not shared among ranks.
    Listed(Arc<[u64]>),
}

impl Cut {
    /// Checks that this cuts something, and into batches of at most `most` samples.
    ///
    /// # Errors
    /// [`Error::Config`] that names the number that does not fit.
    pub fn check(&self, most: u64) -> Result<()> {
        let longest = match self {
            Cut::Even { batch_size, rank, world, .. } => {
                if *batch_size == 0 || *world == 0 {
                    return Err(Error::Config("batch_size and world_size must be at least 1".into()));
                }
                if rank >= world {
                    return Err(Error::Config(format!("there is no rank {rank} among {world}")));
                }
                *batch_size
            }
            Cut::Listed(ends) => {
                let starts = std::iter::once(&0).chain(ends.iter());
                let mut longest = 0;
                for (start, end) in starts.zip(ends.iter()) {
                    let Some(len) = end.checked_sub(*start) else {
                        let reason = format!("a batch ends at {end}, before its begin at {start}");
                        return Err(Error::Config(reason));
                    };
                    longest = longest.max(len);
                }
                longest
            }
        };
        if longest > most {
            return Err(Error::Config(format!("a batch of {longest} samples in a loader for {most}")));
        }
        Ok(())
    }
}

/// One step of an epoch, as one rank sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The rank's positions. Where fewer positions than ranks were left, a rank may get one that another rank has too.
    pub positions: Range<u64>,
    /// The global position behind the step, for all ranks.
    pub next: u64,
}

/// The steps of one epoch.
#[derive(Clone, Debug)]
pub struct Steps {
    /// How to cut.
    pub cut: Cut,
    /// Positions of the whole epoch.
    pub len: u64,
}

impl Steps {
    /// The step that begins at the global position `cursor`, or `None` at the end of the epoch.
    #[must_use]
    pub fn at(&self, cursor: u64) -> Option<Step> {
        match &self.cut {
            Cut::Listed(ends) => {
                let end = *ends.get(ends.partition_point(|end| *end <= cursor))?;
                Some(Step { positions: cursor..end, next: end })
            }
            Cut::Even { batch_size, rank, world, drop_last } => {
                let left = self.len.checked_sub(cursor).filter(|left| *left > 0)?;
                let full = full(*batch_size, *world)?;
                let take = match left {
                    left if *drop_last && left < full => return None,
                    left if left <= full => left,
                    // Leave one position per rank for the last step rather than ranks without a batch.
                    left if !drop_last && *batch_size > 1 && left - full < *world => left - world,
                    _ => full,
                };
                let positions = if take < *world {
                    let position = cursor + rank % take;
                    position..position + 1
                } else {
                    // The first `take % world` ranks get one more.
                    let (each, more) = (take / world, take % world);
                    let start = cursor + rank * each + (*rank).min(more);
                    start..start + each + u64::from(*rank < more)
                };
                Some(Step { positions, next: cursor + take })
            }
        }
    }

    /// Steps from the global position `cursor` to the end.
    #[must_use]
    pub fn count_from(&self, cursor: u64) -> u64 {
        match &self.cut {
            Cut::Listed(ends) => (ends.len() - ends.partition_point(|end| *end <= cursor)) as u64,
            Cut::Even { batch_size, world, drop_last, .. } => {
                let left = self.len.saturating_sub(cursor);
                let Some(full) = full(*batch_size, *world) else { return 0 };
                if *drop_last { left / full } else { left.div_ceil(full) }
            }
        }
    }
}

/// Positions of a full step of all ranks; `None` for batches of nothing, or nobody to take them, which make no step.
fn full(batch_size: u64, world: u64) -> Option<u64> {
    Some(batch_size.saturating_mul(world)).filter(|full| *full > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(len: u64, batch_size: u64, rank: u64, world: u64, drop_last: bool) -> Steps {
        Steps { cut: Cut::Even { batch_size, rank, world, drop_last }, len }
    }

    /// Runs all ranks in lockstep from `cursor` for at most `limit` steps; gives the positions and the new cursor.
    fn run(len: u64, batch: u64, world: u64, cursor: u64, limit: u64) -> (Vec<u64>, u64) {
        let (mut seen, mut at) = (Vec::new(), cursor);
        for _ in 0..limit {
            let all: Vec<_> = (0..world).map(|rank| steps(len, batch, rank, world, false).at(at)).collect();
            if all.iter().all(Option::is_none) {
                break;
            }
            let all: Vec<_> = all.into_iter().map(|s| s.expect("all ranks step together")).collect();
            for step in &all {
                assert!(!step.positions.is_empty() && step.positions.end - step.positions.start <= batch);
                assert_eq!(step.next, all[0].next);
                seen.extend(step.positions.clone());
            }
            at = all[0].next;
        }
        (seen, at)
    }

    proptest! {
        #[test]
        fn every_position_once_on_any_world(len in 0u64..400, batch in 2u64..9, world in 1u64..7) {
            prop_assume!(len == 0 || len >= world);
            let (seen, at) = run(len, batch, world, 0, u64::MAX);
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
            prop_assert_eq!(at, len);
        }

        #[test]
        fn a_smaller_world_goes_on_without_loss_or_repeat(
            len in 4u64..400, batch in 2u64..9, before in 2u64..7, after in 1u64..7, stop in 0u64..30,
        ) {
            prop_assume!(len >= before && after <= before);
            let (mut seen, at) = run(len, batch, before, 0, stop);
            seen.extend(run(len, batch, after, at, u64::MAX).0);
            prop_assert_eq!(seen, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn count_agrees_with_the_steps(
            len in 0u64..300, batch in 1u64..9, world in 1u64..6, drop_last: bool, skip in 0u64..5,
        ) {
            let steps = steps(len, batch, 0, world, drop_last);
            let mut cursor = 0;
            for _ in 0..skip {
                let Some(step) = steps.at(cursor) else { break };
                cursor = step.next;
            }
            let expected = steps.count_from(cursor);
            let mut count = 0;
            while let Some(step) = steps.at(cursor) {
                cursor = step.next;
                count += 1;
            }
            prop_assert_eq!(count, expected);
        }
    }

    proptest! {
        /// The whole law, for batches of one and worlds that grow too.
        #[test]
        fn nothing_is_lost_and_only_a_last_step_of_too_few_repeats(
            len in 0u64..200, batch in 1u64..6, before in 1u64..9, after in 1u64..9, stop in 0u64..40,
        ) {
            let (mut seen, at) = run(len, batch, before, 0, stop);
            let repeated_before = seen.len() as u64 - at;
            // Only in the epoch's last step, and as many as ranks lack a position.
            prop_assert!(repeated_before == 0 || at == len);
            prop_assert!(repeated_before < before);
            let (rest, end) = run(len, batch, after, at, u64::MAX);
            prop_assert_eq!(end, len);
            let left = len - at;
            let expected = match left {
                0 => 0,
                left if left < after => after - left,
                left if batch == 1 => (after - left % after) % after,
                _ => 0,
            };
            prop_assert_eq!(rest.len() as u64 - left, expected);
            seen.extend(rest);
            let mut distinct = seen;
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct, (0..len).collect::<Vec<_>>());
        }
    }

    proptest! {
        #[test]
        fn dropping_the_last_repeats_nothing_and_loses_less_than_a_step(
            len in 0u64..120, batch in 1u64..6, before in 1u64..9, after in 1u64..9, stop in 0u64..30,
        ) {
            let (mut seen, mut at) = (Vec::new(), 0);
            for (world, limit) in [(before, stop), (after, u64::MAX)] {
                for _ in 0..limit {
                    let all = (0..world).map(|rank| steps(len, batch, rank, world, true).at(at));
                    let Some(all) = all.collect::<Option<Vec<_>>>() else { break };
                    seen.extend(all.iter().flat_map(|step| step.positions.clone()));
                    at = all[0].next;
                }
            }
            prop_assert_eq!(&seen, &(0..at).collect::<Vec<_>>());
            prop_assert!(len - at < batch * after);
        }
    }

    #[test]
    fn a_last_step_of_too_few_deals_them_out_evenly() {
        // 5 positions, batches of one, 4 ranks: the second step has one position, which all four get.
        assert_eq!(run(5, 1, 4, 0, u64::MAX), (vec![0, 1, 2, 3, 4, 4, 4, 4], 5));
        // A world that grows to 4 with 3 positions left: the first rank's is the one that comes twice.
        assert_eq!(run(9, 3, 4, 6, u64::MAX), (vec![6, 7, 8, 6], 9));
    }

    #[test]
    fn a_rank_never_goes_without_a_batch() {
        // 2 positions for 4 ranks cannot be shared without repeating; nobody hangs.
        let (seen, at) = run(2, 1, 4, 0, u64::MAX);
        assert_eq!((seen, at), (vec![0, 1, 0, 1], 2));
    }

    #[test]
    fn no_numbers_wrap_or_divide_by_nothing() {
        let huge = steps(10, 1 << 62, 3, 8, false);
        assert_eq!(huge.at(0), Some(Step { positions: 5..6, next: 10 }));
        assert_eq!((huge.count_from(0), steps(10, 1 << 62, 3, 8, true).count_from(0)), (1, 0));
        for (batch_size, world) in [(0, 1), (1, 0), (0, 0)] {
            assert_eq!(steps(10, batch_size, 0, world, false).at(0), None);
            assert_eq!(steps(10, batch_size, 0, world, false).count_from(0), 0);
        }
    }

    #[test]
    fn a_cut_that_makes_no_sense_or_too_long_batches_is_refused() {
        let even = |batch_size, rank, world| Cut::Even { batch_size, rank, world, drop_last: false };
        even(4, 1, 2).check(4).unwrap();
        Cut::Listed(Arc::from([3u64, 3, 7])).check(4).unwrap();
        for (cut, text) in [
            (even(5, 0, 1), "a batch of 5 samples in a loader for 4"),
            (even(0, 0, 1), "at least 1"),
            (even(4, 0, 0), "at least 1"),
            (even(4, 2, 2), "no rank 2 among 2"),
            (Cut::Listed(Arc::from([1u64, 6])), "a batch of 5 samples in a loader for 4"),
            (Cut::Listed(Arc::from([3u64, 2])), "ends at 2, before its begin at 3"),
        ] {
            let error = cut.check(4).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn the_users_batches_are_kept() {
        let steps = Steps { cut: Cut::Listed(Arc::from([3u64, 4, 9])), len: 9 };
        assert_eq!(steps.at(3), Some(Step { positions: 3..4, next: 4 }));
        assert_eq!(steps.count_from(3), 2);
        assert_eq!(steps.at(9), None);
    }
}
