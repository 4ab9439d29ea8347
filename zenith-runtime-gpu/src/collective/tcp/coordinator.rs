//! The coordinator, a thread of rank 0: lets the ranks meet, then listens on all their lines for deaths, lateness and
//! votes. What it says, it says to all in the same order, so all that live come to the same end.
//!
//! It is asleep while nothing happens. Dies rank 0's process, the lines' ends say so; who had heard the outcome of a vote by
//! then knows more than who had not, which is the one case in which ranks can come to different ends.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use super::greeting::{self, Token, accept};
use super::line::GRACE;
use super::message::{self, Inbox, Message, Received, Seat, Verdict};
use crate::collective::Result;
use crate::collective::error::CollectiveError;

/// The thread; joined on drop, which the end of rank 0's line has let come.
#[derive(Debug)]
pub(super) struct Coordinator {
    _thread: Thread<()>,
}

impl Coordinator {
    pub(super) fn start(
        listener: TcpListener,
        world: usize,
        token: Token,
        deadline: Instant,
    ) -> Result<Self> {
        let thread = Thread::spawn(ThreadConfig::named("zn-coordinator"), move || {
            if let Some(lines) = gather(&listener, world, &token, deadline) {
                drop(listener);
                Lines::new(lines).serve();
            }
        });
        let thread = thread.map_err(|error| {
            CollectiveError::machine("starting the coordinator")(std::io::Error::other(error))
        })?;
        Ok(Self { _thread: thread })
    }
}

/// Lets all ranks in, or says to all why not.
fn gather(listener: &TcpListener, world: usize, token: &Token, deadline: Instant) -> Option<Vec<TcpStream>> {
    let mut guests: Vec<Option<(TcpStream, Seat)>> = (0..world).map(|_| None).collect();
    let refuse_all = |guests: &[Option<(TcpStream, Seat)>], reason: &str, missing: &[usize]| {
        for (stream, _) in guests.iter().flatten() {
            refuse(stream, reason, missing);
        }
    };
    while guests.iter().any(Option::is_none) {
        let Ok(Some(stream)) = greeting::accept_until(listener, deadline) else {
            let missing: Vec<usize> = (0..world).filter(|rank| guests[*rank].is_none()).collect();
            refuse_all(&guests, &format!("ranks {missing:?} did not come in time"), &missing);
            return None;
        };
        // Strangers and ranks without the token see the connection close.
        let Ok(seat) = accept(&stream, token, deadline) else { continue };
        if seat.world != world || seat.rank >= world {
            let reason =
                format!("rank {} expects {} ranks and rank 0 expects {world}", seat.rank, seat.world);
            refuse(&stream, &reason, &[]);
            refuse_all(&guests, &reason, &[]);
            return None;
        }
        let place = &mut guests[seat.rank];
        if place.is_some() {
            refuse(&stream, &format!("a rank {} is here already", seat.rank), &[]);
        } else {
            *place = Some((stream, seat));
        }
    }
    let (streams, roster): (Vec<_>, Vec<_>) = guests.into_iter().flatten().unzip();
    for stream in &streams {
        // A rank that is gone again is found when its line ends.
        let _ = message::send(stream, &Message::Roster(roster.clone()));
    }
    Some(streams)
}

fn refuse(stream: &TcpStream, reason: &str, missing: &[usize]) {
    // Whoever does not hear it sees the connection close.
    let _ = message::send(stream, &Message::Refused { reason: reason.to_owned(), missing: missing.to_vec() });
}

struct Guest {
    stream: Arc<TcpStream>,
    inbox: Inbox,
    left: bool,
    /// Calls it had finished when it left.
    finished: u32,
    /// The answer to the current question.
    position: Option<u64>,
    vote: Option<(u32, bool)>,
}

/// A question that is out.
struct Inquiry {
    number: u32,
    by: usize,
    until: Instant,
}

struct Lines {
    guests: Vec<Guest>,
    verdict: bool,
    inquiry: Option<Inquiry>,
    /// Ranks said to be gone whose lines have not ended, by whom, and until when that is waited for.
    suspect: Option<(usize, Instant)>,
    asked: u32,
}

impl Lines {
    fn new(streams: Vec<TcpStream>) -> Self {
        let guest = |stream: TcpStream| {
            // A rank that is stopped must not stop the coordinator.
            let prepared = super::tune(&stream).and_then(|()| stream.set_nonblocking(true));
            if prepared.is_err() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            let (stream, inbox) = (Arc::new(stream), Inbox::default());
            Guest { stream, inbox, left: false, finished: 0, position: None, vote: None }
        };
        let guests = streams.into_iter().map(guest).collect();
        Self { guests, verdict: false, inquiry: None, suspect: None, asked: 0 }
    }

    /// Until rank 0 has left.
    fn serve(&mut self) {
        while !self.guests[0].left {
            self.sleep();
            for rank in 0..self.guests.len() {
                while !self.guests[rank].left {
                    let stream = self.guests[rank].stream.clone();
                    match self.guests[rank].inbox.next(&stream) {
                        Received::Message(message) => self.on_message(rank, message),
                        Received::Nothing => break,
                        Received::End => self.on_end(rank),
                    }
                }
            }
            self.on_time();
        }
        self.tell_all(&Message::Bye { finished: self.guests[0].finished });
    }

