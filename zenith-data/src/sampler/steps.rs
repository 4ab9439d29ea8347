//! Cutting an epoch into global batches and each global batch into the ranks' slices.
//!
//! A step consumes `batch_size * world` positions and rank r takes the r-th slice. How many positions a step takes
//! depends only on how many are left, so a place in an epoch is one number and means the same on any rank of any
//! world size. The end of an epoch is levelled: all ranks do the same number of steps, and no slice is longer than
//! `batch_size`.
//!
//! What holds for every batch size, every world, and every change of the world between two steps:
//! - Without `drop_last` no position is lost. With it, fewer than `batch_size * world` are, at the end; none is repeated.
//! - A position is repeated only in the epoch's last step, and only if fewer positions than ranks are left for it: then
//!   the `left` positions go round among the ranks, `world - left` deliveries more than positions, and no position comes
//!   more than `ceil(world / left)` times.
//! - With batches of two or more that happens only where the epoch has fewer positions than ranks, or was resumed on a
//!   larger world with fewer left than ranks. With batches of one it happens whenever the world does not divide what is
//!   left.

use std::ops::Range;
use std::sync::Arc;

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
                let full = batch_size * world;
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
                let (left, full) = (self.len.saturating_sub(cursor), batch_size * world);
                if *drop_last { left / full } else { left.div_ceil(full) }
            }
        }
    }
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

    /// Positions left for the last step of all, when every step from `cursor` on is made by `world` ranks.
    fn left_for_the_last(len: u64, batch: u64, world: u64, cursor: u64) -> u64 {
        match len - cursor {
            left if left < world => left,
            left if batch == 1 && left % world != 0 => left % world,
            _ => world,
        }
    }

    proptest! {
        #[test]
        fn positions_are_repeated_only_where_ranks_outnumber_them_and_never_lost(
            len in 1u64..120, batch in 1u64..6, before in 1u64..9, after in 1u64..9, stop in 0u64..30,
        ) {
            let (mut seen, at) = run(len, batch, before, 0, stop);
            // What the first world repeated, if it came to the end.
            let world = if at == len { before } else { after };
            let cursor = if at == len { 0 } else { at };
            let last = left_for_the_last(len, batch, world, cursor);
            seen.extend(run(len, batch, after, at, u64::MAX).0);
            prop_assert_eq!(seen.len() as u64, len + world - last.min(world), "deliveries");
            let mut times = vec![0u64; len as usize];
            seen.iter().for_each(|position| times[*position as usize] += 1);
            for (position, times) in times.iter().enumerate() {
                let most = if (position as u64) < len - last { 1 } else { world.div_ceil(last) };
                prop_assert!((1..=most).contains(times), "{position} came {times} times of at most {most}");
            }
        }

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
    fn batches_of_one_repeat_at_the_end_of_an_uneven_epoch() {
        // Five positions for four ranks: the fifth goes to all of them.
        assert_eq!(run(5, 1, 4, 0, u64::MAX).0, [0, 1, 2, 3, 4, 4, 4, 4]);
        // Grown from one rank to four with three left.
        let (seen, at) = run(8, 5, 1, 0, 1);
        assert_eq!((seen, at), (vec![0, 1, 2, 3, 4], 5));
        assert_eq!(run(8, 5, 4, at, u64::MAX).0, [5, 6, 7, 5]);
    }

    #[test]
    fn a_rank_never_goes_without_a_batch() {
        // 2 positions for 4 ranks cannot be shared without repeating; nobody hangs.
        let (seen, at) = run(2, 1, 4, 0, u64::MAX);
        assert_eq!((seen, at), (vec![0, 1, 0, 1], 2));
    }

    #[test]
    fn the_users_batches_are_kept() {
        let steps = Steps { cut: Cut::Listed(Arc::from([3u64, 4, 9])), len: 9 };
        assert_eq!(steps.at(3), Some(Step { positions: 3..4, next: 4 }));
        assert_eq!(steps.count_from(3), 2);
        assert_eq!(steps.at(9), None);
    }
}
