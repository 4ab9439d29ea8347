//! Control groups: finding where they can be made, and one for each attempt that asked for limits. Versions 1 and 2, below
//! the group that the agent is in. What is not permitted is said, with the folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::agent::layout::Key;

/// The length of time, in microseconds, of which a quota of processors is a part.
const PERIOD_US: u64 = 100_000;

/// The group that the agent moves itself into where its own has to be free of processes.
const AGENT: &str = "zenith-agent";

/// Where groups can be made, and how those of this agent are named. Nothing is made before it is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parent {
    /// What no other agent's groups begin with.
    prefix: String,
    hierarchies: Hierarchies,
}

/// The folders below which groups can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Hierarchies {
    /// One for everything.
    V2 { folder: PathBuf },
    /// One for each kind of limit; why there is none where there is none.
    V1 { memory: Result<PathBuf, String>, cpu: Result<PathBuf, String> },
}

/// The hierarchies that a process is in, by the kernel's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Own {
    v2: Option<PathBuf>,
    memory: Option<PathBuf>,
    cpu: Option<PathBuf>,
}

impl Parent {
    /// Finds out where groups can be made. The reason where they cannot.
    pub(crate) fn prepare(prefix: &str) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let own = own(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?);
        let hierarchies = match own {
            Own { v2: Some(folder), memory: None, cpu: None } => prepare_v2(&folder, prefix)?,
            Own { memory, cpu, .. } => {
                let prepare = |own: Option<PathBuf>| {
                    let folder = own.ok_or("there is no hierarchy for it")?;
                    probe(&folder, prefix).map(|()| folder)
                };
                match (prepare(memory), prepare(cpu)) {
                    (Err(why), Err(_)) => return Err(why),
                    (memory, cpu) => Hierarchies::V1 { memory, cpu },
                }
            }
        };
        Ok(Self { prefix: prefix.to_owned(), hierarchies })
    }

    fn folder(&self, parent: &Path, key: Key) -> PathBuf {
        parent.join(format!("{}-{key}", self.prefix))
    }

    /// Kills what is in the groups of an attempt whose supervisor is dead, removes them where they are empty, and says how many
    /// processes there were.
    pub(crate) fn clear(&self, key: Key) -> usize {
        let parents: Vec<&PathBuf> = match &self.hierarchies {
            Hierarchies::V2 { folder } => vec![folder],
            Hierarchies::V1 { memory, cpu } => [memory, cpu].into_iter().flatten().collect(),
        };
        let folders = parents.into_iter().map(|parent| self.folder(parent, key));
        folders.fold(0, |found, folder| {
            let here = kill(&folder);
            let _ = fs::remove_dir(folder);
            found + here
        })
    }
}

fn prepare_v2(own: &Path, prefix: &str) -> Result<Hierarchies, String> {
    // An agent that was here before has moved; one that was started by it is where it moved.
    let is_aside = own.file_name().is_some_and(|name| name == AGENT);
    let base = if is_aside { own.parent().unwrap_or(own) } else { own };
    let listed = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
    if !listed.split_whitespace().any(|controller| matches!(controller, "memory" | "cpu")) {
        return Err(format!("no controllers are delegated to {}", base.display()));
    }
    probe(base, prefix)?;
    // A controller that is missing is said where it is needed.
    let delegate = || {
        let [memory, cpu] = ["+memory", "+cpu"].map(|kind| write(&base.join("cgroup.subtree_control"), kind));
        memory.or(cpu)
    };
    let outcome = match delegate() {
        // A group that hands on controllers must have no processes, and we are one.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            step_aside(base).and_then(|()| delegate())
        }
        outcome => outcome,
    };
    outcome.map_err(|error| denied(base, &error))?;
    Ok(Hierarchies::V2 { folder: base.to_path_buf() })
}

/// Whether a group can be made below a folder.
fn probe(folder: &Path, prefix: &str) -> Result<(), String> {
    let probe = folder.join(format!("{prefix}-probe"));
    make(&probe).and_then(|()| fs::remove_dir(&probe)).map_err(|error| denied(&probe, &error))
}

/// Moves this process out of its group, if it is alone there.
fn step_aside(base: &Path) -> io::Result<()> {
    let inside = fs::read_to_string(base.join("cgroup.procs"))?;
    let myself = std::process::id().to_string();
    if inside.lines().any(|pid| pid != myself) {
        return Err(io::Error::other("other processes are in it; give the agent a group of its own"));
    }
    let aside = base.join(AGENT);
    make(&aside)?;
    write(&aside.join("cgroup.procs"), "0")
}

