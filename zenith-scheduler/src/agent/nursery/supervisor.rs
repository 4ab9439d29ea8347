//! A supervisor: a process that each attempt on a node has for itself, which starts its ranks, waits for them, and writes down
//! what happens. It outlives nursery, agent and controller; whoever kills it kills its ranks.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_child_subreaper};
use zenith_proto::v1;

use super::cgroup::Group;
use super::plan::{self, RankPlan};
use super::rotate::Rotation;
use super::{Myself, Settings, begun, port};
use crate::agent::layout::{Key, Layout};
use crate::agent::process::{self, Ended, Program, Step, Told, Waited};
use crate::agent::record::{How, Record, Refused};
use crate::agent::remains;
use crate::agent::spares::leave_folder;
use crate::agent::status::{Claim, Status};

/// How long after a disk refused a record it is tried again.
const WRITE_AGAIN: Duration = Duration::from_millis(500);

/// How long after children were killed the next ones are looked for, those that had to become ours first; longer every time,
/// since what does not die at once waits for a device.
const KILL_AGAIN: Duration = Duration::from_millis(10);
const KILL_AGAIN_AT_MOST: Duration = Duration::from_secs(1);

/// A rank that runs.
struct Rank {
    rank: u32,
    pid: i32,
}

struct Supervisor<'a> {
    layout: &'a Layout,
    key: Key,
    status: Status,
    /// What has not been written yet.
    news: Vec<Record>,
    running: Vec<Rank>,
    rotation: Rotation,
    group: Option<Group>,
    /// Everything is to end at once.
    killing: bool,
}

/// Sees an attempt through. `lock` is given back once the attempt is ours, or somebody else's.
pub(super) fn run(
    settings: &Settings,
    layout: &Layout,
    start: &v1::Start,
    myself: &Myself,
    nothing: &File,
    lock: File,
) {
    let key = Key { job: start.job, attempt: start.attempt };
    // Nobody knows us by this attempt yet, so what came was for another.
    process::forget_signals();
    let Ok(Claim::Ours(mut status)) = Status::claim(&layout.status(key)) else { return };
    if status.append(&[Record::Begun(begun(start, Some(myself)))]).is_err() {
        // Nothing was begun, as far as anybody can read: the agent asks again.
        return;
    }
    drop(lock);
    let rotation = Rotation::new(settings.log_part);
    let mut supervisor = Supervisor {
        layout,
        key,
        status,
        news: Vec::new(),
        running: Vec::new(),
        rotation,
        group: None,
        killing: false,
    };
    if let Err(why) = supervisor.start(settings, start, nothing) {
        let failed =
            |rank| Record::Exited { rank, how: How::NotStarted(why.clone()), usage: Default::default() };
        supervisor.news.extend((start.rank_offset..start.rank_offset + start.local_ranks).map(failed));
    }
    supervisor.watch();
}

