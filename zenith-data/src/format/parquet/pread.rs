//! A file read at offsets, without a cursor: any number of threads read one descriptor at once.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::{Error, Result};

/// Page headers are some tens of bytes; more would be read again with the page.
const HEADER_BUFFER: usize = 512;

/// An open file and its length at opening.
#[derive(Clone, Debug)]
pub(crate) struct PreadFile {
    file: Arc<File>,
    len: u64,
}

impl PreadFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        let len = file.metadata().map_err(|error| Error::io(path, error))?.len();
        Ok(Self { file: Arc::new(file), len })
    }

    /// A cursor from `start` on.
    pub(crate) fn cursor(&self, start: u64) -> PreadCursor {
        PreadCursor { file: Arc::clone(&self.file), at: start }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `into` with the bytes from `start` on, or fails.
    pub(crate) fn read_into(&self, into: &mut [u8], start: u64) -> std::io::Result<()> {
        self.file.read_exact_at(into, start)
    }
}

impl Length for PreadFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for PreadFile {
    type T = BufReader<PreadCursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::with_capacity(HEADER_BUFFER, self.cursor(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        // A damaged header may claim any length; do not allocate for bytes that are not there.
        if start.checked_add(length as u64).is_none_or(|end| end > self.len) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at offset {start} are beyond the end of the file ({} bytes)",
                self.len
            )));
        }
        let mut buffer = vec![0; length];
        self.file.read_exact_at(&mut buffer, start)?;
        Ok(buffer.into())
    }
}

/// Reads on from an offset.
#[derive(Debug)]
pub(crate) struct PreadCursor {
    file: Arc<File>,
    at: u64,
}

impl Read for PreadCursor {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
