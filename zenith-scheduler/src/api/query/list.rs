//! Jobs by id, page by page.

use std::ops::ControlFlow;

use zenith_proto::v1;

use crate::api::convert::{job_of, state_of};
use crate::controller::Handle;
use crate::core::state::State;
use crate::core::{Core, Job, JobId};
use crate::refusal::Refusal;

/// Jobs of one message at most.
pub const PAGE: usize = 1000;

/// Jobs that are built in one turn at most.
const BUILT: usize = 4 * PAGE;

/// Jobs that are looked at in one turn at most.
const SEEN: u64 = 50_000;

/// Which jobs are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// In which states; all where none is named.
    pub states: States,
    /// Whose; everybody's where empty.
    pub user: String,
    /// Of which queue; of all where empty.
    pub queue: String,
    /// Only those with a larger id.
    pub after: Option<JobId>,
    /// Only those with a smaller id.
    pub before: Option<JobId>,
    /// So many at most.
    pub limit: Option<u64>,
    /// The newest first.
    pub newest_first: bool,
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(u16);

impl States {
    /// With one more.
    #[must_use]
    pub fn and(self, state: State) -> Self {
        Self(self.0 | 1 << state as u16)
    }

    fn has(self, state: State) -> bool {
        self.0 == 0 || self.0 & 1 << state as u16 != 0
    }
}

impl Filter {
    /// What is asked for on the wire.
    ///
    /// # Errors
    /// States that there are not.
    pub fn of(given: v1::ListRequest) -> Result<Self, Refusal> {
        let mut states = States::default();
        for state in given.states {
            let reason = || format!("{state} is none that this program knows");
            let unknown = || Refusal::Invalid { field: "states", reason: reason() };
            states = states.and(state_of(state).ok_or_else(unknown)?);
        }
        Ok(Self {
            states,
            user: given.user,
            queue: given.queue,
            after: (given.after > 0).then_some(JobId(given.after)),
            before: None,
            limit: (given.limit > 0).then_some(given.limit),
            newest_first: given.newest_first,
        })
    }

    fn shown(&self, core: &Core, job: &Job) -> Option<v1::Job> {
        if !self.states.has(job.state) {
            return None;
        }
        let batch = core.batch(job)?;
        let submission = &batch.submission;
        let is_wanted = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let is_it = is_wanted(&self.user, &submission.user) && is_wanted(&self.queue, &submission.queue);
        is_it.then(|| job_of(core, job, batch))
    }
}

/// A list that is being read. Jobs that come while it is being read are not in it.
#[derive(Debug)]
pub struct Lister {
    filter: Filter,
    left: u64,
    /// The ids that were not looked at yet; up to the last that there is where the end is absent.
    from: u64,
    to: Option<u64>,
    is_done: bool,
}

impl Lister {
    /// Begins to read.
    pub fn new(filter: Filter) -> Self {
        Self {
            left: filter.limit.unwrap_or(u64::MAX),
            from: filter.after.map_or(0, |after| after.0.saturating_add(1)),
            to: filter.before.map(|before| before.0),
            is_done: false,
            filter,
        }
    }

    /// More jobs; none at the end.
    ///
    /// # Errors
    /// [`Refusal::Stopping`].
    pub async fn next(self, handle: &Handle) -> Result<(Self, Vec<v1::Job>), Refusal> {
        let (mut lister, mut jobs) = (self, Vec::new());
        while jobs.is_empty() && !lister.is_done {
            let turn = handle.call(move |turn| {
                let jobs = lister.take(turn.core());
                Ok((lister, jobs))
            });
            (lister, jobs) = turn.await?;
        }
        Ok((lister, jobs))
    }

    /// It ended because of its limit, before all jobs were looked at.
    pub fn is_cut(&self) -> bool {
        self.is_done && self.left == 0 && self.to.is_none_or(|to| self.from < to)
    }