impl Supervisor<'_> {
    /// Starts every rank; the reason where none can be.
    fn start(&mut self, settings: &Settings, start: &v1::Start, nothing: &File) -> Result<(), Refused> {
        let myself = Some(rustix::process::getpid());
        set_child_subreaper(myself)
            .map_err(|error| Refused::by_node(format!("no process would be noticed: {error}")))?;
        let (run, checkpoint) = (self.layout.run(self.key), self.layout.checkpoint(start.job));
        for folder in [&run, &checkpoint] {
            make(folder).map_err(|error| Refused::by_node(format!("{}: {error}", folder.display())))?;
        }
        if start.node_rank == 0 {
            port::check(start.master_port)?;
        }
        self.news.extend(settings.notes.iter().cloned().map(Record::Note));
        self.limit(settings, start);
        let ranks = plan::ranks(start, &settings.machine, self.layout, std::env::vars_os());
        for rank in &ranks {
            let record = match self.start_rank(start, rank, nothing) {
                Ok(pid) => Record::Started { rank: rank.rank, pid },
                Err(why) => {
                    Record::Exited { rank: rank.rank, how: How::NotStarted(why), usage: Default::default() }
                }
            };
            self.news.push(record);
        }
        Ok(())
    }

    fn limit(&mut self, settings: &Settings, start: &v1::Start) {
        let slice = start.slice.clone().unwrap_or_default();
        if slice.cpus == 0 && slice.memory_mib == 0 {
            return;
        }
        match &settings.groups {
            Ok(parent) => {
                let (group, notes) = Group::make(parent, self.key, slice.cpus, slice.memory_mib);
                self.news.extend(notes.into_iter().map(Record::Note));
                self.group = Some(group);
            }
            Err(why) => {
                if slice.cpus > 0 {
                    self.news.push(Record::Note(format!("cpus are not limited: {why}")));
                }
                if slice.memory_mib > 0 {
                    self.news.push(Record::Note(format!("memory is not limited: {why}")));
                }
            }
        }
    }

    fn start_rank(&mut self, start: &v1::Start, plan: &RankPlan, nothing: &File) -> Result<i32, Refused> {
        let Some(name) = start.command.first() else { return Err(Refused::by_job("there is no command")) };
        let path = find(name, &plan.environment)?;
        let log = |stream| {
            let path = self.layout.log(self.key, plan.rank, stream);
            let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&path);
            opened.map_err(|error| Refused::by_node(format!("{}: {error}", path.display())))
        };
        let (stdout, stderr) = (log(v1::Stream::Stdout)?, log(v1::Stream::Stderr)?);
        let directory = (!start.directory.is_empty()).then_some(start.directory.as_str());
        let program = Program {
            path: text(path.as_os_str())?,
            arguments: start.command.iter().map(|word| text(OsStr::new(word))).collect::<Result<_, _>>()?,
            environment: plan.environment.iter().map(variable).collect::<Result<_, _>>()?,
            directory: directory.map(|directory| text(OsStr::new(directory))).transpose()?,
            stdin: nothing.as_fd(),
            stdout: stdout.as_fd(),
            stderr: stderr.as_fd(),
            cpus: &plan.cpus,
            memory_nodes: &plan.memory_nodes,
            groups: self.group.as_ref().map(Group::entries).unwrap_or_default(),
        };
        let running = process::spawn(&program).map_err(|(step, error)| match step {
            Step::Prepare => Refused::by_node(format!("no process can be made: {error}")),
            Step::JoinGroup => Refused::by_node(format!("it cannot join its control group: {error}")),
            Step::ChangeDirectory => Refused::by_either(format!("directory {}: {error}", start.directory)),
            Step::Execute => {
                let why = format!("{}: {error}", path.display());
                if is_scarce(&error) { Refused::by_node(why) } else { Refused::by_job(why) }
            }
        })?;
        let notes = [("its processors", running.unbound_cpus), ("its memory", running.unbound_memory)];
        for (what, error) in notes {
            if let Some(error) = error {
                let note = format!("{what} could not be bound to NUMA node {:?}: {error}", plan.memory_nodes);
                self.news.push(Record::Note(note));
            }
        }
        self.rotation.add(stdout);
        self.rotation.add(stderr);
        self.running.push(Rank { rank: plan.rank, pid: running.pid });
        Ok(running.pid)
    }

    /// Waits until no process is left.
    fn watch(&mut self) {
        let mut kill_again = KILL_AGAIN;
        loop {
            let childless = self.reap();
            if childless {
                self.leave();
                return;
            }
            if self.running.is_empty() {
                // What ranks left behind does not outlive them: its GPUs are about to be somebody else's.
                self.killing = true;
            }
            // With the last exit the controller takes the GPUs for free, so it is not told before nobody is left on them.
            let written = self.running.is_empty() || self.write();
            let mut pause = self.rotation.turn();
            if self.killing {
                self.kill();
                pause = pause.min(kill_again);
                kill_again = (kill_again * 2).min(KILL_AGAIN_AT_MOST);
            }
            if !written {
                pause = pause.min(WRITE_AGAIN);
            }
            match process::next_signal(pause, self.key.tag()) {
                Some(Told::End) => self.signal(libc::SIGTERM),
                Some(Told::Kill) => self.killing = true,
                Some(Told::PassOn(signal)) => self.signal(signal),
                None => {}
            }
        }
    }

    /// Takes every child that has ended. True where there is none left.
    fn reap(&mut self) -> bool {
        loop {
            match process::wait() {
                Waited::Nobody => return false,
                Waited::Childless => return true,
                Waited::Ended { pid, status, usage } => {
                    let Some(place) = self.running.iter().position(|rank| rank.pid == pid) else { continue };
                    let Rank { rank, .. } = self.running.swap_remove(place);
                    let how = match status {
                        Ended::Code(code) => How::Code(code),
                        Ended::Signal(signal) => How::Signal(signal),
                    };
                    let limit = match status {
                        Ended::Signal(libc::SIGKILL) => {
                            self.group.as_mut().and_then(Group::ran_out_of_memory)
                        }
                        _ => None,
                    };
                    let how = match limit {
                        Some(note) => {
                            self.news.push(Record::Note(format!("rank {rank} was killed: {note}")));
                            How::OutOfMemory
                        }
                        None => how,
                    };
                    self.news.push(Record::Exited { rank, how, usage });
                }
            }
        }
    }

    /// False where it has to be tried again.
    fn write(&mut self) -> bool {
        if self.news.is_empty() {
            return true;
        }
        let written = self.status.append(&self.news).is_ok();
        if written {
            self.news.clear();
        }
        written
    }

    /// The last words: they are said even if the disk has to be waited for.
    fn leave(&mut self) {
        self.rotation.turn();
        if let Some(group) = &self.group {
            group.remove();
        }
        leave_folder(self.layout, self.key);
        self.news.extend([Record::Kept(self.rotation.kept()), Record::Gone]);
        while !self.write() {
            process::next_signal(WRITE_AGAIN, self.key.tag());
        }
    }

    fn signal(&self, signal: i32) {
        for rank in &self.running {
            process::signal_group(rank.pid, signal);
        }
    }

    /// Kills everything that can be seen now. Orphans become our children, so that in the end nothing hides.
    fn kill(&self) {
        if let Some(group) = &self.group {
            group.kill();
        }
        self.signal(libc::SIGKILL);
        // Our children are waited for by us alone, so their numbers are theirs.
        for child in remains::children().into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(child, Signal::KILL);
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder),
        outcome => outcome,
    }
}

