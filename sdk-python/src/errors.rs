//! The one map from errors of the data plane to the exceptions of `zenith._errors`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use zenith_data::{Error, SampleError};

const CLOSED: &str = "the loader is closed";

/// The Python exception for `error`, with `.path` (and `.sample`, `.offset` of a bad sample).
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::Source { .. } => "SourceError",
        Error::Sample(_) => "DecodeError",
        Error::Config(_) => "ConfigError",
        Error::Resume(_) => "ResumeError",
        Error::Io { .. } => "ReadError",
        Error::Panic(_) => "WorkerError",
        _ => "MachineError",
    };
    build(py, class, error).unwrap_or_else(|broken| broken)
}

/// The exception of an iterator whose loader was closed under it.
pub(crate) fn closed(py: Python<'_>) -> PyErr {
    let raised =
        || -> PyResult<PyErr> { Ok(PyErr::from_value(class_of(py, "LoaderClosedError")?.call1((CLOSED,))?)) };
    raised().unwrap_or_else(|broken| broken)
}

fn class_of<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("zenith._errors")?.getattr(name)
}

fn build(py: Python<'_>, class: &str, error: &Error) -> PyResult<PyErr> {
    let class = class_of(py, class)?;
    let facts = PyDict::new(py);
    facts.set_item("path", error.path().map(|path| path.to_string_lossy().into_owned()))?;
    if let Error::Sample(SampleError { sample, offset, reason, .. }) = error {
        facts.set_item("sample", sample)?;
        facts.set_item("offset", offset)?;
        facts.set_item("reason", reason)?;
    }
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&facts))?))
}

/// Results of the data plane as results of Python.
pub(crate) trait IntoPython<T> {
    /// Maps the error through [`to_python`].
    fn into_python(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> IntoPython<T> for zenith_data::Result<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_python(py, &error))
    }
}
