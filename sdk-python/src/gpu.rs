//! What Python needs of a GPU besides its framework: batch slabs that it reads by itself, the account of a training loop,
//! and how busy its parts were.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use zenith_data::Error;
use zenith_device::activity::Sampler;
use zenith_device::{Settings, discover};
use zenith_runtime_cpu::allocator::{PagesWanted, SystemMemory};
use zenith_runtime_gpu::cuda::{Driver, LockedMemory};
use zenith_runtime_gpu::telemetry::steps;

use crate::errors::{IntoPython, to_python};

/// A step as Python has it: number, start, wait, work, gap and device time in nanoseconds.
type StepRow = (u64, u64, u64, u64, Option<u64>, Option<u64>);

/// Memory that CUDA device `ordinal` reads by itself, on `node` or else on the node that the device is attached to.
pub(crate) fn locked_memory(
    ordinal: u32,
    pages: PagesWanted,
    node: Option<u32>,
) -> zenith_data::Result<LockedMemory> {
    let machine = |error: zenith_runtime_gpu::cuda::Error| Error::Machine(error.to_string());
    let driver = Driver::host().map_err(machine)?;
    let context = driver.context(ordinal).map_err(machine)?;
    let node = match node {
        Some(node) => Some(node),
        None => {
            let pci = driver.device(ordinal).map_err(machine)?.pci;
            let gpus = discover(&Settings::host()).gpus;
            gpus.into_iter().find(|gpu| gpu.pci.is_some() && gpu.pci == pci).and_then(|gpu| gpu.numa_node)
        }
    };
    Ok(LockedMemory { context, memory: SystemMemory { pages, node } })
}

/// The account of a training loop.
#[pyclass(module = "zenith._core", frozen)]
#[derive(Default)]
pub(crate) struct Steps {
    steps: Mutex<steps::Steps>,
}

impl Steps {
    fn steps(&self) -> MutexGuard<'_, steps::Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Steps {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Adds a step: when its batch was asked for, the wait for it and the work on it, in nanoseconds; its number.
    fn add(&self, start: u64, wait: u64, work: u64) -> u64 {
        self.steps().add(start, wait, work)
    }

    /// What the device says of step `number`: the gap before it and its time, in nanoseconds.
    fn on_device(&self, number: u64, gap: Option<u64>, device: u64) {
        self.steps().on_device(number, gap, device);
    }

    /// Sums and distributions of all steps, as JSON.
    fn told(&self, py: Python<'_>) -> PyResult<String> {
        let told = self.steps().told();
        serde_json::to_string(&told).map_err(|error| to_python(py, &Error::Machine(error.to_string())))
    }

    /// The newest steps, oldest first: (number, start, wait, work, gap, device time).
    fn newest(&self) -> Vec<StepRow> {
        let steps = self.steps();
        let row = |step: &steps::Step| (step.number, step.start, step.wait, step.work, step.gap, step.device);
        steps.newest().map(row).collect()
    }

    /// How many steps are kept one by one.
    #[classattr]
    const KEPT: usize = steps::KEPT;
}

/// How busy the parts of a GPU are, sampled until it is stopped or dropped.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Activity {
    sampler: Mutex<Option<Sampler>>,
}

#[pymethods]
impl Activity {
    /// Samples the GPU at PCI address `pci`, or the first one, every so many seconds. With `nvml`, that file is NVIDIA's
    /// library.
    #[new]
    #[pyo3(signature = (pci=None, seconds=0.2, nvml=None))]
    fn new(py: Python<'_>, pci: Option<String>, seconds: f64, nvml: Option<PathBuf>) -> PyResult<Self> {
        let host = Settings::host();
        let settings = Settings { nvml: nvml.or(host.nvml), root: host.root };
        let every = Duration::try_from_secs_f64(seconds)
            .map_err(|error| Error::Config(format!("seconds={seconds}: {error}")))
            .into_python(py)?;
        let sampler = py
            .detach(|| Sampler::start(&settings, pci.as_deref(), every))
            .map_err(|error| Error::Machine(error.to_string()))
            .into_python(py)?;
        Ok(Self { sampler: Mutex::new(Some(sampler)) })
    }

    /// What was seen so far, as JSON; `None` once stopped.
    fn seen(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let seen = self.sampler().as_ref().map(Sampler::seen);
        let text = seen.map(|seen| serde_json::to_string(&seen)).transpose();
        text.map_err(|error| to_python(py, &Error::Machine(error.to_string())))
    }

    /// Ends the sampling.
    fn stop(&self, py: Python<'_>) {
        let sampler = self.sampler().take();
        py.detach(|| drop(sampler));
    }
}

impl Activity {
    fn sampler(&self) -> MutexGuard<'_, Option<Sampler>> {
        self.sampler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
