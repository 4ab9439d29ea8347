//! `Loader`: a pipeline as Python sees it, and the iterators over it. Every wait happens with the GIL released.
//!
//! One pipeline serves all iterators of a loader: each keeps its own place, and goes back to it where another has used
//! the workers since. The pipeline's lock is held while waiting, but never while Python code runs: a signal handler may
//! use the loader that the interrupted `next` waits for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use zenith_data::Error;
use zenith_data::pipeline::{Batch, EpochPlan, Pipeline, Place, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::schema::Shape;
use zenith_data::transform::custom::Yield;

use crate::array::Array;
use crate::dlpack;
use crate::errors::{IntoPython, closed, to_python};
use crate::meter::Meter;
use crate::track::{At, Marks};

/// A pipeline over one source. Built by `zenith._core.Source.loader`.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Loader {
    running: Mutex<Running>,
    /// Set before the lock is asked for, so that a `next` on another thread stops waiting.
    closing: AtomicBool,
    spec: StreamSpec,
    /// Whether plugins may drop or split samples.
    recut: bool,
    meter: Meter,
    marks: Arc<Marks>,
    /// Field names, for dict batches.
    names: Vec<String>,
    shape: Shape,
}

/// What an iterator needs for itself while it takes a batch.
struct Running {
    /// `None` once closed.
    pipeline: Option<Pipeline>,
    /// The iterator the pipeline works for.
    holder: u64,
}

impl Running {
    /// Points the pipeline at a place of its own stream, or of the user's own order; `None` once closed.
    fn go_to(&mut self, listed: Option<&StreamSpec>, place: Place) -> Option<zenith_data::Result<()>> {
        // Whoever held it must come back to its own place, even if this fails half-way.
        self.holder = 0;
        let pipeline = self.pipeline.as_mut()?;
        Some(match listed {
            Some(spec) => pipeline.begin_with(spec.clone(), place),
            None => pipeline.begin(place),
        })
    }
}

