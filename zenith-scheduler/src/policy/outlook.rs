//! When a waiting job will probably start: the work that has its turn before it, poured into the GPUs as they are expected to
//! become free. A prediction, not a promise; `simulate` reports its error.

use serde::{Deserialize, Serialize};

use super::backlog::Class;
use super::calibration::{Cell, Range};
use super::order::{self, Shares};
use super::reservation::reserve;
use crate::core::Core;
use crate::core::id::JobId;
use crate::core::job::Job;
use crate::core::node_set::NodeSet;
use crate::core::state::State;
use crate::core::time::{Span, Time};

/// One of so many jobs is watched, so that watching costs little.
const WATCHED: u64 = 4;

/// When a job will start. Of ten jobs one should start before `early`, five before `likely` and nine before `late`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlook {
    /// Probably not before.
    pub early: Time,
    /// As likely before as after.
    pub likely: Time,
    /// Probably not after.
    pub late: Time,
}

/// What has its turn before a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ahead {
    pub(crate) jobs: usize,
    /// Expected GPU-seconds.
    pub(crate) work: f64,
}

impl Core {
    /// When a queued job is expected to start; `None` for jobs that are not queued or can never be placed as things are.
    pub fn predicted_start(&self, id: JobId, now: Time) -> Option<Time> {
        self.outlook(id, now).map(|outlook| outlook.likely)
    }

    /// When a queued job is expected to start, and how far off that may be by what came of earlier predictions.
    pub fn outlook(&self, id: JobId, now: Time) -> Option<Outlook> {
        let (cell, wait) = self.reckoned_wait(id, now)?;
        let Range { early, likely, late } = self.calibration.range(cell, wait);
        Some(Outlook { early: now + early, likely: now + likely, late: now + late })
    }

    /// Watches what a job that has just queued would be told.
    pub(crate) fn watch_prediction(&mut self, now: Time) {
        let Some(id) = self.fresh.take().filter(|id| id.0.is_multiple_of(WATCHED)) else { return };
        if let Some((cell, wait)) = self.reckoned_wait(id, now) {
            self.calibration.said(id, cell, wait, now);
        }
    }

    fn reckoned_wait(&self, id: JobId, now: Time) -> Option<(Cell, Span)> {
        let job = self.ledger.jobs.get(id).filter(|job| job.state == State::Queued)?;
        let shape = &self.batch(job)?.shape;
        let kept = self.plan.reservations.iter().find(|reservation| reservation.job == id);
        let at = match kept {
            Some(reservation) => reservation.at.max(now),
            None => {
                let whole = reserve(self, id, shape, &NodeSet::default(), now)?;
                self.poured(self.ahead(job, now)?.work, shape.gpus(), now).max(whole.at)
            }
        };
        let wait = at.since(now);
        Some((Cell::of(shape.gpus() >= self.cluster().node_size(), wait), wait))
    }

    /// What has its turn before a queued job.
    pub(crate) fn ahead(&self, job: &Job, now: Time) -> Option<Ahead> {
        let shares = self.shares(now);
        let (kind, entry) = self.queue_entry(job)?;
        let own = self.forecast_of(&kind, entry.runtime);
        let own_cost = own.cost / order::lift(&self.policy, &kind, &shares);
        let own_size = kind.shape.gpus();
        let is_part = self.passes(own_size);
        let mut ahead = Ahead::default();
        for at in self.backlog.active() {
            let class = self.backlog.class(*at);
            let forecast = class.forecast.unwrap_or_else(|| self.forecast_of(&class.kind, None));
            let size = class.kind.shape.gpus();
            // Larger work that waits is passed by; what it keeps is not counted as room either.
            if is_part && size > own_size {
                continue;
            }
            let count = match self.policy.order {
                _ if class.kind == kind => older(class, entry.order, job.id),
                super::Order::Submitted => older(class, entry.order, job.id),
                super::Order::Shortest => older(class, entry.order, job.id),
                super::Order::Urgency => {
                    // Who has waited as long for its cost as this job has for its own is level with it.
                    let cost = forecast.cost / order::lift(&self.policy, &class.kind, &shares);
                    let patience = self.policy.weights.patience;
                    let waited = (now.since(job.submitted) + patience).as_secs_f64() * cost / own_cost;
                    let since = now - Span::from_secs_f64((waited - patience.as_secs_f64()).max(0.0));
                    if waited < patience.as_secs_f64() {
                        class.entries.len()
                    } else {
                        older(class, since.0, job.id)
                    }
                }
            };
            let gpus = f64::from(class.kind.shape.gpus().max(1));
            ahead.jobs += count;
            ahead.work += count as f64 * forecast.mean * gpus;
        }
        Some(ahead)
    }

    /// When so much work has been done by GPUs that are not busy otherwise, and so many of them are free.
    fn poured(&self, work: f64, gpus: u32, now: Time) -> Time {
        let mut free = f64::from(self.cluster().free_gpus());
        let is_part = self.passes(gpus);
        let mut done = 0.0;
        let mut at = now;
        for (_, id) in &self.expected {
            // One that should have ended by now is taken to end when it is expected to after all.
            let end = self.expected_end(*id, now).max(at);
            let missing = work - done;
            let step = end.since(at).as_secs_f64();
            if free >= f64::from(gpus) && (missing <= 0.0 || free * step >= missing) {
                break;
            }
            done += free * step;
            at = end;
            let released = self.ledger.jobs.get(*id).map_or(0, |job| job.gpus());
            free += if is_part && released > gpus { 0.0 } else { f64::from(released) };
        }
        let missing = (work - done).max(0.0);
        if missing > 0.0 && free > 0.0 { at + Span::from_secs_f64(missing / free) } else { at }
    }

    /// Work of this size passes larger work that waits, and lives where that does not.
    fn passes(&self, gpus: u32) -> bool {
        self.policy.order == super::Order::Urgency && gpus < self.cluster().node_size()
    }

    fn forecast_of(&self, kind: &super::backlog::Kind, runtime: Option<Span>) -> super::backlog::Forecast {
        order::forecast(&self.policy, &self.ledger.history, kind, runtime, self.cluster().node_size())
    }

    /// The shares at a time.
    pub(crate) fn shares(&self, now: Time) -> Shares {
        Shares::of(&self.ledger.queues, &self.ledger.users, &self.policy, now)
    }
}

/// How many of a class come before a place in its order.
fn older(class: &Class, order: u64, job: JobId) -> usize {
    class.entries.partition_point(|entry| (entry.order, entry.job) < (order, job))
}
