//! The machine as Python asks for it, the `zenith` command, and the process's log subscriber.

use std::path::PathBuf;

use pyo3::prelude::*;
use zenith_data::Error;
use zenith_device::{Settings, discover};
use zenith_runtime_cpu::limits;
use zenith_runtime_cpu::numa::Topology;

use crate::errors::{IntoPython, to_python};

/// Lets `RUST_LOG=zenith=debug` speak to stderr; says nothing without it and respects another subscriber.
pub(crate) fn subscribe() {
    zenith_cli::log::subscribe();
}

/// The topology of this machine, or of the one whose `sys` lies in `root`, as JSON.
#[pyfunction]
#[pyo3(signature = (root=None))]
pub(crate) fn topology(py: Python<'_>, root: Option<PathBuf>) -> PyResult<String> {
    let read = || match &root {
        Some(root) => Topology::read(root),
        None => Topology::host(),
    };
    let topology = py.detach(read).map_err(|error| Error::Machine(error.to_string())).into_python(py)?;
    serde_json::to_string(&topology).map_err(|error| to_python(py, &Error::Machine(error.to_string())))
}

/// The GPUs of this machine, how they are joined, and what came of asking each source, as JSON. With `nvml`, that file is
/// NVIDIA's library; with `root`, the machine whose `sys` lies there.
#[pyfunction]
#[pyo3(signature = (nvml=None, root=None))]
pub(crate) fn devices(py: Python<'_>, nvml: Option<PathBuf>, root: Option<PathBuf>) -> PyResult<String> {
    let host = Settings::host();
    let settings = Settings { nvml: nvml.or(host.nvml), root: root.unwrap_or(host.root) };
    let found = py.detach(|| discover(&settings));
    serde_json::to_string(&found).map_err(|error| to_python(py, &Error::Machine(error.to_string())))
}

/// Threads that can run at once: the processors allowed, or the time that the control groups grant where that is less.
#[pyfunction]
pub(crate) fn processors(py: Python<'_>) -> PyResult<usize> {
    limits::processors().map_err(|error| Error::Machine(error.to_string())).into_python(py)
}

/// Threads of a native loader that is asked for `asked`: at most one for each processor this process may use.
#[pyfunction]
pub(crate) fn worker_threads(py: Python<'_>, asked: usize) -> PyResult<usize> {
    zenith_data::pipeline::worker_threads(asked).into_python(py)
}

/// Runs the `zenith` command; its exit status.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, arguments: Vec<String>) -> u8 {
    py.detach(|| zenith_cli::run(arguments))
}
