//! `Engine`: the plugin engine as Python drives it, with addresses and lengths in and arrays out. What users' data looks like is
//! the package's matter (`_kinds.py`).
#![expect(
    unsafe_code,
    reason = "reads and writes memory whose address the package took from an array it keeps alive"
)]

use std::path::PathBuf;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use zenith_data::DType;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::custom::TensorRef;
use zenith_plugin::PluginError;
use zenith_plugin::engine::{self, EngineConfig, Item, Next, Refused, Stream};

use crate::array::typestr;
use crate::errors::{IntoPython, plugin_error};
use crate::wasm::{RawLimits, Wasm, host};

/// How long a wait lasts between two looks for signals.
const PATIENCE: Duration = Duration::from_millis(50);

/// A tensor that came out of a plugin. NumPy takes it without a copy by `np.asarray`.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Tensor(engine::Tensor);

#[pymethods]
impl Tensor {
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", PyTuple::new(py, &self.0.shape)?)?;
        interface.set_item("typestr", typestr(self.0.dtype))?;
        interface.set_item("data", (self.0.bytes.as_ptr() as usize, false))?;
        Ok(interface)
    }
}

/// The engine.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Engine {
    engine: engine::Engine,
    /// Calls of `process` so far: what their randomness is drawn from.
    calls: AtomicU64,
}

/// Randomness of the item `number`.
fn random(number: u64) -> u64 {
    SampleRng::new(0, 0, number).next_u64()
}

fn element_type(name: &str) -> PyResult<DType> {
    DType::from_name(name)
        .ok_or_else(|| PyTypeError::new_err(format!("plugins take no elements of type {name}")))
}

/// The memory of an array that the caller keeps alive and lets nobody write to.
///
/// # Safety
/// `length` bytes at `address` can be read for `'a` (any address for none).
unsafe fn at<'a>(address: usize, length: usize) -> &'a [u8] {
    if length == 0 {
        return &[];
    }
    // SAFETY: by contract.
    unsafe { slice::from_raw_parts(address as *const u8, length) }
}

fn fail(py: Python<'_>, error: &PluginError) -> PyErr {
    plugin_error(py, None, error)
}

#[pymethods]
impl Engine {
    #[new]
    fn new(py: Python<'_>, buffer_size: usize, workers: usize, limits: &str) -> PyResult<Self> {
        let limits = RawLimits::parse(limits).into_python(py)?;
        let config = EngineConfig { buffer_size, workers, limits };
        let engine = host().and_then(|host| engine::Engine::new(host, config));
        let engine = engine.map_err(|error| fail(py, &error))?;
        Ok(Self { engine, calls: AtomicU64::new(0) })
    }

    #[getter]
    fn buffer_size(&self) -> usize {
        self.engine.config().buffer_size
    }

    fn load_file(&self, py: Python<'_>, path: PathBuf, name: Option<&str>, config: &str) -> PyResult<Wasm> {
        let loaded = py.detach(|| match name {
            Some(name) => self.engine.load_file_named(name, &path, config),
            None => self.engine.load_file(&path, config),
        });
        loaded.map(Wasm::of).map_err(|error| plugin_error(py, Some(&path), &error))
    }

    fn load(&self, py: Python<'_>, module: &[u8], name: &str, config: &str) -> PyResult<Wasm> {
        let loaded = py.detach(|| self.engine.load_named(name, module, config));
        loaded.map(Wasm::of).map_err(|error| fail(py, &error))
    }

    fn unload(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        py.detach(|| self.engine.unload(name)).map(drop).map_err(|error| fail(py, &error))
    }

    fn plugins(&self) -> Vec<Wasm> {
        self.engine.plugins().into_iter().map(Wasm::of).collect()
    }

    /// Whether bytes become as many bytes.
    fn is_bytes(&self) -> bool {
        self.engine.is_bytes()
    }

    fn process_bytes(&self, py: Python<'_>, data: &Bound<'_, PyBytes>) -> PyResult<Py<PyBytes>> {
        let input = data.as_bytes();
        let mut made = None;
        py.detach(|| {
            let tensor = TensorRef { dtype: DType::UInt8, shape: &[input.len()], bytes: input };
            self.engine.process_with(tensor, 0, &mut |result| {
                made = Some(Python::attach(|py| PyBytes::new(py, result.bytes).unbind()));
                Ok(())
            })
        })
        .map_err(|error| fail(py, &error))?;
        made.ok_or_else(|| PyRuntimeError::new_err("a chain of bytes gave nothing"))
    }

