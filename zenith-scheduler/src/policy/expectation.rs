//! When placed jobs are expected to end. Guesses from what has completed; made anew when they do not
//! come true.

use super::Order;
use crate::core::Core;
use crate::core::id::{JobId, NodeId};
use crate::core::time::{Span, Time};

impl Core {
    /// Expects a placed job to end at a time.
    pub(crate) fn expect(&mut self, id: JobId, at: Time) {
        let gang = self.ledger.jobs.get_mut(id).and_then(|job| job.gang.as_mut());
        if let Some(gang) = gang {
            self.expected.remove(&(gang.expected, id));
            gang.expected = at;
            self.expected.insert((at, id));
        }
    }

    /// Expects nothing of a job any more.
    pub(crate) fn unexpect(&mut self, id: JobId) {
        let gang = self.ledger.jobs.get(id).and_then(|job| job.gang.as_ref());
        if let Some(gang) = gang {
            self.expected.remove(&(gang.expected, id));
        }
    }

    /// Makes expectations anew where they have not come true.
    pub(crate) fn refresh_expectations(&mut self, now: Time) {
        while let Some((at, id)) = self.expected.first().copied().filter(|(at, _)| *at <= now) {
            match self.expectation(id, now) {
                Some(end) => self.expect(id, end.max(now + Span(1))),
                None => {
                    self.expected.remove(&(at, id));
                }
            }
        }
    }

    /// When a placed job is expected to end; `now` for what is gone.
    pub(crate) fn expected_end(&self, id: JobId, now: Time) -> Time {
        let gang = self.ledger.jobs.get(id).and_then(|job| job.gang.as_ref());
        match gang {
            Some(gang) if gang.expected > now => gang.expected,
            Some(_) => self.expectation(id, now).unwrap_or(now),
            None => now,
        }
    }

    /// When the last of what a node holds is expected to end; policies for comparison do not ask.
    pub(crate) fn stays_busy(&self, node: NodeId, now: Time) -> Time {
        if self.policy.order != Order::Urgency {
            return now;
        }
        let holdings = self.cluster().node(node).into_iter().flat_map(|node| &node.holdings);
        holdings.map(|holding| self.expected_end(holding.job, now)).max().unwrap_or(now)
    }

    fn expectation(&self, id: JobId, now: Time) -> Option<Time> {
        let job = self.ledger.jobs.get(id)?;
        let placed = job.placed?;
        let gang = job.gang.as_ref()?;
        if let Some(stop) = gang.stop {
            return Some(stop.kill_at.max(now + Span::from_secs(1)));
        }
        let batch = self.batch(job)?;
        let elapsed = now.since(placed);
        if let Some(runtime) = batch.submission.runtime.filter(|_| self.policy.knows_runtimes()) {
            return Some((placed + runtime).max(now + Span(1)));
        }
        let estimate = self.ledger.history.estimate(batch.group);
        let limit = batch.submission.time_limit;
        let left = estimate.quantile_left(self.policy.weights.release, elapsed, limit);
        Some(now + Span::from_secs_f64(left.max(1.0)))
    }
}
