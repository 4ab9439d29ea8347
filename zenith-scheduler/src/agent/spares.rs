//! The files of attempts that are forgotten, for attempts that come: a file system makes and removes files much more slowly than it
//! renames them, and some look through everything that was removed lately whenever they make one.
//!
//! A set is a run folder with an empty status and two empty logs. It is made of an attempt of one rank whose files are as the agent
//! made them and are open nowhere; everything else is removed. Folders for checkpoints are passed on by themselves.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use zenith_proto::v1;

use super::layout::{Key, Layout, spare_of};
use super::process::is_alone;

/// Sets that are kept at most: as many as a busy node starts between two looks at what is to be forgotten.
const MOST_SETS: usize = 2_048;

/// Folders for checkpoints that are kept at most: as many as there are attempts at a time.
const MOST_FOLDERS: usize = 256;

/// The files of a set, and the permissions that they were made with.
const FILES: [(&str, u32); 3] = [("status", 0o600), ("rank-0.out", 0o640), ("rank-0.err", 0o640)];

/// What there is. Cheap to clone: one stock for the loop that takes and the thread that makes.
#[derive(Clone, Debug)]
pub(crate) struct Spares {
    layout: Layout,
    stock: Arc<Mutex<Stock>>,
}

#[derive(Debug, Default)]
struct Stock {
    sets: VecDeque<u64>,
    next: u64,
    folders: VecDeque<Key>,
}

impl Spares {
    /// What an earlier agent has left.
    pub(crate) fn find(layout: &Layout) -> io::Result<Self> {
        let mut stock = Stock::default();
        for entry in fs::read_dir(layout.spares())? {
            let entry = entry?;
            let number: Option<u64> = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let is_wanted = stock.sets.len() < MOST_SETS;
            match number.filter(|_| is_wanted && empty(&entry.path()).is_ok()) {
                Some(number) => {
                    stock.next = stock.next.max(number);
                    stock.sets.push_back(number);
                }
                None => remove(&entry.path()),
            }
        }
        for entry in fs::read_dir(layout.checkpoints())? {
            let entry = entry?;
            let Some(key) = entry.file_name().to_str().and_then(spare_of) else { continue };
            if stock.folders.len() < MOST_FOLDERS {
                stock.folders.push_back(key);
            } else {
                // One that holds something is its job's.
                let _ = fs::remove_dir(entry.path());
            }
        }
        Ok(Self { layout: layout.clone(), stock: Arc::new(Mutex::new(stock)) })
    }

    /// Gives an attempt that has not begun the files of another. False where there are none for it: then everybody makes their own.
    ///
    /// Its status comes first: whoever finds that alone finds an attempt that was not begun.
    pub(crate) fn take(&self, start: &v1::Start) -> bool {
        let key = Key { job: start.job, attempt: start.attempt };
        if (start.rank_offset, start.local_ranks) != (0, 1) {
            return false;
        }
        let Some(number) = self.stock().sets.pop_front() else { return false };
        let folder = self.layout.spare(number);
        let is_offered = move_to(&folder.join("status"), &self.layout.status(key)).is_ok();
        if !is_offered || move_to(&folder, &self.layout.run(key)).is_err() {
            remove(&folder);
        }
        is_offered
    }

    /// Makes a set of an attempt that is over, or removes what there is of it. `is_whole` says that its end was an orderly one, so
    /// that nobody is left who could still write.
    pub(crate) fn forget(&self, key: Key, is_whole: bool) {
        let run = self.layout.run(key);
        let Some(number) = is_whole.then(|| self.number()).flatten() else { return remove(&run) };
        let folder = self.layout.spare(number);
        // By its own name nobody opens it any more.
        if move_to(&run, &folder).is_err() {
            return remove(&run);
        }
        match empty(&folder) {
            Ok(()) => self.stock().sets.push_back(number),
            Err(_) => remove(&folder),
        }
    }

