//! Reading the small text files of sysfs and procfs below a root; a missing file is an answer, not an error.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{CpuSet, TopologyError};

/// A directory that stands for `/`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Root<'a>(pub(crate) &'a Path);

impl Root<'_> {
    /// The place of `path` below the root, whether it is written with a leading slash or not.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// The file's text without the white space around it (some kernels leave a NUL there too); `None` when there is no such file, or nothing can be read
    /// from it (attributes of devices that are off answer with an error).
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.path(path)).ok()?;
        Some(
            String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned(),
        )
    }

    /// The file's text as a `T`; `None` when it is missing or empty.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Result<Option<T>, TopologyError> {
        let Some(text) = self.text(path).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| self.malformed(path, format!("{text:?} is no number")))
    }

    /// The processors in a list file; `None` when it is missing.
    pub(super) fn list(&self, path: &str) -> Result<Option<CpuSet>, TopologyError> {
        self.text(path)
            .map(|text| text.parse().map_err(|error| self.malformed(path, format!("{error}"))))
            .transpose()
    }

    /// The processors in a mask file or, where there is none, in its sister that holds a list.
    ///
    /// The mask comes first: some kernels mention processors in the list that are off.
    pub(super) fn mask_or_list(&self, mask: &str, list: &str) -> Result<Option<CpuSet>, TopologyError> {
        match self.text(mask) {
            Some(text) => {
                CpuSet::from_mask(&text).map(Some).map_err(|_| self.malformed(mask, "no mask of processors"))
            }
            None => self.list(list),
        }
    }

    /// The numbers `N` of the entries `<prefix>N` of a directory, ascending.
    pub(super) fn numbered(&self, directory: &str, prefix: &str) -> Result<Vec<u32>, TopologyError> {
        let mut numbers: Vec<u32> = self
            .entries(directory)?
            .iter()
            .filter_map(|name| name.strip_prefix(prefix)?.parse().ok())
            .filter(|&number| number < CpuSet::LIMIT)
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The names in a directory, sorted; none when it is missing.
    pub(super) fn entries(&self, directory: &str) -> Result<Vec<String>, TopologyError> {
        let path = self.path(directory);
        let failed = |source| TopologyError::Io { path: path.clone(), source };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = entries
            .map(|entry| Ok(entry.map_err(failed)?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, TopologyError>>()?;
        names.sort_unstable();
        Ok(names)
    }

    pub(super) fn malformed(&self, path: &str, reason: impl Into<String>) -> TopologyError {
        TopologyError::Malformed { path: self.path(path), reason: reason.into() }
    }
}