    /// Bytes from one address to another, through a chain of ABI 0.
    fn process_at(&self, py: Python<'_>, source: usize, target: usize, length: usize) -> PyResult<()> {
        // SAFETY: the package keeps both arrays alive during the call; `target` is new and known to nobody else.
        let (input, output) = unsafe {
            let output: &mut [u8] =
                if length == 0 { &mut [] } else { slice::from_raw_parts_mut(target as *mut u8, length) };
            (at(source, length), output)
        };
        py.detach(|| self.engine.process_bytes(input, output)).map_err(|error| fail(py, &error))
    }

    fn process(
        &self,
        py: Python<'_>,
        dtype: &str,
        shape: Vec<usize>,
        address: usize,
        length: usize,
    ) -> PyResult<Vec<Tensor>> {
        // SAFETY: the package keeps the array alive during the call.
        let bytes = unsafe { at(address, length) };
        let tensor = TensorRef { dtype: element_type(dtype)?, shape: &shape, bytes };
        let random = random(self.calls.fetch_add(1, Ordering::Relaxed));
        let made = py.detach(|| self.engine.process(tensor, random)).map_err(|error| fail(py, &error))?;
        Ok(made.into_iter().map(Tensor).collect())
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.engine.start()).map_err(|error| fail(py, &error))
    }

    /// Ends the workers, and with them the streams that are open.
    fn break_off(&self, py: Python<'_>) {
        py.detach(|| self.engine.break_off());
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.close());
    }

    fn stream(&self, py: Python<'_>) -> PyResult<EngineStream> {
        let stream = self.engine.stream().map_err(|error| fail(py, &error))?;
        Ok(EngineStream { stream: Mutex::new(Some(stream)), submitted: AtomicU64::new(0) })
    }
}

/// An ordered stream of tensors through an engine.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct EngineStream {
    stream: Mutex<Option<Stream>>,
    submitted: AtomicU64,
}

impl EngineStream {
    /// Something with the stream; the lock is never held while Python code runs.
    fn with<T>(&self, act: impl FnOnce(&mut Stream) -> Result<T, PluginError>) -> Result<T, PluginError> {
        match &mut *self.stream.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(stream) => act(stream),
            None => Err(PluginError::Closed),
        }
    }
}

#[pymethods]
impl EngineStream {
    /// Takes a copy of a tensor in; false when there is no room.
    fn submit(
        &self,
        py: Python<'_>,
        dtype: &str,
        shape: Vec<usize>,
        address: usize,
        length: usize,
    ) -> PyResult<bool> {
        let dtype = element_type(dtype)?;
        // SAFETY: the package keeps the array alive during the call.
        let bytes = unsafe { at(address, length) };
        py.detach(|| {
            self.with(|stream| {
                if stream.in_flight() == stream.capacity() {
                    return Ok(false);
                }
                let number = self.submitted.fetch_add(1, Ordering::Relaxed);
                match stream.submit(Item::new(dtype, shape, bytes.to_vec(), random(number))) {
                    Ok(()) => Ok(true),
                    Err(Refused::Full(_)) => Ok(false),
                    Err(Refused::Stopped(_, error)) => Err(error),
                }
            })
        })
        .map_err(|error| fail(py, &error))
    }

    /// Whether the oldest tensors, so many, can be taken without waiting.
    fn is_ready(&self, count: usize) -> bool {
        self.with(|stream| Ok(stream.is_ready(count))).unwrap_or(false)
    }

    /// What became of the oldest tensor.
    fn next(&self, py: Python<'_>) -> PyResult<Vec<Tensor>> {
        loop {
            let next = py.detach(|| self.with(|stream| stream.next_within(PATIENCE)));
            match next.map_err(|error| fail(py, &error))? {
                Next::Done(done) => {
                    let made = done.result.map_err(|error| fail(py, &error))?;
                    return Ok(made.into_iter().map(Tensor).collect());
                }
                Next::Pending => py.check_signals()?,
                Next::Empty => return Err(PyRuntimeError::new_err("nothing was submitted")),
            }
        }
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.stream.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}
