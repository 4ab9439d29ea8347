//! Compiled code that is kept between runs, in files of the user's cache directory. Loading machine code is trusting
//! whoever wrote it, so a directory or file that others may write is refused; what is damaged or foreign is compiled anew.
#![expect(unsafe_code, reason = "deserialising machine code, and asking for the user's number")]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, Module};
use zenith_data::source::cache_dir::CacheDir;

/// Where compiled code is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// In `plugins` of the user's cache directory: `$ZENITH_CACHE_DIR`, else `$XDG_CACHE_HOME/zenith`, else
    /// `~/.cache/zenith`. Without any of them nowhere.
    #[default]
    Default,
    /// Nowhere: every load compiles.
    Off,
    /// In this directory, which is made when it is not there. It must belong to the user alone.
    Dir(PathBuf),
}

/// What is kept at most; the code that was not used for the longest time goes first.
const MOST_BYTES: u64 = 256 << 20;

/// Machine code is several times as long as its module; a file beyond this is none of ours.
const LONGEST_FILE: u64 = 512 << 20;

/// A file is marked as used when its mark is older than this.
const MARK_AFTER: Duration = Duration::from_secs(3600);

/// A temporary file older than this was left by a process that died.
const ABANDONED_AFTER: Duration = Duration::from_secs(3600);

const MAGIC: [u8; 8] = *b"ZENCODE\x01";
const HEAD: usize = 8 + 32 + 32 + 8;
const ENDING: &str = "code";

type Key = [u8; 32];

/// The directory of compiled code.
#[derive(Debug)]
pub(crate) struct CodeCache {
    dir: PathBuf,
}

/// What is wrong with the directory or a file.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("{} belongs to user {owner}, not to {user}", path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("{} may be written by others (mode {mode:o}); chmod go-w would make it safe", path.display())]
    Writable { path: PathBuf, mode: u32 },
    #[error("{} is no {expected}", path.display())]
    Kind { path: PathBuf, expected: &'static str },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: &'static str },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl CodeCache {
    /// The directory that `cache` means, if any.
    pub(crate) fn open(cache: &Cache) -> Option<Self> {
        let dir = match cache {
            Cache::Off => return None,
            Cache::Dir(dir) => dir.clone(),
            // A kept file's path tells the directory; the name does not matter.
            Cache::Default => CacheDir::user().file(ENDING, b"")?.parent()?.join("plugins"),
        };
        Some(Self { dir })
    }

    /// The code of `bytes` from the directory, or compiled by `compile` and then kept. Whatever is wrong with the
    /// directory is logged: it costs time, not correctness.
    pub(crate) fn get(
        &self,
        engine: &Engine,
        bytes: &[u8],
        compile: impl FnOnce() -> Result<Module, String>,
    ) -> Result<Module, String> {
        let key = key(engine, bytes);
        let path = self.dir.join(format!("{}.{ENDING}", hex(&key)));
        if let Err(error) = private_dir(&self.dir) {
            tracing::warn!(%error, "the cache of compiled plugins is not used");
            return compile();
        }
        match load(engine, &path, &key) {
            Ok(module) => return Ok(module),
            Err(CacheError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "compiling a plugin anew"),
        }
        let module = compile()?;
        let kept = match module.serialize() {
            Ok(code) => store(&path, &key, &code),
            Err(error) => {
                tracing::warn!(%error, "compiled code cannot be kept");
                return Ok(module);
            }
        };
        match kept {
            Ok(()) => trim(&self.dir, MOST_BYTES),
            Err(error) => tracing::warn!(%error, "compiled code cannot be kept"),
        }
        Ok(module)
    }
}

/// Feeds a hash into SHA-256.
struct Feed(Sha256);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