    /// As many jobs as one turn has time for.
    pub(super) fn take(&mut self, core: &Core) -> Vec<v1::Job> {
        let from = self.from.max(core.first_id().0);
        let to = self.to.unwrap_or(u64::MAX).min(core.next_id().0);
        let newest_first = self.filter.newest_first;
        let window = match newest_first {
            false => from..to.min(from.saturating_add(SEEN)),
            true => from.max(to.saturating_sub(SEEN))..to,
        };
        let most = usize::try_from(self.left).map_or(BUILT, |left| left.min(BUILT));
        let mut jobs = Vec::new();
        let mut add = |job: &Job| {
            jobs.extend(self.filter.shown(core, job));
            if jobs.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(job.id.0) }
        };
        let mut seen = core.jobs_in(JobId(window.start)..JobId(window.end));
        let last = match newest_first {
            false => seen.try_for_each(&mut add),
            true => seen.rev().try_for_each(&mut add),
        };
        let (from, to) = match (newest_first, last) {
            (false, ControlFlow::Break(last)) => (last.saturating_add(1), to),
            (false, ControlFlow::Continue(())) => (window.end.max(from), to),
            (true, ControlFlow::Break(last)) => (from, last),
            (true, ControlFlow::Continue(())) => (from, window.start.min(to)),
        };
        self.left = self.left.saturating_sub(jobs.len() as u64);
        self.is_done = from >= to || self.left == 0;
        (self.from, self.to) = (from, Some(to));
        jobs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::comm::{Comm, Start};
    use crate::core::job::Placement;
    use crate::core::on_job::{on_cancel, on_submit};
    use crate::core::{Event, Submission, Time};
    use crate::policy::Policy;

    struct Nobody;

    impl Comm for Nobody {
        fn record(&mut self, _: &Event) {}
        fn start(&mut self, _: Start<'_>) {}
        fn signal(&mut self, _: JobId, _: u32, _: &Placement) {}
        fn kill(&mut self, _: JobId, _: u32, _: &Placement) {}
    }

    fn core() -> Core {
        let mut core = Core::new(Policy::default());
        for (user, count) in [("ann", 6000), ("bob", 3000), ("ann", 1000)] {
            let submission = Submission { user: user.to_owned(), count, ..Submission::default() };
            on_submit(&mut core, &mut Nobody, Time(1), submission).unwrap();
        }
        on_cancel(&mut core, &mut Nobody, Time(2), JobId(6001)).unwrap();
        core
    }

    fn listed(core: &Core, filter: Filter) -> Vec<u64> {
        let mut lister = Lister::new(filter);
        let mut ids = Vec::new();
        while !lister.is_done {
            let jobs = lister.take(core);
            assert!(jobs.len() <= BUILT);
            ids.extend(jobs.into_iter().map(|job| job.id));
        }
        ids
    }

    #[test]
    fn every_job_is_listed_once_in_the_order_asked_for() {
        let core = core();
        let all: Vec<u64> = (1..=10_000).collect();
        assert_eq!(listed(&core, Filter::default()), all);
        let newest = listed(&core, Filter { newest_first: true, ..Filter::default() });
        assert_eq!(newest, all.iter().rev().copied().collect::<Vec<u64>>());
    }

    #[test]
    fn a_filter_leaves_out_the_others() {
        let core = core();
        let bobs = Filter { user: "bob".to_owned(), ..Filter::default() };
        assert_eq!(listed(&core, bobs.clone()), (6001..=9000).collect::<Vec<u64>>());
        let states = States::default().and(State::Cancelled);
        assert_eq!(listed(&core, Filter { states, ..bobs }), [6001]);
        let between = Filter { after: Some(JobId(4998)), before: Some(JobId(5002)), ..Filter::default() };
        assert_eq!(listed(&core, between.clone()), [4999, 5000, 5001]);
        assert_eq!(listed(&core, Filter { newest_first: true, limit: Some(2), ..between }), [5001, 5000]);
        assert_eq!(listed(&core, Filter { queue: "other".to_owned(), ..Filter::default() }), [0; 0]);
        assert_eq!(listed(&core, Filter { after: Some(JobId(u64::MAX)), ..Filter::default() }), [0; 0]);
        assert_eq!(listed(&core, Filter { limit: Some(1), ..Filter::default() }), [1]);
    }

    #[test]
    fn an_empty_list_ends() {
        assert_eq!(listed(&Core::new(Policy::default()), Filter::default()), [0; 0]);
    }
}
