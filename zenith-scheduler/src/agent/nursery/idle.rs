//! Supervisors that have seen an attempt through and wait for another one: waking one costs much less than forking one. Between the
//! nursery and them there is a queue of starts that whoever is idle takes from, and two counts; nobody knows the others, so the
//! death of one is nobody's business.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};

/// Supervisors that wait at most.
const MOST_IDLE: u32 = 32;

/// How long one waits before it ends.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a start that is passed on; who is forked for it has a larger one already.
const LARGEST: usize = 64 * 1024;

/// How long a start may lie in the queue before somebody is forked for it: whoever was to take it may be dead.
const STUCK: Duration = Duration::from_millis(50);

/// The side of the supervisors.
#[derive(Debug)]
pub(super) struct Bench {
    starts: OwnedFd,
    /// Those who wait and whom the nursery has not yet sent a start.
    idle: OwnedFd,
    /// Those who may begin to wait.
    places: OwnedFd,
}

/// The nursery's side.
#[derive(Debug)]
pub(super) struct Foreman {
    starts: OwnedFd,
    /// When a start was passed on that nobody may have taken.
    passed: Option<Instant>,
}

/// A queue with nobody at it.
pub(super) fn bench() -> io::Result<(Foreman, Bench)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // With a time to wait each of them sleeps in the call, and a start wakes one of them alone.
    set_socket_timeout(&theirs, Timeout::Recv, Some(PATIENCE))?;
    let count =
        |first| eventfd(first, EventfdFlags::SEMAPHORE | EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
    let bench = Bench { starts: theirs, idle: count(0)?, places: count(MOST_IDLE)? };
    Ok((Foreman { starts: ours, passed: None }, bench))
}

impl Foreman {
    /// Passes a start on to somebody who is idle; false where nobody is, or it is too large.
    pub(super) fn pass_on(&mut self, bench: &Bench, start: &[u8]) -> bool {
        if start.len() > LARGEST || !take(&bench.idle) {
            return false;
        }
        let sent = send(&self.starts, start, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        if sent.is_err() {
            give(&bench.idle);
            return false;
        }
        self.passed.get_or_insert_with(Instant::now);
        true
    }

    /// Waits until there is something to read from the agent. True where before that, or for long by now, a start has lain in the queue
    /// that nobody takes.
    pub(super) fn wait(&mut self, bench: &Bench, agent: impl AsFd) -> io::Result<bool> {
        let Some(passed) = self.passed else { return Ok(false) };
        let (left, came) = loop {
            let left = STUCK.saturating_sub(passed.elapsed());
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&agent, PollFlags::IN)], Some(&timeout)) {
                Ok(came) => break (left, came),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if came > 0 && !left.is_zero() {
            return Ok(false);
        }
        let is_stuck = bench.has_start();
        self.passed = is_stuck.then(Instant::now);
        Ok(is_stuck)
    }
}

impl Bench {
    /// Waits for a start; none where nobody gives any, where enough wait, or where none has come for long.
    pub(super) fn next(&self) -> Option<Vec<u8>> {
        if !take(&self.places) {
            return None;
        }
        give(&self.idle);
        let start = loop {
            match self.receive(RecvFlags::empty()) {
                Ok(start) => break start,
                // Who cannot take back that it waits has been sent something.
                Err(Errno::AGAIN) if take(&self.idle) => break None,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => break None,
            }
        };
        give(&self.places);
        start
    }

    /// A start that lies in the queue.
    pub(super) fn stray(&self) -> Option<Vec<u8>> {
        self.receive(RecvFlags::DONTWAIT).ok().flatten()
    }

    fn has_start(&self) -> bool {
        recv(&self.starts, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK).is_ok_and(|(got, _)| got > 0)
    }

    /// None once the nursery is gone.
    fn receive(&self, flags: RecvFlags) -> Result<Option<Vec<u8>>, Errno> {
        let mut start = Vec::with_capacity(LARGEST);
        let (got, _) = recv(&self.starts, spare_capacity(&mut start), flags)?;
        Ok((got > 0).then_some(start))
    }
}

fn take(count: &OwnedFd) -> bool {
    rustix::io::read(count, &mut [0; 8]).is_ok()
}

fn give(count: &OwnedFd) {
    // It would take 2^64 of them to fail.
    let _ = rustix::io::write(count, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_start_goes_to_whoever_waits_and_to_nobody_else() {
        let (mut foreman, bench) = bench().unwrap();
        assert!(!foreman.pass_on(&bench, b"one"), "nobody waits");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| bench.next());
            while !foreman.pass_on(&bench, b"two") {
                std::thread::yield_now();
            }
            assert_eq!(waiting.join().unwrap(), Some(b"two".to_vec()));
        });
        assert!(!foreman.pass_on(&bench, b"three"), "it has something to do");
    }

    #[test]
    fn whoever_waits_ends_with_the_nursery_after_what_it_was_sent() {
        let (mut foreman, bench) = bench().unwrap();
        give(&bench.idle);
        assert!(foreman.pass_on(&bench, b"one"));
        drop(foreman);
        assert_eq!((bench.next(), bench.next()), (Some(b"one".to_vec()), None));
    }

    #[test]
    fn a_start_that_nobody_takes_is_noticed() {
        let (mut foreman, bench) = bench().unwrap();
        let (agent, _other) = UnixStream::pair().unwrap();
        // It said that it waits, and died.
        give(&bench.idle);
        assert!(foreman.pass_on(&bench, b"one"));
        give(&bench.idle);
        assert!(foreman.pass_on(&bench, b"another"));
        assert!(foreman.wait(&bench, &agent).unwrap());
        assert_eq!(bench.stray(), Some(b"one".to_vec()));
        assert!(foreman.wait(&bench, &agent).unwrap(), "there is one more");
        assert_eq!((bench.stray(), bench.stray()), (Some(b"another".to_vec()), None));
        assert!(!foreman.wait(&bench, &agent).unwrap());
        give(&bench.idle);
        assert!(foreman.pass_on(&bench, b"two"));
        assert_eq!(bench.stray(), Some(b"two".to_vec()));
        assert!(!foreman.wait(&bench, &agent).unwrap(), "somebody took it");
    }

    #[test]
    fn only_so_many_wait_and_large_ones_are_not_passed_on() {
        let (mut foreman, bench) = bench().unwrap();
        give(&bench.idle);
        assert!(!foreman.pass_on(&bench, &vec![0; LARGEST + 1]));
        assert!(foreman.pass_on(&bench, &vec![7; LARGEST]));
        assert_eq!(bench.stray().map(|start| start.len()), Some(LARGEST));
        assert!((0..MOST_IDLE).all(|_| take(&bench.places)));
        assert_eq!(bench.next(), None);
    }
}
