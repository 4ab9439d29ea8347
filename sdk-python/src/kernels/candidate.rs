//! Candidates and operands that are Python's: the selection's traits over objects of the package. Every call takes the
//! interpreter's lock for itself, and the selection runs without it.

use std::any::Any;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use zenith_runtime_gpu::kernel::candidate::Judgement;
use zenith_runtime_gpu::kernel::{
    Candidate, CandidateId, Failure, KeyError, Library, Prepared, Probe, Problem, Rejection, Workload,
};

/// A candidate as the package describes it for one call.
#[derive(FromPyObject)]
pub(crate) struct Described {
    name: String,
    version: String,
    source: String,
    libraries: Vec<(String, String)>,
    /// Why it cannot do this call; `None` if it can.
    refusal: Option<String>,
    /// What tries it out in a process of its own: a function that gives command and variables, and the deadline in seconds.
    probe: Option<(Py<PyAny>, f64)>,
}

/// What ends a selection although it is nobody's fault: Ctrl-C, or the interpreter's end. Candidates that it hit are not to blame.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<Mutex<Option<Interruption>>>);

/// The exception, and the candidates that it hit.
type Interruption = (PyErr, Vec<CandidateId>);

impl Interrupt {
    /// What a candidate's exception is to the selection.
    fn failure(&self, py: Python<'_>, id: Option<&CandidateId>, error: PyErr) -> Failure {
        let text = error.to_string();
        if !error.is_instance_of::<PyException>(py) {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            held.get_or_insert_with(|| (error, Vec::new())).1.extend(id.cloned());
        }
        Failure(text)
    }

    /// A call after the interruption does not begin.
    fn check(&self, id: Option<&CandidateId>) -> Result<(), Failure> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((_, hit)) => {
                hit.extend(id.cloned());
                Err(Failure("interrupted".to_owned()))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn take(&self) -> Option<Interruption> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A candidate of the package.
pub(crate) struct PyCandidate {
    id: CandidateId,
    libraries: Vec<Library>,
    refusal: Option<String>,
    probe: Option<(Py<PyAny>, Duration)>,
    interrupt: Interrupt,
}

impl PyCandidate {
    pub(crate) fn new(described: Described, interrupt: &Interrupt) -> Result<Self, KeyError> {
        let id = CandidateId::new(&described.name, &described.version, &described.source)?;
        let libraries =
            described.libraries.iter().map(|(name, version)| Library::new(name, version)).collect();
        let probe = described.probe.map(|(command, deadline)| {
            (command, Duration::try_from_secs_f64(deadline).unwrap_or(Duration::MAX))
        });
        Ok(Self { id, libraries, refusal: described.refusal, probe, interrupt: interrupt.clone() })
    }
}

impl Candidate for PyCandidate {
    fn id(&self) -> &CandidateId {
        &self.id
    }

    fn supports(&self, _problem: &Problem) -> Result<(), String> {
        self.refusal.clone().map_or(Ok(()), Err)
    }

    fn env_deps(&self) -> Vec<Library> {
        self.libraries.clone()
    }

    fn prepare(&self, _problem: &Problem, workload: &mut dyn Workload) -> Result<Box<dyn Prepared>, Failure> {
        self.interrupt.check(Some(&self.id))?;
        let Some(workload) = workload.as_any().downcast_mut::<PyWorkload>() else {
            return Err(Failure("it runs on operands of Python only".to_owned()));
        };
        Python::attach(|py| {
            let operands = workload.operands.clone_ref(py);
            let calls = operands.call_method1(py, "prepare", (self.id.name.as_str(),));
            let calls = calls.and_then(|calls| calls.extract::<(Py<PyAny>, Py<PyAny>)>(py));
            let (judged, timed) = calls.map_err(|error| self.interrupt.failure(py, Some(&self.id), error))?;
            let (id, interrupt) = (self.id.clone(), self.interrupt.clone());
            let prepared = PyPrepared { judged: Some(judged), timed, operands, result: None, id, interrupt };
            Ok(Box::new(prepared) as Box<dyn Prepared>)
        })
    }

    fn probe(&self, _problem: &Problem) -> Option<Probe> {
        let (command, deadline) = self.probe.as_ref()?;
        // A command that cannot be made runs nothing, which is what the selection then says of the candidate.
        let (command, env) = Python::attach(|py| {
            let told = command
                .call0(py)
                .and_then(|told| told.extract::<(Vec<OsString>, Vec<(OsString, OsString)>)>(py));
            told.unwrap_or_else(|error| {
                self.interrupt.failure(py, Some(&self.id), error);
                (Vec::new(), Vec::new())
            })
        });
        Some(Probe { command, env, deadline: *deadline })
    }
}

struct PyPrepared {
    /// The first call, whose result is judged: it writes between guard zones where it can be told where to write.
    judged: Option<Py<PyAny>>,
    timed: Py<PyAny>,
    operands: Py<PyAny>,
    result: Option<Py<PyAny>>,
    id: CandidateId,
    interrupt: Interrupt,
}

impl Prepared for PyPrepared {
    fn run(&mut self, calls: u64) -> Result<(), Failure> {
        self.interrupt.check(Some(&self.id))?;
        Python::attach(|py| {
            for _ in 0..calls {
                let judged = self.judged.take();
                let call = judged.as_ref().unwrap_or(&self.timed);
                let made =
                    call.call0(py).map_err(|error| self.interrupt.failure(py, Some(&self.id), error))?;
                self.result = Some(made);
            }
            py.check_signals().map_err(|error| self.interrupt.failure(py, Some(&self.id), error))
        })
    }

    fn settle(&mut self) -> Result<(), Failure> {
        Python::attach(|py| {
            let result = self.result.take();
            let kept = self.operands.call_method1(py, "keep", (result,));
            kept.map(drop).map_err(|error| self.interrupt.failure(py, Some(&self.id), error))
        })
    }
}

/// The package's `Workload`.
pub(crate) struct PyWorkload {
    operands: Py<PyAny>,
    interrupt: Interrupt,
}

impl PyWorkload {
    pub(crate) fn new(operands: Py<PyAny>, interrupt: Interrupt) -> Self {
        Self { operands, interrupt }
    }
}

/// What a function that makes operands says went wrong.
pub(crate) fn made(
    py: Python<'_>,
    interrupt: &Interrupt,
    made: PyResult<Py<PyAny>>,
) -> Result<Py<PyAny>, Failure> {
    made.map_err(|error| interrupt.failure(py, None, error))
}

impl Workload for PyWorkload {
    fn poison(&mut self) -> Result<(), Failure> {
        Python::attach(|py| {
            let poisoned = self.operands.call_method0(py, "poison");
            poisoned.map(drop).map_err(|error| self.interrupt.failure(py, None, error))
        })
    }

    fn judge(&mut self) -> Result<(), Judgement> {
        Python::attach(|py| {
            let told = self.operands.call_method0(py, "judge");
            let told = told.and_then(|told| told.extract::<Option<(String, String)>>(py));
            match told {
                Ok(None) => Ok(()),
                Ok(Some((kind, detail))) => Err(Judgement::Candidate(match kind.as_str() {
                    "out-of-bounds" => Rejection::OutOfBounds { detail },
                    "failed" => Rejection::Failed { detail },
                    _ => Rejection::Wrong { detail },
                })),
                Err(error) => Err(Judgement::Workload(self.interrupt.failure(py, None, error))),
            }
        })
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
