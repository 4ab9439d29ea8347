//! `zenith.collective`'s native half: a rank's communicator over memory that Python lends for a call.
#![expect(unsafe_code, reason = "arrays come as addresses, which the limited API has no safe view of")]

use std::collections::HashMap;
use std::slice;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::json;
use zenith_runtime_gpu::collective::agree::{
    Cause, Commit, Outcome, Row, adopt, choices, choose, commit, encode_proposal, gather, read_proposals,
};
use zenith_runtime_gpu::collective::{CollectiveError, Dtype, Launch, ReduceOp, connect};

use crate::errors::collective_error;

type Ranks = Box<dyn zenith_runtime_gpu::collective::Communicator>;

/// One rank's end of a group. Calls of several threads wait for each other.
#[pyclass(frozen, module = "zenith._core")]
pub(crate) struct Communicator {
    ranks: Mutex<Option<Ranks>>,
    #[pyo3(get)]
    rank: usize,
    #[pyo3(get)]
    world_size: usize,
    #[pyo3(get)]
    backend: &'static str,
}

fn limit(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| PyValueError::new_err("timeout is a number of seconds"))
}

fn dtype_of(name: &str) -> PyResult<Dtype> {
    let known = || Dtype::ALL.map(Dtype::name).join(", ");
    Dtype::named(name).ok_or_else(|| PyValueError::new_err(format!("dtype {name}: {} would work", known())))
}

fn op_of(name: &str) -> PyResult<ReduceOp> {
    match name {
        "sum" => Ok(ReduceOp::Sum),
        "min" => Ok(ReduceOp::Min),
        "max" => Ok(ReduceOp::Max),
        "avg" => Ok(ReduceOp::Avg),
        _ => Err(PyValueError::new_err(format!("op {name:?}: sum, min, max and avg would work"))),
    }
}

/// Memory that Python lends for a call.
#[derive(Clone, Copy)]
struct Lent {
    address: usize,
    bytes: usize,
}

impl Lent {
    /// The memory itself.
    ///
    /// # Safety
    /// The address is of as many bytes that live, may be written, and are nobody else's until the slice is gone.
    unsafe fn slice<'a>(self) -> &'a mut [u8] {
        if self.bytes == 0 {
            return &mut [];
        }
        // SAFETY: the caller's promise; empty arrays, whose address may be anything, are handled above.
        unsafe { slice::from_raw_parts_mut(self.address as *mut u8, self.bytes) }
    }
}

impl Communicator {
    /// Runs a call without the GIL.
    fn call<T: Send>(
        &self,
        py: Python<'_>,
        run: impl FnOnce(&mut Ranks) -> Result<T, CollectiveError> + Send,
    ) -> PyResult<T> {
        let outcome = py.detach(|| {
            let mut ranks = self.ranks.lock().unwrap_or_else(PoisonError::into_inner);
            ranks.as_mut().map(run)
        });
        match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(collective_error(py, &error)),
            None => Err(PyValueError::new_err("the communicator is closed")),
        }
    }
}

#[pymethods]
impl Communicator {
    /// Meets the other ranks that the variables of a launcher speak of.
    #[staticmethod]
    fn meet(
        py: Python<'_>,
        environment: HashMap<String, String>,
        name: String,
        timeout: f64,
    ) -> PyResult<Self> {
        let timeout = limit(timeout)?;
        let ranks = py.detach(|| {
            let launch = Launch::from(|variable| environment.get(variable).cloned())?;
            connect(&launch, &name, timeout)
        });
        let ranks = ranks.map_err(|error| collective_error(py, &error))?;
        let (rank, world_size, backend) = (ranks.rank(), ranks.world(), ranks.backend());
        Ok(Self { ranks: Mutex::new(Some(ranks)), rank, world_size, backend })
    }

    /// Combines in place. The caller keeps the array alive and to itself.
    fn all_reduce(
        &self,
        py: Python<'_>,
        address: usize,
        bytes: usize,
        dtype: &str,
        op: &str,
        timeout: f64,
    ) -> PyResult<()> {
        let (dtype, op, timeout) = (dtype_of(dtype)?, op_of(op)?, limit(timeout)?);
        let lent = Lent { address, bytes };
        // SAFETY: the package's `_Lent` gives addresses of contiguous, writable arrays that it holds during the call.
        self.call(py, |ranks| ranks.all_reduce(unsafe { lent.slice() }, dtype, op, timeout))
    }

    /// Combines in place; this rank's share is valid afterwards.
    fn reduce_scatter(
        &self,
        py: Python<'_>,
        address: usize,
        bytes: usize,
        dtype: &str,
        op: &str,
        timeout: f64,
    ) -> PyResult<()> {
        let (dtype, op, timeout) = (dtype_of(dtype)?, op_of(op)?, limit(timeout)?);
        let lent = Lent { address, bytes };
        // SAFETY: as for `all_reduce`.
        self.call(py, |ranks| ranks.reduce_scatter(unsafe { lent.slice() }, dtype, op, timeout))
    }

