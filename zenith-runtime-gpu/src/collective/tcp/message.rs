//! What goes over a line between a rank and the coordinator: short messages, each with its length before it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::collective::Result;
use crate::collective::error::CollectiveError;

/// The longest message: a roster of some thousands of ranks.
const LONGEST: usize = 4 << 20;

/// A rank and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seat {
    pub(super) rank: usize,
    pub(super) world: usize,
    pub(super) host: String,
    /// Where it waits for the rank before it.
    pub(super) address: SocketAddr,
}

/// Why a group broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Verdict {
    /// Too late, these the most.
    Late { ranks: Vec<usize>, by: usize },
    /// Died.
    Died { rank: usize },
    /// Left by itself, having finished so many calls.
    Left { rank: usize, finished: u32 },
    /// `by` called one thing and the rank before it another.
    Odds { rank: usize, theirs: String, by: usize, ours: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// To a new rank: who they all are.
    Roster(Vec<Seat>),
    /// To a new rank: why it is not let in.
    Refused { reason: String, missing: Vec<usize> },
    /// The sender's time is up.
    Late,
    /// The sender's connection to a neighbour broke.
    Gone { rank: usize },
    /// The sender's neighbour calls something else.
    Odds { rank: usize, theirs: String, ours: String },
    /// To ranks: how far are you?
    Query { number: u32 },
    /// The answer.
    Position { number: u32, position: u64 },
    /// The sender's vote.
    Vote { call: u32, yes: bool },
    /// To ranks: what came of the votes.
    Outcome { call: u32, yes: bool },
    /// To ranks: it is over.
    Verdict(Verdict),
    /// The sender leaves by itself, having finished so many calls; to ranks: rank 0 does.
    Bye { finished: u32 },
}

/// Sends, in one piece.
pub(super) fn send(mut stream: &TcpStream, message: &Message) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], &text].concat())
}

/// Takes messages out of a stream as they become whole.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
}

/// What a look at a stream gave.
#[derive(Debug)]
pub(super) enum Received {
    Message(Message),
    /// Nothing whole yet.
    Nothing,
    /// The other end is gone, or speaks nonsense.
    End,
}

impl Inbox {
    /// The next message, reading what is there without waiting for more than the stream's own time limit.
    pub(super) fn next(&mut self, mut stream: &TcpStream) -> Received {
        loop {
            if let Some(head) = self.bytes.first_chunk::<4>() {
                let length = u32::from_be_bytes(*head) as usize;
                if length > LONGEST {
                    return Received::End;
                }
                if let Some(text) = self.bytes.get(4..4 + length) {
                    let message = serde_json::from_slice(text);
                    self.bytes.drain(..4 + length);
                    return message.map_or(Received::End, Received::Message);
                }
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(0) => return Received::End,
                Ok(count) => self.bytes.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Received::Nothing;
                }
                Err(_) => return Received::End,
            }
        }
    }
}

/// Waits for the roster.
pub(super) fn await_roster(stream: &TcpStream, deadline: Instant) -> Result<Vec<Seat>> {
    let machine = CollectiveError::machine("waiting for the other ranks");
    let mut inbox = Inbox::default();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let reason = "rank 0 did not gather all ranks in time".to_owned();
            return Err(CollectiveError::Meeting { reason, missing: Vec::new() });
        }
        stream.set_read_timeout(Some(left)).map_err(&machine)?;
        match inbox.next(stream) {
            Received::Message(Message::Roster(seats)) => return Ok(seats),
            Received::Message(Message::Refused { reason, missing }) => {
                return Err(CollectiveError::Meeting { reason, missing });
            }
            Received::Message(_) | Received::Nothing => {}
            Received::End => {
                let reason = "rank 0 closed the connection: it gave up, or refused the token".to_owned();
                return Err(CollectiveError::Meeting { reason, missing: vec![0] });
            }
        }
    }
}
