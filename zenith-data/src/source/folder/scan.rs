//! Reads a tree of directories with several threads, and again only those that have changed since the last time. The
//! order of the result is that of `torchvision.datasets.ImageFolder`, whatever the order of the reading.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zenith_runtime_cpu::thread::spawn_scoped;

use super::getdents::{DirReader, EntryKind};
use super::index::{FileIndex, Listing, UNREAD};
use super::names::{is_picture_name, is_table_name};
use crate::{Error, Result};

/// A directory changed less than this before it was read may change again without its time showing it: time stamps of
/// files are as coarse as two seconds on some file systems.
const RACY: Duration = Duration::from_secs(2);

/// How long a scan runs before what it has found so far is kept for the next one.
const KEEP_AFTER: Duration = Duration::from_secs(3);

/// Whether every directory of `index` is as it was when it was read.
pub(super) fn is_current(index: &FileIndex) -> bool {
    let threads = threads().min(index.dirs.len().div_ceil(256)).max(1);
    let share = index.dirs.len().div_ceil(threads).max(1);
    let check = |dirs: &[super::index::Dir]| {
        dirs.iter().all(|dir| {
            dir.modified != UNREAD
                && fs::metadata(index.root.join(OsStr::from_bytes(&dir.path)))
                    .is_ok_and(|now| now.is_dir() && modified(&now) == dir.modified)
        })
    };
    std::thread::scope(|scope| {
        let mut shares = index.dirs.chunks(share);
        let own = shares.next().unwrap_or_default();
        let others: Vec<_> = shares.map(|dirs| scope.spawn(move || check(dirs))).collect();
        let own = check(own);
        others.into_iter().all(|other| other.join().unwrap_or(false)) && own
    })
}

/// Scans the tree under `root`, taking from `known` what has not changed. Every few seconds `keep` is given what has
/// been found so far, so that a scan that is interrupted can be taken up again; directories not read yet are in it,
/// marked so.
///
/// # Errors
/// The first directory that cannot be read.
pub(super) fn scan(root: &Path, known: Option<&FileIndex>, keep: impl Fn(&FileIndex)) -> Result<FileIndex> {
    let known = known.map(Known::new);
    let work = Work::new();
    let threads = threads();
    std::thread::scope(|scope| {
        for number in 0..threads {
            let (work, known) = (&work, known.as_ref());
            let name = format!("zenith-scan-{number}");
            if let Err(error) = spawn_scoped(scope, name, move || work.run(root, known)) {
                if number == 0 {
                    work.fail(Error::Machine(error.to_string()));
                }
                break;
            }
        }
        work.wait(|partial| keep(&FileIndex::of(root, partial)));
    });
    let state = work.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    match state.error {
        Some(error) => Err(error),
        None => Ok(FileIndex::of(root, state.done)),
    }
}

/// More threads than cores: a scan of a cold disk or of a network file system waits most of the time.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(4, |n| n.get().clamp(4, 16))
}

/// A previous table, by directory.
struct Known<'a> {
    index: &'a FileIndex,
    by_path: HashMap<&'a [u8], usize>,
    children: HashMap<&'a [u8], Vec<&'a [u8]>>,
}

impl<'a> Known<'a> {
    fn new(index: &'a FileIndex) -> Self {
        let mut children: HashMap<&[u8], Vec<&[u8]>> = HashMap::new();
        for dir in index.dirs.iter().filter(|dir| !dir.path.is_empty()) {
            let cut = dir.path.iter().rposition(|&b| b == b'/').unwrap_or(0);
            children.entry(&dir.path[..cut]).or_default().push(&dir.path);
        }
        let by_path = index.dirs.iter().enumerate().map(|(at, dir)| (&*dir.path, at)).collect();
        Self { index, by_path, children }
    }

    /// The directory `path`, if it was read when its time was `modified`.
    fn listing(&self, path: &[u8], modified: i64) -> Option<Listing> {
        let at = *self.by_path.get(path)?;
        let dir = &self.index.dirs[at];
        (dir.modified == modified && modified != UNREAD).then(|| Listing {
            path: dir.path.clone(),
            modified,
            names: self.index.names_of(at).to_vec(),
            starts: self.index.starts_of(at).to_vec(),
            subdirs: self
                .children
                .get(path)
                .map(|paths| paths.iter().map(|&p| p.into()).collect())
                .unwrap_or_default(),
            ignored: dir.ignored,
            tables: dir.tables,
        })
    }
}

/// What is left to read, and what has been read.
struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    pending: Vec<Box<[u8]>>,
    reading: Vec<Box<[u8]>>,
    done: Vec<Listing>,
    error: Option<Error>,
}

impl State {
    fn finished(&self) -> bool {
        self.error.is_some() || (self.pending.is_empty() && self.reading.is_empty())
    }

    /// What has been read, and marks for what has not.
    fn partial(&self) -> Vec<Listing> {
        let unread = self.pending.iter().chain(&self.reading).map(|path| Listing {
            path: path.clone(),
            modified: UNREAD,
            ..Listing::default()
        });
        self.done.iter().cloned().chain(unread).collect()
    }
}