    /// An attempt is over that may have left its folder for checkpoints. It stays its job's where that has another attempt here.
    pub(crate) fn hear_of_folder(&self, key: Key, is_used: bool) {
        let folder = self.layout.spare_checkpoint(key);
        if is_used {
            if move_to(&folder, &self.layout.checkpoint(key.job)).is_err() {
                // There is none, or the job has another one by now.
                let _ = fs::remove_dir(folder);
            }
            return;
        }
        let mut stock = self.stock();
        if stock.folders.len() < MOST_FOLDERS {
            stock.folders.push_back(key);
        } else {
            // Mostly there is none.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Gives a job a folder for its checkpoints where it has none and there is one to give.
    pub(crate) fn give_folder(&self, job: u64) {
        let mut stock = self.stock();
        while let Some(key) = stock.folders.pop_back() {
            match move_to(&self.layout.spare_checkpoint(key), &self.layout.checkpoint(job)) {
                Ok(()) => return,
                // Something was in it, and it stayed where it was.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => {
                    stock.folders.push_back(key);
                    return;
                }
            }
        }
    }

    /// A number for one more set; none where there are enough.
    fn number(&self) -> Option<u64> {
        let mut stock = self.stock();
        if stock.sets.len() >= MOST_SETS {
            return None;
        }
        stock.next += 1;
        Some(stock.next)
    }

    fn stock(&self) -> MutexGuard<'_, Stock> {
        // Whoever panicked left whole numbers.
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves the folder for checkpoints of an attempt that is over to others, unless something is in it: then it is kept for its
/// job's next attempt. To be called while the attempt is not known to be over.
pub(crate) fn leave_folder(layout: &Layout, key: Key) {
    let folder = layout.checkpoint(key.job);
    let is_empty = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none());
    if !is_empty {
        return;
    }
    let is_passed_on =
        is_as_made(&folder, &layout.run(key)) && move_to(&folder, &layout.spare_checkpoint(key)).is_ok();
    if !is_passed_on {
        // A link stays where it is.
        let _ = fs::remove_dir(&folder);
    }
}

/// Whether a folder has the owner and the permissions of another one that was made like it.
fn is_as_made(folder: &Path, like: &Path) -> bool {
    let facts = |path| fs::symlink_metadata(path).map(|is| (is.is_dir(), is.uid(), is.gid(), is.mode()));
    matches!((facts(folder), facts(like)), (Ok(is), Ok(was)) if is.0 && is == was)
}

/// Renames unless there is something by the new name, or the file system cannot promise that.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

/// Empties the files of a set; an error where it is none.
fn empty(folder: &Path) -> io::Result<()> {
    let other = || io::Error::other("it is not as it was made");
    let mut found = 0;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !FILES.iter().any(|(known, _)| name == *known) {
            return Err(other());
        }
        found += 1;
    }
    if found != FILES.len() {
        return Err(other());
    }
    for (name, mode) in FILES {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(folder.join(name))?;
        let is = file.metadata()?;
        let is_ours = is.is_file() && is.nlink() == 1 && is.mode() & 0o7777 & !mode == 0;
        if !is_ours || !is_alone(&file)? {
            return Err(other());
        }
        if is.len() > 0 {
            file.set_len(0)?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "the files of an old attempt cannot be removed");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::agent::status::{Claim, Status, offer};

    fn key(job: u64) -> Key {
        Key { job, attempt: 1 }
    }

    fn start(job: u64, rank_offset: u32, local_ranks: u32) -> v1::Start {
        v1::Start { job, attempt: 1, rank_offset, local_ranks, ..Default::default() }
    }

    fn state() -> (tempfile::TempDir, Layout, Spares) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        for folder in [layout.statuses(), layout.runs(), layout.checkpoints(), layout.spares()] {
            fs::create_dir(folder).unwrap();
        }
        let spares = Spares::find(&layout).unwrap();
        (folder, layout, spares)
    }

