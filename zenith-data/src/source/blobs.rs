//! Encoded samples by number: files of a folder, or a binary column in memory. Says where bytes are and brings them;
//! it does not look into them.

use std::io;
use std::path::PathBuf;

use crate::{DType, Result};

/// A set of byte strings, read by number from many threads.
pub trait Blobs: Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One thread's own way to read them.
    ///
    /// # Errors
    /// When the place they lie in cannot be opened.
    fn reader(&self) -> Result<Box<dyn BlobReader>>;

    /// The file a blob lies in, where there is one; for messages.
    fn path(&self, id: u64) -> Option<PathBuf>;

    /// Element type of the labels; `None` without labels.
    fn label_dtype(&self) -> Option<DType>;

    /// Writes the label of blob `id`, in native byte order, into `into`, which is as long as one element. Only called
    /// where [`Self::label_dtype`] is some, and for blobs that exist.
    fn write_label(&self, id: u64, into: &mut [u8]);

    /// Runs of blobs that are cheap to read together, as the ends of each run, and how many of them a
    /// reader's window may hold; `None` where all are equally near.
    fn blocks(&self) -> Option<(&[u64], u64)> {
        None
    }

    /// How many processes can read the set side by side; as [`Source::readers`](super::Source::readers).
    fn readers(&self) -> Option<u64> {
        None
    }

    /// From here on this process is one of `readers` that share the memory budget.
    fn share(&self, readers: u64) {
        let _ = readers;
    }

    /// Names of the labels, where they number classes.
    fn classes(&self) -> Option<&[String]> {
        None
    }

    /// A number that changes when the set changes.
    fn fingerprint(&self) -> u64;

    /// Facts for the report: (name, value).
    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// As [`Source::notes`](super::Source::notes).
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One thread's way to the bytes of blobs.
pub trait BlobReader: Send {
    /// The bytes of blob `id`. They lie in the reader, in the set itself, or in `scratch`, which the reader may
    /// overwrite; a caller passes the same scratch again and again, so that its memory stops growing.
    ///
    /// # Errors
    /// When the bytes cannot be brought; the message is a lower-case fragment that needs no path.
    fn read<'a>(&'a mut self, id: u64, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]>;

    /// Says which blobs will be read next, in order and completely, so that their bytes can be on the way. A hint: it may
    /// be ignored, and a blob may be read without it.
    fn read_ahead(&mut self, _ids: &[u64]) {}

    /// Says that blobs like these will be read in a while, by any reader of the set, so that the
    /// [blocks](Blobs::blocks) they lie in can be brought. A hint.
    fn announce(&mut self, _ids: &[u64]) {}
}
