//! From what a user names and asks for to a source: the one place where kinds of data, tables, pictures and transforms
//! come together.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Source;
use super::blobs::{BlobReader, Blobs};
use super::cache_dir::CacheDir;
use super::detect::{Found, SourceSpec, detect};
use super::folder::FolderBlobs;
use super::image::ImageSource;
use super::table::{ColumnBlobs, Opened, TableOptions, open_files};
use crate::format::image::ImageOptions;
use crate::format::kind::Kind;
use crate::transform::{Mode, Op, Plan};
use crate::{DType, Error, Result};

/// What a user may ask of a source.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// What happens to pictures; empty leaves them as they are.
    pub transform: Vec<Op>,
    /// Whether transforms may trade exactness for speed.
    pub mode: Mode,
    /// How pictures are decoded.
    pub image: ImageOptions,
    /// How tables are read.
    pub table: TableOptions,
}

/// Opens what `spec` names.
///
/// # Errors
/// When there is nothing that can be read as data, with what was found and what would work; or when the options do not
/// fit what was found.
pub fn open(spec: &SourceSpec, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    match detect(spec, &CacheDir::user())? {
        Found::Pictures(index) => pictures(Arc::new(FolderBlobs::new(index)?), options),
        Found::Tables(paths) => {
            let kind = kind_of(&paths)?;
            opened(open_files(&paths, kind, &options.table)?, options)
        }
    }
}

/// A source of what a table turned out to hold.
///
/// # Errors
/// When the options do not fit it.
pub fn opened(opened: Opened, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    match opened {
        Opened::Pictures(column) => pictures(Arc::new(PictureColumn::new(column)?), options),
        Opened::Rows(_) if !options.transform.is_empty() => Err(Error::Config(
            "transform works on pictures, and this source is a table of numbers".into(),
        )),
        Opened::Rows(rows) => Ok(Arc::new(rows)),
    }
}

fn pictures(blobs: Arc<dyn Blobs>, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    let plan =
        Plan::compile(&options.transform, options.mode).map_err(|error| Error::Config(error.to_string()))?;
    Ok(Arc::new(ImageSource::new(blobs, plan, options.image)?))
}

/// The one kind of all files.
fn kind_of(paths: &[PathBuf]) -> Result<Kind> {
    let mut all: Option<(Kind, &Path)> = None;
    for path in paths {
        let Some(kind) = Kind::sniff(path, &first_bytes(path)?) else {
            let reason = "this is no table; Parquet, Arrow, CSV, NPY and NPZ files would work";
            return Err(Error::source(path, reason));
        };
        match all {
            Some((first, at)) if first != kind => {
                let reason = format!(
                    "{kind:?}, but {} is {first:?}; give files of one kind",
                    at.display()
                );
                return Err(Error::source(path, reason));
            }
            _ => all = Some((kind, path)),
        }
    }
    all.map(|(kind, _)| kind)
        .ok_or_else(|| Error::Config("the list of files is empty".into()))
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    file.take(64)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::io(path, error))?;
    Ok(bytes)
}

/// A column of encoded pictures as blobs.
struct PictureColumn {
    column: Arc<ColumnBlobs>,
}

impl PictureColumn {
    fn new(column: ColumnBlobs) -> Result<Self> {
        match column.label_dtype() {
            None | Some(DType::Int64) => Ok(Self {
                column: Arc::new(column),
            }),
            Some(other) => Err(Error::Config(format!(
                "the labels of pictures must be classes; this label column holds {other}"
            ))),
        }
    }
}

impl Blobs for PictureColumn {
    fn len(&self) -> u64 {
        self.column.len()
    }

    fn reader(&self) -> Result<Box<dyn BlobReader>> {
        Ok(Box::new(ColumnReader {
            column: Arc::clone(&self.column),
        }))
    }

    fn path(&self, _: u64) -> Option<PathBuf> {
        None
    }

    fn label(&self, id: u64) -> Option<i64> {
        self.column
            .label(id)
            .and_then(|bytes| bytes.try_into().ok())
            .map(i64::from_ne_bytes)
    }

    fn labelled(&self) -> bool {
        self.column.label_dtype().is_some()
    }

    fn classes(&self) -> Option<&[String]> {
        self.column.classes()
    }

    fn fingerprint(&self) -> u64 {
        self.column.fingerprint()
    }
}

struct ColumnReader {
    column: Arc<ColumnBlobs>,
}

impl BlobReader for ColumnReader {
    fn read<'a>(&'a mut self, id: u64, scratch: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        self.column
            .read(id, scratch)
            .map_err(|error| io::Error::other(error.reason))?;
        Ok(scratch)
    }

    fn read_ahead(&mut self, ids: &[u64]) {
        for id in ids {
            self.column.hint(*id);
        }
    }
}
