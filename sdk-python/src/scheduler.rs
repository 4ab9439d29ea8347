//! The scheduler's client as Python drives it: requests and answers cross as JSON, waiting lets other Python threads run and Ctrl-C
//! through. What users see of it is the package's matter (`_scheduler.py`).

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use zenith_data::Error;
use zenith_proto::v1;
use zenith_scheduler::client::submission::RawSubmission;
use zenith_scheduler::client::{
    Blocking, Client, ClientError, Followed, GLANCE, Pages, RawTarget, Token, notation, signals,
};
use zenith_scheduler::controller::ops::Act;
use zenith_scheduler::view::{Cluster, Job, JobDetail, Outcome, Why};

use crate::errors::{scheduler_error, to_python};

/// A connection to a scheduler.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct Scheduler {
    client: Blocking,
}

impl Scheduler {
    /// Waits for an answer; signals are heard meanwhile.
    fn call<T, F>(&self, py: Python<'_>, ask: impl FnOnce(Client) -> F + Send) -> PyResult<T>
    where
        T: Send,
        F: Future<Output = Result<T, ClientError>>,
    {
        let answer = py.detach(|| self.client.call_while(|| Python::attach(|py| py.check_signals()), ask))?;
        answer.map_err(|error| scheduler_error(py, &error))
    }
}

fn json(value: &impl Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl Scheduler {
    #[new]
    fn new(
        py: Python<'_>,
        controller: Option<String>,
        token: Option<&str>,
        token_file: Option<PathBuf>,
        tls_ca: Option<PathBuf>,
        insecure: bool,
    ) -> PyResult<Self> {
        let raw = RawTarget { controller, token: token.map(Token::new), token_file, tls_ca, insecure };
        let target = raw.check().map_err(|error| scheduler_error(py, &error))?;
        Ok(Self { client: Blocking::new(target) })
    }

    #[getter]
    fn endpoint(&self) -> &str {
        self.client.target().endpoint()
    }

    /// Takes work in: the first job, how many there are, and whether the key was known.
    fn submit(&self, py: Python<'_>, work: &str, key: String) -> PyResult<(u64, u32, bool)> {
        let work: RawSubmission = serde_json::from_str(work).map_err(|error| {
            let text = error.to_string();
            // Where in the JSON it is says nothing to users.
            let end = text.find(" at line ").unwrap_or(text.len());
            to_python(py, &Error::Config(text[..end].to_owned()))
        })?;
        let submission = work.submission();
        let taken = self.call(py, |mut client| async move { client.submit(submission, key).await })?;
        Ok((taken.job, taken.count, taken.known))
    }

    /// Does something to jobs: what became of each.
    fn act(&self, py: Python<'_>, what: &str, jobs: Vec<u64>) -> PyResult<String> {
        let act = match what {
            "cancel" => Act::Cancel,
            "hold" => Act::Hold,
            "release" => Act::Release,
            "requeue" => Act::Requeue,
            _ => return Err(PyValueError::new_err(format!("{what:?} cannot be done to jobs"))),
        };
        let outcomes = self.call(py, |mut client| async move { client.act(act, jobs).await })?;
        json(&outcomes.into_iter().map(Outcome::from).collect::<Vec<_>>())
    }

    /// Sends a signal, by name or by number, to every process of a job.
    fn signal(&self, py: Python<'_>, job: u64, signal: &str) -> PyResult<()> {
        let number =
            signals::number(signal).map_err(|error| to_python(py, &Error::Config(error.to_string())))?;
        self.call(py, |mut client| async move { client.signal(job, number).await })
    }

    fn get(&self, py: Python<'_>, job: u64) -> PyResult<String> {
        let detail = self.call(py, |mut client| async move { client.get(job).await })?;
        json(&JobDetail::from(detail))
    }

    fn why(&self, py: Python<'_>, job: u64) -> PyResult<String> {
        let why = self.call(py, |mut client| async move { client.why(job).await })?;
        json(&Why::from(why))
    }

    fn cluster(&self, py: Python<'_>) -> PyResult<String> {
        let cluster = self.call(py, |mut client| async move { client.cluster().await })?;
        json(&Cluster::from(cluster))
    }

    fn drain(&self, py: Python<'_>, node: String, drained: bool) -> PyResult<()> {
        self.call(py, |mut client| async move { client.drain(node, drained).await })
    }

    /// Jobs by id.
    fn list(
        &self,
        py: Python<'_>,
        states: Vec<String>,
        user: String,
        queue: String,
        limit: u64,
        newest_first: bool,
    ) -> PyResult<String> {
        let states = states.iter().map(|word| notation::state_of(word).map(i32::from));
        let states = states.collect::<Result<_, _>>();
        let states = states.map_err(|error| to_python(py, &Error::Config(error.to_string())))?;
        let request = v1::ListRequest { states, user, queue, after: 0, limit, newest_first };
        let jobs = self.call(py, |mut client| async move {
            let failing = client.failing();
            let mut pages = client.list(request).await?;
            let mut jobs = Vec::new();
            while let Some(page) = pages.message().await.map_err(&failing)? {
                jobs.extend(page.jobs);
            }
            Ok(jobs)
        })?;
        json(&jobs.into_iter().map(Job::from).collect::<Vec<_>>())
    }

    /// What the processes of a job wrote.
    fn logs(
        &self,
        py: Python<'_>,
        job: u64,
        rank: Option<u32>,
        attempt: u32,
        tail_bytes: Option<u64>,
    ) -> PyResult<LogParts> {
        let request = v1::LogsRequest { job, rank, attempt, follow: false, tail_bytes };
        let pages = py.detach(|| self.client.pages(|mut client| async move { client.logs(request).await }));
        Ok(LogParts { pages: Mutex::new(pages.map_err(|error| scheduler_error(py, &error))?) })
    }

    /// What the processes of a job write until it has ended.
    fn follow(&self, py: Python<'_>, job: u64, rank: Option<u32>) -> PyResult<LogParts> {
        let pages = py.detach(|| self.client.follow(Followed { job, rank, tail_bytes: None }));
        Ok(LogParts { pages: Mutex::new(pages.map_err(|error| scheduler_error(py, &error))?) })
    }

    /// Jobs as they are, and then as they change, for `patience` seconds at most.
    fn watch(&self, py: Python<'_>, jobs: Vec<u64>, patience: Option<f64>) -> PyResult<JobChanges> {
        let patience = patience.map(Duration::try_from_secs_f64).transpose();
        let patience = patience.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        let pages = py.detach(|| self.client.pages(|mut client| async move { client.watch(jobs).await }));
        Ok(JobChanges { deadline, pages: Mutex::new(pages.map_err(|error| scheduler_error(py, &error))?) })
    }
}

/// The next part of an answer, with signals heard meanwhile; None at the end.
fn next_part<T: Send>(
    py: Python<'_>,
    pages: &Mutex<Pages<T>>,
    deadline: Option<Instant>,
) -> PyResult<Option<T>> {
    loop {
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(PyTimeoutError::new_err("the time to wait is over"));
        }
        let patience = deadline.map_or(GLANCE, |deadline| GLANCE.min(deadline - now));
        let next =
            py.detach(|| pages.lock().unwrap_or_else(PoisonError::into_inner).next_page_within(patience));
        match next.map_err(|error| scheduler_error(py, &error))? {
            Some(part) => return Ok(part),
            None => py.check_signals()?,
        }
    }
}

/// A rank, whether it is its standard error, what it wrote, and how many bytes before that were dropped.
type LogPart = (u32, bool, Py<PyBytes>, u64);

/// Parts of what processes wrote.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct LogParts {
    pages: Mutex<Pages<v1::LogsResponse>>,
}

#[pymethods]
impl LogParts {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<LogPart>> {
        let part = next_part(py, &self.pages, None)?;
        Ok(part.map(|part| {
            let data = PyBytes::new(py, &part.data).unbind();
            (part.rank, part.stream() == v1::Stream::Stderr, data, part.dropped)
        }))
    }
}

/// Jobs as they change.
#[pyclass(module = "zenith._core", frozen)]
pub(crate) struct JobChanges {
    deadline: Option<Instant>,
    pages: Mutex<Pages<v1::WatchResponse>>,
}

#[pymethods]
impl JobChanges {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let page = next_part(py, &self.pages, self.deadline)?;
        page.map(|page| json(&page.jobs.into_iter().map(Job::from).collect::<Vec<_>>())).transpose()
    }
}