impl Loader {
    pub(crate) fn new(pipeline: Pipeline, marks: Arc<Marks>) -> Self {
        let schema = pipeline.source().schema();
        let names = schema.fields.iter().map(|field| field.name.clone()).collect();
        Self {
            closing: AtomicBool::new(false),
            spec: pipeline.spec().clone(),
            recut: pipeline.source().parts() != Yield::One,
            meter: Meter::new(&pipeline),
            marks,
            names,
            shape: schema.shape,
            running: Mutex::new(Running { pipeline: Some(pipeline), holder: 0 }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an iteration, and its batches are on the way.
    fn begin(
        slf: &Bound<'_, Self>,
        convert: Convert,
        at: At,
        listed: Option<StreamSpec>,
    ) -> PyResult<Batches> {
        let (py, this) = (slf.py(), slf.get());
        let place = place_of(at);
        let begun = py.detach(|| {
            let mut running = this.lock();
            Some(running.go_to(listed.as_ref(), place)?.map(|()| {
                running.holder = this.marks.begin(at);
                running.holder
            }))
        });
        let number = begun.ok_or_else(|| closed(py))?.into_python(py)?;
        let pass = Pass { number, listed, state: Mutex::new((place, false)) };
        Ok(Batches { loader: slf.clone().unbind(), marks: Arc::clone(&this.marks), convert, pass })
    }

    /// The stream over one epoch in the user's own order.
    fn listed(
        &self,
        py: Python<'_>,
        order: Option<Vec<u64>>,
        ends: Option<Vec<u64>>,
    ) -> PyResult<Option<StreamSpec>> {
        let Some(order) = order else {
            return Ok(None);
        };
        let samples = self.spec.samples;
        if let Some((at, sample)) = order.iter().enumerate().find(|(_, sample)| **sample >= samples) {
            let reason =
                format!("the sampler gave index {sample} at place {at}; the source has {samples} samples");
            return Err(config_error(py, reason));
        }
        let cut = match (ends, &self.spec.cut) {
            (Some(ends), _) => Cut::Listed(Arc::from(ends)),
            (None, Cut::Even { batch_size, drop_last, .. }) => {
                Cut::Even { batch_size: *batch_size, rank: 0, world: 1, drop_last: *drop_last }
            }
            (None, cut) => cut.clone(),
        };
        let order = OrderSpec::Listed(Arc::from(order));
        Ok(Some(StreamSpec { order, cut, samples, seed: self.spec.seed }))
    }

    /// The next batch of an iterator. Python's signal handlers run between two waits, when nothing is locked.
    fn next_batch(&self, py: Python<'_>, pass: &Pass) -> PyResult<Option<Batch>> {
        loop {
            let outcome = py.detach(|| {
                let mut running = self.lock();
                if self.closing.load(Ordering::Acquire) {
                    return None;
                }
                if running.holder != pass.number {
                    let place = pass.state().0;
                    if let Err(error) = running.go_to(pass.listed.as_ref(), place)? {
                        return Some(Err(error));
                    }
                    running.holder = pass.number;
                    self.meter.taken_back.fetch_add(1, Ordering::Relaxed);
                }
                let pipeline = running.pipeline.as_mut()?;
                let outcome = pipeline.next_while(&mut || false);
                pass.state().0 = pipeline.place();
                Some(outcome)
            });
            match outcome.ok_or_else(|| closed(py))? {
                Err(Error::Interrupted) => py.check_signals()?,
                outcome => {
                    let place = pass.state().0;
                    self.marks.reach(pass.number, (place.epoch, place.cursor, place.part));
                    return outcome.into_python(py);
                }
            }
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

fn place_of((epoch, cursor, part): At) -> Place {
    Place { epoch, cursor, part }
}

#[pymethods]
impl Loader {
    /// Batches from a place to the end of its epoch, on this rank.
    fn steps_from(&self, py: Python<'_>, place: At) -> PyResult<u64> {
        if self.recut {
            let reason = "plugins that drop or split samples leave the number of batches open";
            return Err(config_error(py, reason));
        }
        Ok(EpochPlan::new(&self.spec, place.0).steps_from(place.1))
    }

    /// Iterates from a place to its epoch's end as torch tensors; `from_dlpack` takes a capsule. `order` is the user's
    /// own order of the epoch, `ends` his own batches of it.
    #[pyo3(signature = (from_dlpack, place, order=None, ends=None))]
    fn tensors(
        slf: &Bound<'_, Self>,
        from_dlpack: Py<PyAny>,
        place: At,
        order: Option<Vec<u64>>,
        ends: Option<Vec<u64>>,
    ) -> PyResult<Batches> {
        let listed = slf.get().listed(slf.py(), order, ends)?;
        Self::begin(slf, Convert::Capsule(from_dlpack), place, listed)
    }

    /// As `tensors`, but as whatever `convert` makes of an [`Array`].
    #[pyo3(signature = (convert, place, order=None, ends=None))]
    fn arrays(
        slf: &Bound<'_, Self>,
        convert: Py<PyAny>,
        place: At,
        order: Option<Vec<u64>>,
        ends: Option<Vec<u64>>,
    ) -> PyResult<Batches> {
        let listed = slf.get().listed(slf.py(), order, ends)?;
        Self::begin(slf, Convert::Array(convert), place, listed)
    }

    /// What reads the counters, also after the loader's end.
    fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Stops and joins the workers. Batches that were handed out stay valid; iterators raise LoaderClosedError.
    fn close(&self, py: Python<'_>) {
        self.closing.store(true, Ordering::Release);
        py.detach(|| drop(self.lock().pipeline.take()));
    }
}

enum Convert {
    Capsule(Py<PyAny>),
    Array(Py<PyAny>),
}

/// One iterator's way through an epoch.
struct Pass {
    /// As the track counts.
    number: u64,
    listed: Option<StreamSpec>,
    /// The place behind the last batch, and whether the epoch is at its end.
    state: Mutex<(Place, bool)>,
}

impl Pass {
    fn state(&self) -> MutexGuard<'_, (Place, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Iterates over the rest of an epoch.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Batches {
    loader: Py<Loader>,
    marks: Arc<Marks>,
    convert: Convert,
    pass: Pass,
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.marks.leave(self.pass.number);
    }
}

#[pymethods]
impl Batches {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    /// The place behind the last batch.
    #[getter]
    fn place(&self) -> At {
        let place = self.pass.state().0;
        (place.epoch, place.cursor, place.part)
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        if self.pass.state().1 {
            return Ok(None);
        }
        let loader = self.loader.bind(py).get();
        let Some(batch) = loader.next_batch(py, &self.pass)? else {
            self.pass.state().1 = true;
            self.marks.end(self.pass.number);
            return Ok(None);
        };
        let taken = Instant::now();
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
        loader.meter.pipeline.handed_over(taken.elapsed());
        assembled.map(Some)
    }
}

/// Errors while a loader is being built.
pub(crate) fn config_error(py: Python<'_>, reason: impl Into<String>) -> PyErr {
    to_python(py, &Error::Config(reason.into()))
}