/// What the code of a module depends on: the module, wasmtime's version, the configuration and the processor.
fn key(engine: &Engine, bytes: &[u8]) -> Key {
    let mut feed = Feed(Sha256::new());
    feed.0.update(MAGIC);
    // Covers wasmtime's version, the target, its processor's features and every setting that changes code.
    engine.precompile_compatibility_hash().hash(&mut feed);
    feed.0.update(Sha256::digest(bytes));
    feed.0.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn user() -> u32 {
    // SAFETY: has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Refuses what others could have written.
fn private(path: &Path, meta: &fs::Metadata) -> Result<(), CacheError> {
    let path = || path.to_path_buf();
    if meta.uid() != user() {
        return Err(CacheError::Owner { path: path(), owner: meta.uid(), user: user() });
    }
    if meta.mode() & 0o022 != 0 {
        return Err(CacheError::Writable { path: path(), mode: meta.mode() & 0o7777 });
    }
    Ok(())
}

/// Makes the directory if it is not there; refuses one that is not the user's alone.
fn private_dir(dir: &Path) -> Result<(), CacheError> {
    let io = |source| CacheError::Io { path: dir.to_path_buf(), source };
    let meta = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
            fs::metadata(dir).map_err(io)?
        }
        other => other.map_err(io)?,
    };
    if !meta.is_dir() {
        return Err(CacheError::Kind { path: dir.to_path_buf(), expected: "directory" });
    }
    private(dir, &meta)
}

/// Header: magic (8), key (32), SHA-256 of the code (32), its length (8).
fn head(key: &Key, code: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..40].copy_from_slice(key);
    head[40..72].copy_from_slice(&Sha256::digest(code));
    head[72..].copy_from_slice(&(code.len() as u64).to_le_bytes());
    head
}

fn load(engine: &Engine, path: &Path, key: &Key) -> Result<Module, CacheError> {
    let io = |source| CacheError::Io { path: path.to_path_buf(), source };
    let damaged = |reason| CacheError::Damaged { path: path.to_path_buf(), reason };
    // What is checked is the open file, so nobody can exchange it in between.
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
        .map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() {
        return Err(CacheError::Kind { path: path.to_path_buf(), expected: "file" });
    }
    private(path, &meta)?;
    if meta.len() > LONGEST_FILE {
        return Err(damaged("it is too long"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(io)?;
    let Some((start, code)) = bytes.split_at_checked(HEAD) else {
        return Err(damaged("it is shorter than its header"));
    };
    if start != head(key, code) {
        return Err(damaged("its checksum does not match"));
    }
    mark_used(&file, &meta);
    // SAFETY: these are the bytes that `store` wrote for this key: the digest matches, the key names this engine's
    // configuration and wasmtime's version, and nobody but this user can have written file or directory.
    unsafe { Module::deserialize(engine, code) }.map_err(|error| {
        tracing::debug!(%error, "kept code is refused");
        damaged("the runtime refuses it")
    })
}

/// Renews the mark that says when the file was last of use.
fn mark_used(file: &File, meta: &fs::Metadata) {
    let now = SystemTime::now();
    let age = meta.modified().ok().and_then(|then| now.duration_since(then).ok());
    if age.is_some_and(|age| age > MARK_AFTER) {
        // A mark that is not set only makes the file look older than it is.
        let _ = file.set_modified(now);
    }
}

/// Writes the file whole: readers and other writers see the old one or the new one.
fn store(path: &Path, key: &Key, code: &[u8]) -> Result<(), CacheError> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{serial}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&head(key, code))?;
        file.write_all(code)?;
        drop(file);
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&temporary);
        CacheError::Io { path: path.to_path_buf(), source }
    })
}

/// Removes what was not used for the longest time until no more than `most` bytes are left, and what dead writers left.
fn trim(dir: &Path, most: u64) {
    let now = SystemTime::now();
    let mut kept = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let (Some(ending), Ok(meta)) = (path.extension().and_then(|e| e.to_str()), entry.metadata()) else {
            continue;
        };
        let Ok(used) = meta.modified() else {
            continue;
        };
        if ending == ENDING {
            kept.push((used, meta.len(), path));
        } else if ending == "tmp" && now.duration_since(used).is_ok_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_file(&path);
        }
    }
    let mut total: u64 = kept.iter().map(|(_, length, _)| length).sum();
    kept.sort();
    for (_, length, path) in kept {
        if total <= most {
            break;
        }
        // Another process may have removed it: then it is gone as well.
        let _ = fs::remove_file(&path);
        total = total.saturating_sub(length);
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
