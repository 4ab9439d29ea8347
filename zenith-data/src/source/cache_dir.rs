//! Where indexes are kept between runs: the user's cache directory. It writes whole files at once and checks them when
//! they are read; what is inside is the business of who writes them.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Environment variable that names the cache directory.
pub const CACHE_ENV: &str = "ZENITH_CACHE_DIR";

const MAGIC: &[u8; 8] = b"ZENITHC\x01";
const HEAD: usize = 32;

/// A directory of checked files, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheDir {
    dir: Option<PathBuf>,
}

impl CacheDir {
    /// The user's: `$ZENITH_CACHE_DIR`, else `$XDG_CACHE_HOME/zenith`, else `~/.cache/zenith`. Without any of them
    /// nothing is kept; an empty `$ZENITH_CACHE_DIR` asks for that.
    #[must_use]
    pub fn user() -> Self {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let dir = match std::env::var_os(CACHE_ENV) {
            Some(dir) if dir.is_empty() => None,
            Some(dir) => Some(PathBuf::from(dir)),
            None => absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
                .map(|base| base.join("zenith")),
        };
        Self { dir }
    }

    /// The directory `dir`, made when something is written.
    #[must_use]
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()) }
    }

    /// No cache: nothing is found and nothing is written.
    #[must_use]
    pub const fn none() -> Self {
        Self { dir: None }
    }

    /// The file that keeps `subject` (a path, say) for the purpose `kind`, a short file-name suffix.
    #[must_use]
    pub fn file(&self, kind: &str, subject: &[u8]) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?;
        Some(dir.join(format!("{:032x}.{kind}", xxh3_128(subject))))
    }

    /// What was last written for `subject`, or `None` when there is nothing or it is damaged (which is logged).
    #[must_use]
    pub fn read(&self, kind: &str, version: u32, subject: &[u8]) -> Option<Vec<u8>> {
        let path = self.file(kind, subject)?;
        match read_checked(&path, version, subject) {
            Ok(payload) => Some(payload),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "ignoring a damaged cache file");
                None
            }
        }
    }

    /// Keeps `payload` for `subject`, in place of what was there. Readers and other writers see the old file or the
    /// new one, never a mixture. Not being able to write is logged and otherwise harmless.
    pub fn write(&self, kind: &str, version: u32, subject: &[u8], payload: &[u8]) {
        let Some(path) = self.file(kind, subject) else {
            return;
        };
        if let Err(error) = write_checked(&path, version, subject, payload) {
            tracing::warn!(path = %path.display(), %error, "cannot write the cache file");
        }
    }
}

/// Header: magic (8), version (4), subject length (4), payload length (8), xxh3 of subject and payload (8).
fn head(version: u32, subject: &[u8], payload: &[u8]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    head[12..16].copy_from_slice(&u32::try_from(subject.len()).unwrap_or(u32::MAX).to_le_bytes());
    head[16..24].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    head[24..].copy_from_slice(&(xxh3_64(payload) ^ xxh3_64(subject).rotate_left(1)).to_le_bytes());
    head
}

fn read_checked(path: &Path, version: u32, subject: &[u8]) -> io::Result<Vec<u8>> {
    let bad = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason);
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = vec![0; HEAD + subject.len()];
    file.read_exact(&mut start).map_err(|_| bad("shorter than its header"))?;
    if start[..8] != *MAGIC {
        return Err(bad("no cache file of zenith"));
    }
    if start[8..12] != version.to_le_bytes() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "written by another version"));
    }
    if start[HEAD..] != *subject {
        return Err(bad("belongs to something else"));
    }
    let mut payload = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.read_to_end(&mut payload)?;
    if start[..HEAD] != head(version, subject, &payload) {
        return Err(bad("checksum does not match"));
    }
    Ok(payload)
}

fn write_checked(path: &Path, version: u32, subject: &[u8], payload: &[u8]) -> io::Result<()> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{serial}.tmp", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(&head(version, subject, payload))?;
        file.write_all(subject)?;
        file.write_all(payload)?;
        drop(file);
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_and_finds() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheDir::at(dir.path().join("new"));
        assert_eq!(cache.read("t", 1, b"x"), None);
        cache.write("t", 1, b"x", b"payload");
        assert_eq!(cache.read("t", 1, b"x").as_deref(), Some(b"payload".as_slice()));
        cache.write("t", 1, b"x", b"");
        assert_eq!(cache.read("t", 1, b"x").as_deref(), Some(b"".as_slice()));
        assert_eq!(cache.read("t", 2, b"x"), None, "another version");
        assert_eq!(cache.read("u", 1, b"x"), None, "another kind");
        assert_eq!(CacheDir::none().read("t", 1, b"x"), None);
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheDir::at(dir.path());
        cache.write("t", 1, b"subject", b"payload");
        let path = cache.file("t", b"subject").unwrap();
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(&path, &bad).unwrap();
            assert_eq!(cache.read("t", 1, b"subject"), None, "byte {at} flipped");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(cache.read("t", 1, b"subject"), None, "cut at {at}");
        }
    }

    #[test]
    fn writers_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CacheDir::at(dir.path());
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..50 {
                        cache.write("t", 1, b"x", &vec![writer; 10_000]);
                        let seen = cache.read("t", 1, b"x").unwrap();
                        assert!(seen.iter().all(|&b| b == seen[0]));
                    }
                });
            }
        });
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 1, "temporary files stay behind");
    }
}
