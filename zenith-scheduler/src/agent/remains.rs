//! Processes as the system shows them: those of an attempt whose supervisor is dead, wherever they went. Nothing here waits.

use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::nursery::plan::{MARK, mark};
use super::record::Begun;

/// A process, from its line in /proc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
    ticks: u64,
    /// It has ended, all of its threads, and only waits for somebody to hear of it.
    is_dead: bool,
}

/// Which boot of the machine this is, and which of its spaces of process numbers: in a container that was begun anew they count
/// from 1 again.
pub(crate) fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let id = id.trim();
    let space = fs::metadata("/proc/self/ns/pid").map_or(0, |space| space.ino());
    if id.is_empty() { format!("unknown{SPACE}{space}") } else { format!("{id}{SPACE}{space}") }
}

/// Between the boot and the space of process numbers.
const SPACE: char = '@';

/// Process numbers that were noted then mean now what they meant. Where the space was not noted it is taken for this one.
fn is_present(noted: &str) -> bool {
    let now = boot();
    match noted.contains(SPACE) {
        true => noted == now,
        false => now.split(SPACE).next() == Some(noted),
    }
}

/// When a process was started, in ticks since boot.
pub(crate) fn ticks(pid: i32) -> Option<u64> {
    look(pid).map(|process| process.ticks)
}

/// The processes whose parent we are, dead or not.
pub(crate) fn children() -> Vec<i32> {
    let myself = rustix::process::getpid().as_raw_nonzero().get();
    all().filter(|process| process.parent == myself).map(|process| process.pid).collect()
}

/// Kills what is left of an attempt whose supervisor is dead, and says how many processes that were: none once it is over.
///
/// They are known by the session that the supervisor opened for them, and by the variable that names their folder, which
/// those have too that opened a session of their own.
pub(crate) fn kill(of: &Begun, run: &Path) -> usize {
    if !is_present(&of.boot) {
        return 0;
    }
    let myself = rustix::process::getpid().as_raw_nonzero().get();
    // While anything is in the session nobody else gets its number; a leader that is not ours says that it was empty.
    let is_reused = look(of.pid).is_some_and(|leader| leader.ticks != of.ticks);
    let variable = [MARK.as_bytes(), b"=", mark(run).as_bytes()].concat();
    let belongs = |process: &Process| {
        let in_session = of.pid > 0 && !is_reused && process.session == of.pid;
        !process.is_dead && process.pid != myself && (in_session || has_variable(process.pid, &variable))
    };
    let mut found = 0;
    for process in all().filter(belongs) {
        let Some(pid) = Pid::from_raw(process.pid) else { continue };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // The number may have become another's before the handle was ours.
        if look(process.pid).is_some_and(|now| now.ticks == process.ticks) {
            found += 1;
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
    found
}

fn has_variable(pid: i32, variable: &[u8]) -> bool {
    let environment = environment(pid).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|own| own == variable)
}

/// The environment of a process; none where it cannot be read. A first thread that has ended shows nothing, so others are asked.
fn environment(pid: i32) -> Option<Vec<u8>> {
    let read = |path: PathBuf| fs::read(path).ok().filter(|environment| !environment.is_empty());
    read(PathBuf::from(format!("/proc/{pid}/environ"))).or_else(|| {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        threads.flatten().find_map(|thread| read(thread.path().join("environ")))
    })
}

fn all() -> impl Iterator<Item = Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers =
        entries.filter_map(|entry| String::from_utf8(entry.file_name().into_vec()).ok()?.parse().ok());
    numbers.filter_map(look)
}

fn look(pid: i32) -> Option<Process> {
    parse(pid, &fs::read(PathBuf::from(format!("/proc/{pid}/stat"))).ok()?)
}

/// The fields after the name, which may have anything within, parentheses too.
fn parse(pid: i32, line: &[u8]) -> Option<Process> {
    let end = line.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> = str::from_utf8(line.get(end + 2..)?).ok()?.split_ascii_whitespace().collect();
    // Once its first thread has ended a process is shown as a zombie, however many others go on.
    let threads: u32 = fields.get(17)?.parse().ok()?;
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        ticks: fields.get(19)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X") && threads <= 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_anything_within() {
        let line = b"7 (a) R 1 (b) S 5 7 6 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 2531328 0\n";
        let process = Process { pid: 7, parent: 5, session: 6, ticks: 4242, is_dead: false };
        assert_eq!(parse(7, line), Some(process));
        assert_eq!(parse(7, b"7 (a"), None);
        assert_eq!(parse(7, b"7 (a) R"), None);
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        let line = |state: &str, threads: u32| {
            format!("7 (a) {state} 5 7 6 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 {threads} 0 4242 2531328 0\n")
        };
        let is_dead = |state, threads| parse(7, line(state, threads).as_bytes()).unwrap().is_dead;
        assert!(is_dead("Z", 1) && is_dead("Z", 0) && is_dead("X", 0));
        assert!(!is_dead("Z", 2), "its first thread has ended, another goes on");
        assert!(!is_dead("S", 1) && !is_dead("D", 1));
    }

    #[test]
    fn numbers_of_another_container_are_not_those_of_this_one() {
        let now = boot();
        let (id, space) = now.split_once(SPACE).unwrap();
        let space: u64 = space.parse().unwrap();
        assert!(space > 0, "{now}");
        assert!(is_present(&now) && is_present(id), "what was noted without a space still counts");
        assert!(!is_present(&format!("{id}{SPACE}{}", space + 1)) && !is_present("other"));
    }

    #[test]
    fn another_boot_left_nothing() {
        let begun =
            Begun { pid: 1, ticks: 0, boot: "other".into(), rank_offset: 0, ranks: 1, master_port: 0 };
        assert_eq!(kill(&begun, Path::new("/nowhere")), 0);
    }
}
