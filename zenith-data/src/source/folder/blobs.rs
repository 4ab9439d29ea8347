//! The bytes of a folder's files: requested ahead, opened relative to the root, checked to be ordinary files, read
//! whole. The system calls are [`zenith_runtime_cpu::io`]'s; nothing here looks into the files.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zenith_runtime_cpu::io::{
    Backend, FileReader, FileReaderOptions, FileRef, IoError, OpenFile, ReadBuffer, open_reader,
};

use super::FolderIndex;
use crate::source::blobs::{BlobReader, Blobs};
use crate::{DType, Error, Result};

/// Files larger than this are refused rather than read into memory.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// Files on their way at a time, per reader: enough to hide a disk behind the decoding of a file.
const AHEAD: usize = 8;

/// How files are read: by what, and what that does instead of better.
type Way = (String, Vec<String>);

/// The files of a [`FolderIndex`]. One descriptor for the root, however many readers there are, and at most eight more
/// per reader.
#[derive(Clone, Debug)]
pub struct FolderBlobs {
    index: Arc<FolderIndex>,
    root: OpenFile,
    backend: Backend,
    /// How the files are really read, as the readers found out.
    readers: Arc<Mutex<BTreeSet<Way>>>,
}

impl FolderBlobs {
    /// The files of `index`, read by io_uring where the kernel allows it.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub fn new(index: FolderIndex) -> Result<Self> {
        Self::with_backend(index, Backend::Auto)
    }

    /// The files of `index`, read by `backend`.
    ///
    /// # Errors
    /// When the root cannot be opened.
    pub fn with_backend(index: FolderIndex, backend: Backend) -> Result<Self> {
        let root = OpenFile::open(index.root()).map_err(|error| match error {
            IoError::Open { path, source } => Error::io(path, source),
            error => Error::source(index.root(), error.to_string()),
        })?;
        Ok(Self { index: Arc::new(index), root, backend, readers: Arc::default() })
    }

    /// The index of the files.
    #[must_use]
    pub fn index(&self) -> &FolderIndex {
        &self.index
    }

    fn readers(&self) -> MutexGuard<'_, BTreeSet<(String, Vec<String>)>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Blobs for FolderBlobs {
    fn len(&self) -> u64 {
        self.index.len()
    }

    fn reader(&self) -> Result<Box<dyn BlobReader>> {
        let reader = open_reader(self.backend, AHEAD).map_err(|error| Error::Machine(error.to_string()))?;
        self.readers().insert((reader.backend().to_owned(), reader.fallbacks().to_vec()));
        let options = FileReaderOptions { limit: MAX_FILE_BYTES, ..FileReaderOptions::default() };
        Ok(Box::new(FolderReader {
            blobs: self.clone(),
            path: Vec::new(),
            files: FileReader::new(reader, options),
            ahead: VecDeque::with_capacity(AHEAD),
            current: None,
        }))
    }

    fn path(&self, id: u64) -> Option<PathBuf> {
        self.index.path(id)
    }

    fn label_dtype(&self) -> Option<DType> {
        self.index.has_labels().then_some(DType::Int64)
    }

    fn write_label(&self, id: u64, into: &mut [u8]) {
        if let Some(label) = self.index.label(id) {
            into.copy_from_slice(&label.to_ne_bytes());
        }
    }

    fn classes(&self) -> Option<&[String]> {
        (!self.index.class_names().is_empty()).then(|| self.index.class_names())
    }

    fn fingerprint(&self) -> u64 {
        self.index.fingerprint()
    }

    fn facts(&self) -> Vec<(String, String)> {
        let mut facts = self.index.facts().to_vec();
        let names: BTreeSet<String> = self.readers().iter().map(|(backend, _)| backend.clone()).collect();
        if !names.is_empty() {
            facts.push(("files read by".into(), names.into_iter().collect::<Vec<_>>().join(", ")));
        }
        facts
    }

    fn notes(&self) -> Vec<String> {
        let readers = self.readers();
        let phrases: BTreeSet<&String> = readers.iter().flat_map(|(_, fallbacks)| fallbacks).collect();
        phrases.into_iter().map(|phrase| format!("reading files: {phrase}")).collect()
    }
}

