//! `KernelSelector`: the selection as the package drives it. Problems come as the text of their keys, candidates as objects that
//! describe themselves, answers go out as JSON.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;
use zenith_runtime_gpu::kernel::store::{Exchange, Outcome, Scope};
use zenith_runtime_gpu::kernel::timer::Sample;
use zenith_runtime_gpu::kernel::{
    Buckets, CandidateId, Candidates, CpuTimer, Device, Environment, Failure, Key, Library, Name, Pin,
    Problem, Rejection, Row, Rule, Selector, Settings, Store, Workload,
};

use super::candidate::{Described, Interrupt, PyCandidate, PyWorkload, made};
use crate::errors::kernel_error;

/// Settings as the package writes them; what is absent stays as it is by default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    delta: Option<f64>,
    budget_ms: Option<f64>,
    reach: Option<f64>,
    near: Option<f64>,
}

/// Chooses implementations, and remembers.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct KernelSelector(Selector);

/// How sizes are put together: steps per doubling by the name of the dimension (0: each size by itself), and of all others.
type Steps = (Vec<(String, u32)>, u32);

fn fail(py: Python<'_>, kind: &str, error: &dyn std::fmt::Display) -> PyErr {
    kernel_error(py, kind, &error.to_string(), None)
}

fn rule(steps: u32) -> Rule {
    if steps == 0 { Rule::Exact } else { Rule::Octave(steps) }
}

impl KernelSelector {
    fn problem(py: Python<'_>, text: &str) -> PyResult<Problem> {
        text.parse().map_err(|error| fail(py, "key", &error))
    }

    fn key(py: Python<'_>, text: &str) -> PyResult<Key> {
        text.parse().map_err(|error| fail(py, "key", &error))
    }

    fn candidates(
        py: Python<'_>,
        described: Vec<Described>,
        (named, others): Steps,
        interrupt: &Interrupt,
    ) -> PyResult<Candidates> {
        let key_error = |error: &dyn std::fmt::Display| fail(py, "key", error);
        let mut buckets = Buckets::all(rule(others));
        for (name, steps) in named {
            buckets = buckets.with(Name::new(&name).map_err(|error| key_error(&error))?, rule(steps));
        }
        let mut all = described.into_iter().map(|one| PyCandidate::new(one, interrupt));
        let default = all.next().ok_or_else(|| fail(py, "candidate", &"there is no candidate"))?;
        let default = default.map_err(|error| key_error(&error))?;
        let mut candidates = Candidates::new(Arc::new(default), buckets);
        for candidate in all {
            let candidate = candidate.map_err(|error| key_error(&error))?;
            candidates.add(Arc::new(candidate)).map_err(|error| fail(py, "candidate", &error))?;
        }
        Ok(candidates)
    }

    fn store<'a>(&'a self, py: Python<'_>) -> PyResult<&'a Store> {
        self.0.store().ok_or_else(|| {
            fail(py, "store", &"there is no store: the user has no cache folder, or it was turned off")
        })
    }

    fn place(
        &self,
        py: Python<'_>,
        key: &str,
        (name, version, source): &(String, String, String),
        libraries: &[(String, String)],
    ) -> PyResult<(Key, CandidateId, Environment)> {
        let id = CandidateId::new(name, version, source).map_err(|error| fail(py, "key", &error))?;
        let libraries = libraries.iter().map(|(name, version)| Library::new(name, version)).collect();
        Ok((Self::key(py, key)?, id, Environment::new(self.0.device(), libraries)))
    }

    fn scope(py: Python<'_>, op: Option<&str>, key: Option<&str>) -> PyResult<Scope> {
        match (op, key) {
            (_, Some(key)) => Ok(Scope::Key(Self::key(py, key)?)),
            (Some(op), None) => Ok(Scope::Op(Name::new(op).map_err(|error| fail(py, "key", &error))?)),
            (None, None) => Err(fail(py, "key", &"neither an operation nor a key")),
        }
    }
}

