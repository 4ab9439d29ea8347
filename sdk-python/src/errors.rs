//! The one map from errors of the data plane, of collectives, of the scheduler's client and of the kernel decision store to the
//! exceptions of `zenith._errors`.

use std::path::Path;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use zenith_data::{Blamed, Error, SampleError};
use zenith_plugin::PluginError;
use zenith_runtime_gpu::collective::CollectiveError;
use zenith_scheduler::client::ClientError;

const CLOSED: &str = "the loader is closed";

/// The Python exception for `error`, with `.path` (and `.sample`, `.offset` of a bad sample).
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error {
        Error::Source { .. } => "SourceError",
        Error::Sample(SampleError { transform: Some(_), .. }) | Error::Transform { .. } => "PluginError",
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
    if let Error::Sample(SampleError { sample, offset, reason, transform, .. }) = error {
        facts.set_item("sample", sample)?;
        facts.set_item("reason", reason)?;
        match transform {
            Some(plugin) => blame(&facts, plugin)?,
            None => facts.set_item("offset", offset)?,
        }
    }
    if let Error::Transform { transform, reason } = error {
        blame(&facts, transform)?;
        facts.set_item("reason", reason)?;
    }
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&facts))?))
}

/// What programs are told of the plugin that is to blame.
fn blame(facts: &Bound<'_, PyDict>, plugin: &Blamed) -> PyResult<()> {
    facts.set_item("plugin", &plugin.name)?;
    facts.set_item("kind", plugin.cause.kind)?;
    facts.set_item("code", plugin.cause.code)
}

/// The Python exception for a plugin that cannot be loaded or failed on a call of its own.
pub(crate) fn plugin_error(py: Python<'_>, path: Option<&Path>, error: &PluginError) -> PyErr {
    let build = || {
        if matches!(error, PluginError::Limits { .. } | PluginError::Closed | PluginError::Stopped) {
            return Ok(to_python(py, &Error::Config(error.to_string())));
        }
        let facts = PyDict::new(py);
        // A file that cannot be read is no plugin yet; the one it was to be has the file's name.
        let stem = path.and_then(Path::file_stem).map(|stem| stem.to_string_lossy());
        facts.set_item("plugin", error.plugin().or(stem.as_deref()).unwrap_or_default())?;
        facts.set_item("kind", error.kind())?;
        facts.set_item("code", error.code())?;
        let text = error.to_string();
        let own = error.plugin().and_then(|name| text.strip_prefix(name)?.strip_prefix(": "));
        facts.set_item("reason", own.unwrap_or(&text))?;
        facts.set_item("path", path.map(|path| path.to_string_lossy().into_owned()))?;
        Ok(PyErr::from_value(class_of(py, "PluginError")?.call((error.to_string(),), Some(&facts))?))
    };
    build().unwrap_or_else(|broken: PyErr| broken)
}

/// The Python exception for a call that the scheduler refused or did not answer.
pub(crate) fn scheduler_error(py: Python<'_>, error: &ClientError) -> PyErr {
    let build = || {
        let facts = PyDict::new(py);
        facts.set_item("code", error.code())?;
        facts.set_item("hint", error.hint())?;
        Ok(PyErr::from_value(class_of(py, "SchedulerError")?.call((error.to_string(),), Some(&facts))?))
    };
    build().unwrap_or_else(|broken: PyErr| broken)
}

/// The Python exception for what the kernel decision store refuses; `kind` is the cause in a word.
pub(crate) fn kernel_error(py: Python<'_>, kind: &str, message: &str, path: Option<&Path>) -> PyErr {
    let build = || {
        let facts = PyDict::new(py);
        facts.set_item("kind", kind)?;
        facts.set_item("path", path.map(|path| path.to_string_lossy().into_owned()))?;
        Ok(PyErr::from_value(class_of(py, "KernelError")?.call((message,), Some(&facts))?))
    };
    build().unwrap_or_else(|broken: PyErr| broken)
}

/// The Python exception for a collective that did not come about.
pub(crate) fn collective_error(py: Python<'_>, error: &CollectiveError) -> PyErr {
    let build = || {
        if matches!(error, CollectiveError::Environment { .. } | CollectiveError::Refused { .. }) {
            return Ok(to_python(py, &Error::Config(error.to_string())));
        }
        let facts = PyDict::new(py);
        facts.set_item("code", error.code())?;
        facts.set_item("ranks", error.ranks())?;
        Ok(PyErr::from_value(class_of(py, "CollectiveError")?.call((error.to_string(),), Some(&facts))?))
    };
    build().unwrap_or_else(|broken: PyErr| broken)
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
