//! `Wasm`: a plugin as a transform, for the loader and for single calls, and the plugin host of this process.
#![expect(unsafe_code, reason = "the sample of a single call is borrowed by address")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};
use serde::Deserialize;
use zenith_data::transform::chain::Link;
use zenith_data::transform::custom::{TensorRef, Transform, Yield};
use zenith_data::{DType, Error};
use zenith_plugin::{Host, HostConfig, Instance, Limits, Plugin, PluginError};

use crate::errors::{plugin_error, to_python};

/// Limits as the package writes them: what `zenith.transforms.Wasm` and `zenith.Engine` take.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawLimits {
    memory_limit: Option<usize>,
    deadline_ms: Option<f64>,
    fuel: Option<u64>,
    tables: Option<u64>,
    table_elements: Option<u64>,
    stack: Option<usize>,
    module_bytes: Option<usize>,
    function_bytes: Option<usize>,
}

impl RawLimits {
    pub(crate) fn parse(json: &str) -> zenith_data::Result<Limits> {
        let raw: Self = serde_json::from_str(json).map_err(|error| Error::Config(error.to_string()))?;
        let default = Limits::default();
        let deadline = match raw.deadline_ms {
            None => default.deadline,
            Some(ms) => Duration::try_from_secs_f64(ms / 1e3)
                .map_err(|error| Error::Config(format!("deadline_ms={ms}: {error}")))?,
        };
        // What does not fit is above what is allowed, and is refused by its name.
        let narrow = |given: Option<u64>, default| {
            given.map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX))
        };
        Ok(Limits {
            memory: raw.memory_limit.unwrap_or(default.memory),
            deadline,
            fuel: raw.fuel.or(default.fuel),
            tables: narrow(raw.tables, default.tables),
            table_elements: narrow(raw.table_elements, default.table_elements),
            stack: raw.stack.unwrap_or(default.stack),
            module_bytes: raw.module_bytes.unwrap_or(default.module_bytes),
            function_bytes: raw.function_bytes.unwrap_or(default.function_bytes),
        })
    }
}

/// The host of a process, by the process's number: a forked child has none of its parent's threads.
static HOST: Mutex<Option<(u32, Host)>> = Mutex::new(None);

pub(crate) fn host() -> Result<Host, PluginError> {
    let mut host = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    match &*host {
        Some((process, known)) if *process == std::process::id() => Ok(known.clone()),
        _ => {
            let made = Host::new(HostConfig::default())?;
            *host = Some((std::process::id(), made.clone()));
            Ok(made)
        }
    }
}

/// A module: the file it lies in, or its bytes.
#[derive(FromPyObject)]
pub(crate) enum Module {
    Bytes(Vec<u8>),
    Path(PathBuf),
}

/// Instances that are kept for calls; more callers at a time make theirs anew.
const MOST_IDLE: usize = 64;

/// A plugin as a transform.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Wasm {
    plugin: Plugin,
    /// Instances that are not in use just now.
    instances: Mutex<Vec<Instance>>,
}

/// A tensor that a plugin made: type, shape and bytes.
type Made = (DType, Vec<usize>, Vec<u8>);

/// A tensor of Python: dtype, shape and bytes.
type Tensor<'py> = (&'static str, Vec<usize>, Bound<'py, PyByteArray>);

#[pymethods]
impl Wasm {
    #[new]
    fn new(py: Python<'_>, module: Module, config: Option<&str>, limits: &str) -> PyResult<Self> {
        let limits = RawLimits::parse(limits).map_err(|error| to_python(py, &error))?;
        let config = config.unwrap_or_default();
        let loaded = py.detach(|| match &module {
            Module::Bytes(bytes) => host()?.load(bytes, config, &limits),
            Module::Path(path) => host()?.load_file(path, config, &limits),
        });
        let plugin = loaded.map_err(|error| {
            let path = match &module {
                Module::Bytes(_) => None,
                Module::Path(path) => Some(path.as_path()),
            };
            plugin_error(py, path, &error)
        })?;
        Ok(Self::of(plugin))
    }

