//! One request as a state machine: open, stat, read until complete. What to repeat, what is an error and which, is
//! decided here, once for all backends; how an operation is carried out is the backend's business.
#![expect(unsafe_code, reason = "states which bytes of a buffer the kernel has filled; calls fstat")]

use std::ffi::{OsStr, c_char};
use std::io;
use std::mem::{MaybeUninit, take};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::buffer::ALIGNMENT;
use super::faults::{Fault, Faults, Site};
use super::{Completion, FileRef, IoError, OpenFile, ReadBuffer, Request, Span};

/// Repetitions of one operation without progress after which its last error is final; a kernel that answers `EINTR`
/// this often is broken, and a loop would hide it.
const PATIENCE: u32 = 1000;

/// The most bytes the kernel transfers at once.
const MOST_AT_ONCE: usize = 0x7fff_f000;

/// What a request needs next.
pub(super) enum Next {
    /// `openat(dir, path, flags)`, answered by [`Task::on_open`].
    Open { dir: RawFd, path: *const c_char, flags: i32 },
    /// `pread(fd, memory, len, offset)`, answered by [`Task::on_read`].
    Read { fd: RawFd, memory: *mut u8, len: u32, offset: u64 },
    /// To wait until this reader has closed a descriptor.
    Descriptor,
    /// Nothing; [`Task::finish`] gives its end.
    Finished,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Starved,
    Read,
    Finished,
}

/// A request in flight. Reused for the next one, so that its path needs no new memory.
pub(super) struct Task {
    tag: u64,
    /// Ends in a nul byte; empty for files that are open already.
    path: Vec<u8>,
    base: Option<OpenFile>,
    own: Option<OwnedFd>,
    direct: bool,
    span: Span,
    /// Where in the file the first byte of the buffer comes from.
    start: u64,
    /// Bytes at the front of the buffer that only alignment asked for.
    head: usize,
    /// Bytes the caller wants, after `head`.
    wanted: usize,
    /// Bytes read so far, `head` included.
    got: usize,
    buffer: ReadBuffer,
    stage: Stage,
    tries: u32,
    cancelled: bool,
    direct_refused: bool,
    error: Option<IoError>,
}

impl Task {
    pub(super) const fn new() -> Self {
        Task {
            tag: 0,
            path: Vec::new(),
            base: None,
            own: None,
            direct: false,
            span: Span::Range { offset: 0, len: 0 },
            start: 0,
            head: 0,
            wanted: 0,
            got: 0,
            buffer: ReadBuffer::new(),
            stage: Stage::Finished,
            tries: 0,
            cancelled: false,
            direct_refused: false,
            error: None,
        }
    }

    /// Takes up a request; files it opens itself bypass the page cache if `direct`.
    pub(super) fn begin(&mut self, request: Request<'_>, direct: bool, faults: &mut Faults) {
        self.tag = request.tag;
        self.span = request.span;
        self.buffer = request.buffer;
        self.buffer.clear();
        self.path.clear();
        self.direct = direct;
        self.stage = Stage::Open;
        (self.got, self.tries, self.cancelled, self.error) = (0, 0, false, None);
        self.direct_refused = false;
        match request.file {
            FileRef::Path(path) => {
                self.base = None;
                self.set_path(path);
            }
            FileRef::Within(directory, path) => {
                self.base = Some(directory.clone());
                self.set_path(path);
            }
            FileRef::Open(file) => {
                self.base = Some(file.clone());
                self.direct = file.is_direct();
                self.measure(file.fd(), faults);
            }
        }
    }

    fn set_path(&mut self, path: &Path) {
        let bytes = path.as_os_str().as_bytes();
        self.path.extend_from_slice(bytes);
        self.path.push(0);
        if bytes.contains(&0) {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the path contains a nul byte");
            self.fail(IoError::Open { path: path.to_owned(), source });
        }
    }

    pub(super) fn tag(&self) -> u64 {
        self.tag
    }

