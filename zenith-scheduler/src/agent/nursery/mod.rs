//! The nursery: a small process with one thread from which supervisors are forked, so that starting a gang costs a fork of
//! next to nothing and not of the agent. It knows no attempt: it reads what is to be started from its standard input, passes it on to
//! a supervisor that has nothing to do or forks one, and ends when the agent does. Supervisors stay until their attempt is over.
//!
//! What the agent says is frames: four bytes of length, then [`Settings`] as JSON in the first one, and a `v1::Start` in every
//! other.

pub(crate) mod cgroup;
mod idle;
pub(crate) mod plan;
mod port;
pub(crate) mod rotate;
mod supervisor;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use prost::Message;
use rustix::fs::{FlockOperation, flock};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};
use zenith_proto::v1;

use self::idle::{Bench, Foreman};
use super::layout::{Key, Layout};
use super::process::{self, Fork};
use super::record::{Begun, How, Record, Refused};
use super::status::{Claim, Status};

/// Bytes one frame may have: more than the controller may send.
const LONGEST_FRAME: usize = 64 << 20;

/// What holds for every attempt on a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The agent's state folder.
    pub(crate) state: PathBuf,
    pub(crate) machine: plan::Machine,
    /// Bytes of a log after which it is cut; twice as much is kept at most.
    pub(crate) log_part: u64,
    /// Where control groups can be made; why not where they cannot.
    pub(crate) groups: Result<cgroup::Parent, String>,
    /// What cannot be done for any attempt.
    pub(crate) notes: Vec<String>,
}

/// A frame of what the agent says.
pub(crate) fn frame(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&length, content].concat()
}

/// The nursery's whole life: ends when the agent's side of standard input is closed.
pub(super) fn run() -> io::Result<()> {
    process::close_inherited();
    process::become_nursery()?;
    // A terminal's signals are not for us.
    rustix::process::setsid().ok();
    let mut agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let nothing = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nothing)?;
    dup2_stdout(&nothing)?;
    dup2_stderr(&nothing)?;
    let Some(settings) = next_frame(&mut agent)? else { return Ok(()) };
    let settings: Settings = serde_json::from_slice(&settings)?;
    let layout = Layout::new(&settings.state);
    let lock = hold(&layout, FlockOperation::LockShared)?;
    let (mut foreman, bench) = idle::bench()?;
    let forked = |agent: UnixStream, foreman: Foreman, lock: File, start: Option<Vec<u8>>| -> ! {
        // With these the nursery would seem to live on.
        drop((agent, foreman));
        // Whatever happens, this process must not go on as a second nursery.
        let ended =
            catch_unwind(AssertUnwindSafe(|| supervise(&settings, &layout, &bench, &nothing, start, lock)));
        std::process::exit(i32::from(ended.is_err()));
    };
    loop {
        if foreman.wait(&bench, &agent)? {
            if process::fork().is_ok_and(|fork| fork == Fork::Child) {
                let stray = bench.stray();
                forked(agent, foreman, lock, stray);
            }
            // There may be more of them, or no process for this one.
            continue;
        }
        let Some(bytes) = next_frame(&mut agent)? else { return Ok(()) };
        if foreman.pass_on(&bench, &bytes) {
            continue;
        }
        match process::fork() {
            Ok(Fork::Parent) => {}
            Ok(Fork::Child) => forked(agent, foreman, lock, Some(bytes)),
            Err(error) => {
                let start = v1::Start::decode(&*bytes).map_err(io::Error::other)?;
                refuse(&layout, &start, &format!("no process can be forked: {error}"));
            }
        }
    }
}

/// A supervisor's whole life: one attempt after the other.
fn supervise(
    settings: &Settings,
    layout: &Layout,
    bench: &Bench,
    nothing: &File,
    mut start: Option<Vec<u8>>,
    mut lock: File,
) {
    process::become_supervisor();
    // A fork is no leader of its group, so this cannot fail.
    rustix::process::setsid().ok();
    let myself = Myself::new();
    while let Some(bytes) = start {
        let Ok(start_now) = v1::Start::decode(&*bytes) else { return };
        supervisor::run(settings, layout, &start_now, &myself, nothing, lock);
        // Whoever may begin something holds the lock before it may be told to.
        let Ok(held) = hold(layout, FlockOperation::NonBlockingLockShared) else { return };
        lock = held;
        start = bench.next();
    }
}

/// Takes the lock that tells the next agent that a nursery, or something that it has forked, may still begin an attempt.
fn hold(layout: &Layout, how: FlockOperation) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(layout.nursery_lock())?;
    flock(&file, how)?;
    Ok(file)
}

/// Notes that an attempt cannot be started. Where that cannot be written the agent asks again, and gives up in the end.
fn refuse(layout: &Layout, start: &v1::Start, why: &str) {
    let key = Key { job: start.job, attempt: start.attempt };
    if let Ok(Claim::Ours(mut status)) = Status::claim(&layout.status(key)) {
        let _ = status.append(&refusal(start, why));
    }
}

/// The records of an attempt of which this node could start nothing.
pub(crate) fn refusal(start: &v1::Start, why: &str) -> Vec<Record> {
    let ranks = start.rank_offset..start.rank_offset + start.local_ranks;
    let failed = ranks.map(|rank| {
        let how = How::NotStarted(Refused::by_node(why));
        Record::Exited { rank, how, usage: v1::Usage::default() }
    });
    [Record::Begun(begun(start, None))].into_iter().chain(failed).chain([Record::Gone]).collect()
}

/// What tells a process from others of its number.
#[derive(Debug)]
struct Myself {
    pid: i32,
    ticks: u64,
    boot: String,
}

impl Myself {
    fn new() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self { pid, ticks: super::remains::ticks(pid).unwrap_or(0), boot: super::remains::boot() }
    }
}

/// The first record of an attempt, by its supervisor; without one there is nobody whom it could leave behind.
fn begun(start: &v1::Start, supervisor: Option<&Myself>) -> Begun {
    Begun {
        pid: supervisor.map_or(0, |myself| myself.pid),
        ticks: supervisor.map_or(0, |myself| myself.ticks),
        boot: supervisor.map_or_else(super::remains::boot, |myself| myself.boot.clone()),
        rank_offset: start.rank_offset,
        ranks: start.local_ranks,
        master_port: start.master_port,
    }
}

/// None once the other side is closed.
fn next_frame(agent: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match agent.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_FRAME {
        return Err(io::Error::other(format!(
            "a frame of {length} bytes; an agent sends {LONGEST_FRAME} at most"
        )));
    }
    let mut content = vec![0; length];
    match agent.read_exact(&mut content) {
        Ok(()) => Ok(Some(content)),
        // The agent died within it.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn frames_are_read_back_and_a_cut_one_is_an_end() {
        let (mut agent, mut nursery) = UnixStream::pair().unwrap();
        agent.write_all(&frame(b"one")).unwrap();
        agent.write_all(&frame(b"")).unwrap();
        agent.write_all(&frame(b"three")[..6]).unwrap();
        drop(agent);
        assert_eq!(next_frame(&mut nursery).unwrap(), Some(b"one".to_vec()));
        assert_eq!(next_frame(&mut nursery).unwrap(), Some(vec![]));
        assert_eq!(next_frame(&mut nursery).unwrap(), None);
    }

    #[test]
    fn a_frame_that_no_agent_sends_is_refused() {
        let (mut agent, mut nursery) = UnixStream::pair().unwrap();
        agent.write_all(&u32::MAX.to_le_bytes()).unwrap();
        assert!(next_frame(&mut nursery).is_err());
    }
}
