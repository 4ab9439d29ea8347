//! The functions that open a source: from paths, from arrays of Python, from Arrow.
#![expect(unsafe_code, reason = "arrays of Python are borrowed by address")]

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::ffi_stream::{FFI_ArrowArrayStream, RecordBatchStreamReader};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use serde::Deserialize;
use zenith_data::format::image::ImageOptions;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::detect::SourceSpec;
use zenith_data::source::folder::FolderIndex;
use zenith_data::source::image_cache::ImageCache;
use zenith_data::source::open::{OpenOptions, no_pictures, open, open_folder, opened};
use zenith_data::source::table::{LabelChoice, MemoryColumn, TableOptions, TableSource};
use zenith_data::transform::{Mode, Op, Plan};
use zenith_data::{DType, Error};
use zenith_runtime_cpu::config::RawMachineConfig;

use crate::errors::IntoPython;
use crate::loader::config_error;
use crate::source::Source;

/// What `zenith._native.SourceOptions` writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    transform: Vec<Op>,
    columns: Option<Vec<String>>,
    label: Option<Label>,
    dtype: Option<String>,
    on_error: String,
    memory_budget: Option<u64>,
    cache: Option<String>,
    threads: usize,
    apply_exif_orientation: bool,
    decode: Mode,
}

/// A name, or `False` for no label.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Label {
    Name(String),
    Wanted(bool),
}

impl Options {
    fn parse(json: &str) -> zenith_data::Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::Config(error.to_string()))
    }

    fn open_options(self) -> zenith_data::Result<OpenOptions> {
        let dtype = match self.dtype {
            None => None,
            Some(name) => Some(
                DType::from_name(&name)
                    .ok_or_else(|| Error::Config(format!("dtype {name:?} cannot be in a batch")))?,
            ),
        };
        let pictures = match &self.cache {
            None => ImageCache::None,
            Some(name) => ImageCache::from_name(name).ok_or_else(|| {
                Error::Config(format!("cache must be \"index\" or \"memory\", not {name:?}"))
            })?,
        };
        Ok(OpenOptions {
            pictures,
            transform: transform(&self.transform, self.decode)?,
            untransformed_rows: true,
            image: ImageOptions { apply_orientation: self.apply_exif_orientation, ..ImageOptions::default() },
            cache: CacheDir::user(),
            io: RawMachineConfig::from_env(|name| std::env::var(name).ok())
                .backend()
                .map_err(|error| Error::Config(error.to_string()))?,
            table: TableOptions {
                columns: self.columns,
                label: match self.label {
                    None | Some(Label::Wanted(true)) => LabelChoice::Auto,
                    Some(Label::Wanted(false)) => LabelChoice::None,
                    Some(Label::Name(name)) => LabelChoice::Named(name),
                },
                dtype,
                memory_budget: self.memory_budget,
                threads: self.threads,
                skip_bad: self.on_error == "skip",
            },
        })
    }
}

/// The compiled plan of a transform; none where there is nothing to do.
fn transform(ops: &[Op], mode: Mode) -> zenith_data::Result<Option<Plan>> {
    if ops.is_empty() {
        return Ok(None);
    }
    Plan::compile(ops, mode).map(Some).map_err(|error| Error::Config(error.to_string()))
}

/// Opens files or folders by path.
#[pyfunction]
pub(crate) fn open_paths(py: Python<'_>, mut paths: Vec<PathBuf>, options: &str) -> PyResult<Source> {
    let open_them = || {
        let options = Options::parse(options)?.open_options()?;
        let spec =
            if paths.len() == 1 { SourceSpec::Path(paths.remove(0)) } else { SourceSpec::Paths(paths) };
        Source::new(open(&spec, &options)?)
    };
    py.detach(open_them).into_python(py)
}

/// Opens pictures that a list names one by one, each with its label.
#[pyfunction]
pub(crate) fn open_labelled(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    labels: Vec<i64>,
    classes: Vec<String>,
    options: &str,
) -> PyResult<Source> {
    let open_them = || {
        let options = Options::parse(options)?.open_options()?;
        Source::new(open_folder(FolderIndex::labelled(&paths, labels, classes)?, &options)?)
    };
    py.detach(open_them).into_python(py)
}

/// An array of Python: name, dtype, shape of a row, rows, address, row stride in bytes, owner.
type Column = (String, String, Vec<usize>, usize, usize, usize, Py<PyAny>);

/// Opens arrays that Python keeps alive; nothing is copied.
#[pyfunction]
#[pyo3(signature = (columns, options, tuple_of_all=false))]
pub(crate) fn open_columns(
    py: Python<'_>,
    columns: Vec<Column>,
    options: &str,
    tuple_of_all: bool,
) -> PyResult<Source> {
    let mut borrowed = Vec::with_capacity(columns.len());
    for (name, dtype, shape, rows, address, stride, owner) in columns {
        let dtype = DType::from_name(&dtype).ok_or_else(|| {
            config_error(py, format!("column {name:?}: dtype {dtype} cannot be in a batch"))
        })?;
        let owner: Arc<dyn Any + Send + Sync> = Arc::new(owner);
        let data = address as *const u8;
        // SAFETY: `zenith._native` takes address, shape and stride from the array interface of `owner`, which keeps the
        // memory alive; that nobody writes to a source while it is read is said in the documentation.
        let column = unsafe { MemoryColumn::borrowed(name, dtype, shape, rows, data, stride, owner) };
        borrowed.push(column.into_python(py)?);
    }
    let make = || {
        let options = Options::parse(options)?.open_options()?;
        if options.pictures != ImageCache::None {
            return Err(no_pictures(options.pictures));
        }
        let source = if tuple_of_all {
            TableSource::from_tensors(&borrowed)?
        } else {
            TableSource::from_columns(&borrowed, &options.table)?
        };
        Source::new(Arc::new(source))
    };
    py.detach(make).into_python(py)
}

/// Opens an Arrow table, or anything with `__arrow_c_stream__`; its buffers are borrowed where they allow it.
#[pyfunction]
pub(crate) fn open_arrow(py: Python<'_>, table: &Bound<'_, PyAny>, options: &str) -> PyResult<Source> {
    let capsule = table.call_method0("__arrow_c_stream__")?;
    let capsule = capsule.cast::<PyCapsule>()?;
    let stream = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name holds a pointer to an ArrowArrayStream; reading takes it over and leaves a released
    // one behind, as the interface asks of a consumer.
    let stream = unsafe { FFI_ArrowArrayStream::from_raw(stream.as_ptr().cast()) };
    let read = || {
        let broken = |error: arrow_schema::ArrowError| Error::source("Arrow table", error.to_string());
        let batches = RecordBatchStreamReader::try_new(stream).map_err(broken)?;
        let batches = batches.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let options = Options::parse(options)?.open_options()?;
        Source::new(opened(TableSource::from_record_batches(batches, &options.table)?, &options)?)
    };
    py.detach(read).into_python(py)
}
