//! Pictures in folders: which files there are, in which order, and which class each belongs to. Reading the files is
//! [`FolderBlobs`]' part; what is in them is for [`crate::format`].

mod blobs;
mod getdents;
mod index;
mod kept;
mod list;
mod names;
mod scan;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

pub use self::blobs::{FolderBlobs, MAX_FILE_BYTES};
pub use self::index::FileIndex;
use self::index::class_of;
pub use self::list::{expand_glob, is_glob, list_files};
pub use self::names::{is_picture_name, is_table_name, picture_endings};
use super::cache_dir::CacheDir;
use crate::{Error, Result};

/// What was found in the tree under a folder.
#[derive(Clone, Debug)]
pub struct Tree {
    files: FileIndex,
    /// Whether the table kept from an earlier run was still true.
    pub from_cache: bool,
}

impl Tree {
    /// Scans the tree under `root`, or takes what `cache` knows of it where no directory has changed since.
    ///
    /// # Errors
    /// When `root` or a directory under it cannot be read.
    pub fn scan(root: &Path, cache: &CacheDir) -> Result<Self> {
        let root = root.canonicalize().map_err(|source| Error::io(root, source))?;
        let known = kept::load(cache, &root);
        if let Some(files) = &known
            && !files.dirs.is_empty()
            && scan::is_current(files)
        {
            return Ok(Self { files: known.unwrap_or_default(), from_cache: true });
        }
        let files = scan::scan(&root, known.as_ref(), |partial| kept::store(cache, partial))?;
        kept::store(cache, &files);
        Ok(Self { files, from_cache: false })
    }

    /// Pictures directly in the root.
    #[must_use]
    pub fn in_root(&self) -> u64 {
        match self.files.dirs.first() {
            Some(dir) if dir.path.is_empty() => self.files.files_end(0),
            _ => 0,
        }
    }

    /// Pictures in folders of the root, at any depth.
    #[must_use]
    pub fn in_folders(&self) -> u64 {
        self.files.len() - self.in_root()
    }

    /// Files that are tables by their names: directly in the root, and deeper.
    #[must_use]
    pub fn tables(&self) -> (u64, u64) {
        let count = |root: bool| {
            let dirs = self.files.dirs.iter().filter(|d| d.path.is_empty() == root);
            dirs.map(|d| u64::from(d.tables)).sum()
        };
        (count(true), count(false))
    }

    /// Files that are no pictures by their names.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.files.dirs.iter().map(|dir| u64::from(dir.ignored)).sum()
    }
}

/// Pictures with their numbers and, where folders say so, their classes.
#[derive(Clone, Debug)]
pub struct FolderIndex {
    files: Arc<FileIndex>,
    /// Files of the table before the first sample: pictures beside the class folders.
    skipped: u64,
    len: u64,
    classes: Vec<String>,
    /// The class of every directory of the table; empty without classes, and where files have labels of their own.
    class_of_dir: Vec<u32>,
    /// The label of every picture, where a list gives them.
    labels: Option<Arc<[i64]>>,
    fingerprint: u64,
    facts: Vec<(String, String)>,
}

impl FolderIndex {
    /// Class folders, numbered in sorted order as `torchvision.datasets.ImageFolder` numbers them. Pictures directly in
    /// the root belong to no class and are left out, as there.
    ///
    /// # Errors
    /// When there is no class folder, or one without a picture.
    pub fn classes(tree: Tree) -> Result<Self> {
        let skipped = tree.in_root();
        let mut index = Self::new(tree.files, skipped);
        let mut empty: Vec<String> = Vec::new();
        let mut names: Vec<&[u8]> = Vec::new();
        let dirs = &index.files.dirs;
        let mut at = 0;
        while at < dirs.len() {
            let class = class_of(&dirs[at].path);
            let run = dirs[at..].partition_point(|dir| class_of(&dir.path) <= class);
            let files = index.files.files_end(at + run - 1) - dirs[at].first;
            if class.is_empty() {
                index.class_of_dir.resize(run, u32::MAX);
            } else {
                index.class_of_dir.resize(at + run, names.len() as u32);
                names.push(class);
                if files == 0 {
                    empty.push(String::from_utf8_lossy(class).into_owned());
                }
            }
            at += run;
        }
        index.classes = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let root = index.files.root();
        if index.classes.is_empty() {
            return Err(Error::source(root, "found no class folder"));
        }
        if !empty.is_empty() {
            let shown = empty.iter().take(5).map(|name| format!("{name:?}"));
            let more = match empty.len() {
                0..=5 => String::new(),
                n => format!(" and {} more", n - 5),
            };
            return Err(Error::source(
                root,
                format!(
                    "found no picture for the class {}{more}; names of pictures end in {}",
                    shown.collect::<Vec<_>>().join(", "),
                    picture_endings()
                ),
            ));
        }
        if skipped > 0 {
            tracing::warn!(root = %root.display(), skipped, "leaving out pictures that lie beside the class folders");
            index.facts.push(("pictures beside the class folders, left out".into(), skipped.to_string()));
        }
        index.finish(tree.from_cache);
        Ok(index)
    }

