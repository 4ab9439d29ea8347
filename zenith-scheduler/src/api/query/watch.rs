//! Jobs as they change.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use zenith_proto::v1;

use super::list::{Filter, Lister, PAGE};
use crate::api::convert::job_of;
use crate::controller::Handle;
use crate::core::{Core, Error, JobId};
use crate::refusal::Refusal;

/// Somebody who watches jobs.
#[derive(Debug)]
pub struct Watcher {
    handle: Handle,
    changes: broadcast::Receiver<Arc<[JobId]>>,
    /// The jobs that are watched and have not ended; all jobs where absent.
    named: Option<BTreeSet<JobId>>,
    /// Jobs that are to be told next.
    due: BTreeSet<JobId>,
    /// All jobs as they are, while they are being told.
    all: Option<Lister>,
    is_first: bool,
}

impl Watcher {
    /// Begins to watch these jobs, or all where none is named.
    ///
    /// # Errors
    /// No such job.
    pub async fn new(handle: Handle, jobs: Vec<u64>) -> Result<Self, Refusal> {
        // Before anything is read, so that no change falls between.
        let changes = handle.changes();
        let named: BTreeSet<JobId> = jobs.into_iter().map(JobId).collect();
        let (named, all) = match named.is_empty() {
            true => (None, Some(Lister::new(Filter::default()))),
            false => (Some(named), None),
        };
        if let Some(named) = named.clone() {
            let missing = move |core: &Core| named.iter().find(|id| core.job(**id).is_none()).copied();
            let missing = handle.call(move |turn| Ok(missing(turn.core()))).await?;
            if let Some(job) = missing {
                return Err(Error::NoJob(job).into());
            }
        }
        let due = named.clone().unwrap_or_default();
        Ok(Self { handle, changes, named, due, all, is_first: true })
    }

    /// The next jobs that have changed, as they are by then; first all as they are. None when all that were named have ended.
    ///
    /// # Errors
    /// [`Refusal::Stopping`].
    pub async fn next(&mut self) -> Result<Option<Vec<v1::Job>>, Refusal> {
        loop {
            if let Some(lister) = self.all.take() {
                let (lister, jobs) = lister.next(&self.handle).await?;
                let is_end = jobs.is_empty();
                if !is_end {
                    self.all = Some(lister);
                }
                if !is_end || self.is_first {
                    self.is_first = false;
                    return Ok(Some(jobs));
                }
            }
            if !self.due.is_empty() {
                return Ok(Some(self.told().await?));
            }
            if self.named.as_ref().is_some_and(BTreeSet::is_empty) {
                return Ok(None);
            }
            self.wait().await?;
        }
    }

    /// Waits for changes of what is watched.
    async fn wait(&mut self) -> Result<(), Refusal> {
        match self.changes.recv().await {
            Ok(jobs) => self.note(&jobs),
            Err(RecvError::Lagged(_)) => self.look_again(),
            Err(RecvError::Closed) => return Err(Refusal::Stopping),
        }
        while self.due.len() < PAGE {
            match self.changes.try_recv() {
                Ok(jobs) => self.note(&jobs),
                Err(TryRecvError::Lagged(_)) => self.look_again(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Ok(())
    }

    fn note(&mut self, jobs: &[JobId]) {
        match &self.named {
            None => self.due.extend(jobs),
            Some(named) => self.due.extend(jobs.iter().filter(|job| named.contains(job))),
        }
    }

    /// Changes were missed: everything is told once more.
    fn look_again(&mut self) {
        match &self.named {
            None => self.all = Some(Lister::new(Filter::default())),
            Some(named) => self.due.extend(named),
        }
    }

    /// One page of what is due. Jobs that are not kept any more have ended, and are watched no longer.
    async fn told(&mut self) -> Result<Vec<v1::Job>, Refusal> {
        let page: Vec<JobId> = std::iter::from_fn(|| self.due.pop_first()).take(PAGE).collect();
        let asked = page.clone();
        let (jobs, ended) = self
            .handle
            .call(move |turn| {
                let core = turn.core();
                let known = asked.iter().filter_map(|id| core.job(*id));
                let jobs: Vec<v1::Job> =
                    known.filter_map(|job| Some(job_of(core, job, core.batch(job)?))).collect();
                let is_over = |id: &JobId| core.job(*id).is_none_or(|job| job.state.is_final());
                Ok((jobs, asked.into_iter().filter(is_over).collect::<Vec<_>>()))
            })
            .await?;
        if let Some(named) = &mut self.named {
            ended.iter().for_each(|job| {
                named.remove(job);
            });
        }
        Ok(jobs)
    }
}
