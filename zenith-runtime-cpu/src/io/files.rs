//! Whole small files, requested ahead and taken by tag: what a worker that knows its next file names uses. Keeps a
//! bounded number of files on the way and recycles their buffers. Not for ranges; use [`Reader`] itself.

use super::{Completion, FileRef, IoError, ReadBuffer, Reader, Request, Span};

/// Bounds of a [`FileReader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileReaderOptions {
    /// Files larger than this many bytes are refused with [`IoError::TooLarge`].
    pub limit: u64,
    /// Buffers larger than this many bytes are freed, not recycled, so that one huge file does not stay in memory.
    pub keep: usize,
}

impl Default for FileReaderOptions {
    fn default() -> Self {
        FileReaderOptions { limit: 1 << 30, keep: 4 << 20 }
    }
}

/// Reads whole files ahead of their use. At most `depth` files (the reader's) are requested and not yet taken.
pub struct FileReader {
    reader: Box<dyn Reader>,
    options: FileReaderOptions,
    /// Tags of requests that have not completed.
    waiting: Vec<u64>,
    ready: Vec<Completion>,
    spare: Vec<ReadBuffer>,
}

impl FileReader {
    /// Reads through `reader`, which must have nothing in flight.
    #[must_use]
    pub fn new(reader: Box<dyn Reader>, options: FileReaderOptions) -> Self {
        debug_assert_eq!(reader.in_flight(), 0);
        let depth = reader.depth();
        FileReader {
            reader,
            options,
            waiting: Vec::with_capacity(depth),
            ready: Vec::with_capacity(depth),
            spare: Vec::with_capacity(depth + 1),
        }
    }

    /// The reader below, for reports.
    #[must_use]
    pub fn reader(&self) -> &dyn Reader {
        &*self.reader
    }

    /// How many more files can be requested now.
    #[must_use]
    pub fn room(&self) -> usize {
        self.reader.depth() - self.waiting.len() - self.ready.len()
    }

    /// Whether a file was requested under this tag and not yet taken.
    #[must_use]
    pub fn is_requested(&self, tag: u64) -> bool {
        self.waiting.contains(&tag) || self.ready.iter().any(|completion| completion.tag == tag)
    }

    /// Puts a file on its way, to be taken by [`FileReader::wait`] with the same tag. Returns `false`, having done
    /// nothing, when there is no room or the tag is requested already.
    #[must_use]
    pub fn request(&mut self, tag: u64, file: FileRef<'_>) -> bool {
        if self.room() == 0 || self.is_requested(tag) {
            return false;
        }
        let buffer = self.spare.pop().unwrap_or_default();
        let span = Span::Whole { limit: self.options.limit };
        match self.reader.submit(Request { tag, file, span, buffer }) {
            Ok(()) => {
                self.waiting.push(tag);
                true
            }
            Err(super::Full(buffer)) => {
                self.spare.push(buffer);
                false
            }
        }
    }

    /// Starts all requested files now; else they start with the next [`FileReader::wait`].
    ///
    /// # Errors
    /// As [`Reader::flush`].
    pub fn start(&mut self) -> Result<(), IoError> {
        self.reader.flush()
    }

    /// Waits for the file requested under `tag` and takes its bytes. Give the buffer back with
    /// [`FileReader::recycle`].
    ///
    /// # Errors
    /// The file's own error, [`IoError::NotRequested`], or the reader's.
    pub fn wait(&mut self, tag: u64) -> Result<ReadBuffer, IoError> {
        // Taking what has arrived while much is still ready would cost a system call for each file.
        if 2 * self.ready.len() < self.reader.depth() && !self.waiting.is_empty() {
            self.collect(0)?;
        }
        loop {
            if let Some(at) = self.ready.iter().position(|completion| completion.tag == tag) {
                let Completion { buffer, error, .. } = self.ready.swap_remove(at);
                return match error {
                    None => Ok(buffer),
                    Some(error) => {
                        self.recycle(buffer);
                        Err(error)
                    }
                };
            }
            if !self.waiting.contains(&tag) {
                return Err(IoError::NotRequested { tag });
            }
            self.collect(1)?;
        }
    }

    /// Takes a buffer back for the next file.
    pub fn recycle(&mut self, mut buffer: ReadBuffer) {
        if buffer.capacity() > 0
            && buffer.capacity() <= self.options.keep
            && self.spare.len() <= self.reader.depth()
        {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Gives up on all requested files.
    ///
    /// # Errors
    /// As [`Reader::complete`].
    pub fn clear(&mut self) -> Result<(), IoError> {
        for &tag in &self.waiting {
            self.reader.cancel(tag);
        }
        self.collect(self.waiting.len())?;
        while let Some(completion) = self.ready.pop() {
            self.recycle(completion.buffer);
        }
        Ok(())
    }

    fn collect(&mut self, at_least: usize) -> Result<(), IoError> {
        let before = self.ready.len();
        self.reader.complete(&mut self.ready, at_least)?;
        for completion in &self.ready[before..] {
            if let Some(at) = self.waiting.iter().position(|&tag| tag == completion.tag) {
                self.waiting.swap_remove(at);
            }
        }
        Ok(())
    }
}
