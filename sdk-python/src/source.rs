//! `Source`: something to read samples from, with the loaders and single samples it gives.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use serde::Deserialize;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::pipeline::{Batch, OnError, Pipeline, PipelineConfig, Place, StreamSpec};
use zenith_data::sampler::weighted::Weights;
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::schema::Shape;
use zenith_data::source::staged::Staged;
use zenith_data::source::subset::Subset;
use zenith_data::source::{Filler, SampleKey, Source as Samples, Spent};
use zenith_data::transform::Op;
use zenith_data::transform::chain::Link;
use zenith_data::{Error, Schema};
use zenith_runtime_cpu::allocator::PagesWanted;
use zenith_runtime_cpu::buffer::{SlabPool, SlabPoolConfig};
use zenith_runtime_cpu::config::RawMachineConfig;
use zenith_runtime_cpu::numa::{CpuSet, Topology};

use crate::array::Array;
use crate::errors::IntoPython;
use crate::gpu::locked_memory;
use crate::loader::{Loader, config_error};
use crate::meter::{self, PluginCounts};
use crate::track::Track;
use crate::wasm::Wasm;

/// How samples become batches, as Python says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderArguments {
    batch_size: u64,
    shuffle: bool,
    seed: u64,
    rank: u64,
    world_size: u64,
    drop_last: bool,
    /// Draws per epoch, for weighted sampling.
    draws: Option<u64>,
}

impl OrderArguments {
    /// Reads the JSON that `zenith._order` writes.
    pub(crate) fn parse(py: Python<'_>, json: &str) -> PyResult<Self> {
        let this: Self = serde_json::from_str(json).map_err(|error| config_error(py, error.to_string()))?;
        if this.batch_size == 0 || this.world_size == 0 {
            return Err(config_error(py, "batch_size and world_size must be at least 1"));
        }
        Ok(this)
    }

    /// The stream over `samples` samples; `blocks` are runs with the samples a window may hold.
    pub(crate) fn spec(
        &self,
        samples: u64,
        blocks: Option<(&[u64], u64)>,
        weights: Option<&[f64]>,
    ) -> zenith_data::Result<StreamSpec> {
        let order = match (weights, self.shuffle, blocks) {
            (Some(weights), _, _) if weights.len() as u64 != samples => {
                let reason = format!("{} weights for {samples} samples", weights.len());
                return Err(Error::Config(reason));
            }
            (Some(weights), _, _) => OrderSpec::Weighted {
                weights: Arc::new(Weights::new(weights)?),
                draws: self.draws.unwrap_or(samples),
            },
            (None, true, Some((ends, window))) => OrderSpec::Blocks { ends: Arc::from(ends), window },
            (None, true, None) => OrderSpec::Shuffled,
            (None, false, _) => OrderSpec::Sequential,
        };
        let cut = Cut::Even {
            batch_size: self.batch_size,
            rank: self.rank,
            world: self.world_size,
            drop_last: self.drop_last,
        };
        Ok(StreamSpec { order, cut, samples, seed: self.seed })
    }
}

/// How a loader runs, as Python says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunArguments {
    workers: usize,
    prefetch: usize,
    skip: bool,
    /// Samples of the largest batch, where the user gives batches of his own.
    largest_batch: Option<usize>,
    /// The CUDA device that the batch slabs are locked for.
    #[serde(default)]
    locked_for: Option<u32>,
}

/// Where batches and workers are to be, by the environment (`ZENITH_PAGES`, `ZENITH_NODE`, `ZENITH_PIN`).
struct Machine {
    pages: PagesWanted,
    node: Option<u32>,
    cpus: Option<CpuSet>,
}

fn machine(workers: usize) -> zenith_data::Result<Machine> {
    let topology = Topology::host().map_err(|error| Error::Machine(error.to_string()))?;
    let config = RawMachineConfig::from_env(|name| std::env::var(name).ok())
        .check(&topology)
        .map_err(|error| Error::Config(error.to_string()))?;
    let cpus = config.worker_cpus(&topology, config.node, workers);
    Ok(Machine { pages: config.pages, node: config.node, cpus })
}

/// Something to read samples from.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Source {
    samples: Arc<dyn Samples>,
    single: Single,
}