fn denied(folder: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            let above = folder.parent().unwrap_or(folder);
            format!("no permission to make control groups below {}", above.display())
        }
        _ => format!("control group {}: {error}", folder.display()),
    }
}

/// The limits of one attempt. Its processes enter by [`Group::entries`].
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
    entries: Vec<File>,
    memory: Option<PathBuf>,
    memory_mib: u64,
    out_of_memory: u64,
}

impl Group {
    /// Makes the group and sets what can be set; what cannot is in the notes.
    pub(super) fn make(parent: &Parent, key: Key, cpus: u32, memory_mib: u64) -> (Self, Vec<String>) {
        let mut group =
            Self { folders: Vec::new(), entries: Vec::new(), memory: None, memory_mib, out_of_memory: 0 };
        let mut notes = Vec::new();
        let mut note = |what: &str, outcome: Result<(), String>| {
            if let Err(why) = outcome {
                notes.push(format!("{what} not limited: {why}"));
            }
        };
        let bytes = memory_mib.saturating_mul(1 << 20).min(i64::MAX as u64);
        let quota = u64::from(cpus) * PERIOD_US;
        match &parent.hierarchies {
            Hierarchies::V2 { folder } => {
                let folder = parent.folder(folder, key);
                let entered = group.enter(&folder);
                let limit = |file: &str, value: String| {
                    entered.clone()?;
                    set(&folder.join(file), &value)
                };
                if memory_mib > 0 {
                    note("memory is", limit("memory.max", bytes.to_string()));
                }
                if cpus > 0 {
                    note("cpus are", limit("cpu.max", format!("{quota} {PERIOD_US}")));
                }
                group.memory = entered.is_ok().then_some(folder);
            }
            Hierarchies::V1 { memory, cpu } => {
                if memory_mib > 0 {
                    let made = memory.clone().and_then(|above| {
                        let folder = parent.folder(&above, key);
                        group.enter(&folder)?;
                        set(&folder.join("memory.limit_in_bytes"), &bytes.to_string())?;
                        group.memory = Some(folder);
                        Ok(())
                    });
                    note("memory is", made);
                }
                if cpus > 0 {
                    let made = cpu.clone().and_then(|above| {
                        let folder = parent.folder(&above, key);
                        group.enter(&folder)?;
                        set(&folder.join("cpu.cfs_period_us"), &PERIOD_US.to_string())?;
                        set(&folder.join("cpu.cfs_quota_us"), &quota.to_string())
                    });
                    note("cpus are", made);
                }
            }
        }
        (group, notes)
    }

    fn enter(&mut self, folder: &Path) -> Result<(), String> {
        make(folder).map_err(|error| denied(folder, &error))?;
        self.folders.push(folder.to_path_buf());
        let entry = OpenOptions::new().write(true).open(folder.join("cgroup.procs"));
        self.entries.push(entry.map_err(|error| denied(folder, &error))?);
        Ok(())
    }

    /// What a process writes "0" to in order to be in the group.
    pub(super) fn entries(&self) -> Vec<BorrowedFd<'_>> {
        self.entries.iter().map(AsFd::as_fd).collect()
    }

    /// Kills everything within.
    pub(super) fn kill(&self) {
        for folder in &self.folders {
            kill(folder);
        }
    }

    /// What to say if the kernel has killed for want of memory since this was last asked.
    pub(super) fn ran_out_of_memory(&mut self) -> Option<String> {
        let folder = self.memory.as_ref()?;
        let read = |file| fs::read_to_string(folder.join(file)).ok();
        let kills = kills(&read("memory.events").or_else(|| read("memory.oom_control"))?)?;
        let more = kills > std::mem::replace(&mut self.out_of_memory, kills);
        more.then(|| format!("the limit of {} MiB of memory was reached", self.memory_mib))
    }

    /// Removes the group, which has to be empty by now.
    pub(super) fn remove(&self) {
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Kills the processes of a group, at once where the kernel can do that (version 2, Linux 5.14), else those that are seen; says
/// how many there were.
fn kill(folder: &Path) -> usize {
    let members = || fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let before = members();
    let _ = write(&folder.join("cgroup.kill"), "1");
    for line in before.lines() {
        let Some(pid) = line.parse().ok().and_then(Pid::from_raw) else { continue };
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // The number may have become another's before the handle was ours.
        if members().lines().any(|now| now == line) {
            let _ = pidfd_send_signal(&handle, Signal::KILL);
        }
    }
    before.lines().count()
}

/// The count of processes killed for want of memory, in either version's file.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome,
    }
}

