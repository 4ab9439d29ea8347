//! `Loader`: a pipeline as Python sees it, and the iterators over it. Every wait happens with the GIL released.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use zenith_data::pipeline::{Batch, Pipeline, Place, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::schema::Shape;
use zenith_data::transform::chain::Account;
use zenith_data::{Error, SampleError};

use crate::array::Array;
use crate::dlpack;
use crate::errors::{IntoPython, to_python};

/// A pipeline over one source. Built by `zenith._core.open_paths` and its siblings.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Loader {
    pipeline: Mutex<Option<Pipeline>>,
    /// Field names, for dict batches.
    names: Vec<String>,
    shape: Shape,
    /// How often iteration began; an iterator of an earlier beginning must not take batches of a later one.
    beginnings: AtomicU64,
}

impl Loader {
    pub(crate) fn new(pipeline: Pipeline) -> Self {
        let schema = pipeline.source().schema();
        let names = schema.fields.iter().map(|field| field.name.clone()).collect();
        let shape = schema.shape;
        Self { pipeline: Mutex::new(Some(pipeline)), names, shape, beginnings: AtomicU64::new(0) }
    }

    fn batches(slf: &Bound<'_, Self>, convert: Convert) -> Batches {
        Batches {
            beginning: slf.get().beginnings.load(Ordering::Relaxed),
            loader: slf.clone().unbind(),
            convert,
            done: Mutex::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Pipeline>> {
        self.pipeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Pipeline) -> zenith_data::Result<T> + Send,
    ) -> PyResult<T> {
        let outcome = py.detach(|| self.lock().as_mut().map(act));
        outcome.ok_or_else(|| closed(py))?.into_python(py)
    }

    /// The next batch; asks Python for signals while it waits, so that Ctrl-C works.
    fn next_batch(&self, py: Python<'_>) -> PyResult<Option<Batch>> {
        let mut signal: Option<PyErr> = None;
        let outcome = py.detach(|| {
            let mut guard = self.lock();
            let pipeline = guard.as_mut()?;
            Some(pipeline.next_while(&mut || match Python::attach(|py| py.check_signals()) {
                Ok(()) => true,
                Err(raised) => {
                    signal = Some(raised);
                    false
                }
            }))
        });
        match (outcome.ok_or_else(|| closed(py))?, signal) {
            (Err(Error::Interrupted), Some(raised)) => Err(raised),
            (outcome, _) => outcome.into_python(py),
        }
    }

    fn assemble<'py>(
        &self,
        py: Python<'py>,
        len: usize,
        mut array: impl FnMut(usize) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self.shape {
            Shape::Single => array(0),
            Shape::Tuple if len == 2 => Ok((array(0)?, array(1)?).into_pyobject(py)?.into_any()),
            Shape::Tuple => {
                let arrays = (0..len).map(array).collect::<PyResult<Vec<_>>>()?;
                Ok(PyTuple::new(py, arrays)?.into_any())
            }
            Shape::Dict => {
                let dict = PyDict::new(py);
                for (field, name) in self.names.iter().enumerate() {
                    dict.set_item(name, array(field)?)?;
                }
                Ok(dict.into_any())
            }
        }
    }
}

fn closed(py: Python<'_>) -> PyErr {
    to_python(py, &Error::Machine("the loader is closed".into()))
}

/// A place as Python has it: epoch, cursor, part.
type Numbers = (u64, u64, u64);

fn place_of((epoch, cursor, part): Numbers) -> Place {
    Place { epoch, cursor, part }
}

#[pymethods]
impl Loader {
    /// Goes to a place; the iterators made afterwards start there.
    fn begin(&self, py: Python<'_>, place: Numbers) -> PyResult<()> {
        self.beginnings.fetch_add(1, Ordering::Relaxed);
        self.with(py, |pipeline| pipeline.begin(place_of(place)))
    }

    /// Goes to a place of one epoch with the user's own order (and the user's own batches, given by their ends).
    #[pyo3(signature = (place, order, ends=None))]
    fn begin_listed(
        &self,
        py: Python<'_>,
        place: Numbers,
        order: Vec<u64>,
        ends: Option<Vec<u64>>,
    ) -> PyResult<()> {
        self.beginnings.fetch_add(1, Ordering::Relaxed);
        self.with(py, |pipeline| {
            let samples = pipeline.source().len();
            if let Some((at, sample)) = order.iter().enumerate().find(|(_, sample)| **sample >= samples) {
                let reason = format!(
                    "the sampler gave index {sample} at place {at}; the source has {samples} samples"
                );
                return Err(Error::Config(reason));
            }
            let old = pipeline.spec();
            let cut = match (ends, &old.cut) {
                (Some(ends), _) => Cut::Listed(Arc::from(ends)),
                (None, Cut::Even { batch_size, drop_last, .. }) => {
                    Cut::Even { batch_size: *batch_size, rank: 0, world: 1, drop_last: *drop_last }
                }
                (None, cut) => cut.clone(),
            };
            let order = OrderSpec::Listed(Arc::from(order));
            let spec = StreamSpec { order, cut, samples, seed: old.seed };
            pipeline.begin_with(spec, place_of(place))
        })
    }

