//! `Meter`: the counters of one native loader. It waits for nothing and outlives the threads that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyDict;
use zenith_data::SampleError;
use zenith_data::pipeline::{self, Pipeline};
use zenith_data::source::Source;
use zenith_data::transform::chain::Account;

/// Reads what a loader's pipeline spent, also after its end.
#[pyclass(module = "zenith._core", frozen)]
#[derive(Clone)]
pub(crate) struct Meter {
    pub(crate) pipeline: pipeline::Meter,
    source: Arc<dyn Source>,
    workers: usize,
    depth: usize,
    /// How often an iterator took the workers back from another one.
    pub(crate) taken_back: Arc<AtomicU64>,
}

impl Meter {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        let (workers, depth) = pipeline.size();
        Self {
            pipeline: pipeline.meter(),
            source: Arc::clone(pipeline.source()),
            workers,
            depth,
            taken_back: Arc::default(),
        }
    }
}

/// What a plugin did, as Python has it: (name, samples, nanoseconds, dropped, split).
pub(crate) type PluginCounts = (String, u64, u64, u64, u64);

/// What the plugins behind `source` did so far, over all its loaders.
pub(crate) fn plugins(source: &dyn Source) -> Vec<PluginCounts> {
    let counts = |a: Account| (a.name, a.samples, a.nanoseconds, a.dropped, a.split);
    source.accounts().into_iter().map(counts).collect()
}

#[pymethods]
impl Meter {
    /// The counters, as a dict of numbers; times in nanoseconds.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.pipeline.snapshot();
        let dict = PyDict::new(py);
        for (name, value) in [
            ("read_ns", counters.read_ns),
            ("decode_ns", counters.decode_ns),
            ("transform_ns", counters.transform_ns),
            ("bytes", counters.bytes),
            ("filled", counters.filled),
            ("worker_wait_ns", counters.worker_wait_ns),
            ("skipped", counters.skipped),
            ("batches", counters.consumer.batches),
            ("samples", counters.consumer.samples),
            ("wait_ns", counters.consumer.wait_ns),
            ("help_ns", counters.consumer.help_ns),
            ("step_ns", counters.consumer.step_ns),
            ("first_batch_ns", counters.consumer.first_batch_ns),
            ("workers", self.workers as u64),
            ("prefetched_batches", self.depth as u64),
            ("taken_back", self.taken_back.load(Ordering::Relaxed)),
        ] {
            dict.set_item(name, value)?;
        }
        let mut facts = self.source.facts();
        let mut notes = self.source.notes();
        if let Some(pool) = self.pipeline.pool() {
            facts.push(("slabs".to_owned(), pool.to_string()));
            notes.extend(pool.notes());
        }
        dict.set_item("facts", facts)?;
        dict.set_item("notes", notes)?;
        dict.set_item("plugins", plugins(&*self.source))?;
        Ok(dict)
    }

    /// Skipped samples in the order of the stream: [(sample, path or None, reason)]; the reason begins with the plugin's
    /// name where one is to blame.
    fn skipped(&self) -> Vec<(u64, Option<String>, String)> {
        let row = |error: SampleError| {
            let reason = match error.transform {
                Some(plugin) => format!("{plugin}: {}", error.reason),
                None => error.reason,
            };
            (error.sample, error.path.map(|path| path.to_string_lossy().into_owned()), reason)
        };
        self.pipeline.skipped().into_iter().map(row).collect()
    }
}
