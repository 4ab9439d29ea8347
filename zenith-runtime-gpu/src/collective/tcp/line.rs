//! A rank's line to the coordinator: a thread that answers how far the rank is and hears what broke the group, and the
//! few things that the rank tells by itself.

use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use super::message::{self, Inbox, Message, Received, Verdict};
use crate::collective::Result;
use crate::collective::call::{Call, describe};
use crate::collective::error::{CollectiveError, Peer};

/// How long the coordinator may take to find out who is late, and then a rank to hear of it.
pub(super) const GRACE: Duration = Duration::from_millis(400);

/// Why an exchange stopped, as far as the rank itself can see.
#[derive(Debug)]
pub(super) enum Stop {
    /// Time is up.
    Late,
    /// The connection to a neighbour broke.
    Gone { rank: usize },
    /// A neighbour calls something else.
    Odds { rank: usize, theirs: String, ours: String },
    /// The coordinator has said why.
    Judged,
}

#[derive(Debug)]
struct Desk {
    control: TcpStream,
    /// One writer at a time.
    writing: Mutex<()>,
    told: Mutex<Told>,
    /// Readable as soon as there is a verdict or an outcome, and for ever after a verdict.
    bell: OwnedFd,
    /// The call, and whether it is over.
    position: AtomicU64,
}

#[derive(Debug, Default)]
struct Told {
    verdict: Option<Verdict>,
    outcome: Option<(u32, bool)>,
}

impl Told {
    /// Who left after a call has done its part of it, whatever may still be on its way.
    fn verdict_on(&self, call: u32) -> Option<&Verdict> {
        let verdict = self.verdict.as_ref()?;
        match verdict {
            Verdict::Left { finished, .. } if *finished > call => None,
            verdict => Some(verdict),
        }
    }
}

/// The rank's side.
#[derive(Debug)]
pub(super) struct Line {
    desk: Arc<Desk>,
    rank: usize,
    thread: Option<Thread<()>>,
}

