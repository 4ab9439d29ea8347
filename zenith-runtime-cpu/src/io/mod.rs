//! Reading files and ranges of files: one small trait, [`Reader`], over io_uring, blocking reads and memory, and
//! [`FileReader`], which keeps the next files of a worker on their way.
//!
//! A reader owns a buffer from the moment a request is accepted until its completion is handed over, whatever the
//! caller does meanwhile; dropping a reader cancels what is in flight and waits for the kernel to let go of the
//! memory. What each backend promises under short reads, interruptions, failures and files that change is written in
//! [`Reader`] and checked by one suite over all of them.

mod buffer;
#[cfg(test)]
mod contract;
mod error;
#[cfg(test)]
mod faults;
#[cfg(not(test))]
#[path = "faults_disabled.rs"]
mod faults;
mod file;
mod files;
mod memory;
mod pread;
mod task;
mod uring;

use std::path::Path;

pub use buffer::{ALIGNMENT, ReadBuffer};
pub use error::IoError;
pub use file::OpenFile;
pub use files::{FileReader, FileReaderOptions};
pub use memory::MemoryReader;
pub use pread::PreadReader;
pub use uring::{UringOptions, UringReader};

/// The file of a request.
#[derive(Clone, Copy, Debug)]
pub enum FileRef<'a> {
    /// A path, opened for this request and closed after it.
    Path(&'a Path),
    /// A path relative to an open directory; spares the kernel the walk to it.
    Within(&'a OpenFile, &'a Path),
    /// A file that is open already and stays open.
    Open(&'a OpenFile),
}

/// The bytes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The whole file, as long as it is when it is opened. The buffer grows as needed.
    Whole {
        /// Files larger than this many bytes are refused with [`IoError::TooLarge`].
        limit: u64,
    },
    /// Exactly these bytes; a file that ends before them is [`IoError::Ended`].
    Range {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: usize,
    },
}

/// One read to be done.
#[derive(Debug)]
pub struct Request<'a> {
    /// Comes back with the completion. Need not be unique, but see [`Reader::cancel`].
    pub tag: u64,
    /// The file.
    pub file: FileRef<'a>,
    /// The bytes.
    pub span: Span,
    /// The memory, the reader's until the completion brings it back.
    pub buffer: ReadBuffer,
}

/// The end of a request that was accepted.
#[derive(Debug)]
pub struct Completion {
    /// The request's tag.
    pub tag: u64,
    /// The request's buffer; holds the bytes if `error` is `None`, else nothing.
    pub buffer: ReadBuffer,
    /// Why there are no bytes, if there are none.
    pub error: Option<IoError>,
}

impl Completion {
    /// The bytes or the reason.
    ///
    /// # Errors
    /// The request's error; its buffer is freed.
    pub fn into_result(self) -> Result<ReadBuffer, IoError> {
        match self.error {
            None => Ok(self.buffer),
            Some(error) => Err(error),
        }
    }
}

/// The reader has as many requests in flight as it can; here is the buffer back.
#[derive(Debug, thiserror::Error)]
#[error("the reader has as many requests in flight as it can take")]
pub struct Full(pub ReadBuffer);

/// Many reads at a time, by the thread that owns the reader.
///
/// What a caller gets, from every backend:
/// - every accepted request ends in exactly one [`Completion`], in any order, with its buffer;
/// - short reads are continued, interrupted (`EINTR`) and refused-for-now (`EAGAIN`) operations are repeated;
/// - a file that became shorter than it was when opened, or than the range needs, is [`IoError::Ended`], never a short
///   or padded result; one that grew gives the bytes it had when it was opened;
/// - with no descriptor left (`EMFILE`, `ENFILE`) a request waits for descriptors this reader will close itself, and
///   fails with [`IoError::Open`] if it has none;
/// - every other error of the system ends the request it belongs to, with path and offset, and no other;
/// - an empty file or range is zero bytes and no error; a directory, FIFO, socket or device is
///   [`IoError::NotAFile`] and never blocks.
pub trait Reader: Send {
    /// Name of the backend for reports, such as `io_uring`.
    fn backend(&self) -> &'static str;

    /// What was wished for and could not be had, each as a phrase for the report.
    fn fallbacks(&self) -> &[String];

    /// The most requests it takes at a time.
    fn depth(&self) -> usize;

    /// Requests accepted and not yet handed over.
    fn in_flight(&self) -> usize;

    /// Takes a request. It starts at the next [`Reader::flush`] or [`Reader::complete`] at the latest.
    ///
    /// # Errors
    /// [`Full`], with the buffer, when `depth()` requests are in flight. What is wrong with the file comes as the
    /// request's completion.
    fn submit(&mut self, request: Request<'_>) -> Result<(), Full>;

    /// Starts everything accepted so far without waiting for any of it.
    ///
    /// # Errors
    /// The kernel refused the whole reader, not one request: [`IoError::Setup`] or [`IoError::Forked`].
    fn flush(&mut self) -> Result<(), IoError>;

    /// Appends completions to `done`: all there are, waiting until there are at least `at_least` (or as many as are
    /// in flight, if fewer).
    ///
    /// # Errors
    /// As [`Reader::flush`].
    fn complete(&mut self, done: &mut Vec<Completion>, at_least: usize) -> Result<(), IoError>;

    /// Gives up on the requests with this tag. They still complete, with [`IoError::Cancelled`] or, if they were
    /// faster, with their bytes.
    fn cancel(&mut self, tag: u64);
}

/// Which backend to read with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring where the kernel allows it, else blocking reads; the reader's `fallbacks` say so.
    #[default]
    Auto,
    /// io_uring or an error.
    Uring,
    /// Blocking reads with read-ahead hints.
    Pread,
}

/// A reader of files with room for `depth` requests in flight.
///
/// # Errors
/// [`IoError::Setup`] when [`Backend::Uring`] was asked for and cannot be had.
pub fn open_reader(backend: Backend, depth: usize) -> Result<Box<dyn Reader>, IoError> {
    let options = UringOptions { depth, ..UringOptions::default() };
    match backend {
        Backend::Uring => Ok(Box::new(UringReader::new(&options)?)),
        Backend::Pread => Ok(Box::new(PreadReader::new(depth))),
        Backend::Auto => match UringReader::new(&options) {
            Ok(reader) => Ok(Box::new(reader)),
            Err(error) => {
                let mut reader = PreadReader::new(depth);
                reader.note_fallback(format!("blocking reads instead of io_uring ({error})"));
                Ok(Box::new(reader))
            }
        },
    }
}
