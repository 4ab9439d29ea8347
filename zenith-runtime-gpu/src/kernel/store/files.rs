//! Small files that are whole or not there: a line that names kind, version and hash, then JSON. Nothing is locked. A file is
//! written under another name first, on disk before it gets its own, so that a reader or a crash never sees half of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::kernel::key::{digest, hex};

/// The most bytes that a file is read to: the greatest row has a quarter of it.
pub(super) const MAX_FILE: u64 = 1 << 20;
/// The most entries of a folder that are looked at.
pub(super) const MAX_ENTRIES: usize = 16 * 1024;
/// The version of all files. Files of another are left alone.
pub(super) const VERSION: u32 = 1;
/// What the names of unfinished files begin with.
const UNFINISHED: &str = ".unfinished-";
/// An unfinished file that is older than this is a dead writer's.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

static COUNTER: AtomicU64 = AtomicU64::new(0);

/// Whether a file of that name may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    /// It stays, and what was to be written is dropped.
    Stays,
    /// It is replaced at once.
    IsReplaced,
}

/// What is in a file's place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found<T> {
    /// Nothing.
    Nothing,
    /// Something that is no whole file of this kind and version, which was logged.
    Damage,
    /// The content of a whole one.
    Whole(T),
}

impl<T> Found<T> {
    /// The content, if it is whole.
    pub(super) fn whole(self) -> Option<T> {
        match self {
            Self::Whole(content) => Some(content),
            Self::Nothing | Self::Damage => None,
        }
    }
}

/// What is in the place of a file of this kind.
pub(super) fn read<T: DeserializeOwned>(path: &Path, kind: &str) -> Found<T> {
    let text = match bytes(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Found::Nothing,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a file of the kernel store cannot be read and is ignored");
            return Found::Damage;
        }
    };
    match parse(&text, kind) {
        Ok(content) => Found::Whole(content),
        Err(reason) => {
            tracing::warn!(path = %path.display(), reason, "a file of the kernel store is ignored");
            Found::Damage
        }
    }
}

fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // A pipe would block for ever, so nothing is waited for, and only files are read.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("it is too large"));
    }
    Ok(Some(bytes))
}

fn head(kind: &str, body: &[u8]) -> String {
    format!("zenith-kernel-{kind} {VERSION} {}\n", hex(&Sha256::digest(body)))
}

/// The content of whole text, or why it is none.
fn parse<T: DeserializeOwned>(text: &[u8], kind: &str) -> Result<T, String> {
    let end = text.iter().position(|&byte| byte == b'\n').ok_or("it has no head")?;
    let (line, body) = text.split_at(end + 1);
    if line != head(kind, body).as_bytes() {
        let line = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
        let mut words = line.split_ascii_whitespace();
        let (name, version) = (words.next(), words.next().and_then(|word| word.parse::<u32>().ok()));
        return Err(match version {
            Some(version) if name == Some(format!("zenith-kernel-{kind}").as_str()) && version != VERSION => {
                format!("it is of version {version}, and this is version {VERSION}")
            }
            _ => "it is damaged or foreign".to_owned(),
        });
    }
    serde_json::from_slice(body).map_err(|error| format!("it is whole and means nothing: {error}"))
}

/// Writes a file; whether it is there now with this content by this call.
pub(super) fn write<T: Serialize>(
    path: &Path,
    kind: &str,
    content: &T,
    existing: Existing,
) -> Result<bool, StoreError> {
    let failed = |source| StoreError::Write { path: path.to_owned(), source };
    let body = serde_json::to_vec(content).map_err(|error| failed(io::Error::other(error)))?;
    let head = head(kind, &body);
    if (head.len() + body.len()) as u64 > MAX_FILE {
        return Err(failed(io::Error::other("it would be too large to be read")));
    }
    let folder = path.parent().ok_or_else(|| failed(io::Error::other("it has no folder")))?;
    fs::create_dir_all(folder).map_err(failed)?;
    let unfinished = Unfinished(folder.join(format!("{UNFINISHED}{}", unique())));
    let finish = || -> io::Result<bool> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished.0)?;
        file.write_all(head.as_bytes())?;
        file.write_all(&body)?;
        // The name must not be on disk before the content: what is torn would be ignored, but keep its place until noticed.
        file.sync_all()?;
        drop(file);
        match existing {
            Existing::IsReplaced => {
                fs::rename(&unfinished.0, path)?;
                Ok(true)
            }
            Existing::Stays => match fs::hard_link(&unfinished.0, path) {
                Ok(()) => Ok(true),
                // Over NFS a link that was made may be said to exist already, by an answer that got lost.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    Ok(same_file(&unfinished.0, path))
                }
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "no hard links here: the last writer's file stays");
                    fs::rename(&unfinished.0, path)?;
                    Ok(true)
                }
            },
        }
    };
    finish().map_err(failed)
}

