//! A compact, ordered table of the picture files under one root: about 30 bytes a file, names included. It knows
//! nothing of classes, of how it was scanned, or of what is in the files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A directory of the table, with the run of files that lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dir {
    /// Path relative to the root, empty for the root itself.
    pub(super) path: Box<[u8]>,
    /// Its modification time in nanoseconds when it was read, or [`UNREAD`].
    pub(super) modified: i64,
    /// Number of its first file.
    pub(super) first: u64,
    /// Where its names begin.
    pub(super) names_at: u64,
    /// Files in it that are no pictures by their names.
    pub(super) ignored: u32,
    /// Those of them that are tables by their names.
    pub(super) tables: u32,
}

/// Modification time of a directory that has to be read again whatever its time is.
pub(super) const UNREAD: i64 = i64::MIN;

/// One directory as it was read: its pictures' names in byte order, each ended by a NUL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub(super) path: Box<[u8]>,
    pub(super) modified: i64,
    pub(super) names: Vec<u8>,
    pub(super) starts: Vec<u32>,
    pub(super) subdirs: Vec<Box<[u8]>>,
    pub(super) ignored: u32,
    pub(super) tables: u32,
}

/// The picture files under a root, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIndex {
    pub(super) root: PathBuf,
    pub(super) dirs: Vec<Dir>,
    pub(super) names: Vec<u8>,
    pub(super) starts: Vec<u32>,
}

impl FileIndex {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf(), ..Self::default() }
    }

    /// The table of the directories `listings`, ordered as `torchvision.datasets.ImageFolder` orders them: by the
    /// first component of the path, then by the whole path.
    pub(super) fn of(root: &Path, mut listings: Vec<Listing>) -> Self {
        listings.sort_unstable_by(|a, b| class_order(&a.path).cmp(&class_order(&b.path)));
        let mut index = Self::new(root);
        index.names.reserve_exact(listings.iter().map(|l| l.names.len()).sum());
        index.starts.reserve_exact(listings.iter().map(|l| l.starts.len()).sum());
        index.dirs.reserve_exact(listings.len());
        for listing in listings {
            index.push(&listing);
        }
        index
    }

    pub(super) fn push(&mut self, listing: &Listing) {
        self.dirs.push(Dir {
            path: listing.path.clone(),
            modified: listing.modified,
            first: self.starts.len() as u64,
            names_at: self.names.len() as u64,
            ignored: listing.ignored,
            tables: listing.tables,
        });
        self.names.extend_from_slice(&listing.names);
        self.starts.extend_from_slice(&listing.starts);
    }

    /// The directory all files lie under.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How many files there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.starts.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Bytes of memory the table takes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.names.capacity()
            + self.starts.capacity() * size_of::<u32>()
            + self.dirs.capacity() * size_of::<Dir>()
            + self.dirs.iter().map(|d| d.path.len()).sum::<usize>()
    }

    /// The directory that holds file `file`.
    pub(super) fn dir_of(&self, file: u64) -> usize {
        self.dirs.partition_point(|dir| dir.first <= file) - 1
    }

    /// Number of the file behind the last one of directory `dir`.
    pub(super) fn files_end(&self, dir: usize) -> u64 {
        self.dirs.get(dir + 1).map_or(self.len(), |next| next.first)
    }

    /// The names of directory `dir`, each with its NUL.
    pub(super) fn names_of(&self, dir: usize) -> &[u8] {
        let end = self.dirs.get(dir + 1).map_or(self.names.len(), |next| index(next.names_at));
        &self.names[index(self.dirs[dir].names_at)..end]
    }

    pub(super) fn starts_of(&self, dir: usize) -> &[u32] {
        &self.starts[index(self.dirs[dir].first)..index(self.files_end(dir))]
    }

    /// Replaces `path` by the path of file `file` relative to the root, ended by a NUL.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn relative(&self, file: u64, path: &mut Vec<u8>) {
        let dir = self.dir_of(file);
        let names = self.names_of(dir);
        let starts = self.starts_of(dir);
        let at = index(file - self.dirs[dir].first);
        let end = starts.get(at + 1).map_or(names.len(), |&next| next as usize);
        path.clear();
        path.extend_from_slice(&self.dirs[dir].path);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&names[starts[at] as usize..end]);
    }

    /// The path of file `file`, root included.
    ///
    /// # Panics
    /// When there is no such file.
    #[must_use]
    pub fn path(&self, file: u64) -> PathBuf {
        let mut relative = Vec::new();
        self.relative(file, &mut relative);
        relative.pop();
        self.root.join(OsStr::from_bytes(&relative))
    }
}

/// The order of directories: class by class, the whole path within a class.
pub(super) fn class_order(path: &[u8]) -> (&[u8], &[u8]) {
    (class_of(path), path)
}

/// First component of a relative path; empty for the root.
pub(super) fn class_of(path: &[u8]) -> &[u8] {
    path.split(|&b| b == b'/').next().unwrap_or_default()
}

/// A position in memory; positions are stored in 64 bits and always come from this machine's memory.
fn index(position: u64) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
