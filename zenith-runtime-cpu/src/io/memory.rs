//! Files that live in memory, for sources that do and for tests of what stands on a reader.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Completion, FileRef, Full, IoError, Reader, Request, Span};

/// Reads from a map of paths to bytes, shared with other readers of the same map. Bytes are copied when a request is
/// accepted.
pub struct MemoryReader {
    files: Arc<HashMap<PathBuf, Vec<u8>>>,
    depth: usize,
    done: VecDeque<Completion>,
}

impl MemoryReader {
    /// A reader of `files` that holds up to `depth` (at least one) requests.
    #[must_use]
    pub fn new(files: Arc<HashMap<PathBuf, Vec<u8>>>, depth: usize) -> Self {
        let depth = depth.max(1);
        MemoryReader { files, depth, done: VecDeque::with_capacity(depth) }
    }

    #[cfg(test)]
    pub(super) fn files_mut(&mut self) -> &mut HashMap<PathBuf, Vec<u8>> {
        Arc::make_mut(&mut self.files)
    }

    fn bytes(&self, path: &Path, span: Span) -> Result<&[u8], IoError> {
        let owned = || path.to_owned();
        let Some(bytes) = self.files.get(path) else {
            return Err(IoError::Open { path: owned(), source: io::Error::from_raw_os_error(libc::ENOENT) });
        };
        let size = bytes.len() as u64;
        match span {
            Span::Whole { limit } if size > limit => Err(IoError::TooLarge { path: owned(), size, limit }),
            Span::Whole { .. } => Ok(bytes),
            Span::Range { len: 0, .. } => Ok(&[]),
            Span::Range { offset, len } => {
                let expected = offset.saturating_add(len as u64);
                if expected > size {
                    return Err(IoError::Ended { path: owned(), found: size, expected });
                }
                Ok(&bytes[offset as usize..expected as usize])
            }
        }
    }
}

impl Reader for MemoryReader {
    fn backend(&self) -> &'static str {
        "memory"
    }

    fn fallbacks(&self) -> &[String] {
        &[]
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), Full> {
        let Request { tag, file, span, mut buffer } = request;
        if self.done.len() == self.depth {
            return Err(Full(buffer));
        }
        let joined;
        let path = match file {
            FileRef::Path(path) => path,
            FileRef::Within(directory, path) => {
                joined = directory.path().join(path);
                &joined
            }
            FileRef::Open(file) => file.path(),
        };
        buffer.clear();
        let error = match self.bytes(path, span) {
            Ok(bytes) => {
                buffer.copy_from(bytes);
                None
            }
            Err(error) => Some(error),
        };
        self.done.push_back(Completion { tag, buffer, error });
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        Ok(())
    }

    fn complete(&mut self, done: &mut Vec<Completion>, _at_least: usize) -> Result<(), IoError> {
        done.extend(self.done.drain(..));
        Ok(())
    }

    fn cancel(&mut self, _tag: u64) {
        // Every accepted request has its bytes already.
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReadBuffer;
    use super::*;

    #[test]
    fn what_memory_does_not_hold_is_named() {
        let files = HashMap::from([(PathBuf::from("f"), vec![7; 100])]);
        let mut reader = MemoryReader::new(Arc::new(files), 3);
        for (tag, name, span) in [
            (0, "g", Span::Whole { limit: 1000 }),
            (1, "f", Span::Whole { limit: 99 }),
            (2, "f", Span::Range { offset: u64::MAX, len: 2 }),
        ] {
            let file = FileRef::Path(Path::new(name));
            reader.submit(Request { tag, file, span, buffer: ReadBuffer::new() }).unwrap();
        }
        let mut done = Vec::new();
        reader.complete(&mut done, 3).unwrap();
        let errors: Vec<IoError> = done.into_iter().map(|done| done.into_result().unwrap_err()).collect();
        assert!(matches!(&errors[0], IoError::Open { path, .. } if path == Path::new("g")), "{errors:?}");
        assert!(matches!(errors[1], IoError::TooLarge { size: 100, limit: 99, .. }), "{errors:?}");
        assert!(matches!(errors[2], IoError::Ended { found: 100, .. }), "{errors:?}");
    }
}
