//! What `zenith top` shows, as the scheduler gave it at one moment.

use zenith_proto::v1;
use zenith_scheduler::client::{Blocking, ClientError};

use crate::shown::now_ms;

/// Jobs of each kind that are fetched: more than any screen has lines.
const JOBS: u64 = 500;

/// States of jobs that have a place.
pub(super) const PLACED: [v1::JobState; 3] =
    [v1::JobState::Starting, v1::JobState::Running, v1::JobState::Stopping];
/// States of jobs that have none, those that may start next first.
pub(super) const UNPLACED: [v1::JobState; 3] =
    [v1::JobState::Queued, v1::JobState::Waiting, v1::JobState::Held];

/// The cluster and its jobs at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) cluster: v1::ClusterResponse,
    /// Jobs that have a place.
    pub(super) placed: Vec<v1::Job>,
    /// Jobs that have none, the queued ones first.
    pub(super) unplaced: Vec<v1::Job>,
    pub(super) taken_ms: u64,
}

impl Snapshot {
    pub(super) fn take(client: &Blocking) -> Result<Self, ClientError> {
        let cluster = client.call(|mut client| async move { client.cluster().await })?;
        let placed = list(client, &PLACED)?;
        let mut unplaced = list(client, &UNPLACED)?;
        unplaced.sort_by_key(|job| UNPLACED.iter().position(|state| *state == job.state()));
        Ok(Self { cluster, placed, unplaced, taken_ms: now_ms() })
    }

    /// How many jobs are in states of a kind.
    pub(super) fn count(&self, states: &[v1::JobState]) -> u64 {
        self.cluster
            .counts
            .iter()
            .filter(|count| states.contains(&count.state()))
            .map(|count| count.jobs)
            .sum()
    }

    /// The job in a line, counted through both lists.
    pub(super) fn job(&self, line: usize) -> Option<&v1::Job> {
        self.placed.iter().chain(&self.unplaced).nth(line)
    }

    pub(super) fn lines(&self) -> usize {
        self.placed.len() + self.unplaced.len()
    }
}

fn list(client: &Blocking, states: &[v1::JobState]) -> Result<Vec<v1::Job>, ClientError> {
    let states = states.iter().map(|state| i32::from(*state)).collect();
    let request = v1::ListRequest { states, limit: JOBS, ..v1::ListRequest::default() };
    let mut pages = client.pages(|mut client| async move { client.list(request).await })?;
    let mut jobs = Vec::new();
    while let Some(page) = pages.next_page()? {
        jobs.extend(page.jobs);
    }
    Ok(jobs)
}
