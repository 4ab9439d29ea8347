//! A file read at offsets, without a cursor: any number of threads read one descriptor at once. A file that is cut off
//! or written to while it is in use is an error that names it; nothing is mapped, so it is never a signal.

use std::fs::{File, Metadata};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::{Error, Result};

/// Page headers are some tens of bytes; more would be read again with the page.
const HEADER_BUFFER: usize = 512;

/// An open file and its state at opening.
#[derive(Clone, Debug)]
pub(crate) struct PreadFile {
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: Box<Path>,
    state: State,
}

/// What is different once a file has been written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    len: u64,
    modified: (i64, i64),
}

impl State {
    fn of(meta: &Metadata) -> Self {
        Self { len: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl PreadFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |error| Error::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let state = State::of(&file.metadata().map_err(failed)?);
        Ok(Self { open: Arc::new(Open { file, path: path.into(), state }) })
    }

    /// A cursor from `start` on.
    pub(crate) fn cursor(&self, start: u64) -> PreadCursor {
        PreadCursor { file: self.clone(), at: start }
    }

    pub(crate) fn len(&self) -> u64 {
        self.open.state.len
    }

    pub(crate) fn path(&self) -> &Path {
        &self.open.path
    }

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// When the system refuses, and when the file ends before the buffer is full.
    pub(crate) fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.open.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => self.shrunk(),
            _ => error,
        })
    }

    /// Whether the file is as it was when it was opened.
    ///
    /// # Errors
    /// [`Error::Source`] where it has been written to since, [`Error::Io`] when the system does not say.
    pub(crate) fn unchanged(&self) -> Result<()> {
        let open = &*self.open;
        let now = State::of(&open.file.metadata().map_err(|error| Error::io(self.path(), error))?);
        match now.len.cmp(&open.state.len) {
            std::cmp::Ordering::Less => Err(Error::source(self.path(), self.shrunk().to_string())),
            std::cmp::Ordering::Equal if now == open.state => Ok(()),
            _ => Err(Error::source(
                self.path(),
                "the file was written to while it was in use; open it again once it is complete",
            )),
        }
    }

    /// The error of a file that ends where bytes should be.
    fn shrunk(&self) -> io::Error {
        let (before, now) = (self.len(), self.open.file.metadata().map_or(0, |meta| meta.len()));
        let text = if now < before {
            format!("the file shrank while it was in use: {now} of {before} bytes are left")
        } else {
            format!("the file is cut off: it ends after {now} bytes")
        };
        io::Error::new(ErrorKind::UnexpectedEof, text)
    }
}

impl Length for PreadFile {
    fn len(&self) -> u64 {
        self.open.state.len
    }
}

impl ChunkReader for PreadFile {
    type T = BufReader<PreadCursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(HEADER_BUFFER, self.cursor(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A damaged header may claim any length; do not allocate for bytes that are not there.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at offset {start} are beyond the end of the file ({} bytes)",
                self.len()
            )));
        }
        let mut buffer = vec![0; length];
        self.fill(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// Reads on from an offset.
#[derive(Debug)]
pub(crate) struct PreadCursor {
    file: PreadFile,
    at: u64,
}

impl Read for PreadCursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.open.file.read_at(buffer, self.at)?;
        if n == 0 && !buffer.is_empty() && self.at < self.file.len() {
            return Err(self.file.shrunk());
        }
        self.at += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_or_is_written_to_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7u8; 100]).unwrap();
        let open = PreadFile::open(file.path()).unwrap();
        let mut bytes = [0; 50];
        open.fill(&mut bytes, 50).unwrap();
        open.unchanged().unwrap();
        file.as_file().set_len(60).unwrap();
        let shrank = "shrank while it was in use: 60 of 100 bytes are left";
        assert!(open.fill(&mut bytes, 50).unwrap_err().to_string().contains(shrank));
        assert!(open.get_bytes(50, 50).unwrap_err().to_string().contains(shrank));
        let mut all = Vec::new();
        assert!(open.cursor(0).read_to_end(&mut all).unwrap_err().to_string().contains(shrank));
        let error = open.unchanged().unwrap_err();
        assert!(error.to_string().contains(shrank) && error.path() == Some(file.path()), "{error}");
        file.as_file().set_len(100).unwrap();
        assert!(open.unchanged().unwrap_err().to_string().contains("was written to"));
    }
}
