//! The only place where the state changes: an event in, the tables and what follows from them brought up to date. Decides
//! nothing and looks at no clock, so that replaying a journal gives the state it was written from.

use std::sync::Arc;

use super::Core;
use super::error::Error;
use super::event::{Change, Event};
use super::id::{JobId, NodeId};
use super::job::{
    Batch, Cause, Gang, Job, MAX_EARLIER, MAX_NOTES, Placement, Rank, Submission, Then, Used, When,
};
use super::node::{Contact, Fault, Holding};
use super::on_node::ranks_on;
use super::ports::Meeting;
use super::state::{State, Trigger};
use super::time::Time;
use crate::policy::Order;
use crate::policy::backlog::{Entry, Kind};

impl Core {
    /// Makes one change.
    ///
    /// # Errors
    /// What cannot have happened in this state; then nothing of it was done.
    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), Error> {
        self.change(&event.change, event.at)?;
        self.ledger.now = self.ledger.now.max(event.at);
        Ok(())
    }

    fn change(&mut self, change: &Change, at: Time) -> Result<(), Error> {
        match change {
            Change::NodeJoined { node, spec } => {
                self.ledger.cluster.join(*node, spec);
                self.dirty = true;
            }
            Change::NodeContact { node, contact } => self.contact(*node, *contact)?,
            Change::NodeDrained { node, drained } => {
                self.node(*node)?;
                self.ledger.cluster.change(*node, |node| {
                    node.drained = *drained;
                    if !drained {
                        node.faults.clear();
                    }
                });
                self.dirty = true;
            }
            Change::StartRefused { node, job } => {
                self.node(*node)?;
                let avoided = &mut self.ledger.jobs.of_mut(*job)?.avoided;
                if !avoided.contains(node) {
                    avoided.push(*node);
                }
            }
            Change::NodeFault { node, job, reason } => {
                self.node(*node)?;
                let fault = Fault { job: *job, reason: reason.clone() };
                self.ledger.cluster.change(*node, |node| node.faults.push(fault));
            }
            Change::NodeSound { node } => {
                self.node(*node)?;
                self.ledger.cluster.change(*node, |node| node.faults.clear());
            }
            Change::GpuHealth { node, gpu, healthy, reason } => {
                self.node(*node)?;
                self.ledger.cluster.change(*node, |node| node.note_health(*gpu, *healthy, reason));
                self.dirty |= *healthy;
            }
            Change::OrphanGone { node, job, attempt } => {
                self.ledger.cluster.change(*node, |node| {
                    node.give_back(*job, *attempt);
                });
                self.dirty = true;
            }
            Change::QueueSet { name, settings } => {
                let id = self.ledger.queue_or_new(name);
                self.ledger.queues[id.index()].settings = *settings;
                self.dirty = true;
            }
            Change::UserSet { name, settings } => {
                let id = self.ledger.user_or_new(name);
                self.ledger.users[id.index()].settings = *settings;
                self.dirty = true;
            }
            Change::Submitted { first, submission } => self.submitted(*first, submission, at)?,
            Change::DependencyMet { first } => {
                let batch = self.ledger.batch_mut(*first)?;
                batch.unmet = batch.unmet.saturating_sub(1);
            }
            Change::Moved { job, trigger, cause, not_before } => {
                self.moved(*job, *trigger, *cause, *not_before, at)?;
            }
            Change::Placed { job, attempt, placement, meeting } => {
                self.placed(*job, *attempt, placement, meeting.as_ref(), at)?;
            }
            Change::RankStarted { job, rank } => self.rank(*job, *rank, Rank::Running)?,
            Change::RankGone { job, rank, exit } => self.rank(*job, *rank, Rank::Gone(*exit))?,
            Change::RankUsed { job, used } => {
                let record = self.ledger.jobs.of_mut(*job)?;
                record.used = record.used.and(*used);
            }
            Change::Noted { job, note } => {
                let notes = &mut self.ledger.jobs.of_mut(*job)?.notes;
                if notes.len() < MAX_NOTES && !notes.contains(note) {
                    notes.push(note.clone());
                }
            }
            Change::Stopping { job, stop } => {
                let record = self.ledger.jobs.step(*job, Trigger::Stop)?;
                if let Some(gang) = &mut record.gang {
                    gang.stop = Some(*stop);
                }
                let first = record.first;
                let priority = self.ledger.batch(first)?.submission.priority;
                self.preemptible.remove(&(priority, *job));
                self.follow(*job);
            }
            Change::StopChanged { job, stop } => {
                let gang = self.ledger.jobs.of_mut(*job)?.gang.as_mut();
                let known = gang.and_then(|gang| gang.stop.as_mut());
                *known.ok_or(Error::Journal("the end of a gang changed that was not being ended"))? = *stop;
            }
            Change::Killed { job } => {
                let gang = self.ledger.jobs.of_mut(*job)?.gang.as_mut();
                let stop = gang.and_then(|gang| gang.stop.as_mut());
                stop.ok_or(Error::Journal("a gang was killed that was not being ended"))?.killed = true;
            }
            Change::Forgotten { first } => {
                let batch = self.ledger.batches.remove(first).ok_or(Error::NoJob(*first))?;
                self.keys.remove(&key_of(&batch.submission));
                self.kept_bytes -= batch.submission.bytes();
                for index in 0..u64::from(batch.submission.count) {
                    self.ledger.jobs.forget(JobId(first.0 + index));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn node(&self, id: NodeId) -> Result<&super::node::Node, Error> {
        self.ledger.cluster.node(id).ok_or(Error::NoNode(id))
    }

    fn contact(&mut self, id: NodeId, contact: Contact) -> Result<(), Error> {
        // Where every rank of a part has come to its end, the gang has not gone on without it.
        let is_done = |holding: &Holding| {
            let job = self.ledger.jobs.get(holding.job).filter(|job| job.attempt == holding.attempt);
            let gang = job.and_then(|job| job.gang.as_ref());
            let ranks = ranks_on(self, holding.job, id);
            gang.is_some_and(|gang| {
                ranks.iter().all(|rank| matches!(gang.ranks[*rank as usize], Rank::Gone(_)))
            })
        };
        let left = self.node(id)?.holdings.iter().filter(|holding| !is_done(holding));
        let left: Vec<(JobId, u32)> = left.map(|holding| (holding.job, holding.attempt)).collect();
        self.ledger.cluster.change(id, |node| {
            node.contact = contact;
            if contact == Contact::Lost {
                let is_left = |holding: &Holding| left.contains(&(holding.job, holding.attempt));
                node.holdings.iter_mut().for_each(|holding| holding.orphan |= is_left(holding));
            }
        });
        self.dirty = true;
        Ok(())
    }

    fn submitted(&mut self, first: JobId, submission: &Submission, at: Time) -> Result<(), Error> {
        if first < self.ledger.next {
            return Err(Error::Journal("a job has an id that was used before"));
        }
        let shape = submission.request.check()?;
        let ledger = &mut self.ledger;
        let queue = ledger.queue_or_new(&submission.queue);
        let user = ledger.user_or_new(&submission.user);
        let mut unmet = 0;
        for dependency in &submission.after {
            let on = ledger.jobs.of(dependency.on)?.first;
            let batch = ledger.batch_mut(on)?;
            if batch.open > 0 {
                batch.dependents.push((first, dependency.when));
                unmet += 1;
            }
        }
        let batch = Batch {
            submission: Arc::new(submission.clone()),
            shape,
            queue,
            user,
            submitted: at,
            group: ledger.history.group(queue, user, shape.gpus()),
            unmet,
            open: submission.count,
            unwell: 0,
            dependents: Vec::new(),
        };
        if !submission.key.is_empty() {
            self.keys.insert(key_of(submission), first);
        }
        self.kept_bytes += submission.bytes();
        let ledger = &mut self.ledger;
        ledger.batches.insert(first, batch);
        let state = if submission.held { State::Held } else { State::Waiting };
        for index in 0..u64::from(submission.count) {
            let id = JobId(first.0 + index);
            ledger.jobs.push(Job {
                id,
                first,
                state,
                submitted: at,
                not_before: None,
                attempt: 0,
                restarts: 0,
                preemptions: 0,
                deaths: 0,
                failures: 0,
                gang: None,
                placed: None,
                ended: None,
                cause: None,
                last: None,
                earlier: Vec::new(),
                used: Used::default(),
                notes: Vec::new(),
                avoided: Vec::new(),
            });
        }
        ledger.next = JobId(first.0 + u64::from(submission.count));
        Ok(())
    }

    fn moved(
        &mut self,
        id: JobId,
        trigger: Trigger,
        cause: Option<Cause>,
        not_before: Option<Time>,
        at: Time,
    ) -> Result<(), Error> {
        let job = self.ledger.jobs.of(id)?;
        let from = job.state;
        from.next(trigger).map_err(|source| Error::Forbidden { job: id, source })?;
        if from == State::Queued
            && let Some((kind, entry)) = self.queue_entry(job)
        {
            self.backlog.remove(&kind, &entry);
            self.calibration.gone(id);
        }
        if from.is_placed() && trigger != Trigger::Up {
            self.dismantle(id, trigger, at)?;
        }
        let job = self.ledger.jobs.step(id, trigger)?;
        job.not_before = not_before;
        job.cause = cause;
        if let (Trigger::Up, Some(gang)) = (trigger, &mut job.gang) {
            gang.up = Some(at);
        }
        let (first, state) = (job.first, job.state);
        if state.is_final() {
            job.ended = Some(at);
            let batch = self.ledger.batch_mut(first)?;
            batch.open -= 1;
            batch.unwell += u32::from(state != State::Completed);
        }
        if trigger != Trigger::Up {
            self.follow(id);
            self.dirty = true;
        }
        Ok(())
    }

    /// Gives back what a gang holds, and learns from how it went.
    fn dismantle(&mut self, id: JobId, trigger: Trigger, at: Time) -> Result<(), Error> {
        self.unexpect(id);
        let job = self.ledger.jobs.of_mut(id)?;
        let Some(gang) = job.gang.take() else { return Ok(()) };
        if let Some(meeting) = &gang.meeting {
            self.ports.give_back(meeting);
        }
        let cause = gang.stop.map(|stop| stop.cause);
        if matches!(trigger, Trigger::Requeue | Trigger::Retry | Trigger::Hold) {
            job.restarts += 1;
        }
        match cause {
            Some(Cause::Preempted { .. }) => job.preemptions += 1,
            Some(Cause::RankFailed { .. }) => job.failures += 1,
            Some(Cause::RankDied { .. } | Cause::NodeLost { .. } | Cause::GpuUnhealthy { .. }) => {
                job.deaths += 1;
            }
            _ => {}
        }
        let attempt = job.attempt;
        let batch = self.ledger.batches.get(&job.first).ok_or(Error::NoJob(id))?;
        let (queue, user, group) = (batch.queue, batch.user, batch.group);
        self.preemptible.remove(&(batch.submission.priority, id));
        for slice in &gang.placement.slices {
            self.ledger.cluster.change(slice.node, |node| {
                let is_it = |holding: &Holding| holding.job == id && holding.attempt == attempt;
                if node.holdings.iter().any(|holding| is_it(holding) && !holding.orphan) {
                    node.give_back(id, attempt);
                }
            });
        }
        let gpus = gang.placement.gpus();
        self.ledger.queues[queue.index()].usage.give_back(gpus, at);
        self.ledger.users[user.index()].usage.give_back(gpus, at);
        // Only what ended by its own doing says how long such work takes.
        let own_end = matches!(cause, None | Some(Cause::RankFailed { .. }));
        if let (true, Some(up)) = (own_end, gang.up) {
            self.ledger.history.learn(group, at.since(up));
        }
        Ok(())
    }

    fn placed(
        &mut self,
        id: JobId,
        attempt: u32,
        placement: &Placement,
        meeting: Option<&Meeting>,
        at: Time,
    ) -> Result<(), Error> {
        let job = self.ledger.jobs.of(id)?;
        job.state.next(Trigger::Place).map_err(|source| Error::Forbidden { job: id, source })?;
        for slice in &placement.slices {
            if !(self.node(slice.node)?.used() & slice.gpus).is_empty() {
                return Err(Error::Journal("a GPU was given to two jobs"));
            }
        }
        if let Some((kind, entry)) = self.queue_entry(job) {
            self.backlog.remove(&kind, &entry);
            self.calibration.started(id, at);
        }
        let batch = self.ledger.batch(job.first)?;
        let (queue, user, ranks) = (batch.queue, batch.user, batch.shape.ranks);
        for slice in &placement.slices {
            let holding = Holding { job: id, attempt, slice: *slice, orphan: false };
            self.ledger.cluster.change(slice.node, |node| node.take(holding));
        }
        if let Some(meeting) = meeting {
            self.ports.take(meeting);
        }
        let gpus = placement.gpus();
        self.ledger.queues[queue.index()].usage.take(gpus, at);
        self.ledger.users[user.index()].usage.take(gpus, at);
        let job = self.ledger.jobs.step(id, Trigger::Place)?;
        if let Some(last) = job.last.take() {
            if job.earlier.len() == MAX_EARLIER {
                job.earlier.remove(0);
            }
            job.earlier.push((job.attempt, *last));
        }
        job.attempt = attempt;
        job.placed = Some(at);
        job.cause = None;
        job.gang = Some(Box::new(Gang::new(placement.clone(), meeting.cloned(), ranks)));
        job.last = Some(Box::new(placement.clone()));
        self.follow(id);
        Ok(())
    }

    fn rank(&mut self, id: JobId, rank: u32, now: Rank) -> Result<(), Error> {
        let gang = self.ledger.jobs.of_mut(id)?.gang.as_mut();
        let gang = gang.ok_or(Error::Journal("a rank of a job that is not placed"))?;
        let seat =
            gang.ranks.get_mut(rank as usize).ok_or(Error::Journal("a rank that the gang does not have"))?;
        let before = std::mem::replace(seat, now);
        if before == Rank::Pending && now != Rank::Pending {
            gang.pending -= 1;
        }
        if !matches!(before, Rank::Gone(_)) && matches!(now, Rank::Gone(_)) {
            gang.alive -= 1;
        }
        Ok(())
    }

    /// Where a job belongs in the backlog.
    pub(crate) fn queue_entry(&self, job: &Job) -> Option<(Kind, Entry)> {
        let batch = self.ledger.batches.get(&job.first)?;
        let submission = &batch.submission;
        let runtime = submission.runtime.filter(|_| self.policy.knows_runtimes());
        let is_urgency = self.policy.order == Order::Urgency;
        // Orders that look at a job's own date or run time need no classes by user and experience; limits are asked
        // of the job.
        let group = if is_urgency || runtime.is_none() { batch.group } else { 0 };
        let (queue, user) = if is_urgency { (batch.queue, batch.user) } else { Default::default() };
        let kind = Kind {
            queue,
            user,
            priority: submission.priority,
            shape: batch.shape,
            time_limit: submission.time_limit,
            group,
            preemptible: submission.preemptible,
            runtime: runtime.map(Kind::step),
        };
        let order = match (self.policy.order, runtime) {
            (Order::Shortest, Some(runtime)) => runtime.0,
            _ => job.submitted.0,
        };
        Some((kind, Entry { order, job: job.id, submitted: job.submitted, runtime }))
    }
}

/// What a submission is known by to whoever sends it again.
pub(super) fn key_of(submission: &Submission) -> (String, String) {
    (submission.user.clone(), submission.key.clone())
}

/// What a gang's end leads to.
pub(crate) fn trigger_of(then: Then) -> Trigger {
    match then {
        Then::Requeue => Trigger::Requeue,
        Then::Retry(_) => Trigger::Retry,
        Then::Hold => Trigger::Hold,
        Then::Fail => Trigger::Fail,
        Then::Cancel => Trigger::Cancel,
    }
}

/// A submission ended as those that wait for it want.
pub(crate) fn is_met(when: When, unwell: u32) -> bool {
    when == When::Ended || unwell == 0
}