    #[getter]
    fn name(&self) -> &str {
        self.plugin.name()
    }

    #[getter]
    fn version(&self) -> &str {
        self.plugin.version()
    }

    #[getter]
    fn description(&self) -> &str {
        self.plugin.description()
    }

    /// The version of the ABI.
    #[getter]
    fn abi(&self) -> u32 {
        self.plugin.abi().version()
    }

    /// What a call may use, by the names of `zenith.Engine`'s arguments.
    #[getter]
    fn limits<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let limits = self.plugin.limits();
        let dict = PyDict::new(py);
        dict.set_item("memory_limit", limits.memory)?;
        dict.set_item("deadline_ms", limits.deadline.as_secs_f64() * 1e3)?;
        dict.set_item("fuel", limits.fuel)?;
        dict.set_item("tables", limits.tables)?;
        dict.set_item("table_elements", limits.table_elements)?;
        dict.set_item("stack", limits.stack)?;
        dict.set_item("module_bytes", limits.module_bytes)?;
        dict.set_item("function_bytes", limits.function_bytes)?;
        Ok(dict)
    }

    fn __repr__(&self) -> String {
        let version = self.plugin.version();
        let gap = if version.is_empty() { "" } else { " " };
        format!("<plugin {}{gap}{version}, ABI {}>", self.plugin.name(), self.plugin.abi().version())
    }

    /// How many samples become of one.
    #[getter]
    fn yields(&self) -> &'static str {
        match self.plugin.yields() {
            Yield::One => "one",
            Yield::AtMostOne => "at most one",
            Yield::Any => "any",
        }
    }

    /// The plugin applied to one tensor, given by its address: [(dtype, shape, bytes)].
    fn apply<'py>(
        &self,
        py: Python<'py>,
        dtype: &str,
        shape: Vec<usize>,
        address: usize,
        length: usize,
        random: u64,
    ) -> PyResult<Bound<'py, PyList>> {
        let dtype = DType::from_name(dtype).ok_or_else(|| {
            to_python(py, &Error::Config(format!("plugins take no elements of type {dtype}")))
        })?;
        let bytes: &[u8] = if length == 0 {
            &[]
        } else {
            // SAFETY: `zenith.transforms` takes address and length from the array interface of an array that it keeps until
            // this returns; that nobody writes to it meanwhile is said in the documentation.
            unsafe { std::slice::from_raw_parts(address as *const u8, length) }
        };
        let input = TensorRef { dtype, shape: &shape, bytes };
        let results = py.detach(|| self.call(input, random));
        let results = results.map_err(|error| plugin_error(py, None, &error))?;
        let tensor = |(dtype, shape, bytes): Made| -> Tensor<'py> {
            (dtype.name(), shape, PyByteArray::new(py, &bytes))
        };
        PyList::new(py, results.into_iter().map(tensor))
    }
}

impl Wasm {
    pub(crate) fn of(plugin: Plugin) -> Self {
        Self { plugin, instances: Mutex::default() }
    }

    fn call(&self, input: TensorRef<'_>, random: u64) -> Result<Vec<Made>, PluginError> {
        let pop = || self.instances.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut instance = match pop() {
            Some(instance) => instance,
            None => self.plugin.instance()?,
        };
        let mut results = Vec::new();
        let outcome = instance.apply(input, random, &mut |tensor| {
            results.push((tensor.dtype, tensor.shape.to_vec(), tensor.bytes.to_vec()));
            Ok(())
        });
        let mut instances = self.instances.lock().unwrap_or_else(PoisonError::into_inner);
        if instances.len() < MOST_IDLE {
            instances.push(instance);
        }
        drop(instances);
        outcome.map(|()| results)
    }

    /// The plugin as a member of a chain.
    pub(crate) fn link(&self) -> Link {
        Link::Custom(Arc::new(self.plugin.clone()) as Arc<dyn Transform>)
    }
}
