//! From what a user names (a folder, a pattern, files) to the kind of data it is, by looking. Loading the data is for
//! the sources themselves.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::cache_dir::CacheDir;
use super::folder::{FolderIndex, Tree, expand_glob, is_glob, is_picture_name, is_table_name, list_files};
use crate::format::image::{describe, is_picture};
use crate::{Error, Result};

/// What a user names as the source of samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceSpec {
    /// A file, a folder, or a pattern such as `train/*/*.jpg`.
    Path(PathBuf),
    /// Files and patterns, in this order.
    Paths(Vec<PathBuf>),
}

impl<P: Into<PathBuf>> From<P> for SourceSpec {
    fn from(path: P) -> Self {
        SourceSpec::Path(path.into())
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub enum Found {
    /// Pictures, with classes where folders say so.
    Pictures(FolderIndex),
    /// Files of tables, in order; of which kind is for the reader of tables to see.
    Tables(Vec<PathBuf>),
}

/// What would work, for messages.
const WOULD_WORK: &str = "class folders of pictures, a folder of pictures (JPEG, PNG, WebP), Parquet, Arrow, CSV, NPY and \
                          NPZ files would work";

/// Finds out what `spec` names. Scans of folders are kept in `cache`.
///
/// # Errors
/// When there is nothing, nothing that is known, or pictures and tables together; the message says what was found and
/// what would work.
pub fn detect(spec: &SourceSpec, cache: &CacheDir) -> Result<Found> {
    match spec {
        SourceSpec::Path(path) => {
            let path = local(path)?;
            if is_glob(&path) {
                of_files(&path, matches(&path)?)
            } else if metadata(&path)?.is_dir() {
                of_folder(&path, cache)
            } else {
                of_files(&path, vec![path.clone()])
            }
        }
        SourceSpec::Paths(paths) => {
            let mut files = Vec::with_capacity(paths.len());
            for path in paths {
                let path = local(path)?;
                if is_glob(&path) {
                    files.extend(matches(&path)?);
                } else {
                    files.push(path);
                }
            }
            let Some(first) = files.first() else {
                return Err(Error::Config("the list of files is empty".into()));
            };
            // One folder in a list is as good as the folder alone; several have no one order of classes.
            if metadata(first)?.is_dir() {
                if files.len() == 1 {
                    return of_folder(first, cache);
                }
                return Err(Error::source(
                    first,
                    "this is a folder; give one folder, or a list of files and patterns",
                ));
            }
            let first = first.clone();
            of_files(&first, files)
        }
    }
}

/// The path, if it is one on this machine.
fn local(path: &Path) -> Result<PathBuf> {
    let text = path.to_string_lossy();
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(path.to_path_buf());
    };
    match scheme {
        "file" => Ok(PathBuf::from(rest)),
        _ if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+') => {
            Ok(path.to_path_buf())
        }
        _ => Err(Error::source(
            path,
            format!(
                "remote sources ({scheme}://) are not supported by this version; a local copy would work"
            ),
        )),
    }
}

fn metadata(path: &Path) -> Result<std::fs::Metadata> {
    std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::source(path, "there is no such file or folder"),
        _ => Error::io(path, error),
    })
}

fn matches(pattern: &Path) -> Result<Vec<PathBuf>> {
    let files = expand_glob(pattern)?;
    if files.is_empty() {
        return Err(Error::source(pattern, "no file matches this pattern (folders do not count)"));
    }
    Ok(files)
}

fn name_of(path: &Path) -> &[u8] {
    path.file_name().map(OsStr::as_bytes).unwrap_or_default()
}

/// What a file is: by its name where that says something, else by its content.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Picture,
    Table,
    Other,
}

fn kind_of(path: &Path) -> Kind {
    let name = name_of(path);
    if is_picture_name(name) {
        Kind::Picture
    } else if is_table_name(name) {
        Kind::Table
    } else {
        kind_by_content(path)
    }
}

/// Text is never taken for a table here: without a name that says CSV it may be anything.
fn kind_by_content(path: &Path) -> Kind {
    let mut start = Vec::new();
    // A FIFO must not be opened: there may be nobody at its other end.
    let is_file = std::fs::metadata(path).is_ok_and(|about| about.is_file());
    if !is_file || File::open(path).and_then(|file| file.take(16).read_to_end(&mut start)).is_err() {
        return Kind::Other;
    }
    let tables: [&[u8]; 3] = [b"PAR1", b"ARROW1", b"\x93NUMPY"];
    if is_picture(&start) {
        Kind::Picture
    } else if tables.iter().any(|magic| start.starts_with(magic)) {
        Kind::Table
    } else {
        Kind::Other
    }
}

