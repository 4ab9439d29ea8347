//! A table's column of encoded pictures, as [`Blobs`]. Reading the table is [`ColumnBlobs`]' part.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::blobs::{BlobReader, Blobs};
use super::table::ColumnBlobs;
use crate::{DType, Result};

/// The pictures of a column, shared by its readers.
#[derive(Clone, Debug)]
pub(super) struct PictureColumn(pub(super) Arc<ColumnBlobs>);

impl Blobs for PictureColumn {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn reader(&self) -> Result<Box<dyn BlobReader>> {
        Ok(Box::new(self.clone()))
    }

    fn path(&self, id: u64) -> Option<PathBuf> {
        self.0.path(id)
    }

    fn label_dtype(&self) -> Option<DType> {
        self.0.label_dtype()
    }

    fn write_label(&self, id: u64, into: &mut [u8]) {
        if let Some(label) = self.0.label(id) {
            into.copy_from_slice(label);
        }
    }

    fn blocks(&self) -> Option<(&[u64], u64)> {
        Some((self.0.blocks(), self.0.window()?))
    }

    fn readers(&self) -> Option<u64> {
        self.0.readers()
    }

    fn share(&self, readers: u64) {
        self.0.share(readers);
    }

    fn classes(&self) -> Option<&[String]> {
        self.0.classes()
    }

    fn fingerprint(&self) -> u64 {
        self.0.fingerprint()
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.0.facts()
    }

    fn notes(&self) -> Vec<String> {
        self.0.notes()
    }
}

impl BlobReader for PictureColumn {
    fn read<'a>(&'a mut self, id: u64, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        self.0.read(id, scratch).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.reason))?;
        Ok(scratch)
    }

    fn read_ahead(&mut self, ids: &[u64]) {
        self.0.hint(ids);
    }

    fn announce(&mut self, ids: &[u64]) {
        self.0.hint(ids);
    }
}