/// What reading one sample at a time needs.
struct Single {
    schema: Arc<Schema>,
    layout: Arc<SlotLayout>,
    pool: SlabPool,
    fillers: Mutex<Fillers>,
}

/// Readers that are not in use just now, and the process that they work in.
struct Fillers {
    process: u32,
    idle: Vec<Box<dyn Filler>>,
}

impl Fillers {
    /// Those of this process: a forked child cannot read with its parent's.
    fn here(&mut self) -> &mut Vec<Box<dyn Filler>> {
        let process = std::process::id();
        if self.process != process {
            *self = Self { process, idle: Vec::new() };
        }
        &mut self.idle
    }
}

impl Source {
    pub(crate) fn new(samples: Arc<dyn Samples>) -> zenith_data::Result<Self> {
        let schema = Arc::new(samples.schema().clone());
        let layout = Arc::new(SlotLayout::new(&schema, 1)?);
        let pool = SlabPool::new(SlabPoolConfig {
            slab_bytes: layout.bytes().max(1),
            keep: 4,
            pages: PagesWanted::Auto,
            node: None,
        })
        .map_err(|error| Error::Machine(error.to_string()))?;
        let fillers = Mutex::new(Fillers { process: std::process::id(), idle: Vec::new() });
        Ok(Self { samples, single: Single { schema, layout, pool, fillers } })
    }

    /// Runs of samples that are cheap to read together, and the samples that a shuffle's window may hold.
    pub(crate) fn blocks(&self) -> Option<(&[u64], u64)> {
        self.samples.blocks()
    }

    fn read(&self, key: SampleKey) -> zenith_data::Result<Batch> {
        let single = &self.single;
        let fillers = || single.fillers.lock().unwrap_or_else(PoisonError::into_inner);
        let pop = || fillers().here().pop();
        let mut filler = match pop() {
            Some(filler) => filler,
            None => self.samples.filler()?,
        };
        let mut lease = single.pool.lease().map_err(|error| Error::Machine(error.to_string()))?;
        let mut slots = Slots::of(lease.as_mut_slice(), &single.layout, 1);
        let outcome = filler.fill(&[key], &mut slots, &mut Spent::default());
        fillers().here().push(filler);
        outcome.map_err(|(_, error)| Error::Sample(error))?;
        let place = Place::new(key.epoch, 0);
        Ok(Batch::new(lease, Arc::clone(&single.layout), Arc::clone(&single.schema), 1, place))
    }
}

/// A member of a chain, as Python says it.
#[derive(FromPyObject)]
pub(crate) enum StagedLink<'py> {
    #[pyo3(transparent)]
    Plugin(Bound<'py, Wasm>),
    Native(String, bool),
}

#[pymethods]
impl Source {
    /// A loader over the source, which leaves its marks on `track`.
    #[pyo3(signature = (order, run, track, weights=None))]
    fn loader(
        &self,
        py: Python<'_>,
        order: &str,
        run: &str,
        track: &Track,
        weights: Option<Vec<f64>>,
    ) -> PyResult<Loader> {
        let order = OrderArguments::parse(py, order)?;
        let run: RunArguments =
            serde_json::from_str(run).map_err(|error| config_error(py, error.to_string()))?;
        let blocks = self.samples.blocks();
        let spec = order.spec(self.samples.len(), blocks, weights.as_deref()).into_python(py)?;
        let machine = machine(run.workers).into_python(py)?;
        let config = PipelineConfig {
            batch_size: run.largest_batch.unwrap_or(order.batch_size as usize),
            workers: run.workers,
            uncapped: false,
            prefetch: run.prefetch,
            on_error: if run.skip { OnError::Skip } else { OnError::Raise },
            pages: machine.pages,
            node: machine.node,
            cpus: machine.cpus,
        };
        let samples = Arc::clone(&self.samples);
        let pipeline = py
            .detach(|| match run.locked_for {
                None => Pipeline::new(samples, spec, config),
                Some(device) => {
                    let memory = locked_memory(device, config.pages, config.node)?;
                    Pipeline::with_memory(samples, spec, config, Box::new(memory))
                }
            })
            .into_python(py)?;
        Ok(Loader::new(pipeline, Arc::clone(&track.marks)))
    }

