//! How ranks of one machine find each other: rank 0 listens on an abstract Unix socket, the others come with a descriptor
//! of their process, and all leave with the shared memory and everybody's process.
//!
//! An abstract socket has no file that could be left behind or belong to somebody else; whose process is on its other end
//! the kernel says, in both directions.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, getpid, getuid, pidfd_open};

use super::passing::{MAX_FDS, peer_user, receive, send};
use super::segment::Segment;
use crate::collective::Result;
use crate::collective::error::CollectiveError;

/// Ranks of one group on one machine at most: their descriptors go into one message.
pub const MAX_WORLD: usize = 128;

/// Between attempts to reach rank 0, which may not listen yet.
const RETRY: Duration = Duration::from_millis(5);

/// A process that connects says who it is within this time, or is sent away.
const INTRODUCTION: Duration = Duration::from_secs(2);

const MAGIC: [u8; 8] = *b"ZENCOLL1";
/// Magic, rank, world.
const HELLO: usize = 16;
/// The longest refusal.
const MAX_REASON: usize = 512;

/// Another rank, or this one.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) host: String,
    /// Readable once the process has ended.
    pub(super) process: OwnedFd,
}

/// The group's memory and its members, by rank.
pub(super) fn meet(
    place: &str,
    rank: usize,
    world: usize,
    deadline: Instant,
) -> Result<(Segment, Vec<Member>)> {
    if world == 0 || world > MAX_WORLD || rank >= world {
        return Err(CollectiveError::meeting(format!(
            "rank {rank} of {world} makes no sense; shared memory joins up to {MAX_WORLD} ranks of one machine"
        )));
    }
    let name = format!("zenith-collective/{}/{place}", getuid().as_raw());
    let address = SocketAddr::from_abstract_name(name)
        .map_err(|error| CollectiveError::meeting(format!("{place:?} is no name to meet at: {error}")))?;
    let process = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|error| CollectiveError::machine("opening the own process (Linux 5.3 can)")(error.into()))?;
    let (file, processes) = if rank == 0 {
        host(&address, place, process, world, deadline)?
    } else {
        join(&address, place, &process, rank, world, deadline)?
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let members = processes.into_iter().map(|process| Member { host: host.clone(), process }).collect();
    Ok((Segment::map(&file, world)?, members))
}

fn host(
    address: &SocketAddr,
    place: &str,
    own: OwnedFd,
    world: usize,
    deadline: Instant,
) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    let machine = CollectiveError::machine("listening for other ranks");
    let listener = UnixListener::bind_addr(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => CollectiveError::meeting(format!(
            "another rank 0 waits at {place:?}; give every group a name of its own"
        )),
        _ => machine(error),
    })?;
    listener.set_nonblocking(true).map_err(&machine)?;
    let mut guests: Vec<Option<(UnixStream, OwnedFd)>> = (0..world).map(|_| None).collect();
    while let Some(absent) = (1..world).find(|rank| guests[*rank].is_none()) {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let missing: Vec<usize> = (absent..world).filter(|rank| guests[*rank].is_none()).collect();
            let reason = format!("ranks {missing:?} did not come to {place:?} in time");
            refuse_all(guests, &reason);
            return Err(CollectiveError::Meeting { reason, missing });
        }
        await_readable(listener.as_fd(), left);
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if is_passing(&error) => continue,
            Err(error) => return Err(machine(error)),
        };
        match introduce(&stream, world, deadline) {
            Ok(Some((rank, process))) if guests[rank].is_none() => guests[rank] = Some((stream, process)),
            Ok(Some((rank, _))) => refuse(&stream, &format!("a rank {rank} is here already")),
            Ok(None) => {}
            Err(reason) => {
                refuse(&stream, &reason);
                refuse_all(guests, &reason);
                return Err(CollectiveError::meeting(reason));
            }
        }
    }
    let file = Segment::create(world)?;
    let mut processes = vec![own];
    let mut streams = Vec::new();
    for (stream, process) in guests.into_iter().flatten() {
        streams.push(stream);
        processes.push(process);
    }
    let fds: Vec<BorrowedFd<'_>> =
        std::iter::once(file.as_fd()).chain(processes.iter().map(AsFd::as_fd)).collect();
    for stream in &streams {
        send(stream, &[1], &fds).map_err(CollectiveError::machine("welcoming a rank"))?;
    }
    Ok((file, processes))
}