impl Work {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                pending: vec![Box::default()],
                reading: Vec::new(),
                done: Vec::new(),
                error: None,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, error: Error) {
        self.lock().error.get_or_insert(error);
        self.changed.notify_all();
    }

    /// A thread's share: directories until there are none left.
    fn run(&self, root: &Path, known: Option<&Known<'_>>) {
        let mut reader = DirReader::new();
        let _noticed = PanicNotice(self);
        loop {
            let path = {
                let mut state = self.lock();
                loop {
                    if state.finished() {
                        return;
                    }
                    if let Some(path) = state.pending.pop() {
                        state.reading.push(path.clone());
                        break path;
                    }
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            };
            let result = list(root, &path, known, &mut reader);
            let mut state = self.lock();
            state.reading.retain(|other| *other != path);
            match result {
                Ok(listing) => {
                    state.pending.extend(listing.subdirs.iter().rev().cloned());
                    let more = !listing.subdirs.is_empty();
                    state.done.push(listing);
                    if more || state.finished() {
                        self.changed.notify_all();
                    }
                }
                Err(source) => {
                    drop(state);
                    self.fail(Error::io(join(root, &path), source));
                }
            }
        }
    }

    /// Waits for the threads; meanwhile hands over what there is, at growing intervals so that it costs little.
    fn wait(&self, keep: impl Fn(Vec<Listing>)) {
        let mut interval = KEEP_AFTER;
        let mut next = Instant::now() + interval;
        let mut state = self.lock();
        while !state.finished() {
            let now = Instant::now();
            if now < next {
                let (again, _) =
                    self.changed.wait_timeout(state, next - now).unwrap_or_else(PoisonError::into_inner);
                state = again;
                continue;
            }
            let partial = state.partial();
            drop(state);
            keep(partial);
            interval = interval.max(now.elapsed() * 20);
            next = Instant::now() + interval;
            state = self.lock();
        }
    }
}

/// Lets the others stop when a thread panics, instead of waiting for it for ever.
struct PanicNotice<'a>(&'a Work);

impl Drop for PanicNotice<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::Panic("while scanning a folder".into()));
        }
    }
}

fn join(root: &Path, relative: &[u8]) -> PathBuf {
    match relative {
        [] => root.to_path_buf(),
        _ => root.join(OsStr::from_bytes(relative)),
    }
}

/// Nanoseconds since 1970 of the last change to the directory's entries.
fn modified(metadata: &fs::Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// Reads one directory, or takes it from what is known.
fn list(
    root: &Path,
    relative: &[u8],
    known: Option<&Known<'_>>,
    reader: &mut DirReader,
) -> io::Result<Listing> {
    let path = join(root, relative);
    let dir = File::options().read(true).custom_flags(libc::O_DIRECTORY).open(&path)?;
    // The time is taken first: what changes while the directory is being read then shows as a change next time.
    let time = modified(&dir.metadata()?);
    if let Some(listing) = known.and_then(|known| known.listing(relative, time)) {
        return Ok(listing);
    }
    let mut found = Found::default();
    reader.read(dir.as_fd(), |name, kind| {
        let kind = match kind {
            EntryKind::Ask => ask(&path, name),
            told => told,
        };
        found.add(name, kind == EntryKind::Dir)
    })?;
    let mut listing = found.sorted(relative);
    listing.modified = if is_racy(time) { UNREAD } else { time };
    Ok(listing)
}

/// What a link, or an entry without a type, is. A dangling link counts as a file, as it does for `os.walk`; so does a
/// link to a directory that contains it, which would never end.
fn ask(dir: &Path, name: &[u8]) -> EntryKind {
    let path = dir.join(OsStr::from_bytes(name));
    if !fs::metadata(&path).is_ok_and(|m| m.is_dir()) {
        return EntryKind::File;
    }
    if let (Ok(target), Ok(here)) = (fs::canonicalize(&path), fs::canonicalize(dir))
        && here.starts_with(&target)
    {
        tracing::warn!(path = %path.display(), "not following a link to a directory it lies in");
        return EntryKind::File;
    }
    EntryKind::Dir
}

fn is_racy(modified: i64) -> bool {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    modified > now.saturating_sub(i64::try_from(RACY.as_nanos()).unwrap_or(i64::MAX))
}

/// Entries of one directory in the order of the file system.
#[derive(Default)]
struct Found {
    names: Vec<u8>,
    spans: Vec<(u32, u32)>,
    subdirs: Vec<Vec<u8>>,
    ignored: u32,
    tables: u32,
}

impl Found {
    fn add(&mut self, name: &[u8], dir: bool) -> io::Result<()> {
        if dir {
            self.subdirs.push(name.to_vec());
        } else if is_picture_name(name) {
            let start = u32::try_from(self.names.len())
                .map_err(|_| io::Error::other("more than 4 GiB of file names in one directory"))?;
            self.names.extend_from_slice(name);
            self.names.push(0);
            self.spans.push((start, name.len() as u32 + 1));
        } else {
            self.ignored += 1;
            self.tables += u32::from(is_table_name(name));
        }
        Ok(())
    }

    fn sorted(mut self, relative: &[u8]) -> Listing {
        let slice = |&(start, length): &(u32, u32)| &self.names[start as usize..(start + length) as usize];
        // The NUL at the end of a name sorts before every other byte, so that a name sorts before its extensions.
        self.spans.sort_unstable_by(|a, b| slice(a).cmp(slice(b)));
        let mut names = Vec::with_capacity(self.names.len());
        let mut starts = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            starts.push(names.len() as u32);
            names.extend_from_slice(slice(span));
        }
        self.subdirs.sort_unstable();
        let subdirs = self
            .subdirs
            .into_iter()
            .map(|name| {
                let mut path = relative.to_vec();
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&name);
                path.into_boxed_slice()
            })
            .collect();
        Listing {
            path: relative.into(),
            modified: UNREAD,
            names,
            starts,
            subdirs,
            ignored: self.ignored,
            tables: self.tables,
        }
    }
}
