//! What tells one state of a file from another without reading it: name, size and time of the last change.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::{Error, Result};

/// A number that changes when the file at `path` changes. The folder does not count: a dataset may be moved.
pub(crate) fn file_identity(path: &Path) -> Result<u64> {
    let meta = std::fs::metadata(path).map_err(|error| Error::io(path, error))?;
    let mut hash = Xxh3::new();
    hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hash.update(&meta.len().to_le_bytes());
    hash.update(&meta.mtime().to_le_bytes());
    hash.update(&meta.mtime_nsec().to_le_bytes());
    Ok(hash.digest())
}

/// One number of several, in order.
pub(crate) fn combine(parts: &[u64]) -> u64 {
    let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
    xxh3_64(&bytes)
}
