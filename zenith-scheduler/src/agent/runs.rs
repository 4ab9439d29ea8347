//! The attempts on this node: passing starts on, hearing what supervisors write, noticing their death and burying what they
//! left. Knows no controller: what is to be said to one is in [`Runs::reports`].

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use zenith_proto::v1;
use zenith_proto::v1::report::What;

use super::error::Error;
use super::history::{Ended, History};
use super::launcher::Launcher;
use super::layout::{Key, Layout};
use super::nursery::{Settings, refusal};
use super::process::{self, Told};
use super::record::Record;
use super::remains;
use super::reports::Reports;
use super::run::{Ask, Request, Run};
use super::spares::Spares;
use super::status::{Claim, Status, is_orphaned, news, offer};
use super::watch::Event;

/// How long nothing may have begun before a start is passed on again, and how often that is done.
const STALLED: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

/// How soon after its status was closed it is asked whether a supervisor is dead: its lock goes a moment later.
const SUSPECT: Duration = Duration::from_millis(2);
const SUSPECT_AT_MOST: Duration = Duration::from_secs(1);

/// Signals that are kept for an attempt that has not begun.
const EARLY_SIGNALS: usize = 16;

/// Pauses between rounds of killing what a dead supervisor left.
const KILL_AGAIN: Duration = Duration::from_millis(5);
const KILL_AGAIN_AT_MOST: Duration = Duration::from_secs(1);

/// An attempt whose supervisor may be dead.
#[derive(Debug)]
struct Suspect {
    key: Key,
    due: Instant,
    pause: Duration,
}

/// The attempts on this node.
pub(crate) struct Runs {
    layout: Layout,
    settings: Settings,
    map: HashMap<Key, Run>,
    pub(crate) reports: Reports,
    pub(crate) history: History,
    pub(crate) spares: Spares,
    suspects: Vec<Suspect>,
    buried: mpsc::UnboundedSender<Key>,
    last_begun: Instant,
    /// Attempts that have ended since somebody asked.
    ended: Vec<Key>,
    /// Claims on attempts that were given up without a disk to write that to.
    held: HashMap<Key, Status>,
}

impl Runs {
    /// The attempts that earlier agents have left. `buried` is told when the processes of a dead supervisor are no more; there
    /// is at most one message for each attempt.
    pub(crate) fn find(
        layout: &Layout,
        settings: Settings,
        buried: mpsc::UnboundedSender<Key>,
    ) -> Result<Self, Error> {
        let mut runs = Self {
            layout: layout.clone(),
            settings,
            map: HashMap::new(),
            reports: Reports::new(),
            history: History::default(),
            spares: Spares::find(layout).map_err(Error::file(&layout.spares()))?,
            suspects: Vec::new(),
            buried,
            last_begun: Instant::now(),
            ended: Vec::new(),
            held: HashMap::new(),
        };
        for key in keys(&layout.statuses())? {
            runs.map.insert(key, Run::found());
            runs.hear(key);
            runs.examine(key);
        }
        let mut kept = Vec::new();
        for key in keys(&layout.runs())? {
            match fs::metadata(layout.kept_status(key)) {
                Ok(status) => {
                    let at = status.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    kept.push(Ended { at, key, is_whole: false, bytes: on_disk(&layout.run(key)) });
                }
                Err(_) if runs.map.contains_key(&key) => {}
                // What is left of an attempt that nobody knows.
                Err(_) => runs.spares.forget(key, false),
            }
        }
        runs.history = History::new(kept);
        Ok(runs)
    }

    /// Every attempt that the controller may still want to hear of.
    pub(crate) fn known(&self) -> Vec<v1::Attempt> {
        let attempt = |(key, run): (&Key, &Run)| v1::Attempt {
            job: key.job,
            attempt: key.attempt,
            master_port: run.master_port(),
        };
        self.map.iter().map(attempt).collect()
    }

    pub(crate) fn is_over(&self, key: Key) -> bool {
        self.map.get(&key).is_none_or(|run| run.gone)
    }

