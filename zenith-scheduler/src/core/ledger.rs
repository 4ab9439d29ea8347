//! The tables that make up the durable state: jobs, submissions, nodes, queues, users, history. Changed by `apply` alone.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::cluster::Cluster;
use super::error::Error;
use super::id::{JobId, QueueId, UserId};
use super::job::{Batch, Job};
use super::state::{State, Trigger};
use super::time::Time;
use crate::policy::history::History;
use crate::policy::quota::{Queue, QueueSettings, User, UserSettings};
use crate::policy::usage::Usage;

/// All that has to survive.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// The layout of this structure; a reader refuses one it does not know.
    pub(crate) version: u32,
    /// The time of the last change.
    pub(crate) now: Time,
    pub(crate) next: JobId,
    pub(crate) jobs: Jobs,
    pub(crate) batches: BTreeMap<JobId, Batch>,
    pub(crate) cluster: Cluster,
    pub(crate) queues: Vec<Queue>,
    pub(crate) queue_ids: BTreeMap<String, QueueId>,
    pub(crate) users: Vec<User>,
    pub(crate) user_ids: BTreeMap<String, UserId>,
    pub(crate) history: History,
}

/// The layout written by this program. Since 2 a gang has a place to meet, and a node an address and what it waits to become.
pub(crate) const VERSION: u32 = 2;
/// The oldest layout that is understood.
pub(crate) const OLDEST: u32 = 1;

impl Default for Ledger {
    fn default() -> Self {
        let mut ledger = Self {
            version: VERSION,
            now: Time::default(),
            next: JobId(1),
            jobs: Jobs::default(),
            batches: BTreeMap::new(),
            cluster: Cluster::default(),
            queues: Vec::new(),
            queue_ids: BTreeMap::new(),
            users: Vec::new(),
            user_ids: BTreeMap::new(),
            history: History::default(),
        };
        ledger.queue_or_new("default");
        ledger
    }
}

/// Jobs by id. Ids are consecutive, so that a job is found by subtraction.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Job>", into = "Vec<Job>")]
pub(crate) struct Jobs {
    first: u64,
    jobs: VecDeque<Option<Job>>,
    kept: usize,
    /// How many are in which state.
    counts: [usize; State::ALL.len()],
}

impl Jobs {
    pub(crate) fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(usize::try_from(id.0.checked_sub(self.first)?).ok()?)?.as_ref()
    }

    /// For everything but the state, which [`Jobs::step`] changes.
    pub(crate) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.get_mut(usize::try_from(id.0.checked_sub(self.first)?).ok()?)?.as_mut()
    }

    /// Leads a job to another state.
    pub(crate) fn step(&mut self, id: JobId, trigger: Trigger) -> Result<&mut Job, Error> {
        let from = self.of(id)?.state;
        let to = from.next(trigger).map_err(|source| Error::Forbidden { job: id, source })?;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        let job = self.of_mut(id)?;
        job.state = to;
        Ok(job)
    }

    pub(crate) fn count(&self, state: State) -> usize {
        self.counts[state as usize]
    }

    pub(crate) fn of(&self, id: JobId) -> Result<&Job, Error> {
        self.get(id).ok_or(Error::NoJob(id))
    }

    pub(crate) fn of_mut(&mut self, id: JobId) -> Result<&mut Job, Error> {
        self.get_mut(id).ok_or(Error::NoJob(id))
    }

    /// Adds a job whose id is above all others.
    pub(crate) fn push(&mut self, job: Job) {
        if self.jobs.is_empty() {
            self.first = job.id.0;
        }
        while self.first + (self.jobs.len() as u64) < job.id.0 {
            self.jobs.push_back(None);
        }
        self.counts[job.state as usize] += 1;
        self.jobs.push_back(Some(job));
        self.kept += 1;
    }

    pub(crate) fn forget(&mut self, id: JobId) {
        let Some(at) = id.0.checked_sub(self.first) else { return };
        if let Some(job) = self.jobs.get_mut(at as usize).and_then(Option::take) {
            self.kept -= 1;
            self.counts[job.state as usize] -= 1;
        }
        while self.jobs.front().is_some_and(Option::is_none) {
            self.jobs.pop_front();
            self.first += 1;
        }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.iter().flatten()
    }

    /// The first id that may be kept.
    pub(crate) fn first(&self) -> JobId {
        JobId(self.first)
    }

    /// Those whose ids are in a range.
    pub(crate) fn range(&self, ids: Range<JobId>) -> impl DoubleEndedIterator<Item = &Job> {
        let place = |id: JobId| {
            let at = usize::try_from(id.0.saturating_sub(self.first)).unwrap_or(usize::MAX);
            at.min(self.jobs.len())
        };
        let (from, to) = (place(ids.start), place(ids.end));
        self.jobs.range(from.min(to)..to).flatten()
    }

    pub(crate) fn len(&self) -> usize {
        self.kept
    }
}

impl From<Vec<Job>> for Jobs {
    fn from(list: Vec<Job>) -> Self {
        let mut jobs = Self::default();
        list.into_iter().for_each(|job| jobs.push(job));
        jobs
    }
}

impl From<Jobs> for Vec<Job> {
    fn from(jobs: Jobs) -> Self {
        jobs.jobs.into_iter().flatten().collect()
    }
}

impl Ledger {
    /// The time of the last change.
    pub fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn batch(&self, first: JobId) -> Result<&Batch, Error> {
        self.batches.get(&first).ok_or(Error::NoJob(first))
    }

    pub(crate) fn batch_mut(&mut self, first: JobId) -> Result<&mut Batch, Error> {
        self.batches.get_mut(&first).ok_or(Error::NoJob(first))
    }

    pub(crate) fn queue(&self, id: QueueId) -> &Queue {
        &self.queues[id.index()]
    }

    pub(crate) fn user(&self, id: UserId) -> &User {
        &self.users[id.index()]
    }

    pub(crate) fn queue_or_new(&mut self, name: &str) -> QueueId {
        if let Some(known) = self.queue_ids.get(name) {
            return *known;
        }
        let id = QueueId(self.queues.len() as u32);
        let (settings, usage) = (QueueSettings::default(), Usage::default());
        self.queues.push(Queue { name: name.to_owned(), settings, usage });
        self.queue_ids.insert(name.to_owned(), id);
        id
    }

    pub(crate) fn user_or_new(&mut self, name: &str) -> UserId {
        if let Some(known) = self.user_ids.get(name) {
            return *known;
        }
        let id = UserId(self.users.len() as u32);
        let (settings, usage) = (UserSettings::default(), Usage::default());
        self.users.push(User { name: name.to_owned(), settings, usage });
        self.user_ids.insert(name.to_owned(), id);
        id
    }
}