/// The file that a program's name means, by the variables it will have.
fn find(name: &str, environment: &BTreeMap<OsString, OsString>) -> Result<PathBuf, Refused> {
    // With a folder in it a name means that file, from the directory it runs in; the system says what is wrong with it.
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path = environment.get(OsStr::new("PATH")).cloned().unwrap_or_else(|| "/usr/bin:/bin".into());
    let executable = |path: &PathBuf| {
        let accessible = rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
        accessible && fs::metadata(path).is_ok_and(|file| file.is_file())
    };
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(executable);
    found.ok_or_else(|| Refused::by_job(format!("there is no program {name} on PATH ({})", path.display())))
}

/// A program cannot be executed for want of something that the node has too little of.
fn is_scarce(error: &io::Error) -> bool {
    let scarce =
        [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::EIO, libc::ESTALE, libc::EINTR];
    error.raw_os_error().is_some_and(|number| scarce.contains(&number))
}

fn text(text: &OsStr) -> Result<CString, Refused> {
    CString::new(text.as_bytes())
        .map_err(|_| Refused::by_job(format!("{} has a zero byte within", text.display())))
}

fn variable((name, value): (&OsString, &OsString)) -> Result<CString, Refused> {
    let mut whole = name.clone();
    whole.push("=");
    whole.push(value);
    CString::new(whole.into_vec())
        .map_err(|_| Refused::by_job(format!("the variable {} has a zero byte within", name.display())))
}
