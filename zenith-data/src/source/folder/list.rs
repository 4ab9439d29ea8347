//! Files named one by one: lists of paths and glob patterns. What the files are is for [`crate::source::detect`].

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::index::{Dir, FileIndex, UNREAD};
use crate::{Error, Result};

/// Whether `path` is a pattern: it has one of `* ? [ {` in it and is no file of that name.
#[must_use]
pub fn is_glob(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().any(|b| b"*?[{".contains(b)) && fs::symlink_metadata(path).is_err()
}

/// The files that match `pattern`, sorted. `*` and `?` stay within one name, `**` spans folders, and names that begin
/// with a dot match only a pattern that has one there, as Python's `glob` has it.
///
/// # Errors
/// When the pattern is malformed, or a folder it leads through cannot be read.
pub fn expand_glob(pattern: &Path) -> Result<Vec<PathBuf>> {
    let matcher = GlobBuilder::new(&pattern.to_string_lossy())
        .literal_separator(true)
        .build()
        .map_err(|error| Error::source(pattern, format!("malformed pattern: {}", error.kind())))?
        .compile_matcher();
    let is_literal = |part: &OsStr| !part.as_bytes().iter().any(|b| b"*?[{".contains(b));
    let base: PathBuf = pattern.iter().take_while(|part| is_literal(part)).collect();
    let rest: Vec<&OsStr> = pattern.iter().skip_while(|part| is_literal(part)).collect();
    let spans = rest.iter().any(|part| part.as_bytes().windows(2).any(|w| w == b"**"));
    let braces = rest.iter().any(|part| part.as_bytes().contains(&b'{'));
    let mut walk = Walk {
        matcher,
        depth: if spans || braces { usize::MAX } else { rest.len() },
        hidden: rest.iter().any(|part| part.as_bytes().starts_with(b".")),
        found: Vec::new(),
    };
    walk.enter(&base, 1)?;
    walk.found.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(walk.found)
}

/// Every file under `dir`, sorted; files and folders whose names begin with a dot or an underscore are left out, as
/// table formats keep their bookkeeping in those.
///
/// # Errors
/// When a folder cannot be read.
pub fn list_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![(dir.to_path_buf(), 0)];
    while let Some((dir, depth)) = pending.pop() {
        for (path, is_dir) in entries(&dir)? {
            let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
            if name.starts_with(b".") || name.starts_with(b"_") {
                continue;
            }
            if !is_dir {
                found.push(path);
            } else if depth < MAX_DEPTH {
                pending.push((path, depth + 1));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Deeper folders are taken for a loop of links.
const MAX_DEPTH: usize = 40;

struct Walk {
    matcher: GlobMatcher,
    depth: usize,
    hidden: bool,
    found: Vec<PathBuf>,
}

impl Walk {
    fn enter(&mut self, dir: &Path, depth: usize) -> Result<()> {
        let here = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        if !here.is_dir() {
            return Ok(());
        }
        for (path, is_dir) in entries(here)? {
            let Some(name) = path.file_name() else { continue };
            if name.as_bytes().starts_with(b".") && !self.hidden {
                continue;
            }
            // Built from `dir`, not from `here`: a pattern without a leading `./` does not match one.
            let path = dir.join(name);
            if is_dir {
                if depth < self.depth.min(MAX_DEPTH) {
                    self.enter(&path, depth + 1)?;
                }
            } else if self.matcher.is_match(&path) {
                self.found.push(path);
            }
        }
        Ok(())
    }
}

/// The entries of a folder, each with whether it is a folder; links are followed.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let failed = |source| Error::io(dir, source);
    fs::read_dir(dir)
        .map_err(failed)?
        .map(|entry| {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let is_dir = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
            Ok((entry.path(), is_dir))
        })
        .collect()
}

/// The table of `paths` in their order, under the deepest folder that holds them all.
pub(super) fn table(paths: &[PathBuf]) -> Result<FileIndex> {
    let absolute = paths
        .iter()
        .map(|path| std::path::absolute(path).map_err(|source| Error::io(path, source)))
        .collect::<Result<Vec<_>>>()?;
    let parent = |path: &'_ PathBuf| -> Result<PathBuf> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(_)) => Ok(parent.to_path_buf()),
            _ => Err(Error::source(path, "this names no file")),
        }
    };
    let Some(first) = absolute.first() else {
        return Err(Error::Config("the list of files is empty".into()));
    };
    let mut root = parent(first)?;
    for path in &absolute {
        while !parent(path)?.starts_with(&root) {
            root.pop();
        }
    }
    let mut index = FileIndex::new(&root);
    for path in &absolute {
        let dir = parent(path)?;
        let dir = dir.strip_prefix(&root).unwrap_or(&dir).as_os_str().as_bytes();
        let full = index
            .dirs
            .last()
            .is_none_or(|last| index.names.len() as u64 - last.names_at > u64::from(u32::MAX / 2));
        if full || index.dirs.last().is_some_and(|last| *last.path != *dir) {
            index.dirs.push(Dir {
                path: dir.into(),
                modified: UNREAD,
                first: index.starts.len() as u64,
                names_at: index.names.len() as u64,
                ignored: 0,
                tables: 0,
            });
        }
        let names_at = index.dirs.last().map_or(0, |last| last.names_at);
        index.starts.push((index.names.len() as u64 - names_at) as u32);
        index.names.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
        index.names.push(0);
    }
    Ok(index)
}
