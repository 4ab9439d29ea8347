//! Measuring the candidates of which nothing is known: trying out the risky ones elsewhere, checking each one's result, racing those
//! that are right, and writing down what came of it, for each at once.

use super::gate::{admit, guarded};
use super::race::{Lane, Rules, race};
use super::view::View;
use super::{SelectError, Selector};
use crate::kernel::candidate::{Failure, Judgement, Prepared, Rejection, Workload};
use crate::kernel::sandbox::{Trial, attempt};
use crate::kernel::store::{Outcome, Row};
use crate::kernel::timer::Timer;

impl Selector {
    /// Measures the candidates of which nothing is known, and keeps what came of each.
    pub(super) fn measure(
        &self,
        view: &View<'_>,
        workload: &mut dyn FnMut() -> Result<Box<dyn Workload>, Failure>,
        timer: &mut dyn Timer,
    ) -> Result<(), SelectError> {
        let nothing = |reason| SelectError::Workload { problem: Box::new(view.problem.clone()), reason };
        let rules = Rules { delta: self.settings.delta, end: timer.now() + self.settings.budget };
        let mut workload = workload().map_err(nothing)?;
        let mut lanes = Vec::new();
        for index in view.missing() {
            match admitted(view, index, workload.as_mut()) {
                Ok(Some(prepared)) => lanes.push(Lane::new(index, prepared)),
                // Nothing is known of it; the next process may try.
                Ok(None) => {}
                Err(Judgement::Candidate(rejection)) => self.write(view, index, Outcome::Rejected(rejection)),
                Err(Judgement::Workload(reason)) => return Err(nothing(reason)),
            }
        }
        race(&mut lanes, &view.measured(), timer, &rules)
            .map_err(|error| SelectError::Timer(error.to_string()))?;
        for lane in lanes {
            let index = lane.index;
            let outcome = lane.outcome().map_or_else(Outcome::Rejected, Outcome::Measured);
            self.write(view, index, outcome);
        }
        Ok(())
    }

    fn write(&self, view: &View<'_>, index: usize, outcome: Outcome) {
        let candidate = view.candidates.list()[index].id().clone();
        if let Outcome::Rejected(rejection) = &outcome {
            tracing::warn!(key = %view.key(), %candidate, %rejection, "a kernel candidate is rejected");
        }
        self.ledger.put(Row::new(view.key().clone(), candidate, view.environment(index).clone(), outcome));
    }
}

/// The candidate, ready to run, once it has shown that it is right; none where it could not be tried.
fn admitted(
    view: &View<'_>,
    index: usize,
    workload: &mut dyn Workload,
) -> Result<Option<Box<dyn Prepared>>, Judgement> {
    let candidate = &view.candidates.list()[index];
    if let Some(probe) = candidate.probe(view.problem) {
        match attempt(&probe, view.problem) {
            Ok(Trial::Passed) => {}
            Ok(Trial::Rejected(rejection)) => return Err(rejection.into()),
            Err(error) => {
                tracing::warn!(key = %view.key(), candidate = %candidate.id(), %error, "a kernel candidate could not be tried");
                return Ok(None);
            }
        }
    }
    let failed = |failure: Failure| Rejection::Failed { detail: failure.0 };
    let mut prepared = guarded(|| candidate.prepare(view.problem, workload)).map_err(failed)?;
    admit(prepared.as_mut(), workload)?;
    Ok(Some(prepared))
}