    /// A job's folder for checkpoints, and its attempt's run folder, as supervisors make them.
    fn with_checkpoint(layout: &Layout, job: u64) {
        fs::create_dir(layout.run(key(job))).unwrap();
        fs::create_dir(layout.checkpoint(job)).unwrap();
    }

    /// An attempt that is over, with what it wrote.
    fn ended(layout: &Layout, job: u64) {
        fs::create_dir(layout.run(key(job))).unwrap();
        for (name, mode) in FILES {
            let path = layout.run(key(job)).join(name);
            fs::write(&path, "secret").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn number(path: &Path) -> u64 {
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn files_are_passed_on_empty_and_offered_once() {
        let (_folder, layout, spares) = state();
        ended(&layout, 1);
        let status = number(&layout.kept_status(key(1)));
        let log = number(&layout.log(key(1), 0, v1::Stream::Stdout));
        spares.forget(key(1), true);
        assert!(!layout.run(key(1)).exists());
        assert!(!spares.take(&start(2, 0, 2)) && !spares.take(&start(2, 1, 1)), "it is a set for one rank");
        assert!(spares.take(&start(2, 0, 1)));
        assert!(!spares.take(&start(3, 0, 1)), "there was one");
        let out = layout.log(key(2), 0, v1::Stream::Stdout);
        assert_eq!((number(&layout.status(key(2))), number(&out)), (status, log));
        assert_eq!(fs::read(&out).unwrap(), b"");
        assert!(!layout.kept_status(key(2)).exists(), "it is not over");
        assert!(!offer(&layout.status(key(2))).unwrap());
        assert!(matches!(Status::claim(&layout.status(key(2))).unwrap(), Claim::Ours(_)));
    }

    #[test]
    fn files_that_are_open_or_are_not_as_they_were_made_are_removed() {
        let (folder, layout, spares) = state();
        let out = |job| layout.log(key(job), 0, v1::Stream::Stdout);
        (1..=6).for_each(|job| ended(&layout, job));
        let reader = File::open(out(1)).unwrap();
        let writer = File::options().append(true).open(layout.kept_status(key(2))).unwrap();
        fs::hard_link(out(3), folder.path().join("kept")).unwrap();
        fs::write(layout.run(key(4)).join("mine"), "").unwrap();
        fs::set_permissions(out(5), fs::Permissions::from_mode(0o644)).unwrap();
        fs::remove_file(out(6)).unwrap();
        std::os::unix::fs::symlink(folder.path().join("kept"), out(6)).unwrap();
        (1..=6).for_each(|job| spares.forget(key(job), true));
        assert!(!spares.take(&start(9, 0, 1)));
        drop((reader, writer));
        assert_eq!(fs::read(folder.path().join("kept")).unwrap(), b"secret");
        ended(&layout, 7);
        spares.forget(key(7), false);
        assert!(!spares.take(&start(9, 0, 1)), "somebody may still write");
        assert_eq!(fs::read_dir(layout.runs()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(layout.spares()).unwrap().count(), 0);
        ended(&layout, 8);
        spares.forget(key(8), true);
        assert!(spares.take(&start(9, 0, 1)));
    }

    #[test]
    fn a_set_is_not_for_an_attempt_that_is_over() {
        let (_folder, layout, spares) = state();
        ended(&layout, 1);
        spares.forget(key(1), true);
        assert!(offer(&layout.status(key(2))).unwrap());
        assert!(!spares.take(&start(2, 0, 1)));
        assert!(layout.status(key(2)).exists() && !layout.run(key(2)).exists());
    }

    #[test]
    fn the_next_agent_finds_what_there_is() {
        let (_folder, layout, spares) = state();
        for job in 1..=2 {
            ended(&layout, job);
            spares.forget(key(job), true);
        }
        // One that was not emptied any more, and one that was half given away.
        fs::write(layout.spare(1).join("rank-0.out"), "secret").unwrap();
        fs::remove_file(layout.spare(2).join("status")).unwrap();
        fs::create_dir(layout.spare_checkpoint(key(1))).unwrap();
        let spares = Spares::find(&layout).unwrap();
        assert!(spares.take(&start(5, 0, 1)) && !spares.take(&start(6, 0, 1)));
        assert_eq!(fs::read(layout.log(key(5), 0, v1::Stream::Stdout)).unwrap(), b"");
        spares.give_folder(5);
        assert!(layout.checkpoint(5).exists());
    }

    #[test]
    fn a_folder_for_checkpoints_is_passed_on_unless_it_holds_something() {
        let (_folder, layout, spares) = state();
        for job in 1..=3 {
            with_checkpoint(&layout, job);
        }
        fs::write(layout.checkpoint(2).join("step"), "7").unwrap();
        for job in 1..=3 {
            leave_folder(&layout, key(job));
            spares.hear_of_folder(key(job), job == 3);
        }
        assert!(!layout.checkpoint(1).exists() && layout.checkpoint(2).join("step").exists());
        assert!(layout.checkpoint(3).exists(), "another attempt of its job is here");
        spares.give_folder(4);
        spares.give_folder(5);
        assert!(layout.checkpoint(4).exists() && !layout.checkpoint(5).exists(), "there was one");
        spares.hear_of_folder(key(2), false);
        spares.give_folder(2);
        assert!(layout.checkpoint(2).join("step").exists(), "it has one");
    }

    #[test]
    fn a_folder_for_checkpoints_that_is_not_as_it_was_made_is_nobody_elses() {
        let (outside, layout, spares) = state();
        let elsewhere = outside.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        (1..=3).for_each(|job| with_checkpoint(&layout, job));
        fs::set_permissions(layout.checkpoint(1), fs::Permissions::from_mode(0o500)).unwrap();
        fs::remove_dir(layout.checkpoint(2)).unwrap();
        std::os::unix::fs::symlink(&elsewhere, layout.checkpoint(2)).unwrap();
        fs::remove_dir(layout.run(key(3))).unwrap();
        for job in 1..=3 {
            leave_folder(&layout, key(job));
            spares.hear_of_folder(key(job), false);
        }
        spares.give_folder(4);
        assert!(!layout.checkpoint(4).exists());
        assert!(!layout.checkpoint(1).exists() && layout.checkpoint(2).is_symlink() && elsewhere.exists());
    }

    #[test]
    fn no_more_is_kept_than_is_of_use() {
        let (_folder, layout, spares) = state();
        for job in 2..=MOST_FOLDERS as u64 + 2 {
            with_checkpoint(&layout, job);
            leave_folder(&layout, key(job));
            spares.hear_of_folder(key(job), false);
        }
        assert_eq!(fs::read_dir(layout.checkpoints()).unwrap().count(), MOST_FOLDERS);
        spares.stock().sets.extend(1..=MOST_SETS as u64);
        ended(&layout, 1);
        spares.forget(key(1), true);
        assert_eq!(spares.stock().sets.len(), MOST_SETS);
        assert!(!layout.run(key(1)).exists());
    }

    #[test]
    fn what_an_earlier_agent_left_is_bounded_too() {
        let (_folder, layout, _) = state();
        for job in 1..=MOST_FOLDERS as u64 + 1 {
            fs::create_dir(layout.spare_checkpoint(key(job))).unwrap();
        }
        assert_eq!(Spares::find(&layout).unwrap().stock().folders.len(), MOST_FOLDERS);
        assert_eq!(fs::read_dir(layout.checkpoints()).unwrap().count(), MOST_FOLDERS);
    }

    #[test]
    fn a_folder_that_its_job_has_no_use_for_goes() {
        let (_folder, layout, spares) = state();
        fs::create_dir(layout.spare_checkpoint(key(1))).unwrap();
        fs::create_dir(layout.checkpoint(1)).unwrap();
        spares.hear_of_folder(key(1), true);
        assert!(layout.checkpoint(1).exists() && !layout.spare_checkpoint(key(1)).exists());
    }
}
