//! Data around the ring: a stream in and a stream out, cut into parts. What goes out follows what came in byte by byte, so
//! the ring works like a pipe, whatever the parts' sizes.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::line::{Line, Stop};
use crate::collective::call::{Call, Kind, ReduceOp, WORDS, describe};
use crate::collective::communicator::share;
use crate::collective::reduce::{Dtype, fold_into};

/// Bytes that are received before they are combined; they stay in the second-level cache.
const SCRATCH: usize = 128 << 10;

const HEADER: usize = WORDS * 8;

/// A rank's two connections.
#[derive(Debug)]
pub(super) struct Ring {
    to: TcpStream,
    from: TcpStream,
    rank: usize,
    world: usize,
    scratch: Vec<u8>,
}

/// A part that comes in.
#[derive(Debug)]
struct Incoming {
    range: Range<usize>,
    /// Combined with what is there, the sum divided by this; else put there.
    folded: Option<usize>,
}

/// A part that goes out, as far as an incoming one is there.
#[derive(Debug)]
struct Outgoing {
    range: Range<usize>,
    after: Option<usize>,
}

#[derive(Debug, Default)]
struct Plan {
    incoming: Vec<Incoming>,
    outgoing: Vec<Outgoing>,
}

impl Plan {
    fn of(call: Call, rank: usize, world: usize) -> Self {
        let mut plan = Self::default();
        // Of the rank so many places before this one.
        let part = |back: usize| share(call.bytes, call.dtype, (rank + 2 * world - back) % world, world);
        match call.kind {
            Kind::AllReduce => {
                plan.reduce(call, world, part);
                plan.gather(world, part);
            }
            Kind::ReduceScatter => plan.reduce(call, world, part),
            Kind::AllGather => plan.gather(world, part),
            Kind::Broadcast => plan.pass_on(call, rank, world),
            Kind::Barrier | Kind::Decide => {}
        }
        plan
    }

    fn send(&mut self, range: Range<usize>) {
        let after = self.incoming.len().checked_sub(1);
        self.outgoing.push(Outgoing { range, after });
    }

    fn reduce(&mut self, call: Call, world: usize, part: impl Fn(usize) -> Range<usize>) {
        for step in 0..world - 1 {
            self.send(part(1 + step));
            let last = step + 2 == world;
            let divisor = if last && call.op == ReduceOp::Avg { world } else { 1 };
            self.incoming.push(Incoming { range: part(2 + step), folded: Some(divisor) });
        }
    }

    fn gather(&mut self, world: usize, part: impl Fn(usize) -> Range<usize>) {
        for step in 0..world - 1 {
            self.send(part(step));
            self.incoming.push(Incoming { range: part(step + 1), folded: None });
        }
    }

    fn pass_on(&mut self, call: Call, rank: usize, world: usize) {
        if rank != call.root {
            self.incoming.push(Incoming { range: 0..call.bytes, folded: None });
        }
        if (rank + 1) % world != call.root {
            self.send(0..call.bytes);
        }
    }
}

/// How far an exchange is.
#[derive(Debug, Default)]
struct Progress {
    /// Parts that are through, and bytes of the next one.
    received: (usize, usize),
    sent: (usize, usize),
    /// Bytes in the scratch memory that are no whole element yet.
    rest: usize,
}

impl Ring {
    pub(super) fn new(to: TcpStream, from: TcpStream, rank: usize, world: usize) -> Self {
        Self { to, from, rank, world, scratch: vec![0; SCRATCH] }
    }

    fn next(&self) -> usize {
        (self.rank + 1) % self.world
    }

    fn before(&self) -> usize {
        (self.rank + self.world - 1) % self.world
    }

    /// Carries out a call. Headers go around first, as many times as it takes for everybody to have heard of everybody where
    /// there is nothing else to go around.
    pub(super) fn carry_out(
        &mut self,
        call: Call,
        sequence: u32,
        data: &mut [u8],
        line: &Line,
        deadline: Instant,
    ) -> Result<(), Stop> {
        let rounds = if matches!(call.kind, Kind::Barrier | Kind::Decide) { self.world - 1 } else { 1 };
        for _ in 1..rounds {
            self.exchange(call, sequence, &mut [], &Plan::default(), line, deadline)?;
        }
        let plan = Plan::of(call, self.rank, self.world);
        self.exchange(call, sequence, data, &plan, line, deadline)
    }