    /// The pictures directly in a folder, without classes.
    ///
    /// # Errors
    /// When there are none.
    pub fn flat(tree: Tree) -> Result<Self> {
        let len = tree.in_root();
        let mut index = Self::new(tree.files, 0);
        index.len = len;
        if len == 0 {
            return Err(Error::source(index.files.root(), "found no picture"));
        }
        index.finish(tree.from_cache);
        Ok(index)
    }

    /// Files one by one, without classes, in the given order.
    ///
    /// # Errors
    /// When there are none, or a path has no directory.
    pub fn of_paths(paths: &[std::path::PathBuf]) -> Result<Self> {
        let mut index = Self::new(list::table(paths)?, 0);
        index.finish(false);
        Ok(index)
    }

    /// Files one by one with a label each, in the given order; what the labels' numbers are called is in `classes`.
    ///
    /// # Errors
    /// When there are none, a path has no directory, or there are not as many labels as paths.
    pub fn labelled(paths: &[std::path::PathBuf], labels: Vec<i64>, classes: Vec<String>) -> Result<Self> {
        if paths.len() != labels.len() {
            return Err(Error::Config(format!("{} paths have {} labels", paths.len(), labels.len())));
        }
        let mut index = Self::new(list::table(paths)?, 0);
        index.labels = Some(Arc::from(labels));
        index.classes = classes;
        index.finish(false);
        Ok(index)
    }

    fn new(files: FileIndex, skipped: u64) -> Self {
        Self {
            len: files.len() - skipped,
            files: Arc::new(files),
            skipped,
            classes: Vec::new(),
            class_of_dir: Vec::new(),
            labels: None,
            fingerprint: 0,
            facts: Vec::new(),
        }
    }

    fn finish(&mut self, from_cache: bool) {
        let mut hash = Xxh3::new();
        hash.update(&self.len.to_le_bytes());
        for (at, dir) in self.files.dirs.iter().enumerate() {
            let inside = dir.first >= self.skipped && dir.first < self.skipped + self.len;
            if inside && self.files.files_end(at) > dir.first {
                hash.update(&(dir.path.len() as u64).to_le_bytes());
                hash.update(&dir.path);
                hash.update(&(self.files.names_of(at).len() as u64).to_le_bytes());
                hash.update(self.files.names_of(at));
            }
        }
        for class in &self.classes {
            hash.update(class.as_bytes());
            hash.update(&[0]);
        }
        for label in self.labels.iter().flat_map(|labels| labels.iter()) {
            hash.update(&label.to_le_bytes());
        }
        self.fingerprint = hash.digest();
        let ignored: u64 = self.files.dirs.iter().map(|dir| u64::from(dir.ignored)).sum();
        self.facts.push(("files".into(), self.len.to_string()));
        self.facts.push(("index bytes".into(), self.files.memory().to_string()));
        self.facts
            .push(("index".into(), if from_cache { "kept from an earlier run" } else { "scanned" }.into()));
        if ignored > 0 {
            self.facts.push(("files that are no pictures, left out".into(), ignored.to_string()));
        }
    }

    /// How many pictures there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Names of the classes in order; empty without classes.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.classes
    }

    /// Whether pictures have labels.
    #[must_use]
    pub const fn has_labels(&self) -> bool {
        self.labels.is_some() || !self.class_of_dir.is_empty()
    }

    /// The label of a picture: the number of its class, or what its list says.
    #[must_use]
    pub fn label(&self, sample: u64) -> Option<i64> {
        if sample >= self.len {
            return None;
        }
        match &self.labels {
            Some(labels) => Some(labels[sample as usize]),
            None if self.class_of_dir.is_empty() => None,
            None => Some(i64::from(self.class_of_dir[self.files.dir_of(sample + self.skipped)])),
        }
    }

    /// The path of a picture.
    #[must_use]
    pub fn path(&self, sample: u64) -> Option<std::path::PathBuf> {
        (sample < self.len).then(|| self.files.path(sample + self.skipped))
    }

    /// Replaces `path` by the picture's path relative to [`Self::root`], ended by a NUL.
    ///
    /// # Panics
    /// When there is no such picture.
    pub fn relative(&self, sample: u64, path: &mut Vec<u8>) {
        self.files.relative(sample + self.skipped, path);
    }

    /// The directory all pictures lie under.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.files.root()
    }

    /// Bytes of memory the index takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.files.memory()
            + self.class_of_dir.capacity() * size_of::<u32>()
            + self.labels.as_ref().map_or(0, |labels| labels.len() * size_of::<i64>())
            + self.classes.iter().map(|c| c.capacity() + size_of::<String>()).sum::<usize>()
    }

    /// A number that depends on the names of files and classes and on their order, not on the machine.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Facts for the report.
    #[must_use]
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// The root as bytes, for messages and cache subjects.
    #[must_use]
    pub fn root_bytes(&self) -> &[u8] {
        self.files.root().as_os_str().as_bytes()
    }
}