    fn sleep(&self) {
        let until =
            [self.inquiry.as_ref().map(|inquiry| inquiry.until), self.suspect.map(|suspect| suspect.1)];
        let left =
            until.into_iter().flatten().min().map(|until| until.saturating_duration_since(Instant::now()));
        // Rounded up, so that time has come when it wakes.
        let left = left.map(|left| left + Duration::from_millis(1));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let here = self.guests.iter().filter(|guest| !guest.left);
        let mut fds: Vec<PollFd<'_>> = here.map(|guest| PollFd::new(&guest.stream, PollFlags::IN)).collect();
        // Ready, late or interrupted: look.
        let _ = poll(&mut fds, left.as_ref());
    }

    fn tell_all(&self, message: &Message) {
        for guest in self.guests.iter().filter(|guest| !guest.left) {
            // A rank whose line is full does not read, and is found by its silence.
            let _ = message::send(&guest.stream, message);
        }
    }

    fn judge(&mut self, verdict: Verdict) {
        if !self.verdict {
            self.verdict = true;
            self.inquiry = None;
            self.suspect = None;
            self.tell_all(&Message::Verdict(verdict));
        }
    }

    fn on_message(&mut self, rank: usize, message: Message) {
        match message {
            Message::Bye { finished } => {
                self.guests[rank].left = true;
                self.guests[rank].finished = finished;
                if self.suspect.is_some_and(|(suspect, _)| suspect == rank) {
                    self.judge(Verdict::Left { rank, finished });
                }
            }
            Message::Late => self.inquire(rank),
            Message::Gone { rank: gone } => self.suspect(gone),
            Message::Odds { rank: other, theirs, ours } => {
                self.judge(Verdict::Odds { rank: other, theirs, by: rank, ours });
            }
            Message::Position { number, position } => {
                if self.inquiry.as_ref().is_some_and(|inquiry| inquiry.number == number) {
                    self.guests[rank].position = Some(position);
                    if self.guests.iter().all(|guest| guest.left || guest.position.is_some()) {
                        self.conclude();
                    }
                }
            }
            Message::Vote { call, yes } => {
                self.guests[rank].vote = Some((call, yes));
                self.count(call);
            }
            Message::Roster(_)
            | Message::Refused { .. }
            | Message::Query { .. }
            | Message::Outcome { .. }
            | Message::Verdict(_) => {}
        }
    }

    fn on_end(&mut self, rank: usize) {
        self.guests[rank].left = true;
        self.judge(Verdict::Died { rank });
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        if self.inquiry.as_ref().is_some_and(|inquiry| inquiry.until <= now) {
            self.conclude();
        }
        if let Some((rank, _)) = self.suspect.filter(|(_, until)| *until <= now) {
            self.judge(Verdict::Died { rank });
        }
    }

    fn suspect(&mut self, rank: usize) {
        let Some(guest) = self.guests.get(rank) else { return };
        if guest.left {
            let finished = guest.finished;
            self.judge(Verdict::Left { rank, finished });
        } else if self.suspect.is_none() {
            self.suspect = Some((rank, Instant::now() + GRACE));
        }
    }

    fn inquire(&mut self, by: usize) {
        if self.verdict || self.inquiry.is_some() {
            return;
        }
        self.asked = self.asked.wrapping_add(1);
        self.guests.iter_mut().for_each(|guest| guest.position = None);
        self.inquiry = Some(Inquiry { number: self.asked, by, until: Instant::now() + GRACE });
        self.tell_all(&Message::Query { number: self.asked });
    }

    /// The silent ones are at fault; if all have answered, those who are the farthest behind.
    fn conclude(&mut self) {
        let Some(inquiry) = self.inquiry.take() else { return };
        let silent = |rank: &usize| !self.guests[*rank].left && self.guests[*rank].position.is_none();
        let mut ranks: Vec<usize> = (0..self.guests.len()).filter(silent).collect();
        if ranks.is_empty() {
            let here = self.guests.iter().filter_map(|guest| guest.position);
            let call = here.min().map_or(0, |position| position >> 1);
            let gone = |guest: &Guest| guest.left && u64::from(guest.finished) <= call;
            if let Some(rank) = self.guests.iter().position(gone) {
                let finished = self.guests[rank].finished;
                return self.judge(Verdict::Left { rank, finished });
            }
            let positions = self.guests.iter().map(|guest| guest.position);
            let least = positions.flatten().min();
            let behind = |rank: &usize| self.guests[*rank].position == least && *rank != inquiry.by;
            ranks = (0..self.guests.len()).filter(behind).collect();
        }
        self.judge(Verdict::Late { ranks, by: inquiry.by });
    }

    fn count(&mut self, call: u32) {
        let votes = || self.guests.iter().map(|guest| guest.vote.filter(|(number, _)| *number == call));
        if !self.verdict && votes().all(|vote| vote.is_some()) {
            let yes = votes().flatten().all(|(_, yes)| yes);
            self.tell_all(&Message::Outcome { call, yes });
        }
    }
}