    /// Whether its next or pending operation is the open.
    pub(super) fn is_opening(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether it has not ended.
    pub(super) fn is_active(&self) -> bool {
        self.stage != Stage::Finished
    }

    /// Asks for an end as soon as no operation is under way.
    pub(super) fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// The file to read from, for looking it up among registered ones.
    pub(super) fn shared_file(&self) -> Option<&OpenFile> {
        if self.own.is_none() { self.base.as_ref() } else { None }
    }

    /// The buffer's entry among registered ones, for a read into it.
    pub(super) fn buffer(&self) -> &ReadBuffer {
        &self.buffer
    }

    /// Whether the file system refused a direct open and the file is read through the page cache instead.
    pub(super) fn direct_refused(&self) -> bool {
        self.direct_refused
    }

    /// Whether it holds a descriptor that it opened.
    pub(super) fn holds_descriptor(&self) -> bool {
        self.own.is_some()
    }

    /// Gives up the descriptor it opened, to be closed.
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.own.take()
    }

    /// Tries again to open, now that a descriptor was closed.
    pub(super) fn descriptor_closed(&mut self) {
        if self.stage == Stage::Starved {
            self.stage = Stage::Open;
        }
    }

    pub(super) fn next(&mut self) -> Next {
        if self.cancelled && self.stage != Stage::Finished {
            let path = self.path();
            self.fail(IoError::Cancelled { path });
        }
        match self.stage {
            Stage::Open => Next::Open {
                dir: self.base.as_ref().map_or(libc::AT_FDCWD, OpenFile::fd),
                path: self.path.as_ptr().cast(),
                flags: libc::O_RDONLY
                    | libc::O_CLOEXEC
                    | libc::O_NONBLOCK
                    | libc::O_NOCTTY
                    | if self.direct { libc::O_DIRECT } else { 0 },
            },
            Stage::Starved => Next::Descriptor,
            Stage::Read => Next::Read {
                fd: self.fd(),
                memory: self.buffer.pointer(self.got),
                len: (self.end() - self.got).min(MOST_AT_ONCE) as u32,
                offset: self.start + self.got as u64,
            },
            Stage::Finished => Next::Finished,
        }
    }

    /// Bytes to read in all, whole blocks for direct reads.
    fn end(&self) -> usize {
        let end = self.head + self.wanted;
        if self.direct { end.next_multiple_of(ALIGNMENT) } else { end }
    }

    /// The answer to [`Next::Open`]: a descriptor or an errno. `others_hold` says whether this reader has descriptors
    /// to close, for which a starved open can wait.
    pub(super) fn on_open(&mut self, result: Result<OwnedFd, i32>, others_hold: bool, faults: &mut Faults) {
        match result {
            Ok(fd) => {
                self.tries = 0;
                let raw = fd.as_raw_fd();
                self.own = Some(fd);
                self.measure(raw, faults);
            }
            Err(libc::EMFILE | libc::ENFILE) if others_hold => self.stage = Stage::Starved,
            Err(libc::EINVAL) if self.direct => {
                self.direct = false;
                self.direct_refused = true;
            }
            Err(errno) if self.repeats(errno) => {}
            Err(errno) => {
                let path = self.path();
                self.fail(IoError::Open { path, source: io::Error::from_raw_os_error(errno) });
            }
        }
    }

    /// The answer to [`Next::Read`]: bytes read or a negative errno.
    ///
    /// # Safety
    /// A positive `result` means that so many bytes were written to the memory that the last [`Next::Read`] named.
    pub(super) unsafe fn on_read(&mut self, result: i32) {
        let Ok(read) = usize::try_from(result) else {
            if !self.repeats(-result) {
                self.fail_read(-result);
            }
            return;
        };
        let before = self.got;
        self.got += read;
        if self.got >= self.head + self.wanted {
            // SAFETY: by the contract of this function the first `got` bytes of the buffer are filled.
            unsafe { self.buffer.fill(self.head, self.wanted) };
            self.stage = Stage::Finished;
            return;
        }
        let found = self.start + self.got as u64;
        if self.direct {
            self.got -= self.got % ALIGNMENT;
        }
        if self.got == before {
            self.stalled(found);
        } else {
            self.tries = 0;
        }
    }

    /// A read gave nothing new: the end of the file, unless the file says otherwise.
    fn stalled(&mut self, found: u64) {
        let expected = self.start + (self.head + self.wanted) as u64;
        let size = self.size(self.fd(), &mut Faults::none()).unwrap_or(found);
        if size < expected || !self.repeats(libc::EAGAIN) {
            let path = self.path();
            self.fail(IoError::Ended { path, found: size.min(found), expected });
        }
    }

