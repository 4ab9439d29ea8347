//! The functions that open a source.

use std::path::PathBuf;

use std::sync::Arc;

use pyo3::prelude::*;
use zenith_data::source::table::{Opened, TableOptions, open_parquet};

use crate::errors::IntoPython;
use crate::source::Source;

/// Opens files or folders by path.
#[pyfunction]
pub(crate) fn open_paths(py: Python<'_>, paths: Vec<PathBuf>, options: &str) -> PyResult<Source> {
    let _ = options;
    let source = py
        .detach(|| open_parquet(&paths, &TableOptions::default()))
        .into_python(py)?;
    let Opened::Rows(rows) = source;
    Source::new(Arc::new(rows)).into_python(py)
}