    fn exchange(
        &mut self,
        call: Call,
        sequence: u32,
        data: &mut [u8],
        plan: &Plan,
        line: &Line,
        deadline: Instant,
    ) -> Result<(), Stop> {
        let ours = call.pack(sequence);
        let mut header = Vec::with_capacity(HEADER);
        ours.iter().for_each(|word| header.extend_from_slice(&word.to_be_bytes()));
        let (mut told, mut heard) = (0, 0);
        let mut theirs = [0; HEADER];
        let mut progress = Progress::default();
        loop {
            let mut moved = false;
            if told < HEADER {
                let count = sent(self.to.write(&header[told..]), self.next())?;
                told += count;
                moved |= count > 0;
            } else {
                moved |= self.send(data, plan, &mut progress)?;
            }
            if heard < HEADER {
                let count = received(self.from.read(&mut theirs[heard..]), self.before())?;
                heard += count;
                moved |= count > 0;
                if heard == HEADER {
                    self.compare(ours, &theirs)?;
                }
            } else {
                moved |= self.receive(call, data, plan, &mut progress)?;
            }
            let receives = heard < HEADER || progress.received.0 < plan.incoming.len();
            let sends = told < HEADER || progress.sent.0 < plan.outgoing.len();
            if !receives && !sends {
                return Ok(());
            }
            if !moved {
                let ready = told < HEADER || self.sendable(plan, &progress) > 0;
                self.wait(receives, sends && ready, line, sequence, deadline)?;
            }
        }
    }

    fn compare(&self, ours: [u64; WORDS], theirs: &[u8; HEADER]) -> Result<(), Stop> {
        let (words, _) = theirs.as_chunks::<8>();
        let theirs: [u64; WORDS] = std::array::from_fn(|word| u64::from_be_bytes(words[word]));
        if ours == theirs {
            return Ok(());
        }
        Err(Stop::Odds { rank: self.before(), theirs: describe(theirs), ours: describe(ours) })
    }

    /// Bytes of the next outgoing part that are there.
    fn sendable(&self, plan: &Plan, progress: &Progress) -> usize {
        let (index, done) = progress.sent;
        let Some(part) = plan.outgoing.get(index) else { return 0 };
        let there = match part.after {
            Some(after) if after == progress.received.0 => progress.received.1,
            Some(after) if after > progress.received.0 => 0,
            _ => part.range.len(),
        };
        there - done
    }

    fn send(&mut self, data: &[u8], plan: &Plan, progress: &mut Progress) -> Result<bool, Stop> {
        let mut moved = false;
        while let Some(part) = plan.outgoing.get(progress.sent.0) {
            let there = self.sendable(plan, progress);
            if there > 0 {
                let start = part.range.start + progress.sent.1;
                let count = sent(self.to.write(&data[start..start + there]), self.next())?;
                progress.sent.1 += count;
                moved |= count > 0;
            }
            if progress.sent.1 < part.range.len() {
                break;
            }
            progress.sent = (progress.sent.0 + 1, 0);
            moved = true;
        }
        Ok(moved)
    }

    /// Receives once, so that sending has its turn.
    fn receive(
        &mut self,
        call: Call,
        data: &mut [u8],
        plan: &Plan,
        progress: &mut Progress,
    ) -> Result<bool, Stop> {
        let Some(part) = plan.incoming.get(progress.received.0) else { return Ok(false) };
        let mut moved = false;
        let target = &mut data[part.range.start + progress.received.1..part.range.end];
        if !target.is_empty() {
            moved = match part.folded {
                None => {
                    let count = received(self.from.read(target), self.before())?;
                    progress.received.1 += count;
                    count > 0
                }
                Some(divisor) => self.receive_and_fold(call.dtype, call.op, divisor, target, progress)?,
            };
        }
        if progress.received.1 == part.range.len() {
            progress.received = (progress.received.0 + 1, 0);
            moved = true;
        }
        Ok(moved)
    }

    fn receive_and_fold(
        &mut self,
        dtype: Dtype,
        op: ReduceOp,
        divisor: usize,
        target: &mut [u8],
        progress: &mut Progress,
    ) -> Result<bool, Stop> {
        let room = target.len().min(SCRATCH);
        let before = self.before();
        let count = received(self.from.read(&mut self.scratch[progress.rest..room]), before)?;
        let have = progress.rest + count;
        let whole = have - have % dtype.size();
        fold_into(&mut target[..whole], &self.scratch[..whole], dtype, op, divisor);
        self.scratch.copy_within(whole..have, 0);
        progress.rest = have - whole;
        progress.received.1 += whole;
        Ok(count > 0)
    }

    fn wait(
        &self,
        receives: bool,
        sends: bool,
        line: &Line,
        call: u32,
        deadline: Instant,
    ) -> Result<(), Stop> {
        let listens = line.heard(call)?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stop::Late);
        }
        let mut fds = Vec::with_capacity(3);
        if listens {
            fds.push(PollFd::from_borrowed_fd(line.bell(), PollFlags::IN));
        }
        if receives {
            fds.push(PollFd::new(&self.from, PollFlags::IN));
        }
        if sends {
            fds.push(PollFd::new(&self.to, PollFlags::OUT));
        }
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // Ready, late or interrupted: look again.
        let _ = poll(&mut fds, Some(&left));
        Ok(())
    }
}

fn sent(outcome: io::Result<usize>, rank: usize) -> Result<usize, Stop> {
    match outcome {
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        Err(_) => Err(Stop::Gone { rank }),
    }
}

/// Nothing yet is no end; no byte where there was room is.
fn received(outcome: io::Result<usize>, rank: usize) -> Result<usize, Stop> {
    match outcome {
        Ok(0) => Err(Stop::Gone { rank }),
        other => sent(other, rank),
    }
}