    /// Fills an array whose parts are the ranks', this rank's being in place.
    fn all_gather(
        &self,
        py: Python<'_>,
        address: usize,
        bytes: usize,
        dtype: &str,
        timeout: f64,
    ) -> PyResult<()> {
        let (dtype, timeout) = (dtype_of(dtype)?, limit(timeout)?);
        let lent = Lent { address, bytes };
        // SAFETY: as for `all_reduce`.
        self.call(py, |ranks| ranks.all_gather(unsafe { lent.slice() }, dtype, timeout))
    }

    /// Fills an array with that of rank `root`.
    fn broadcast(
        &self,
        py: Python<'_>,
        address: usize,
        bytes: usize,
        root: usize,
        timeout: f64,
    ) -> PyResult<()> {
        let timeout = limit(timeout)?;
        let lent = Lent { address, bytes };
        // SAFETY: as for `all_reduce`.
        self.call(py, |ranks| ranks.broadcast(unsafe { lent.slice() }, root, timeout))
    }

    fn barrier(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        let timeout = limit(timeout)?;
        self.call(py, |ranks| ranks.barrier(timeout))
    }

    fn decide(&self, py: Python<'_>, yes: bool, timeout: f64) -> PyResult<bool> {
        let timeout = limit(timeout)?;
        self.call(py, |ranks| ranks.decide(yes, timeout))
    }

    /// Everybody's bytes, by rank.
    fn gather<'py>(&self, py: Python<'py>, mine: &[u8], timeout: f64) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let timeout = limit(timeout)?;
        let mine = mine.to_vec();
        let all = self.call(py, |ranks| gather(ranks.as_mut(), &mine, timeout))?;
        Ok(all.iter().map(|bytes| PyBytes::new(py, bytes)).collect())
    }

    /// Rank 0's bytes on all ranks, or an error on all.
    fn adopt<'py>(&self, py: Python<'py>, mine: &[u8], timeout: f64) -> PyResult<Bound<'py, PyBytes>> {
        let timeout = limit(timeout)?;
        let mine = mine.to_vec();
        let bytes = self.call(py, |ranks| adopt(ranks.as_mut(), &mine, timeout))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Nothing where all commit; else the ranks that keep it from happening.
    fn commit(&self, py: Python<'_>, step: u64, ready: bool, timeout: f64) -> PyResult<Option<Vec<usize>>> {
        let timeout = limit(timeout)?;
        let outcome = self.call(py, |ranks| commit(ranks.as_mut(), step, ready, timeout))?;
        Ok(match outcome {
            Commit::Done => None,
            Commit::Nobody { ranks } => Some(ranks),
        })
    }

    /// Common choices as JSON; rows as JSON, or why there are none.
    fn agree(&self, py: Python<'_>, rows: &str, failed: Option<String>, timeout: f64) -> PyResult<String> {
        let (rows, timeout) = (parse(rows, failed), limit(timeout)?);
        let outcome = self.call(py, |ranks| Ok(choices(ranks.as_mut(), rows, timeout)))?;
        Ok(told(outcome))
    }

    /// Leaves the group.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.ranks.lock().unwrap_or_else(PoisonError::into_inner).take()));
    }
}

/// Rows that make no sense are this rank's failure: raising here would leave the others waiting.
fn parse(rows: &str, failed: Option<String>) -> Result<Vec<Row>, String> {
    match failed {
        Some(reason) => Err(reason),
        None => serde_json::from_str(rows).map_err(|error| format!("its rows make no sense: {error}")),
    }
}

fn told(outcome: Outcome) -> String {
    let value = match outcome {
        Outcome::Agreed(choices) => json!({ "choices": choices }),
        Outcome::Defaults(Cause::Collective(error)) => {
            json!({ "reason": error.to_string(), "code": error.code(), "ranks": error.ranks() })
        }
        Outcome::Defaults(Cause::Failed(ranks)) => {
            let reason = Cause::Failed(ranks.clone()).to_string();
            json!({ "reason": reason, "code": "failed", "ranks": ranks.keys().collect::<Vec<_>>() })
        }
        Outcome::Defaults(cause) => {
            json!({ "reason": cause.to_string(), "code": "unconfirmed", "ranks": [] })
        }
    };
    value.to_string()
}

/// A rank's rows as they go to the others by another transport.
#[pyfunction]
pub(crate) fn encode_rows<'py>(py: Python<'py>, rows: &str, failed: Option<String>) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &encode_proposal(parse(rows, failed)))
}

/// The choices that follow from all ranks' rows, as JSON of the same shape as `Communicator.agree` gives.
#[pyfunction]
pub(crate) fn choose_rows(proposals: Vec<Vec<u8>>) -> String {
    let outcome = match read_proposals(&proposals) {
        Ok(rows) => Outcome::Agreed(choose(&rows)),
        Err(cause) => Outcome::Defaults(cause),
    };
    told(outcome)
}