/// Makes names in a folder outlive a crash of the machine.
pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: path.to_owned(), source };
    File::open(path).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Takes a file away; whether it was there.
pub(super) fn remove(path: &Path) -> Result<bool, StoreError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(StoreError::Write { path: path.to_owned(), source }),
    }
}

/// What is in a folder, by name, sorted; unfinished files aside. Nothing if it is no folder.
pub(super) fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                tracing::warn!(path = %folder.display(), %error, "a folder of the kernel store cannot be read");
            }
            return Vec::new();
        }
    };
    let finished = |name: &PathBuf| !is_unfinished(name);
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(finished).take(MAX_ENTRIES + 1).collect();
    if paths.len() > MAX_ENTRIES {
        tracing::warn!(path = %folder.display(), "more than {MAX_ENTRIES} entries: the rest is ignored");
        paths.truncate(MAX_ENTRIES);
    }
    paths.sort();
    paths
}

/// Takes away what dead writers left in a folder.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_unfinished(path)) {
        let written = fs::metadata(&path).and_then(|data| data.modified());
        let age = written.ok().and_then(|written| SystemTime::now().duration_since(written).ok());
        if age.is_some_and(|age| age > ABANDONED) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED))
}

fn same_file(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path| fs::metadata(path).map(|data| (data.dev(), data.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

/// A word that no other writer has, on this machine or another one with the same folder.
fn unique() -> String {
    let host = digest(&rustix::system::uname().nodename().to_string_lossy());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!(
        "{}-{}-{}-{}",
        &host[..12],
        process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed),
        since.as_nanos()
    )
}

/// A file that is taken away unless it got its name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flip_and_every_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let content: Vec<f64> = vec![1.5, 2.5, 3.5];
        assert!(write(&path, "row", &content, Existing::Stays).unwrap());
        assert_eq!(read::<Vec<f64>>(&path, "row"), Found::Whole(content));
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[place] ^= 1 << bit;
                assert!(parse::<Vec<f64>>(&flipped, "row").is_err(), "bit {bit} of byte {place}");
            }
            assert!(parse::<Vec<f64>>(&whole[..place], "row").is_err(), "cut at {place}");
        }
    }

    #[test]
    fn other_kinds_and_versions_are_named() {
        let body = b"[]";
        let text = [head("pin", body).as_bytes(), body].concat();
        assert_eq!(parse::<Vec<f64>>(&text, "row"), Err("it is damaged or foreign".to_owned()));
        let future = [b"zenith-kernel-row 2 later\n".as_slice(), body].concat();
        let reason = parse::<Vec<f64>>(&future, "row").unwrap_err();
        assert_eq!(reason, "it is of version 2, and this is version 1");
        let meaningless = [head("row", b"{}").as_bytes(), b"{}"].concat();
        assert!(parse::<Vec<f64>>(&meaningless, "row").unwrap_err().contains("means nothing"));
    }

    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_read_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert_eq!(read::<Vec<f64>>(&pipe, "row"), Found::Damage);
        assert_eq!(read::<Vec<f64>>(Path::new("/dev/zero"), "row"), Found::Damage);
        assert_eq!(read::<Vec<f64>>(dir.path(), "row"), Found::Damage);
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read::<Vec<f64>>(&large, "row"), Found::Damage);
    }

    #[test]
    fn the_first_writer_stays_unless_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/down/a");
        assert_eq!(read::<i32>(&path, "row"), Found::Nothing);
        assert!(write(&path, "row", &1, Existing::Stays).unwrap());
        assert!(!write(&path, "row", &2, Existing::Stays).unwrap());
        assert_eq!(read::<i32>(&path, "row").whole(), Some(1));
        assert!(write(&path, "row", &3, Existing::IsReplaced).unwrap());
        assert_eq!(read::<i32>(&path, "row").whole(), Some(3));
        let folder = path.parent().unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "no unfinished file is left");
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
    }

    #[test]
    fn only_old_remains_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join(".unfinished-old"), dir.path().join(".unfinished-new"));
        let then = SystemTime::now() - ABANDONED * 2;
        File::create(&old).unwrap().set_modified(then).unwrap();
        File::create(&new).unwrap();
        sweep(dir.path());
        assert!(!old.exists() && new.exists());
        assert_eq!(list(dir.path()), Vec::<PathBuf>::new());
    }
}