/// Who has come: nobody where it went away or is of another user; an error where it cannot belong to this group.
fn introduce(
    stream: &UnixStream,
    world: usize,
    deadline: Instant,
) -> std::result::Result<Option<(usize, OwnedFd)>, String> {
    let own = |stream: &UnixStream| peer_user(stream).is_ok_and(|user| user == getuid().as_raw());
    let patience = deadline.saturating_duration_since(Instant::now()).clamp(RETRY, INTRODUCTION);
    if !own(stream)
        || stream.set_nonblocking(false).is_err()
        || stream.set_read_timeout(Some(patience)).is_err()
    {
        return Ok(None);
    }
    let mut hello = [0; HELLO];
    let Ok((HELLO, mut fds)) = receive(stream, &mut hello) else { return Ok(None) };
    let number =
        |at: usize| u32::from_ne_bytes([hello[at], hello[at + 1], hello[at + 2], hello[at + 3]]) as usize;
    if hello[..8] != MAGIC {
        return Ok(None);
    }
    let (rank, theirs) = (number(8), number(12));
    if theirs != world {
        return Err(format!("rank {rank} expects {theirs} ranks and rank 0 expects {world}"));
    }
    if rank == 0 || rank >= world {
        return Err(format!("there is no guest of rank {rank} among {world}"));
    }
    Ok(fds.pop().map(|process| (rank, process)))
}

fn join(
    address: &SocketAddr,
    place: &str,
    own: &OwnedFd,
    rank: usize,
    world: usize,
    deadline: Instant,
) -> Result<(OwnedFd, Vec<OwnedFd>)> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let reason = format!("rank 0 does not listen at {place:?}, or waits for others");
            return Err(CollectiveError::Meeting { reason, missing: vec![0] });
        }
        if let Some(outcome) = visit(address, own, rank, world, left) {
            return outcome;
        }
        thread::sleep(RETRY.min(left));
    }
}

/// One attempt; nothing where rank 0 is not there, or was just leaving an earlier meeting.
fn visit(
    address: &SocketAddr,
    own: &OwnedFd,
    rank: usize,
    world: usize,
    left: Duration,
) -> Option<Result<(OwnedFd, Vec<OwnedFd>)>> {
    let stream = UnixStream::connect_addr(address).ok()?;
    if peer_user(&stream).ok()? != getuid().as_raw() {
        return Some(Err(CollectiveError::meeting("a process of another user listens where rank 0 should")));
    }
    stream.set_read_timeout(Some(left)).ok()?;
    let mut hello = [0; HELLO];
    hello[..8].copy_from_slice(&MAGIC);
    hello[8..12].copy_from_slice(&u32::try_from(rank).ok()?.to_ne_bytes());
    hello[12..].copy_from_slice(&u32::try_from(world).ok()?.to_ne_bytes());
    send(&stream, &hello, &[own.as_fd()]).ok()?;
    let mut answer = [0; 1];
    let (1, mut fds) = receive(&stream, &mut answer).ok()? else { return None };
    if answer[0] != 1 {
        let mut reason = Vec::new();
        (&stream).take(MAX_REASON as u64).read_to_end(&mut reason).ok()?;
        return Some(Err(CollectiveError::meeting(String::from_utf8_lossy(&reason))));
    }
    if fds.len() != world + 1 {
        return Some(Err(CollectiveError::meeting(
            "rank 0's descriptors did not all arrive; a higher limit of open files (ulimit -n) would help",
        )));
    }
    let processes = fds.split_off(1);
    Some(Ok((fds.remove(0), processes)))
}

fn refuse(mut stream: &UnixStream, reason: &str) {
    let reason = &reason.as_bytes()[..reason.len().min(MAX_REASON)];
    // Whoever does not hear it sees the connection close.
    let _ = stream.write_all(&[&[0], reason].concat());
}

fn refuse_all(guests: Vec<Option<(UnixStream, OwnedFd)>>, reason: &str) {
    for (stream, _) in guests.into_iter().flatten() {
        refuse(&stream, reason);
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

fn await_readable(fd: BorrowedFd<'_>, left: Duration) {
    let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    // Ready, late or interrupted: the caller looks.
    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&left));
}

const _: () = assert!(MAX_WORLD < MAX_FDS, "the memory and all processes go into one message");
