//! `Order`: the sampler by itself, for loaders whose samples only Python can read.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use zenith_data::pipeline::{EpochPlan, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};

use crate::errors::IntoPython;
use crate::source::{OrderArguments, Source};

/// The batches of any epoch as lists of sample indices; the same that a native loader would read.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Order {
    spec: StreamSpec,
    /// The epoch asked for last; building one can cost a pass over the blocks.
    plan: Mutex<Option<Arc<EpochPlan>>>,
}

impl Order {
    fn plan(&self, epoch: u64) -> Arc<EpochPlan> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match &*plan {
            Some(known) if known.epoch() == epoch => Arc::clone(known),
            _ => Arc::clone(plan.insert(Arc::new(EpochPlan::new(&self.spec, epoch)))),
        }
    }
}

#[pymethods]
impl Order {
    #[new]
    #[pyo3(signature = (samples, arguments, weights=None, source=None))]
    fn new(
        py: Python<'_>,
        samples: u64,
        arguments: &str,
        weights: Option<Vec<f64>>,
        source: Option<&Source>,
    ) -> PyResult<Self> {
        let blocks = source.and_then(Source::blocks);
        let spec = OrderArguments::parse(py, arguments)?.spec(samples, blocks, weights.as_deref());
        Ok(Self { spec: spec.into_python(py)?, plan: Mutex::new(None) })
    }

    /// The same cut over the user's own order of one epoch.
    #[pyo3(signature = (order, ends=None))]
    fn listed(&self, order: Vec<u64>, ends: Option<Vec<u64>>) -> Self {
        let cut = match (ends, &self.spec.cut) {
            (Some(ends), _) => Cut::Listed(Arc::from(ends)),
            (None, Cut::Even { batch_size, drop_last, .. }) => {
                Cut::Even { batch_size: *batch_size, rank: 0, world: 1, drop_last: *drop_last }
            }
            (None, cut) => cut.clone(),
        };
        let order = OrderSpec::Listed(Arc::from(order));
        Self { spec: StreamSpec { order, cut, ..self.spec.clone() }, plan: Mutex::new(None) }
    }

    /// The batch that begins at a place: (indices, cursor behind it), or `None` at the end of the epoch.
    fn batch(&self, epoch: u64, cursor: u64) -> Option<(Vec<u64>, u64)> {
        let plan = self.plan(epoch);
        let step = plan.step(cursor)?;
        Some((step.positions.map(|position| plan.key(position).sample).collect(), step.next))
    }

    /// The cursor behind the batch that begins at a place, or `None` at the end of the epoch.
    fn after(&self, epoch: u64, cursor: u64) -> Option<u64> {
        Some(self.plan(epoch).step(cursor)?.next)
    }

    /// Batches from a place to the end of its epoch.
    fn steps_from(&self, epoch: u64, cursor: u64) -> u64 {
        self.plan(epoch).steps_from(cursor)
    }
}