fn of_files(subject: &Path, files: Vec<PathBuf>) -> Result<Found> {
    let mut counts = [0usize; 3];
    let mut other = None;
    for file in &files {
        let kind = kind_of(file);
        counts[kind as usize] += 1;
        if kind == Kind::Other {
            other.get_or_insert(file);
        }
    }
    match (counts, other) {
        ([_, 0, 0], _) => Ok(Found::Pictures(FolderIndex::of_paths(&files)?)),
        ([0, _, 0], _) => Ok(Found::Tables(files)),
        ([pictures, tables, 0], _) => Err(mixed(subject, pictures as u64, tables as u64)),
        (_, other) => {
            let other = other.map_or(subject, PathBuf::as_path);
            metadata(other)?;
            Err(Error::source(other, format!("found {}; {WOULD_WORK}", describe_file(other))))
        }
    }
}

/// What one file of no known kind looks like.
fn describe_file(path: &Path) -> String {
    let about = std::fs::metadata(path);
    if about.is_ok_and(|about| !about.is_file()) {
        return "something that is no file".into();
    }
    let mut start = Vec::new();
    match File::open(path).and_then(|file| file.take(512).read_to_end(&mut start)) {
        Ok(0) => "an empty file".into(),
        Ok(_) => describe(&start).into(),
        Err(error) => format!("a file that cannot be read ({error})"),
    }
}

fn mixed(subject: &Path, pictures: u64, tables: u64) -> Error {
    Error::source(
        subject,
        format!(
            "found pictures ({pictures}) and tables ({tables}) together; a pattern that takes one of them, such as \
             `*.jpg` or `*.parquet`, would work"
        ),
    )
}

fn of_folder(dir: &Path, cache: &CacheDir) -> Result<Found> {
    let tree = Tree::scan(dir, cache)?;
    let (root_tables, deep_tables) = tree.tables();
    match (tree.in_root(), tree.in_folders()) {
        (0, 0) => of_other_files(dir),
        (_, pictures @ 1..) => {
            if deep_tables > 0 {
                return Err(mixed(dir, pictures, deep_tables));
            }
            if root_tables > 0 {
                tracing::warn!(root = %dir.display(), root_tables, "leaving out tables that lie beside the class folders");
            }
            Ok(Found::Pictures(FolderIndex::classes(tree)?))
        }
        (pictures, 0) if root_tables > 0 => Err(mixed(dir, pictures, root_tables)),
        _ => Ok(Found::Pictures(FolderIndex::flat(tree)?)),
    }
}

/// Files without a known ending that are looked into.
const LOOKED_INTO: usize = 64;

/// A folder without a picture by its names: tables, or something to be explained.
fn of_other_files(dir: &Path) -> Result<Found> {
    let files = list_files(dir)?;
    let tables: Vec<PathBuf> = files.iter().filter(|file| is_table_name(name_of(file))).cloned().collect();
    if !tables.is_empty() {
        if tables.len() < files.len() {
            tracing::info!(
                root = %dir.display(),
                left_out = files.len() - tables.len(),
                "leaving out files that are no tables by their names"
            );
        }
        return Ok(Found::Tables(tables));
    }
    // Some writers of tables give their files no ending.
    if !files.is_empty()
        && files.len() <= LOOKED_INTO
        && files.iter().all(|f| kind_by_content(f) == Kind::Table)
    {
        return Ok(Found::Tables(files));
    }
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let ending = file.extension().map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
        *endings.entry(ending).or_default() += 1;
    }
    let mut endings: Vec<(String, usize)> = endings.into_iter().collect();
    endings.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let found: Vec<String> = endings
        .iter()
        .take(3)
        .map(|(ending, count)| match (ending.as_str(), count) {
            ("", 1) => "1 file without an ending".to_owned(),
            ("", count) => format!("{count} files without an ending"),
            (ending, 1) => format!("1 {ending} file"),
            (ending, count) => format!("{count} {ending} files"),
        })
        .collect();
    let found = match found.as_slice() {
        [] => "no file".to_owned(),
        [one] => one.clone(),
        several => format!("{} and others", several.join(", ")),
    };
    Err(Error::source(dir, format!("found {found}; {WOULD_WORK}")))
}