    /// The arrays of one sample, each with a batch dimension of 1, augmented as in `epoch`.
    fn sample(&self, py: Python<'_>, index: u64, seed: u64, epoch: u64) -> PyResult<Vec<Array>> {
        if index >= self.samples.len() {
            let text = format!("sample {index} of {}", self.samples.len());
            return Err(pyo3::exceptions::PyIndexError::new_err(text));
        }
        let batch = py.detach(|| self.read(SampleKey { sample: index, seed, epoch })).into_python(py)?;
        Ok((0..batch.schema().fields.len()).map(|field| Array::of(&batch, field)).collect())
    }

    /// The samples at `indices`, in that order.
    fn subset(&self, py: Python<'_>, indices: Vec<u64>) -> PyResult<Self> {
        let subset = Subset::new(Arc::clone(&self.samples), indices).into_python(py)?;
        Self::new(Arc::new(subset)).into_python(py)
    }

    /// The source with transforms behind its inputs: plugins, and native operations between them as (JSON, whether what
    /// reaches them is a picture).
    fn staged(&self, py: Python<'_>, links: Vec<StagedLink<'_>>) -> PyResult<Self> {
        let link = |link: StagedLink<'_>| match link {
            StagedLink::Plugin(plugin) => Ok(plugin.get().link()),
            StagedLink::Native(ops, picture) => {
                let ops: Vec<Op> =
                    serde_json::from_str(&ops).map_err(|error| Error::Config(error.to_string()))?;
                Ok(Link::Native { ops, picture })
            }
        };
        let links = links.into_iter().map(link).collect::<zenith_data::Result<Vec<_>>>().into_python(py)?;
        let inner = Arc::clone(&self.samples);
        py.detach(|| Self::new(Arc::new(Staged::new(inner, links)?))).into_python(py)
    }

    fn __len__(&self) -> usize {
        self.samples.len() as usize
    }

    /// A number that changes when the data changes.
    #[getter]
    fn fingerprint(&self) -> u64 {
        self.samples.fingerprint()
    }

    /// Whether rows are read in blocks as they are needed, rather than held in memory.
    #[getter]
    fn streamed(&self) -> bool {
        self.samples.blocks().is_some()
    }

    /// Names of the label's classes, or `None`.
    #[getter]
    fn classes(&self) -> Option<Vec<String>> {
        self.samples.classes().map(<[String]>::to_vec)
    }

    /// The fields of a sample: [(name, dtype, shape)].
    #[getter]
    fn fields(&self) -> Vec<(String, &'static str, Vec<usize>)> {
        let fields = &self.samples.schema().fields;
        fields.iter().map(|f| (f.name.clone(), f.dtype.name(), f.shape.clone())).collect()
    }

    /// How the fields of a sample belong together: `tuple`, `single` or `dict`.
    #[getter]
    fn shape(&self) -> &'static str {
        match self.samples.schema().shape {
            Shape::Tuple => "tuple",
            Shape::Single => "single",
            Shape::Dict => "dict",
        }
    }

    /// Whether the first field holds decoded pictures.
    #[getter]
    fn pictures(&self) -> bool {
        self.samples.pictures()
    }

    /// Samples that a shuffle's window may hold where the source is streamed; `None` where a shuffle is exact.
    #[getter]
    fn window(&self) -> Option<u64> {
        self.samples.blocks().map(|(_, window)| window)
    }

    /// How many processes can read the source side by side, each with its part of the memory budget; `None` for any number.
    #[getter]
    fn readers(&self) -> Option<u64> {
        self.samples.readers()
    }

    /// From here on this process is one of `readers` that share the memory budget.
    fn share(&self, readers: u64) {
        self.samples.share(readers);
    }

    /// A number that changes when what plugins split samples into may be something else; `None` where they split none.
    #[getter]
    fn splitting(&self) -> Option<u64> {
        self.samples.splitting()
    }

    /// What its plugins did so far: [(name, samples, nanoseconds, dropped, split)].
    #[getter]
    fn plugins(&self) -> Vec<PluginCounts> {
        meter::plugins(&*self.samples)
    }

    /// Facts about the source: [(name, value)].
    #[getter]
    fn facts(&self) -> Vec<(String, String)> {
        self.samples.facts()
    }

    /// What is done in another way than asked, or slower than it could be.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.samples.notes()
    }
}
