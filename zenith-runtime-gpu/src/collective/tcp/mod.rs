//! Ranks of any machines, joined in a ring of TCP connections.
//!
//! Data goes around the ring: every rank sends to the next and receives from the one before, both at once, and what has
//! been received is combined and sent on while the rest is on its way ([`exchange`]). Beside the ring each rank has a line to
//! the coordinator, a thread of rank 0 ([`coordinator`]), where deaths, lateness and votes are told: a rank sees only its
//! neighbours, and a ring that stands still does not say where. A thread of every rank ([`line`]) answers there, also
//! while the rank is busy elsewhere.
//!
//! Every connection proves that it knows the job's token ([`greeting`]); data is neither encrypted nor signed.

mod coordinator;
mod exchange;
mod greeting;
mod hmac;
mod keepalive;
mod line;
mod message;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::coordinator::Coordinator;
use self::exchange::Ring;
pub use self::greeting::Token;
use self::greeting::{accept, connect, tune};
use self::line::Line;
use self::message::Seat;
use super::Result;
use super::call::{Call, Kind};
use super::communicator::Communicator;
use super::error::{CollectiveError, Peer};

/// One rank's end of a group on several machines.
#[derive(Debug)]
pub struct Tcp {
    rank: usize,
    peers: Vec<Peer>,
    ring: Ring,
    line: Line,
    sequence: u32,
    process: u32,
    broken: Option<Arc<CollectiveError>>,
    /// Rank 0's; dropped last, since the line's end is told to it.
    coordinator: Option<Coordinator>,
}

impl Tcp {
    /// Meets as rank 0, at an address where the others will come. Lives as long as the group: rank 0's process is where the
    /// ranks' lines end.
    ///
    /// # Errors
    /// When ranks do not come within `limit`, do not know the token, or contradict each other.
    pub fn host(listener: TcpListener, world: usize, token: &Token, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let address = listener.local_addr().map_err(CollectiveError::machine("listening for other ranks"))?;
        let coordinator = Coordinator::start(listener, world, token.clone(), deadline)?;
        let mut tcp = Self::join(address, 0, world, token, limit)?;
        tcp.coordinator = Some(coordinator);
        Ok(tcp)
    }

    /// Meets rank 0, which listens at `address` or will.
    ///
    /// # Errors
    /// As for [`host`](Self::host).
    pub fn join(
        address: SocketAddr,
        rank: usize,
        world: usize,
        token: &Token,
        limit: Duration,
    ) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let machine = CollectiveError::machine("opening a connection between ranks");
        if rank >= world {
            return Err(CollectiveError::meeting(format!("there is no rank {rank} among {world}")));
        }
        let control = greeting::connect_patiently(address, deadline)?;
        let own = control.local_addr().map_err(&machine)?.ip();
        let listener = TcpListener::bind((own, 0)).map_err(&machine)?;
        let port = listener.local_addr().map_err(&machine)?.port();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let seat = Seat { rank, world, host, address: SocketAddr::new(own, port) };
        connect(&control, token, &seat, deadline)?;
        let roster = message::await_roster(&control, deadline)?;
        let next = roster.get((rank + 1) % world).cloned();
        let next = next.ok_or_else(|| CollectiveError::meeting("the roster lacks ranks"))?;
        let before = (rank + world - 1) % world;
        let (to, from) = thread::scope(|scope| {
            // In a circle everybody has to listen while it connects.
            let to = scope.spawn(|| -> Result<TcpStream> {
                let stream = greeting::connect_patiently(next.address, deadline)?;
                connect(&stream, token, &seat, deadline)?;
                Ok(stream)
            });
            let from = accept_from(&listener, token, before, deadline);
            let to = to
                .join()
                .unwrap_or_else(|_| Err(CollectiveError::meeting("connecting to the next rank panicked")));
            Ok::<_, CollectiveError>((to?, from?))
        })?;
        for stream in [&to, &from] {
            tune(stream).map_err(&machine)?;
            stream.set_nonblocking(true).map_err(&machine)?;
        }
        let peers: Vec<Peer> =
            roster.iter().map(|seat| Peer { rank: seat.rank, host: seat.host.clone() }).collect();
        let line = Line::start(control, rank)?;
        let mut tcp = Self {
            rank,
            ring: Ring::new(to, from, rank, world),
            peers,
            line,
            sequence: 0,
            process: std::process::id(),
            broken: None,
            coordinator: None,
        };
        tcp.barrier(deadline.saturating_duration_since(Instant::now()))?;
        Ok(tcp)
    }

    fn usable(&self, kind: Kind) -> Result<()> {
        if self.process != std::process::id() {
            let reason = "a forked process is not the rank it was forked from; meet again";
            return Err(CollectiveError::Refused { call: kind, reason: reason.into() });
        }
        match &self.broken {
            Some(cause) => Err(CollectiveError::Broken(cause.clone())),
            None => Ok(()),
        }
    }

    fn attempt(&mut self, call: Call, data: &mut [u8], start: Instant, limit: Duration) -> Result<()> {
        self.line.enter(self.sequence);
        let outcome = self.ring.carry_out(call, self.sequence, data, &self.line, start + limit);
        let outcome =
            outcome.map_err(|stop| self.line.explain(stop, call, self.sequence, &self.peers, start));
        if let Err(error) = &outcome {
            self.broken = Some(Arc::new(error.clone()));
        }
        outcome
    }

    fn finish(&mut self) {
        self.line.leave(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
    }
}

impl Communicator for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world(&self) -> usize {
        self.peers.len()
    }

    fn backend(&self) -> &'static str {
        "TCP ring"
    }

    fn carry_out(&mut self, call: Call, data: &mut [u8], limit: Duration) -> Result<()> {
        self.usable(call.kind)?;
        self.attempt(call, data, Instant::now(), limit)?;
        self.finish();
        Ok(())
    }

    fn decide(&mut self, yes: bool, limit: Duration) -> Result<bool> {
        let call = Call::empty(Kind::Decide);
        self.usable(call.kind)?;
        let start = Instant::now();
        // Once around, so that whoever calls something else is found before anybody votes.
        self.attempt(call, &mut [], start, limit)?;
        match self.line.vote(self.sequence, yes, start + limit) {
            Ok(outcome) => {
                self.finish();
                Ok(outcome)
            }
            Err(stop) => {
                let error = self.line.explain(stop, call, self.sequence, &self.peers, start);
                // The last vote may have come just when our time was over: then all others were told the outcome, and so were we.
                if let Some(outcome) = self.line.outcome(self.sequence) {
                    self.finish();
                    return Ok(outcome);
                }
                self.broken = Some(Arc::new(error.clone()));
                Err(error)
            }
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        if self.process == std::process::id() {
            self.line.hang_up(self.sequence);
        }
        // The coordinator's thread goes when all lines have ended or rank 0's has, which `hang_up` told it.
        drop(self.coordinator.take());
    }
}

fn accept_from(listener: &TcpListener, token: &Token, rank: usize, deadline: Instant) -> Result<TcpStream> {
    loop {
        let stream = greeting::accept_until(listener, deadline)?.ok_or_else(|| CollectiveError::Meeting {
            reason: format!("rank {rank} did not join the ring in time"),
            missing: vec![rank],
        })?;
        // Whoever does not know the token, or is somebody else, is sent away, and the wait goes on.
        match accept(&stream, token, deadline) {
            Ok(seat) if seat.rank == rank => return Ok(stream),
            Ok(_) | Err(_) => {}
        }
    }
}