#[pymethods]
impl KernelSelector {
    /// A selection with the store in `folder`, or the user's for None; for processors, or for the (kind, model, driver) given.
    #[new]
    fn new(
        py: Python<'_>,
        folder: Option<PathBuf>,
        device: Option<(String, String, Option<String>)>,
        settings: &str,
    ) -> PyResult<Self> {
        let raw: RawSettings =
            serde_json::from_str(settings).map_err(|error| fail(py, "settings", &error))?;
        let default = Settings::default();
        let budget = match raw.budget_ms {
            None => default.budget,
            Some(ms) => {
                Duration::try_from_secs_f64(ms / 1e3).map_err(|error| fail(py, "settings", &error))?
            }
        };
        let settings = Settings {
            delta: raw.delta.unwrap_or(default.delta),
            budget,
            reach: raw.reach.unwrap_or(default.reach),
            near: raw.near.unwrap_or(default.near),
        };
        let device = device.map_or_else(Device::cpu, |(kind, model, driver)| Device { kind, model, driver });
        let store = folder.map_or_else(Store::user, |folder| Some(Store::at(&folder)));
        Ok(Self(Selector::new(device, store, settings)))
    }

    /// What runs `problem`, as JSON: the candidate's index, name and version, and where the choice comes from. What is unknown is
    /// measured on what `operands()` gives.
    fn choose(
        &self,
        py: Python<'_>,
        problem: &str,
        candidates: Vec<Described>,
        steps: Steps,
        operands: Py<PyAny>,
    ) -> PyResult<String> {
        let problem = Self::problem(py, problem)?;
        let interrupt = Interrupt::default();
        let candidates = Self::candidates(py, candidates, steps, &interrupt)?;
        let mut workload = || -> Result<Box<dyn Workload>, Failure> {
            Python::attach(|py| {
                let operands = made(py, &interrupt, operands.call0(py))?;
                Ok(Box::new(PyWorkload::new(operands, interrupt.clone())) as Box<dyn Workload>)
            })
        };
        let chosen = py.detach(|| self.0.choose(&problem, &candidates, &mut workload, &mut CpuTimer::new()));
        if let Some((error, hit)) = interrupt.take() {
            let key = candidates.key(&problem);
            for id in hit {
                // What cannot be taken away now is only measured again where it is asked for.
                let _ = self.0.forget(&key, Some(&id));
            }
            self.0.refresh();
            return Err(error);
        }
        let choice = chosen.map_err(|error| fail(py, "selection", &error))?;
        serde_json::to_string(&choice).map_err(|error| fail(py, "selection", &error))
    }

    /// The same by what is known; measures nothing.
    fn recall(
        &self,
        py: Python<'_>,
        problem: &str,
        candidates: Vec<Described>,
        steps: Steps,
    ) -> PyResult<String> {
        let problem = Self::problem(py, problem)?;
        let candidates = Self::candidates(py, candidates, steps, &Interrupt::default())?;
        let choice = py.detach(|| self.0.recall(&problem, &candidates));
        let choice = choice.map_err(|error| fail(py, "selection", &error))?;
        serde_json::to_string(&choice).map_err(|error| fail(py, "selection", &error))
    }

    /// Why it is what it is: as JSON, and as a table for people.
    fn explain(
        &self,
        py: Python<'_>,
        problem: &str,
        candidates: Vec<Described>,
        steps: Steps,
    ) -> PyResult<(String, String)> {
        let problem = Self::problem(py, problem)?;
        let candidates = Self::candidates(py, candidates, steps, &Interrupt::default())?;
        let told = py.detach(|| self.0.explain(&problem, &candidates));
        let told = told.map_err(|error| fail(py, "selection", &error))?;
        let json = serde_json::to_string(&told).map_err(|error| fail(py, "selection", &error))?;
        Ok((json, told.to_string()))
    }

    /// The key that `problem` shares with problems of like speed.
    #[staticmethod]
    fn key_of(py: Python<'_>, problem: &str, steps: Steps) -> PyResult<String> {
        let problem = Self::problem(py, problem)?;
        let mut buckets = Buckets::all(rule(steps.1));
        for (name, steps) in steps.0 {
            buckets = buckets.with(Name::new(&name).map_err(|error| fail(py, "key", &error))?, rule(steps));
        }
        Ok(problem.key(&buckets).to_string())
    }

    fn freeze(&self) {
        self.0.freeze();
    }

    fn thaw(&self) {
        self.0.thaw();
    }

    #[getter]
    fn is_frozen(&self) -> bool {
        self.0.is_frozen()
    }

    fn refresh(&self) {
        self.0.refresh();
    }

    /// The store's folder; None where there is none.
    #[getter]
    fn folder(&self) -> Option<String> {
        self.0.store().map(|store| store.root().to_string_lossy().into_owned())
    }