    /// The place behind the last batch taken: (epoch, cursor, part).
    fn place(&self, py: Python<'_>) -> PyResult<Numbers> {
        let Place { epoch, cursor, part } = self.with(py, |pipeline| Ok(pipeline.place()))?;
        Ok((epoch, cursor, part))
    }

    /// Batches from a place to the end of its epoch, on this rank.
    fn steps_from(&self, py: Python<'_>, place: Numbers) -> PyResult<u64> {
        self.with(py, |pipeline| {
            let unknown = || {
                Error::Config("plugins that drop or split samples leave the number of batches open".into())
            };
            pipeline.steps_from(place_of(place)).ok_or_else(unknown)
        })
    }

    /// Iterates over the epoch as torch tensors; `from_dlpack` takes a capsule.
    fn tensors(slf: &Bound<'_, Self>, from_dlpack: Py<PyAny>) -> Batches {
        Self::batches(slf, Convert::Capsule(from_dlpack))
    }

    /// Iterates over the epoch as whatever `convert` makes of an [`Array`].
    fn arrays(slf: &Bound<'_, Self>, convert: Py<PyAny>) -> Batches {
        Self::batches(slf, Convert::Array(convert))
    }

    /// The counters, as a dict of numbers.
    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (counters, pool, (workers, depth), facts, accounts) = self.with(py, |pipeline| {
            let source = pipeline.source();
            Ok((
                pipeline.snapshot(),
                pipeline.pool().stats(),
                pipeline.size(),
                source.facts(),
                source.accounts(),
            ))
        })?;
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
            ("workers", workers as u64),
            ("prefetched_batches", depth as u64),
        ] {
            dict.set_item(name, value)?;
        }
        dict.set_item("slabs", format!("{pool:?}"))?;
        dict.set_item("facts", facts)?;
        let account = |a: Account| (a.name, a.samples, a.nanoseconds, a.dropped, a.split);
        dict.set_item("plugins", accounts.into_iter().map(account).collect::<Vec<_>>())?;
        Ok(dict)
    }

    /// Skipped samples in the order of the stream: [(sample, path or None, reason)]; the reason begins with the plugin's
    /// name where one is to blame.
    fn skipped(&self, py: Python<'_>) -> PyResult<Vec<(u64, Option<String>, String)>> {
        let row = |error: SampleError| {
            let reason = match error.transform {
                Some(plugin) => format!("{plugin}: {}", error.reason),
                None => error.reason,
            };
            (error.sample, error.path.map(|path| path.to_string_lossy().into_owned()), reason)
        };
        self.with(py, |pipeline| Ok(pipeline.skipped().into_iter().map(row).collect()))
    }

    /// Stops and joins the workers. Batches that were handed out stay valid.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.lock().take()));
    }
}

enum Convert {
    Capsule(Py<PyAny>),
    Array(Py<PyAny>),
}

/// Iterates over the rest of the loader's epoch.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Batches {
    loader: Py<Loader>,
    convert: Convert,
    done: Mutex<bool>,
    beginning: u64,
}

#[pymethods]
impl Batches {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if *self.done.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(None);
        }
        let loader = self.loader.bind(py).get();
        if loader.beginnings.load(Ordering::Relaxed) != self.beginning {
            let text = "a newer iterator of this loader has taken over; one loader iterates once at a time";
            return Err(to_python(py, &Error::Machine(text.into())));
        }
        let Some(batch) = loader.next_batch(py)? else {
            *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            return Ok(None);
        };
        let fields = batch.schema().fields.len();
        let assembled = match &self.convert {
            Convert::Capsule(convert) => loader.assemble(py, fields, |field| {
                let capsule = dlpack::capsule(py, &batch.array(field), Arc::clone(batch.lease()))?;
                convert.bind(py).call1((capsule,))
            }),
            Convert::Array(convert) => loader.assemble(py, fields, |field| {
                convert.bind(py).call1((Bound::new(py, Array::of(&batch, field))?,))
            }),
        };
        assembled.map(Some)
    }
}

/// Errors while a loader is being built.
pub(crate) fn config_error(py: Python<'_>, reason: impl Into<String>) -> PyErr {
    to_python(py, &Error::Config(reason.into()))
}
