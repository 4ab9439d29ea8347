//! How a connection begins: both ends prove that they know the job's token without showing it, and the one that came says
//! who it is.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::message::Seat;
use super::{hmac, keepalive};
use crate::collective::Result;
use crate::collective::error::CollectiveError;

const MAGIC: &[u8; 8] = b"ZENRING1";
const NONCE: usize = 32;
const PROOF: usize = 32;
/// The longest introduction.
const LONGEST: usize = 4096;

/// Each step of a greeting takes at most this long, so that a stranger cannot hold up the others.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between attempts to reach a rank that may not listen yet.
const RETRY: Duration = Duration::from_millis(20);

/// A silent machine is asked whether it lives after this long, and again this often.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;

/// What all ranks of a job know and nobody else should.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// A token of these bytes.
    #[must_use]
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    fn proof(&self, parts: &[&[u8]]) -> [u8; PROOF] {
        let mut text = Vec::new();
        for part in parts {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        hmac::sha256(&self.0, &text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// Settings of a connection that stays: no delay, and signs of life from the kernel.
pub(super) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    keepalive::keep_alive(stream, KEEPALIVE, KEEPALIVE_TRIES)
}

/// Connects as soon as somebody listens.
pub(super) fn connect_patiently(address: SocketAddr, deadline: Instant) -> Result<TcpStream> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(CollectiveError::Meeting {
                reason: format!(
                    "nobody listens at {address}; does rank 0 run, and may this machine reach it?"
                ),
                missing: Vec::new(),
            });
        }
        match TcpStream::connect_timeout(&address, left) {
            Ok(stream) => return Ok(stream),
            Err(_) => thread::sleep(RETRY.min(left)),
        }
    }
}

/// The next connection; nothing when time is up.
pub(super) fn accept_until(listener: &TcpListener, deadline: Instant) -> Result<Option<TcpStream>> {
    let machine = CollectiveError::machine("listening for other ranks");
    listener.set_nonblocking(true).map_err(&machine)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).map_err(&machine)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) =>
            {
                continue;
            }
            Err(error) => return Err(machine(error)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        // Ready, late or interrupted: look again.
        let _ = poll(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], Some(&left));
    }
}

/// The side that came.
pub(super) fn connect(mut stream: &TcpStream, token: &Token, seat: &Seat, deadline: Instant) -> Result<()> {
    let mut greet = || -> io::Result<()> {
        limit(stream, deadline)?;
        let mine = nonce()?;
        stream.write_all(&[&MAGIC[..], &mine].concat())?;
        let (mut theirs, mut proof) = ([0; NONCE], [0; PROOF]);
        // Others may be greeted before; only a stranger is impatient.
        stream.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now()).max(RETRY)))?;
        stream.read_exact(&mut theirs)?;
        stream.read_exact(&mut proof)?;
        if !hmac::equal(&token.proof(&[b"listens", &mine, &theirs]), &proof) {
            return Err(io::Error::other("the other side does not know the job's token"));
        }
        let who = serde_json::to_vec(seat)?;
        let proof = token.proof(&[b"came", &theirs, &mine, &who]);
        let length = u32::try_from(who.len()).map_err(io::Error::other)?;
        stream.write_all(&[&proof[..], &length.to_be_bytes(), &who].concat())
    };
    greet().map_err(|error| CollectiveError::meeting(format!("a greeting failed: {error}")))
}

/// The side that listens: who has come.
pub(super) fn accept(mut stream: &TcpStream, token: &Token, deadline: Instant) -> io::Result<Seat> {
    limit(stream, deadline)?;
    let mut hello = [0; MAGIC.len() + NONCE];
    stream.read_exact(&mut hello)?;
    let (magic, theirs) = hello.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(io::Error::other("no rank of this version"));
    }
    let mine = nonce()?;
    let proof = token.proof(&[b"listens", theirs, &mine]);
    stream.write_all(&[&mine[..], &proof].concat())?;
    let (mut proof, mut length) = ([0; PROOF], [0; 4]);
    stream.read_exact(&mut proof)?;
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("too long an introduction"));
    }
    let mut who = vec![0; length];
    stream.read_exact(&mut who)?;
    if !hmac::equal(&token.proof(&[b"came", &mine, theirs, &who]), &proof) {
        return Err(io::Error::other("it does not know the job's token"));
    }
    Ok(serde_json::from_slice(&who)?)
}

fn limit(stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now()).clamp(RETRY, PATIENCE);
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))
}

fn nonce() -> io::Result<[u8; NONCE]> {
    let mut bytes = [0; NONCE];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if got == NONCE { Ok(bytes) } else { Err(io::Error::other("the system gave too little randomness")) }
}
