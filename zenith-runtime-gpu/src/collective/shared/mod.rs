//! Ranks of one machine, joined by memory that all of them map.
//!
//! Every rank has a ring of `DEPTH` slots in the segment. A round carries a slot's worth of data: each rank puts its
//! operands for the others into its slot (contribute), combines what all ranks have for its own part (reduce) into its own
//! memory and its slot, and takes the others' results (gather). Three counters per rank say how far it is; the steps of
//! three neighbouring rounds are interleaved, so that what a rank waits for was usually done long ago, and a slot is small
//! enough to stay in the cache: the operands cross the memory bus once, and so do the results.
//!
//! Private memory of another process is never touched, although the kernel would copy from it: a rank that has given up
//! may have freed it. What is waited for is a word and a process; both are looked at, and no lock is ever held.

mod board;
mod futex;
mod meeting;
mod passing;
mod segment;
mod wait;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use meeting::MAX_WORLD;

use self::board::Step;
use self::meeting::Member;
use self::segment::Segment;
use super::Result;
use super::call::{Call, Kind};
use super::communicator::{Communicator, share};
use super::error::{CollectiveError, Peer};

/// One rank's end of a group on one machine.
#[derive(Debug)]
pub struct Shared {
    rank: usize,
    segment: Segment,
    members: Vec<Member>,
    /// Calls so far.
    sequence: u32,
    /// Rounds so far, of all calls.
    rounds: u32,
    /// Looks before a wait goes to sleep.
    spins: u32,
    /// The process that met; a fork of it is no rank.
    process: u32,
    broken: Option<Arc<CollectiveError>>,
}

impl Shared {
    /// Meets the ranks of `world` on this machine who name the same `place`, as rank `rank`. Rank 0 must come, too.
    ///
    /// The place is a word in a space of names that the network namespace has of its own; nothing is left in any folder. Only
    /// processes of the same user are let in.
    ///
    /// # Errors
    /// When ranks do not come within `limit`, contradict each other, or the system refuses memory.
    pub fn meet(place: &str, rank: usize, world: usize, limit: Duration) -> Result<Self> {
        let start = Instant::now();
        let (segment, members) = meeting::meet(place, rank, world, start + limit)?;
        segment.touch(rank);
        let alone = zenith_runtime_cpu::limits::processors().is_ok_and(|processors| processors >= world);
        let spins = if alone { wait::SPINS } else { 0 };
        let mut shared = Self {
            rank,
            segment,
            members,
            sequence: 0,
            rounds: 0,
            spins,
            process: std::process::id(),
            broken: None,
        };
        // Only now is it known that everybody has mapped the memory.
        shared.barrier(limit.saturating_sub(start.elapsed()))?;
        Ok(shared)
    }

    fn peer(&self, rank: usize) -> Peer {
        Peer { rank, host: self.members[rank].host.clone() }
    }

    /// Writes down what is called, where others can compare it.
    fn announce(&mut self, call: Call, vote: bool) {
        self.segment.board(self.rank).announce(self.sequence, call.pack(self.sequence), vote);
    }

    /// Compares what the others called, once all have contributed.
    fn compare(&self, call: Call) -> Result<()> {
        let ours = call.pack(self.sequence);
        for rank in 0..self.world() {
            let theirs = self.segment.board(rank).announced(self.sequence);
            if theirs != ours {
                return Err(CollectiveError::Mismatch {
                    peer: self.peer(rank),
                    ours: super::call::describe(ours),
                    theirs: super::call::describe(theirs),
                });
            }
        }
        Ok(())
    }

    fn attempt(&mut self, call: Call, data: &mut [u8], limit: Duration) -> Result<()> {
        let plan = Plan::of(call, self.rank, self.world(), self.segment.slot());
        let first = self.rounds;
        let wait = wait::Wait::new(self, call.kind, first.wrapping_add(plan.rounds), limit);
        for step in 0..plan.rounds + 2 {
            if step < plan.rounds {
                let round = first.wrapping_add(step);
                wait.for_all(Step::Gathered, round.wrapping_add(1).wrapping_sub(segment::DEPTH))?;
                plan.contribute(&self.segment, data, round, step);
                self.segment.board(self.rank).reach(Step::Contributed, round.wrapping_add(1));
            }
            if let Some(step) = step.checked_sub(1).filter(|step| *step < plan.rounds) {
                let round = first.wrapping_add(step);
                wait.for_all(Step::Contributed, round.wrapping_add(1))?;
                if step == 0 {
                    self.compare(call)?;
                }
                plan.reduce(&self.segment, data, round, step);
                self.segment.board(self.rank).reach(Step::Reduced, round.wrapping_add(1));
            }
            if let Some(step) = step.checked_sub(2) {
                let round = first.wrapping_add(step);
                if plan.gathers {
                    wait.for_all(Step::Reduced, round.wrapping_add(1))?;
                    plan.gather(&self.segment, data, round, step);
                }
                self.segment.board(self.rank).reach(Step::Gathered, round.wrapping_add(1));
            }
        }
        self.rounds = first.wrapping_add(plan.rounds);
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// Tells everybody, and keeps the cause for later calls.
    fn break_with(&mut self, error: &CollectiveError) {
        wait::accuse(self, error);
        self.broken = Some(Arc::new(error.clone()));
    }

    fn usable(&self, kind: Kind) -> Result<()> {
        if self.process != std::process::id() {
            let reason = "a forked process is not the rank it was forked from; meet again under another name";
            return Err(CollectiveError::Refused { call: kind, reason: reason.into() });
        }
        match &self.broken {
            Some(cause) => Err(CollectiveError::Broken(cause.clone())),
            None => Ok(()),
        }
    }
}

impl Communicator for Shared {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.members.len()
    }