    /// The device's (kind, model, driver).
    #[getter]
    fn device(&self) -> (&str, &str, Option<&str>) {
        let device = self.0.device();
        (&device.kind, &device.model, device.driver.as_deref())
    }

    /// Fixes the choice for an operation, or for a key.
    #[pyo3(signature = (candidate, note, op=None, key=None))]
    fn pin(
        &self,
        py: Python<'_>,
        candidate: &str,
        note: String,
        op: Option<&str>,
        key: Option<&str>,
    ) -> PyResult<()> {
        let scope = Self::scope(py, op, key)?;
        let candidate = Name::new(candidate).map_err(|error| fail(py, "key", &error))?;
        self.0.pin(&Pin { scope, candidate, note }).map_err(|error| fail(py, "store", &error))
    }

    /// Takes a fixed choice back; whether there was one.
    #[pyo3(signature = (op=None, key=None))]
    fn unpin(&self, py: Python<'_>, op: Option<&str>, key: Option<&str>) -> PyResult<bool> {
        self.0.unpin(&Self::scope(py, op, key)?).map_err(|error| fail(py, "store", &error))
    }

    /// All rows of the store as JSON.
    fn rows(&self, py: Python<'_>) -> PyResult<String> {
        let rows = self.0.store().map(Store::all).unwrap_or_default();
        serde_json::to_string(&rows).map_err(|error| fail(py, "store", &error))
    }

    /// What was measured of a candidate (name, version, source) of another tuner, which chooses by itself: the samples in
    /// nanoseconds, none of them if it was rejected; None where nothing is known.
    fn recorded(
        &self,
        py: Python<'_>,
        key: &str,
        candidate: (String, String, String),
        libraries: Vec<(String, String)>,
    ) -> PyResult<Option<Vec<f64>>> {
        let (key, id, environment) = self.place(py, key, &candidate, &libraries)?;
        let rows = self.0.store().map(|store| py.detach(|| store.rows(&key))).unwrap_or_default();
        let own = rows.into_iter().find(|row| row.candidate == id && row.environment == environment);
        Ok(own.map(|row| match row.outcome {
            Outcome::Measured(samples) => samples.into_iter().map(|sample| sample.ns).collect(),
            Outcome::Rejected(_) => Vec::new(),
        }))
    }

    /// Keeps what another tuner measured: samples in nanoseconds, or why the candidate is rejected.
    fn record(
        &self,
        py: Python<'_>,
        key: &str,
        candidate: (String, String, String),
        libraries: Vec<(String, String)>,
        samples: Vec<f64>,
        rejected: Option<String>,
    ) -> PyResult<()> {
        let (key, id, environment) = self.place(py, key, &candidate, &libraries)?;
        let outcome = match rejected {
            Some(detail) => Outcome::Rejected(Rejection::Failed { detail }),
            None => Outcome::Measured(samples.into_iter().map(|ns| Sample { ns, quiet: true }).collect()),
        };
        let Some(store) = self.0.store() else { return Ok(()) };
        let kept = py.detach(|| store.put(&Row::new(key, id, environment, outcome)));
        kept.map(drop).map_err(|error| fail(py, "store", &error))
    }

    /// Writes the store into a document; how many rows and pins it has.
    fn export(&self, py: Python<'_>, path: PathBuf) -> PyResult<(usize, usize)> {
        let exchange = self.store(py)?.export();
        let written = py.detach(|| fs::write(&path, exchange.to_json()));
        written.map_err(|error| {
            kernel_error(py, "store", &format!("{}: {error}", path.display()), Some(&path))
        })?;
        Ok((exchange.rows.len(), exchange.pins.len()))
    }

    /// Takes a document in; what came of it, as JSON.
    fn import_(&self, py: Python<'_>, path: PathBuf) -> PyResult<String> {
        let store = self.store(py)?;
        let told = |error: &dyn std::fmt::Display| {
            kernel_error(py, "import", &format!("{}: {error}", path.display()), Some(&path))
        };
        let text = py.detach(|| fs::read_to_string(&path)).map_err(|error| told(&error))?;
        let exchange = Exchange::parse(&text).map_err(|error| told(&error))?;
        let imported = store.import(&exchange).map_err(|error| told(&error))?;
        self.0.refresh();
        Ok(json!(imported).to_string())
    }
}