    fn fd(&self) -> RawFd {
        let shared = || self.base.as_ref().map_or(-1, OpenFile::fd);
        self.own.as_ref().map_or_else(shared, AsRawFd::as_raw_fd)
    }

    /// Learns what was opened and settles what to read.
    fn measure(&mut self, fd: RawFd, faults: &mut Faults) {
        let size = match self.size(fd, faults) {
            Ok(size) => size,
            Err(error) => return self.fail(error),
        };
        let (offset, len) = match self.span {
            Span::Range { offset, len } => (offset, len),
            Span::Whole { limit } if size > limit => {
                let path = self.path();
                return self.fail(IoError::TooLarge { path, size, limit });
            }
            Span::Whole { .. } => (0, size as usize),
        };
        self.head = if self.direct { (offset % ALIGNMENT as u64) as usize } else { 0 };
        self.start = offset - self.head as u64;
        self.wanted = len;
        if len == 0 {
            self.stage = Stage::Finished;
            return;
        }
        self.buffer.reserve(self.end());
        self.stage = Stage::Read;
    }

    fn size(&self, fd: RawFd, faults: &mut Faults) -> Result<u64, IoError> {
        let refused = |source| IoError::Stat { path: self.path(), source };
        if let Some(Fault::Errno(errno)) = faults.strike(Site::Stat) {
            return Err(refused(io::Error::from_raw_os_error(errno)));
        }
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: `stat` is room for one `struct stat`; fstat fills it whenever it returns 0.
        let stat = unsafe {
            if libc::fstat(fd, stat.as_mut_ptr()) != 0 {
                return Err(refused(io::Error::last_os_error()));
            }
            stat.assume_init()
        };
        let found = match stat.st_mode & libc::S_IFMT {
            libc::S_IFREG => return Ok(u64::try_from(stat.st_size).unwrap_or(0)),
            libc::S_IFDIR => "a directory",
            libc::S_IFIFO => "a FIFO",
            libc::S_IFSOCK => "a socket",
            // A disk is a file of bytes; it has no size here, so only ranges of it can be read.
            libc::S_IFBLK if matches!(self.span, Span::Range { .. }) => return Ok(u64::MAX),
            libc::S_IFBLK | libc::S_IFCHR => "a device",
            _ => "something unknown",
        };
        Err(IoError::NotAFile { path: self.path(), found })
    }

    /// Whether an operation that failed with `errno` is simply done again.
    fn repeats(&mut self, errno: i32) -> bool {
        // `ECANCELED` that nobody asked for: the thread that had started the operation has ended.
        let transient =
            matches!(errno, libc::EINTR | libc::EAGAIN) || (errno == libc::ECANCELED && !self.cancelled);
        if errno == libc::ECANCELED && self.cancelled {
            return true;
        }
        self.tries += 1;
        transient && self.tries <= PATIENCE
    }

    fn fail_read(&mut self, errno: i32) {
        let (path, offset) = (self.path(), self.start + self.got as u64);
        self.fail(IoError::Read { path, offset, source: io::Error::from_raw_os_error(errno) });
    }

    fn fail(&mut self, error: IoError) {
        self.error = Some(error);
        self.stage = Stage::Finished;
    }

    fn path(&self) -> PathBuf {
        let own = Path::new(OsStr::from_bytes(self.path.strip_suffix(&[0]).unwrap_or(&[])));
        match &self.base {
            None => own.to_owned(),
            Some(file) if self.path.is_empty() => file.path().to_owned(),
            Some(directory) => directory.path().join(own),
        }
    }

    /// Ends a request no operation of which is under way, without a result.
    pub(super) fn abandon(&mut self) -> Completion {
        self.own = None;
        self.stage = Stage::Finished;
        self.finish()
    }

    /// The end of the request. The descriptor must have been taken before.
    pub(super) fn finish(&mut self) -> Completion {
        debug_assert!(self.stage == Stage::Finished && self.own.is_none());
        self.base = None;
        Completion { tag: self.tag, buffer: take(&mut self.buffer), error: self.error.take() }
    }
}