    fn backend(&self) -> &'static str {
        "shared memory"
    }

    fn carry_out(&mut self, call: Call, data: &mut [u8], limit: Duration) -> Result<()> {
        self.usable(call.kind)?;
        self.announce(call, true);
        self.attempt(call, data, limit).inspect_err(|error| self.break_with(error))
    }

    fn decide(&mut self, yes: bool, limit: Duration) -> Result<bool> {
        let call = Call::empty(Kind::Decide);
        self.usable(call.kind)?;
        self.announce(call, yes);
        let sequence = self.sequence;
        let outcome = self.attempt(call, &mut [], limit);
        let all = outcome.is_ok() && (0..self.world()).all(|rank| self.segment.board(rank).voted(sequence));
        // One word for all: who comes first settles it, also where some have seen a death and others have not.
        let settled = self.segment.settle(sequence, all);
        // All said yes and it is a no: another rank has seen a loss, which can be seen from here now, too.
        let outcome = outcome.and_then(|()| {
            if all && !settled { wait::Wait::new(self, call.kind, self.rounds, limit).look() } else { Ok(()) }
        });
        match outcome {
            Ok(()) => Ok(settled),
            Err(error) => {
                self.break_with(&error);
                if settled { Ok(true) } else { Err(error) }
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.segment.board(self.rank).leave();
        }
    }
}

/// What a call means for one rank: which bytes go where in each round.
struct Plan {
    call: Call,
    rank: usize,
    world: usize,
    rounds: u32,
    /// Bytes of each share that a round carries.
    part: usize,
    reduces: bool,
    gathers: bool,
}

impl Plan {
    fn of(call: Call, rank: usize, world: usize, slot: usize) -> Self {
        let broadcast = call.kind == Kind::Broadcast;
        let part = if broadcast { slot } else { slot / world / 64 * 64 };
        let longest = if broadcast { call.bytes } else { share(call.bytes, call.dtype, 0, world).len() };
        let rounds = u32::try_from(longest.div_ceil(part).max(1)).unwrap_or(u32::MAX);
        Self {
            call,
            rank,
            world,
            rounds,
            part,
            reduces: matches!(call.kind, Kind::AllReduce | Kind::ReduceScatter),
            gathers: matches!(call.kind, Kind::AllReduce | Kind::AllGather | Kind::Broadcast),
        }
    }

    /// The bytes of `rank`'s share that a round carries; in a broadcast, everything is the root's.
    fn part(&self, rank: usize, step: u32) -> std::ops::Range<usize> {
        let share = match self.call.kind {
            Kind::Broadcast if rank == self.call.root => 0..self.call.bytes,
            Kind::Broadcast => 0..0,
            _ => share(self.call.bytes, self.call.dtype, rank, self.world),
        };
        let start = share.start.saturating_add(step as usize * self.part).min(share.end);
        start..start.saturating_add(self.part).min(share.end)
    }

    /// Where a share's part lies in a slot.
    fn place(&self, rank: usize) -> usize {
        if self.call.kind == Kind::Broadcast { 0 } else { rank * self.part }
    }

    fn contribute(&self, segment: &Segment, data: &[u8], round: u32, step: u32) {
        // Operands for the others, or what the others are to have of this rank.
        let parts =
            (0..self.world).filter(|rank| if self.reduces { *rank != self.rank } else { *rank == self.rank });
        for rank in parts {
            segment.put(self.rank, round, self.place(rank), &data[self.part(rank, step)]);
        }
    }

    fn reduce(&self, segment: &Segment, data: &mut [u8], round: u32, step: u32) {
        let part = self.part(self.rank, step);
        if !self.reduces || part.is_empty() {
            return;
        }
        let place = self.place(self.rank);
        let mine = &mut data[part];
        segment.fold_slots(self.rank, round, place, mine, self.call, self.gathers);
    }

    fn gather(&self, segment: &Segment, data: &mut [u8], round: u32, step: u32) {
        for rank in (0..self.world).filter(|rank| *rank != self.rank) {
            segment.take(rank, round, self.place(rank), &mut data[self.part(rank, step)]);
        }
    }
}