/// Reads files through its own ring, or with ordinary system calls.
struct FolderReader {
    blobs: FolderBlobs,
    path: Vec<u8>,
    files: FileReader,
    /// Requested and not taken, oldest first.
    ahead: VecDeque<u64>,
    /// The file that was read last; its memory goes back with the next one.
    current: Option<ReadBuffer>,
}

impl FolderReader {
    /// Puts file `id` on its way; `false` when there is no room.
    fn request(&mut self, id: u64) -> bool {
        self.blobs.index.relative(id, &mut self.path);
        self.path.pop();
        let path = Path::new(OsStr::from_bytes(&self.path));
        let requested = self.files.request(id, FileRef::Within(&self.blobs.root, path));
        if requested {
            self.ahead.push_back(id);
        }
        requested
    }

    fn take(&mut self, id: u64) -> Result<ReadBuffer, IoError> {
        self.ahead.retain(|&ahead| ahead != id);
        self.files.wait(id)
    }

    /// Takes the file at `at` of those ahead that nobody wants any more, and forgets it and its trouble.
    fn forget(&mut self, at: usize) {
        if let Some(&id) = self.ahead.get(at)
            && let Ok(buffer) = self.take(id)
        {
            self.files.recycle(buffer);
        }
    }
}

impl BlobReader for FolderReader {
    fn read<'a>(&'a mut self, id: u64, _scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        if let Some(buffer) = self.current.take() {
            self.files.recycle(buffer);
        }
        if !self.ahead.contains(&id) {
            if self.files.room() == 0 {
                self.forget(0);
            }
            self.request(id);
        }
        let buffer = self.take(id).map_err(explain)?;
        Ok(self.current.insert(buffer).as_slice())
    }

    fn read_ahead(&mut self, ids: &[u64]) {
        // One place stays free for a file that was not announced.
        let ids = &ids[..ids.len().min(AHEAD - 1)];
        while let Some(at) = self.ahead.iter().position(|ahead| !ids.contains(ahead)) {
            self.forget(at);
        }
        // Few calls with several files each cost less than one call a file.
        if 2 * self.ahead.len() > ids.len() {
            return;
        }
        for &id in ids {
            if !self.ahead.contains(&id) && !self.request(id) {
                break;
            }
        }
        // Trouble with the ring shows again, and is reported, when a file is taken.
        if let Err(error) = self.files.start() {
            tracing::debug!(%error, "cannot read ahead");
        }
    }
}

/// The error without the path, which the sample's error has.
fn explain(error: IoError) -> io::Error {
    match error {
        IoError::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            io::Error::new(io::ErrorKind::NotFound, "the file is gone, or is a link to nothing")
        }
        IoError::Open { source, .. } | IoError::Stat { source, .. } | IoError::Read { source, .. } => source,
        IoError::Ended { found, expected, .. } => io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("the file shrank while it was read: {found} of {expected} bytes are left"),
        ),
        IoError::TooLarge { size, limit, .. } => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file has {size} bytes, more than the limit of {limit}"),
        ),
        IoError::NotAFile { found, .. } => {
            io::Error::new(io::ErrorKind::InvalidInput, format!("this is {found}, not a file"))
        }
        error => io::Error::other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::cache_dir::CacheDir;
    use crate::source::folder::Tree;

    #[test]
    fn what_readers_do_instead_of_better_is_noted_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/1.jpg"), b"1").unwrap();
        let index = FolderIndex::classes(Tree::scan(folder.path(), &CacheDir::none()).unwrap()).unwrap();
        let blobs = FolderBlobs::with_backend(index, Backend::Pread).unwrap();
        drop((blobs.reader().unwrap(), blobs.reader().unwrap()));
        assert_eq!(blobs.notes(), [""; 0], "as asked");
        let phrase = "blocking reads instead of io_uring (not permitted)".to_owned();
        for other in [vec![phrase.clone()], vec![phrase, "ordinary descriptors".to_owned()]] {
            blobs.readers().insert(("pread".to_owned(), other));
        }
        assert_eq!(
            blobs.notes(),
            [
                "reading files: blocking reads instead of io_uring (not permitted)",
                "reading files: ordinary descriptors"
            ]
        );
        let by = blobs.facts().into_iter().find(|(name, _)| name == "files read by");
        assert_eq!(by.unwrap().1, "pread");
    }
}