impl Line {
    pub(super) fn start(control: TcpStream, rank: usize) -> Result<Self> {
        let machine = CollectiveError::machine("starting a rank's line");
        super::tune(&control).map_err(&machine)?;
        control.set_read_timeout(None).map_err(&machine)?;
        control.set_write_timeout(Some(GRACE)).map_err(&machine)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| machine(error.into()))?;
        let desk = Arc::new(Desk {
            control,
            writing: Mutex::new(()),
            told: Mutex::default(),
            bell,
            position: AtomicU64::new(0),
        });
        let config = ThreadConfig::named(format!("zn-line-{rank}"));
        let thread = Thread::spawn(config, {
            let desk = desk.clone();
            move || listen(&desk)
        });
        let thread = thread.map_err(|error| machine(std::io::Error::other(error)))?;
        Ok(Self { desk, rank, thread: Some(thread) })
    }

    /// Readable when there is something to hear.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.desk.bell.as_fd()
    }

    /// An error if the group is broken for this call; else whether there can still be anything to hear.
    pub(super) fn heard(&self, call: u32) -> std::result::Result<bool, Stop> {
        let told = self.desk.told();
        match told.verdict_on(call) {
            Some(_) => Err(Stop::Judged),
            None => Ok(told.verdict.is_none()),
        }
    }

    /// The rank is in this call.
    pub(super) fn enter(&self, call: u32) {
        self.desk.position.store(u64::from(call) << 1, Ordering::Release);
    }

    /// The rank has finished it.
    pub(super) fn leave(&self, call: u32) {
        self.desk.position.store(u64::from(call) << 1 | 1, Ordering::Release);
    }

    /// Votes, and waits for what comes of it.
    pub(super) fn vote(&self, call: u32, yes: bool, deadline: Instant) -> std::result::Result<bool, Stop> {
        self.desk.send(&Message::Vote { call, yes });
        loop {
            {
                let told = self.desk.told();
                // An outcome stands, whatever happened after it.
                if let Some((_, outcome)) = told.outcome.filter(|(number, _)| *number == call) {
                    if told.verdict.is_none() {
                        self.desk.still();
                    }
                    return Ok(outcome);
                }
                if told.verdict_on(call).is_some() {
                    return Err(Stop::Judged);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Stop::Late);
            }
            self.desk.wait(left);
        }
    }

    /// What came of a vote, if that was told. It stands, whatever was told after it.
    pub(super) fn outcome(&self, call: u32) -> Option<bool> {
        self.desk.told().outcome.filter(|(number, _)| *number == call).map(|(_, outcome)| outcome)
    }

    /// Tells the coordinator, waits for its verdict, and says it as an error.
    pub(super) fn explain(
        &self,
        stop: Stop,
        call: Call,
        sequence: u32,
        peers: &[Peer],
        start: Instant,
    ) -> CollectiveError {
        match &stop {
            Stop::Late => self.desk.send(&Message::Late),
            Stop::Gone { rank } => self.desk.send(&Message::Gone { rank: *rank }),
            Stop::Odds { rank, theirs, ours } => {
                self.desk.send(&Message::Odds { rank: *rank, theirs: theirs.clone(), ours: ours.clone() });
            }
            Stop::Judged => {}
        }
        let patience = Instant::now() + 2 * GRACE;
        let verdict = loop {
            if let Some(verdict) = self.desk.told().verdict_on(sequence).cloned() {
                break verdict;
            }
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // The coordinator is silent, which is a thread of rank 0.
                break match stop {
                    Stop::Odds { rank, theirs, ours } => Verdict::Odds { rank, theirs, by: self.rank, ours },
                    Stop::Gone { rank } => Verdict::Died { rank },
                    Stop::Late | Stop::Judged => Verdict::Late { ranks: vec![0], by: self.rank },
                };
            }
            self.desk.wait(left);
        };
        self.tell(verdict, call, sequence, peers, start)
    }

    fn tell(
        &self,
        verdict: Verdict,
        call: Call,
        sequence: u32,
        peers: &[Peer],
        start: Instant,
    ) -> CollectiveError {
        let kind = call.kind;
        let waited = start.elapsed();
        let peer = |rank: usize| peers.get(rank).cloned().unwrap_or(Peer { rank, host: "?".to_owned() });
        match verdict {
            Verdict::Died { rank } => CollectiveError::Died { call: kind, waited, dead: vec![peer(rank)] },
            Verdict::Left { rank, .. } => CollectiveError::Left { call: kind, peer: peer(rank) },
            Verdict::Late { ranks, by } if ranks.contains(&self.rank) => {
                CollectiveError::GivenUp { call: kind, by: peer(by) }
            }
            Verdict::Late { ranks, .. } => {
                let stragglers = ranks.into_iter().map(peer).collect();
                CollectiveError::Deadline { call: kind, waited, stragglers }
            }
            Verdict::Odds { rank, theirs, by, ours } => {
                let own = describe(call.pack(sequence));
                let (other, called) = if own == theirs { (by, ours) } else { (rank, theirs) };
                CollectiveError::Mismatch { peer: peer(other), ours: own, theirs: called }
            }
        }
    }

    /// Says goodbye; the thread ends. Afterwards there is no line.
    pub(super) fn hang_up(&mut self, finished: u32) {
        self.desk.send(&Message::Bye { finished });
        // The other way stays open until the coordinator has read; the thread sees the end at once.
        let _ = self.desk.control.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            // It has nothing to hand over, and a panic of it was told.
            drop(thread.join());
        }
    }
}

impl Desk {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, message: &Message) {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // A line that is broken is noticed by its reader.
        let _ = message::send(&self.control, message);
    }

    fn judge(&self, verdict: Verdict) {
        self.told().verdict.get_or_insert(verdict);
        self.ring();
    }

    fn ring(&self) {
        // A bell that rings already cannot be made to ring more.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    fn still(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    fn wait(&self, left: Duration) {
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // Ready, late or interrupted: look again.
        let _ = poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], Some(&left));
    }
}

fn listen(desk: &Desk) {
    let mut inbox = Inbox::default();
    loop {
        match inbox.next(&desk.control) {
            Received::Message(Message::Query { number }) => {
                let position = desk.position.load(Ordering::Acquire);
                desk.send(&Message::Position { number, position });
            }
            Received::Message(Message::Outcome { call, yes }) => {
                desk.told().outcome = Some((call, yes));
                desk.ring();
            }
            Received::Message(Message::Verdict(verdict)) => desk.judge(verdict),
            Received::Message(Message::Bye { finished }) => {
                desk.judge(Verdict::Left { rank: 0, finished });
                return;
            }
            Received::Message(_) | Received::Nothing => {}
            Received::End => {
                desk.judge(Verdict::Died { rank: 0 });
                return;
            }
        }
    }
}