    /// The attempts that have ended since this was last asked.
    pub(crate) fn take_ended(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.ended)
    }

    /// Starts an attempt, unless it is known; as soon as there is a nursery.
    pub(crate) fn start(&mut self, launcher: Option<&mut Launcher>, start: v1::Start) {
        let key = Key { job: start.job, attempt: start.attempt };
        if self.map.contains_key(&key) {
            return;
        }
        if self.layout.kept_status(key).exists() {
            // It has been here and is over; the controller must have forgotten its own acknowledgement.
            self.reports.push(key, 0, What::Gone(v1::AttemptGone {}));
            return;
        }
        let is_offered = if self.spares.take(&start) { Ok(true) } else { offer(&self.layout.status(key)) };
        match is_offered {
            Ok(true) => self.spares.give_folder(key.job),
            Ok(false) => {
                // It is over, and only could not be put away.
                self.reports.push(key, 0, What::Gone(v1::AttemptGone {}));
                return;
            }
            Err(error) => {
                let words = refusal(&start, &format!("{}: {error}", self.layout.status(key).display()));
                self.map.insert(key, Run::requested(start, Instant::now()));
                self.hear_all(key, words);
                return;
            }
        }
        if let Some(launcher) = launcher {
            launcher.launch(&start);
        }
        self.map.insert(key, Run::requested(start, Instant::now()));
    }

    /// Ends an attempt. One that is not known here is gone.
    pub(crate) fn signal(&mut self, key: Key, ask: Ask) {
        let Some(run) = self.map.get_mut(&key) else {
            self.reports.push(key, 0, What::Gone(v1::AttemptGone {}));
            return;
        };
        if run.gone {
            return;
        }
        run.asked = run.asked.max(Some(ask));
        if run.begun.is_some() {
            self.tell(key, told(ask));
        }
    }

    /// Sends a signal to the ranks of an attempt, which says nothing about its end.
    pub(crate) fn pass_on(&mut self, key: Key, signal: u32) {
        let Some(run) = self.map.get_mut(&key) else {
            self.reports.push(key, 0, What::Gone(v1::AttemptGone {}));
            return;
        };
        let Ok(signal @ 1..=64) = i32::try_from(signal) else {
            tracing::warn!(%key, signal, "there is no such signal");
            return;
        };
        if run.begun.is_some() {
            self.tell(key, Told::PassOn(signal));
        } else if run.signals.len() < EARLY_SIGNALS {
            run.signals.push(signal);
        } else {
            tracing::warn!(%key, signal, "too many signals for an attempt that has not begun");
        }
    }

    /// Takes note of what was noticed.
    pub(crate) fn notice(&mut self, events: &[Event]) {
        for event in events.iter().copied() {
            match event {
                // What closes is read then; events are sorted.
                Event::News(key) if events.binary_search(&Event::Closed(key)).is_ok() => {}
                Event::News(key) => self.hear(key),
                Event::Closed(key) => {
                    self.hear(key);
                    self.examine(key);
                }
                Event::Lost => {
                    let all: Vec<Key> = self.map.keys().copied().collect();
                    for key in all {
                        self.hear(key);
                        self.examine(key);
                    }
                }
            }
        }
    }

    /// A new nursery knows nothing of what the old one was told. An attempt that it has begun all the same is not begun twice, even
    /// if it is over and put away by then: nobody offers it again.
    pub(crate) fn pass_on_again(&mut self, launcher: &mut Launcher) {
        for run in self.map.values_mut() {
            if let Some(request) = &mut run.request {
                request.since = Instant::now();
                launcher.launch(&request.start);
            }
        }
    }

    /// When something is due that nobody tells of.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.suspects.iter().map(|suspect| suspect.due).min()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, launcher: &mut Launcher, now: Instant) {
        let (due, later) =
            std::mem::take(&mut self.suspects).into_iter().partition(|suspect| suspect.due <= now);
        self.suspects = later;
        let due: Vec<Suspect> = due;
        for Suspect { key, pause, .. } in due {
            self.hear(key);
            self.ask_after(key, (pause * 4).min(SUSPECT_AT_MOST));
        }
        let last_begun = self.last_begun;
        let is_stalled = |request: &Request| now.duration_since(request.since.max(last_begun)) > STALLED;
        let stalled = |(key, run): (&Key, &Run)| run.request.as_ref().is_some_and(is_stalled).then_some(*key);
        let stalled: Vec<Key> = self.map.iter().filter_map(stalled).collect();
        for key in stalled {
            let Some(request) = self.map.get_mut(&key).and_then(|run| run.request.as_mut()) else { continue };
            request.since = now;
            request.tries += 1;
            if request.tries <= TRIES {
                tracing::warn!(%key, "nothing has begun this attempt; its start is passed on again");
                launcher.launch(&request.start);
            } else {
                self.give_up(key);
            }
        }
    }

    /// Says once more that attempts are to be killed: of two signals that come before a supervisor has looked only one is kept, and that
    /// may have been meant for its attempt before.
    pub(crate) fn insist(&mut self) {
        let is_asked = |run: &Run| run.asked == Some(Ask::Kill) && run.begun.is_some() && !run.gone;
        let asked: Vec<Key> = self.map.iter().filter(|(_, run)| is_asked(run)).map(|(key, _)| *key).collect();
        asked.into_iter().for_each(|key| self.tell(key, Told::Kill));
    }

    /// Nobody begins an attempt: makes sure that nobody will.
    fn give_up(&mut self, key: Key) {
        let Some(start) =
            self.map.get(&key).and_then(|run| run.request.as_ref()).map(|request| &request.start)
        else {
            return;
        };
        let words = refusal(start, "the nursery did not start it, although it was told several times");
        match Status::claim(&self.layout.status(key)) {
            Ok(Claim::Ours(mut status)) => match status.append(&words) {
                Ok(()) => self.hear(key),
                Err(error) => {
                    tracing::error!(%key, %error, "the end of an attempt cannot be written down");
                    self.held.insert(key, status);
                    self.hear_all(key, words);
                }
            },
            // Somebody has just begun it, or has died over it.
            Ok(Claim::Taken) => self.examine(key),
            Err(error) => tracing::error!(%key, %error, "an attempt can be neither started nor given up"),
        }
    }

    fn hear(&mut self, key: Key) {
        self.read(key);
    }

    /// Reads what a supervisor has written; false where that cannot be read now.
    fn read(&mut self, key: Key) -> bool {
        let Some(run) = self.map.get_mut(&key) else { return true };
        match news(&self.layout.status(key), run.offset) {
            Ok((records, offset)) => {
                run.offset = offset;
                self.hear_all(key, records);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(%key, %error, "a status file cannot be read");
                return false;
            }
        }
        true
    }

    fn hear_all(&mut self, key: Key, records: Vec<Record>) {
        let Some(run) = self.map.get_mut(&key) else { return };
        let was_gone = run.gone;
        let mut is_new = false;
        for record in records {
            is_new |= matches!(record, Record::Begun(_));
            if let Some((rank, what)) = run.hear(record) {
                self.reports.push(key, rank, what);
            }
        }
        let is_gone = run.gone;
        let early = if is_new { early(run) } else { Vec::new() };
        if is_gone && !was_gone {
            self.ended.push(key);
            let is_other = |(other, run): (&Key, &Run)| other.job == key.job && !run.gone;
            self.spares.hear_of_folder(key, self.map.iter().any(is_other));
        }
        if is_new {
            self.last_begun = Instant::now();
            for what in early {
                self.tell(key, what);
            }
        }
    }

    /// Tells a supervisor something.
    fn tell(&mut self, key: Key, what: Told) {
        let Some(run) = self.map.get(&key).filter(|run| !run.gone) else { return };
        let Some(begun) = &run.begun else { return };
        let handle = Pid::from_raw(begun.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // While the lock is held the supervisor lives, so the handle is one of it and of nobody who came after.
        match (handle, is_orphaned(&self.layout.status(key))) {
            (Some(handle), Ok(false)) => {
                if let Err(error) = process::tell(handle.as_fd(), what, key.tag()) {
                    tracing::error!(%key, %error, ?what, "a supervisor cannot be told");
                }
            }
            _ => self.examine(key),
        }
    }

    /// Looks whether a supervisor is dead.
    fn examine(&mut self, key: Key) {
        self.ask_after(key, SUSPECT);
    }

    fn ask_after(&mut self, key: Key, pause: Duration) {
        let Some(run) = self.map.get(&key).filter(|run| !run.gone && !run.burying) else { return };
        let (is_begun, path) = (run.begun.is_some(), self.layout.status(key));
        match is_orphaned(&path) {
            Ok(true) if is_begun => self.bury(key),
            Ok(true) => self.discard(key, &path),
            Ok(false) => {
                let is_asked = self.suspects.iter().any(|suspect| suspect.key == key);
                // In the end it is taken for what it seems: alive, with a status that somebody else has opened.
                if !is_asked && pause < SUSPECT_AT_MOST {
                    self.suspects.push(Suspect { key, due: Instant::now() + pause, pause });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!(%key, %error, "a status file cannot be looked at"),
        }
    }

    /// Nobody has begun this attempt, or whoever wanted to died before the first record was whole. One whose start we have stays
    /// offered; of one that an earlier agent was asked for nobody will hear, since its nursery is dead.
    fn discard(&mut self, key: Key, path: &Path) {
        if self.map.get(&key).is_none_or(|run| run.request.is_some()) {
            return;
        }
        let Ok(Some(_ours)) = Status::inherit(path) else { return };
        match news(path, 0) {
            Ok((records, _)) if records.is_empty() => {}
            _ => return self.hear(key),
        }
        if let Err(error) = fs::remove_file(path) {
            tracing::error!(%key, %error, "the status of an attempt that was not begun cannot be removed");
            return;
        }
        self.map.remove(&key);
    }

    /// Kills what a dead supervisor left, and says so when nothing is.
    fn bury(&mut self, key: Key) {
        if !self.read(key) {
            // Its end may be written there, and its supervisor be at another attempt by now.
            self.suspects.push(Suspect { key, due: Instant::now() + SUSPECT_AT_MOST, pause: SUSPECT });
            return;
        }
        let begun = |run: &Run| run.begun.clone().filter(|_| !run.gone);
        let Some(mut of) = self.map.get(&key).and_then(begun) else { return };
        let is_there =
            |run: &Run| begun(run).is_some_and(|other| (other.pid, other.ticks) == (of.pid, of.ticks));
        if self.map.iter().any(|(other, run)| *other != key && is_there(run)) {
            // What is in its session is another attempt's. This one's processes are known by their mark.
            of.pid = 0;
        }
        let Some(run) = self.map.get_mut(&key) else { return };
        run.burying = true;
        tracing::warn!(%key, "the supervisor of an attempt is dead; what it left is killed");
        let (folder, groups) = (self.layout.run(key), self.settings.groups.clone());
        let buried = self.buried.clone();
        spawn_blocking(move || {
            let mut pause = KILL_AGAIN;
            loop {
                let in_groups: usize = groups.iter().map(|parent| parent.clear(key)).sum();
                let left = in_groups + remains::kill(&of, &folder);
                // Without an agent nobody needs to know.
                if left == 0 || buried.is_closed() {
                    break;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(KILL_AGAIN_AT_MOST);
            }
            let _ = buried.send(key);
        });
    }

    /// The processes of a dead supervisor are no more: says what it cannot say.
    pub(crate) fn bury_at_last(&mut self, key: Key) {
        let Some(run) = self.map.get(&key) else { return };
        let words = run.last_words();
        // One that holds something is kept for the next attempt.
        let _ = fs::remove_dir(self.layout.checkpoint(key.job));
        let written = match Status::inherit(&self.layout.status(key)) {
            Ok(Some(mut status)) => status.append(&words),
            Ok(None) => Err(io::Error::other("somebody else holds it")),
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => self.hear(key),
            Err(error) => {
                // The next agent finds it like this one did.
                tracing::error!(%key, %error, "the end of an attempt cannot be written down");
                self.hear_all(key, words);
            }
        }
    }

    /// The controller has the end of an attempt on disk: it is history.
    pub(crate) fn acknowledge(&mut self, number: u64) {
        for key in self.reports.acknowledge(number) {
            let Some(run) = self.map.remove(&key) else { continue };
            self.held.remove(&key);
            let (from, to) = (self.layout.status(key), self.layout.kept_status(key));
            let moved = match fs::rename(&from, &to) {
                // Nothing was started, so there are no logs to keep it with.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(self.layout.run(key)).and_then(|()| fs::rename(&from, &to))
                }
                outcome => outcome,
            };
            if let Err(error) = moved {
                // It is reported once more by the next agent.
                tracing::error!(%key, %error, "the status of an attempt that is over cannot be put away");
            }
            // A supervisor that died has not said how much it leaves.
            let bytes = if run.burying { on_disk(&self.layout.run(key)) } else { run.kept };
            self.history.add(Ended { at: SystemTime::now(), key, is_whole: !run.burying, bytes });
        }
    }
}

/// Bytes that the files of a folder take.
fn on_disk(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).map(|file| file.blocks() * 512).sum()
}

fn told(ask: Ask) -> Told {
    match ask {
        Ask::End => Told::End,
        Ask::Kill => Told::Kill,
    }
}

/// What came for an attempt before it had begun.
fn early(run: &mut Run) -> Vec<Told> {
    let signals = std::mem::take(&mut run.signals).into_iter().map(Told::PassOn);
    signals.chain(run.asked.map(told)).collect()
}

fn keys(folder: &Path) -> Result<Vec<Key>, Error> {
    let mut keys = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let name = entry.map_err(Error::file(folder))?.file_name();
        keys.extend(name.to_str().and_then(|name| name.parse::<Key>().ok()));
    }
    keys.sort_unstable();
    Ok(keys)
}
