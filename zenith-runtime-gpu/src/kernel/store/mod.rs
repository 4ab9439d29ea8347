//! What was measured, kept between runs and shared between processes and machines.
//!
//! A small file holds all samples of one candidate for one key in one environment. Who measures a thing first is right: a second
//! measurement of the same is dropped, so that all who share a store see the same samples and choose the same. There are no
//! locks, so a process that is killed leaves nothing behind that others would wait for. Files that are damaged, foreign or of
//! another version are ignored with a warning, and written anew when what they should hold is measured again.
//!
//! ```text
//! <root>/v1/<family>/<key>/<candidate and environment>.row
//! <root>/v1/pins/<scope>.pin
//! ```

mod exchange;
mod files;
mod pins;
mod row;

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::candidate::CandidateId;
use super::key::{Family, Key};
use files::{Existing, Found};

pub use exchange::{Difference, Exchange, ExchangeError, Imported, MAX_DOCUMENT, Place};
pub use pins::{Pin, Scope};
pub use row::{MAX_SAMPLES, Outcome, Row};

/// The environment variable that names the folder of the store; empty: there is none.
pub const STORE_VARIABLE: &str = "ZENITH_KERNEL_STORE";

const KIND: &str = "row";

/// Why the store could not be changed. Reading never fails: what cannot be read is not known.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or folder could not be written.
    #[error("{}: {source}; another folder in {STORE_VARIABLE} would work", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A row with times that cannot be, or with too many of them.
    #[error(
        "a row of {candidate} without samples, with more than {MAX_SAMPLES}, or with times that cannot be"
    )]
    Unsound {
        /// The candidate.
        candidate: CandidateId,
    },
}

/// A folder of measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store in a folder, which is made when something is written.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { root: folder.join(format!("v{}", files::VERSION)) }
    }

    /// The user's: the folder that `ZENITH_KERNEL_STORE` names, else `zenith/kernels` in the user's cache. `None` where there is
    /// no cache, or the variable is empty.
    #[must_use]
    pub fn user() -> Option<Self> {
        let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match env::var_os(STORE_VARIABLE) {
            Some(folder) if folder.is_empty() => None,
            Some(folder) => Some(Self::at(Path::new(&folder))),
            None => absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
                .map(|cache| Self::at(&cache.join("zenith/kernels"))),
        }
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All rows of a key, in whatever environment, sorted by candidate and time.
    #[must_use]
    pub fn rows(&self, key: &Key) -> Vec<Row> {
        self.rows_in(&self.key_folder(key))
    }

    /// The keys of a family that have rows, sorted.
    #[must_use]
    pub fn keys(&self, family: &Family) -> Vec<Key> {
        let first = |folder: PathBuf| self.rows_in(&folder).into_iter().next().map(|row| row.key);
        let mut keys: Vec<Key> =
            files::list(&self.family_folder(family)).into_iter().filter_map(first).collect();
        keys.sort();
        keys
    }

    /// All rows, sorted by key, candidate and time.
    #[must_use]
    pub fn all(&self) -> Vec<Row> {
        let pins = self.pins_folder();
        let families = files::list(&self.root).into_iter().filter(|folder| *folder != pins);
        let keys = families.flat_map(|family| files::list(&family));
        let mut rows: Vec<Row> = keys.flat_map(|key| self.rows_in(&key)).collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key).then_with(|| order(a, b)));
        rows
    }

    /// Keeps a row, unless there is one of the same candidate, key and environment: that one stays. Whether it was kept.
    ///
    /// # Errors
    /// When it cannot be written, or its times cannot be.
    pub fn put(&self, row: &Row) -> Result<bool, StoreError> {
        let path = self.row_path(row)?;
        let existing = match self.read(&path) {
            Found::Whole(_) => return Ok(false),
            Found::Nothing => Existing::Stays,
            Found::Damage => Existing::IsReplaced,
        };
        files::write(&path, KIND, row, existing)
    }

    /// Keeps a row in the place of the one of the same candidate, key and environment.
    ///
    /// # Errors
    /// When it cannot be written, or its times cannot be.
    pub fn replace(&self, row: &Row) -> Result<(), StoreError> {
        files::write(&self.row_path(row)?, KIND, row, Existing::IsReplaced).map(|_| ())
    }

    /// Forgets what is known of a key: of one candidate, or of all. How many rows that were.
    ///
    /// # Errors
    /// When something cannot be taken away.
    pub fn forget(&self, key: &Key, candidate: Option<&CandidateId>) -> Result<usize, StoreError> {
        let rows = self.rows(key);
        let meant = rows.iter().filter(|row| candidate.is_none_or(|candidate| row.candidate == *candidate));
        meant.map(|row| Ok(usize::from(files::remove(&self.row_path(row)?)?))).sum()
    }

    /// Takes away what writers that were killed left unfinished. To be called now and then; nothing depends on it.
    pub fn sweep(&self) {
        for family in files::list(&self.root) {
            files::sweep(&family);
            files::list(&family).iter().for_each(|key| files::sweep(key));
        }
    }

    fn rows_in(&self, folder: &Path) -> Vec<Row> {
        let rows =
            files::list(folder).into_iter().filter(|path| path.extension().is_some_and(|kind| kind == KIND));
        let mut rows: Vec<Row> = rows.filter_map(|path| self.read(&path).whole()).collect();
        rows.sort_by(order);
        rows
    }

    /// The row in a file, if the file is the one that the row belongs in.
    fn read(&self, path: &Path) -> Found<Row> {
        let found = files::read(path, KIND);
        if let Found::Whole(row) = &found
            && !(Row::is_sound(row) && self.path_of(row) == path)
        {
            tracing::warn!(path = %path.display(), "a row that is not what its file's name says, or cannot be, is ignored");
            return Found::Damage;
        }
        found
    }

    fn row_path(&self, row: &Row) -> Result<PathBuf, StoreError> {
        if row.is_sound() {
            Ok(self.path_of(row))
        } else {
            Err(StoreError::Unsound { candidate: row.candidate.clone() })
        }
    }

    fn path_of(&self, row: &Row) -> PathBuf {
        self.key_folder(&row.key).join(row.file_name())
    }

    fn key_folder(&self, key: &Key) -> PathBuf {
        self.family_folder(key.family()).join(key.digest())
    }

    fn family_folder(&self, family: &Family) -> PathBuf {
        self.root.join(family.digest())
    }
}

fn order(a: &Row, b: &Row) -> std::cmp::Ordering {
    a.candidate
        .cmp(&b.candidate)
        .then(a.at.cmp(&b.at))
        .then_with(|| a.environment.digest().cmp(&b.environment.digest()))
}