fn write(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn set(path: &Path, value: &str) -> Result<(), String> {
    write(path, value).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where the groups of a process are, from its tables of groups and of mounts.
fn own(groups: &str, mounts: &str) -> Own {
    let mut own = Own::default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let is_of = |kind: &str| controllers.split(',').any(|controller| controller == kind);
        if controllers.is_empty() {
            own.v2 = mounted(mounts, "cgroup2", None, path);
        }
        if is_of("memory") {
            own.memory = mounted(mounts, "cgroup", Some("memory"), path);
        }
        if is_of("cpu") {
            own.cpu = mounted(mounts, "cgroup", Some("cpu"), path);
        }
    }
    own
}

/// Where a group of a hierarchy can be seen.
fn mounted(mounts: &str, kind: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let is_kind = after.next() == Some(kind);
        let options = after.nth(1)?;
        if !is_kind || controller.is_some_and(|own| !options.split(',').any(|option| option == own)) {
            return None;
        }
        let (root, point) = (before.split(' ').nth(3)?, before.split(' ').nth(4)?);
        let within = if root == "/" { path } else { path.strip_prefix(root)? };
        Some(Path::new(point).join(within.trim_start_matches('/')))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    const MOUNTS: &str = "\
30 23 0:26 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw
31 23 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
32 23 0:28 /box /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 23 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
";

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let groups = "4:memory:/api/x\n3:cpu,cpuacct:/box/y\n2:cpuset:/\n0::/z\n";
        let expected = Own {
            v2: Some("/sys/fs/cgroup/unified/z".into()),
            memory: Some("/sys/fs/cgroup/memory/api/x".into()),
            cpu: Some("/sys/fs/cgroup/cpu,cpuacct/y".into()),
        };
        assert_eq!(own(groups, MOUNTS), expected);
        assert_eq!(
            own("3:cpu:/elsewhere\n", MOUNTS),
            Own::default(),
            "what is not mounted here cannot be used"
        );
        assert_eq!(own("nonsense", "nonsense"), Own::default());
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        assert_eq!(kills("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n"), Some(2));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"), Some(5));
        assert_eq!(kills(""), None);
    }

    #[test]
    fn members_of_a_group_are_killed_and_counted_where_the_kernel_does_not_do_it() {
        let folder = tempfile::tempdir().unwrap();
        let hierarchies =
            Hierarchies::V1 { memory: Ok(folder.path().to_path_buf()), cpu: Err("none".into()) };
        let parent = Parent { prefix: "zenith".into(), hierarchies };
        let key = Key { job: 1, attempt: 1 };
        let group = parent.folder(folder.path(), key);
        fs::create_dir(&group).unwrap();
        // Of its own session and without any variable, like a daemon of a job.
        let mut daemon = Command::new("setsid").args(["sleep", "600"]).env_clear().spawn().unwrap();
        fs::write(group.join("cgroup.procs"), format!("{}\n", daemon.id())).unwrap();
        assert_eq!(parent.clear(key), 1);
        assert_eq!(daemon.wait().unwrap().signal(), Some(libc::SIGKILL));
        fs::write(group.join("cgroup.procs"), "").unwrap();
        assert_eq!(parent.clear(key), 0);
    }

    #[test]
    fn a_limit_that_cannot_be_set_is_a_note() {
        let hierarchies =
            Hierarchies::V1 { memory: Err("no hierarchy".into()), cpu: Ok("/nowhere/at/all".into()) };
        let parent = Parent { prefix: "zenith".into(), hierarchies };
        let (group, notes) = Group::make(&parent, Key { job: 1, attempt: 1 }, 2, 64);
        assert!(group.entries().is_empty());
        assert_eq!(notes.len(), 2, "{notes:?}");
        assert!(notes[0].contains("memory is not limited: no hierarchy"), "{notes:?}");
        assert!(notes[1].contains("cpus are not limited") && notes[1].contains("/nowhere"), "{notes:?}");
        let (_, none) = Group::make(&parent, Key { job: 1, attempt: 1 }, 0, 0);
        assert_eq!(none, [""; 0]);
    }
}
