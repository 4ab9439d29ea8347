//! From what a user names to a source of samples. Finding out what it is happens in [`detect`](super::detect), and the
//! loading in the sources.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zenith_runtime_cpu::io::Backend;

use super::Source;
use super::blobs::Blobs;
use super::cache_dir::CacheDir;
use super::detect::{Found, SourceSpec, detect};
use super::folder::{FolderBlobs, FolderIndex};
use super::image::ImageSource;
use super::image_cache::{CachedBlobs, ImageCache, IndexCache, Limit};
use super::picture_column::PictureColumn;
use super::table::{Kind, LabelChoice, Opened, TableOptions, open_files};
use crate::format::image::ImageOptions;
use crate::transform::{Mode, Plan, TransformError};
use crate::{Error, Result};

/// How a source is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// What becomes of pictures; `None` for their pixels as they are. Refused for tables without pictures, unless
    /// `untransformed_rows`.
    pub transform: Option<Plan>,
    /// Whether a table without pictures is opened although there is a transform: its rows are as they are then, which
    /// [`Source::pictures`] tells, and what the transform means for them is the caller's matter.
    pub untransformed_rows: bool,
    /// How pictures are read.
    pub image: ImageOptions,
    /// How tables are read.
    pub table: TableOptions,
    /// What is remembered of pictures from epoch to epoch, within the table's `memory_budget`. Refused for tables
    /// without pictures.
    pub pictures: ImageCache,
    /// Where indexes are kept between runs; nowhere by default.
    pub cache: CacheDir,
    /// How the files of folders are read. Tables are read at offsets by ordinary system calls.
    pub io: Backend,
}

/// Opens the folder, pattern or files that `spec` names, whatever they hold.
///
/// # Errors
/// When it is not found or not known (the message says what was found and what would work), cannot be read, or does
/// not fit the options.
pub fn open(spec: &SourceSpec, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    match detect(spec, &options.cache)? {
        Found::Pictures(index) => open_folder(index, options),
        Found::Tables(files) => opened(open_files(&files, one_kind(&files)?, &options.table)?, options),
    }
}

/// The pictures of `index`.
///
/// # Errors
/// When their folder cannot be opened, or the options are those of a table.
pub fn open_folder(index: FolderIndex, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    let table = &options.table;
    for (given, name) in [
        (table.columns.is_some(), "columns"),
        (table.label != LabelChoice::Auto, "label"),
        (table.dtype.is_some(), "dtype"),
    ] {
        if given {
            let reason = format!("{name}= is for tables, but this source is files of pictures");
            return Err(Error::Config(reason));
        }
    }
    let blobs = FolderBlobs::with_backend(index, options.io)?;
    let limit = || Limit::of(table.memory_budget);
    match options.pictures {
        ImageCache::Memory => {
            pictures(Arc::new(CachedBlobs::new(Arc::new(blobs), limit())), options, Vec::new())
        }
        ImageCache::Index => pictures(Arc::new(blobs), options, Vec::new()),
        ImageCache::None => {
            let note = "memory_budget has no effect: without cache= nothing is kept of pictures";
            let notes = table.memory_budget.map(|_| note.to_owned());
            pictures(Arc::new(blobs), options, notes.into_iter().collect())
        }
    }
}

/// A source of what a table turned out to hold.
///
/// # Errors
/// When the options do not fit it.
pub fn opened(opened: Opened, options: &OpenOptions) -> Result<Arc<dyn Source>> {
    match opened {
        Opened::Pictures(_) if options.table.dtype.is_some() => Err(Error::Config(
            "dtype= is for columns of numbers; of pictures the transform says the element type (ToDtype)"
                .into(),
        )),
        Opened::Pictures(column) => {
            let notes = of_column(column.keeps_blocks(), options);
            pictures(Arc::new(PictureColumn(Arc::new(column))), options, notes)
        }
        Opened::Rows(_) if options.pictures != ImageCache::None => Err(no_pictures(options.pictures)),
        Opened::Rows(_) if options.transform.is_some() && !options.untransformed_rows => {
            Err(Error::Config("a transform of pictures was given, but the table holds none".into()))
        }
        Opened::Rows(rows) => Ok(Arc::new(rows)),
    }
}

/// Why a cache of pictures cannot be had for a source without them.
#[must_use]
pub fn no_pictures(cache: ImageCache) -> Error {
    Error::Config(format!(
        "cache={:?} works for pictures (folders of them, or a column of a table), but this source holds none",
        cache.name()
    ))
}

/// What is without effect for a table's column of pictures, which keeps its blocks itself, or whose bytes are the caller's.
fn of_column(keeps_blocks: bool, options: &OpenOptions) -> Vec<String> {
    let mut notes = Vec::new();
    if options.pictures == ImageCache::Memory {
        notes.push(format!(
            "cache=\"memory\" has no effect: {}",
            if keeps_blocks {
                "a table's column of pictures is kept in memory as far as memory_budget goes, without it"
            } else {
                "the source lies in memory already"
            }
        ));
    }
    if !keeps_blocks && options.table.memory_budget.is_some() && options.pictures != ImageCache::Index {
        notes.push("memory_budget has no effect: the source lies in memory already".to_owned());
    }
    notes
}

fn pictures(blobs: Arc<dyn Blobs>, options: &OpenOptions, notes: Vec<String>) -> Result<Arc<dyn Source>> {
    let plan = match &options.transform {
        Some(plan) => plan.clone(),
        None => Plan::compile(&[], Mode::Exact)
            .map_err(|error: TransformError| Error::Config(error.to_string()))?,
    };
    let indexes = (options.pictures == ImageCache::Index).then(|| {
        let limit = Limit::of(options.table.memory_budget);
        Arc::new(IndexCache::open(&options.cache, blobs.fingerprint(), blobs.len(), limit))
    });
    Ok(Arc::new(ImageSource::with_indexes(blobs, plan, options.image, indexes)?.noting(notes)))
}

/// The kind that all of `files` are of.
fn one_kind(files: &[PathBuf]) -> Result<Kind> {
    let mut first: Option<(Kind, &Path)> = None;
    for file in files {
        let kind = kind_of(file)?;
        match first {
            None => first = Some((kind, file)),
            Some((expected, _)) if expected == kind => {}
            Some((expected, other)) => {
                return Err(Error::source(
                    file,
                    format!(
                        "this is {kind:?}, but {} is {expected:?}; a pattern that takes files of one kind would work",
                        other.display()
                    ),
                ));
            }
        }
    }
    first.map(|(kind, _)| kind).ok_or_else(|| Error::Config("the list of files is empty".into()))
}

fn kind_of(path: &Path) -> Result<Kind> {
    let failed = |source| Error::io(path, source);
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Error::source(path, "this is no file"));
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(64).read_to_end(&mut start).map_err(failed)?;
    Kind::sniff(path, &start).ok_or_else(|| {
        let found = match start.as_slice() {
            [] => "an empty file",
            start => crate::format::image::describe(start),
        };
        Error::source(path, format!("found {found}; Parquet, Arrow, CSV, NPY and NPZ files would work"))
    })
}
