//! Waiting for other ranks: a short spin, then sleep; who is missing when the time is up, and who is dead.

use std::hint;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Shared;
use super::board::{Step, is_at_least};
use super::futex;
use crate::collective::Result;
use crate::collective::call::{Kind, describe};
use crate::collective::error::{CollectiveError, Peer};

/// Looks before a wait goes to sleep, where every rank has a processor: some tens of microseconds.
pub(super) const SPINS: u32 = 1000;

/// How often a sleeping rank looks whether the others live.
const LOOK: Duration = Duration::from_millis(20);

/// A call that waits.
pub(super) struct Wait<'a> {
    shared: &'a Shared,
    kind: Kind,
    /// Rounds at the end of the call: who has gathered as many is not at fault, wherever it is now.
    end: u32,
    start: Instant,
    limit: Duration,
}

/// Causes as they go through the segment.
mod cause {
    pub(super) const DEADLINE: u64 = 1;
    pub(super) const DIED: u64 = 2;
    pub(super) const LEFT: u64 = 3;
    pub(super) const MISMATCH: u64 = 4;
}

impl<'a> Wait<'a> {
    pub(super) fn new(shared: &'a Shared, kind: Kind, end: u32, limit: Duration) -> Self {
        Self { shared, kind, end, start: Instant::now(), limit }
    }

    /// Waits until all ranks are that far.
    pub(super) fn for_all(&self, step: Step, rounds: u32) -> Result<()> {
        (0..self.shared.members.len()).try_for_each(|rank| self.for_one(rank, step, rounds))
    }

    fn for_one(&self, rank: usize, step: Step, rounds: u32) -> Result<()> {
        let board = self.shared.segment.board(rank);
        for _ in 0..=self.shared.spins {
            if board.has_reached(step, rounds) {
                return Ok(());
            }
            hint::spin_loop();
        }
        loop {
            board.sleepers.fetch_add(1, Ordering::SeqCst);
            // Pairs with the fence of `Board::reach`.
            fence(Ordering::SeqCst);
            let bell = board.bell.load(Ordering::SeqCst);
            let slept = self.sleep_unless(|| board.has_reached(step, rounds), &board.bell, bell);
            board.sleepers.fetch_sub(1, Ordering::SeqCst);
            if board.has_reached(step, rounds) {
                return Ok(());
            }
            slept?;
            // A rank that gave up because of another one says so before it leaves.
            self.look()
                .map_err(|gone| if self.shared.segment.verdict() == 0 { gone } else { self.judged() })?;
        }
    }

    fn sleep_unless(
        &self,
        done: impl Fn() -> bool,
        bell: &std::sync::atomic::AtomicU32,
        seen: u32,
    ) -> Result<()> {
        if done() {
            return Ok(());
        }
        if self.shared.segment.verdict() != 0 {
            return Err(self.judged());
        }
        let left = self.limit.saturating_sub(self.start.elapsed());
        if left.is_zero() {
            // The dead are not late.
            self.look()?;
            return Err(self.late());
        }
        futex::sleep(bell, seen, left.min(LOOK));
        Ok(())
    }

    /// Whether somebody is gone who has not finished this call.
    pub(super) fn look(&self) -> Result<()> {
        let dead = self.dead();
        if !dead.is_empty() {
            return Err(CollectiveError::Died { call: self.kind, waited: self.start.elapsed(), dead });
        }
        let gone = |rank: &usize| self.shared.segment.board(*rank).has_left() && !self.has_finished(*rank);
        match (0..self.shared.members.len()).find(gone) {
            Some(rank) => Err(CollectiveError::Left { call: self.kind, peer: self.shared.peer(rank) }),
            None => Ok(()),
        }
    }

    fn has_finished(&self, rank: usize) -> bool {
        self.shared.segment.board(rank).has_reached(Step::Gathered, self.end)
    }

    /// Ranks that died without finishing this call.
    fn dead(&self) -> Vec<Peer> {
        let mut ended: Vec<PollFd<'_>> =
            self.shared.members.iter().map(|member| PollFd::new(&member.process, PollFlags::IN)).collect();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ended, Some(&now)).is_err() {
            // Interrupted; the next look is soon.
            return Vec::new();
        }
        let dead = |(rank, fd): (usize, &PollFd<'_>)| (!fd.revents().is_empty()).then_some(rank);
        let dead: Vec<usize> = ended.iter().enumerate().filter_map(dead).collect();
        // Who said goodbye ended well, and who had finished is not needed.
        let missed = |rank: &usize| !self.has_finished(*rank) && !self.shared.segment.board(*rank).has_left();
        dead.into_iter().filter(missed).map(|rank| self.shared.peer(rank)).collect()
    }

    /// Who is the farthest behind. What a rank waits for comes before what it has done, so the last one waits for nobody.
    fn late(&self) -> CollectiveError {
        let positions: Vec<u32> =
            (0..self.shared.members.len()).map(|rank| self.shared.segment.board(rank).position()).collect();
        let last = |rank: &usize| positions.iter().all(|other| is_at_least(*other, positions[*rank]));
        let stragglers: Vec<usize> =
            (0..positions.len()).filter(|rank| *rank != self.shared.rank).filter(last).collect();
        self.deadline(&stragglers)
    }

    fn deadline(&self, stragglers: &[usize]) -> CollectiveError {
        let stragglers = stragglers.iter().map(|rank| self.shared.peer(*rank)).collect();
        CollectiveError::Deadline { call: self.kind, waited: self.start.elapsed(), stragglers }
    }

    /// What another rank has found, as this one sees it.
    fn judged(&self) -> CollectiveError {
        let verdict = self.shared.segment.verdict();
        let (culprit, by) = (verdict as usize >> 8 & 0xffff, verdict as usize >> 24 & 0xffff);
        let world = self.shared.members.len();
        // Another process wrote it.
        let (culprit, by) = (culprit.min(world - 1), by.min(world - 1));
        match verdict & 0xff {
            cause::DIED => {
                let mut dead = self.dead();
                if dead.iter().all(|peer| peer.rank != culprit) {
                    dead.insert(0, self.shared.peer(culprit));
                }
                CollectiveError::Died { call: self.kind, waited: self.start.elapsed(), dead }
            }
            cause::LEFT => CollectiveError::Left { call: self.kind, peer: self.shared.peer(culprit) },
            cause::MISMATCH => {
                let said = |rank: usize| self.shared.segment.board(rank).announced(self.shared.sequence);
                let ours = said(self.shared.rank);
                let other = if said(culprit) == ours { by } else { culprit };
                CollectiveError::Mismatch {
                    peer: self.shared.peer(other),
                    ours: describe(ours),
                    theirs: describe(said(other)),
                }
            }
            _ if culprit == self.shared.rank => {
                CollectiveError::GivenUp { call: self.kind, by: self.shared.peer(by) }
            }
            _ => self.deadline(&[culprit]),
        }
    }
}

/// Tells all ranks what broke the group.
pub(super) fn accuse(shared: &Shared, error: &CollectiveError) {
    let cause = match error {
        CollectiveError::Died { .. } => cause::DIED,
        CollectiveError::Left { .. } => cause::LEFT,
        CollectiveError::Mismatch { .. } => cause::MISMATCH,
        _ => cause::DEADLINE,
    };
    let culprit = error.ranks().first().copied().unwrap_or(shared.rank);
    shared.segment.judge(cause | (culprit as u64) << 8 | (shared.rank as u64) << 24);
}
