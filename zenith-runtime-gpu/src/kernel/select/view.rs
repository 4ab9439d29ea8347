//! What is known of a problem's candidates at one moment, and what follows from it. Reads, and measures nothing.

use super::decide::{Estimate, decide, estimate, pooled, tied};
use super::explain::{Choice, Explain, Source, Standing, Verdict};
use super::ledger::Ledger;
use super::{Contender, Question, SelectError, Settings};
use crate::kernel::candidate::{Candidates, Rejection};
use crate::kernel::environment::Environment;
use crate::kernel::key::{Key, Problem};
use crate::kernel::store::{Outcome, Pin, Row};

/// What is known of a candidate for one key.
#[derive(Clone, Debug)]
enum Known {
    Unsupported(String),
    Rejected(Rejection),
    Measured(Estimate),
    Nothing,
}

pub(super) struct View<'a> {
    ledger: &'a Ledger,
    settings: &'a Settings,
    pub(super) problem: &'a Problem,
    pub(super) candidates: &'a Candidates,
    question: &'a Question,
    known: Vec<Known>,
    pin: Option<Pin>,
}

impl<'a> View<'a> {
    pub(super) fn new(
        ledger: &'a Ledger,
        settings: &'a Settings,
        problem: &'a Problem,
        candidates: &'a Candidates,
        question: &'a Question,
    ) -> Self {
        let known = known_of(ledger, question, &question.key);
        let pin = ledger.pinned(&question.key);
        Self { ledger, settings, problem, candidates, question, known, pin }
    }

    pub(super) fn key(&self) -> &Key {
        &self.question.key
    }

    pub(super) fn environment(&self, index: usize) -> &Environment {
        &self.question.candidates[index].environment
    }

    /// The candidates that can do it and of which nothing is known.
    pub(super) fn missing(&self) -> Vec<usize> {
        (0..self.known.len()).filter(|&index| matches!(self.known[index], Known::Nothing)).collect()
    }

    /// What is known of those that were measured.
    pub(super) fn measured(&self) -> Vec<Estimate> {
        estimates(&self.known).into_iter().flatten().collect()
    }

    /// Whether a choice can be made without measuring. A neighbour that is `near` enough will do.
    pub(super) fn is_settled(&self, near: f64) -> bool {
        let able = self
            .known
            .iter()
            .filter(|known| !matches!(known, Known::Unsupported(_) | Known::Rejected(_)))
            .count();
        // Of one candidate nothing needs to be known to choose it but that it is right, which is then the user's word.
        self.missing().is_empty()
            || self.kept_pin().is_some()
            || (able > 0 && near > 0.0 && self.neighbour(near).is_some())
    }

    /// The pinned candidate's place, where there is one that can do it and is not rejected.
    fn kept_pin(&self) -> Option<(usize, &Pin)> {
        let pin = self.pin.as_ref()?;
        let index = self.candidates.position(&pin.candidate)?;
        matches!(self.known[index], Known::Measured(_) | Known::Nothing).then_some((index, pin))
    }

    /// The choice that follows from what is known; `measured`: it was measured just now.
    pub(super) fn choice(&self, measured: bool) -> Result<Choice, SelectError> {
        if let Some((index, pin)) = self.kept_pin() {
            return Ok(self.chosen(index, Source::Pinned { note: pin.note.clone() }));
        }
        if let Some(index) = conclusion(&self.known, self.settings.delta) {
            return Ok(self.chosen(index, if measured { Source::Measured } else { Source::Stored }));
        }
        if let Some((index, key, doublings)) = self.neighbour(self.settings.reach) {
            return Ok(self.chosen(index, Source::Neighbour { key, doublings }));
        }
        let able = |known: &Known| matches!(known, Known::Measured(_) | Known::Nothing);
        match self.known.iter().position(able) {
            Some(index) => {
                let reason = "neither this key nor one nearby was measured".to_owned();
                Ok(self.chosen(index, Source::Default { reason }))
            }
            None => Err(self.nobody()),
        }
    }

    /// The choice of the nearest key within `reach` for which there is one that can do this problem.
    fn neighbour(&self, reach: f64) -> Option<(usize, Key, f64)> {
        let mut keys: Vec<Key> = self.ledger.keys(self.key().family());
        keys.retain(|key| {
            key != self.key() && self.key().distance(key).is_some_and(|distance| distance <= reach)
        });
        while let Some((nearest, doublings)) = self.key().nearest(&keys) {
            let nearest = nearest.clone();
            // Who is rejected here stays so, whatever is known of it nearby.
            let mut known = known_of(self.ledger, self.question, &nearest);
            for (there, here) in known.iter_mut().zip(&self.known) {
                if let Known::Rejected(_) = here {
                    *there = here.clone();
                }
            }
            if let Some(index) = conclusion(&known, self.settings.delta) {
                return Some((index, nearest, doublings));
            }
            keys.retain(|key| *key != nearest);
        }
        None
    }

    fn chosen(&self, index: usize, source: Source) -> Choice {
        Choice { index, candidate: self.candidates.list()[index].id().clone(), source }
    }

    fn nobody(&self) -> SelectError {
        let reason = |(known, candidate): (&Known, &std::sync::Arc<dyn crate::kernel::Candidate>)| {
            let reason = match known {
                Known::Unsupported(reason) => reason.clone(),
                Known::Rejected(rejection) => rejection.to_string(),
                Known::Measured(_) | Known::Nothing => "nothing is wrong with it".to_owned(),
            };
            format!("{}: {reason}", candidate.id().name)
        };
        let reasons: Vec<String> = self.known.iter().zip(self.candidates.list()).map(reason).collect();
        SelectError::Nobody { problem: Box::new(self.problem.clone()), reasons: reasons.join("; ") }
    }

    /// Why it is what it is. `choice` is what is in force, if that is known.
    pub(super) fn explain(&self, choice: Option<Choice>, delta: f64) -> Result<Explain, SelectError> {
        let choice = choice.map_or_else(|| self.choice(false), Ok)?;
        let estimates = pooled(&estimates(&self.known));
        let fastest = estimates.iter().flatten().min_by(|a, b| a.ns.total_cmp(&b.ns)).copied();
        let standing = |(index, known): (usize, &Known)| {
            let verdict = match known {
                _ if index == choice.index => Verdict::Chosen,
                Known::Unsupported(reason) => Verdict::Unsupported { reason: reason.clone() },
                Known::Rejected(rejection) => Verdict::Rejected(rejection.clone()),
                Known::Nothing => Verdict::Unmeasured,
                Known::Measured(own) if fastest.is_some_and(|fastest| tied(own, &fastest, delta)) => {
                    Verdict::Tied
                }
                Known::Measured(_) => Verdict::Slower,
            };
            Standing {
                candidate: self.candidates.list()[index].id().clone(),
                default: index == 0,
                verdict,
                estimate: estimates[index],
                ratio: estimates[index].zip(fastest).map(|(own, fastest)| own.ns / fastest.ns),
            }
        };
        let mut notes = Vec::new();
        if let Some(pin) = self.pin.as_ref().filter(|_| self.kept_pin().is_none()) {
            let why = match self.candidates.position(&pin.candidate) {
                None => "there is no such candidate".to_owned(),
                Some(index) => match &self.known[index] {
                    Known::Unsupported(reason) => format!("it cannot: {reason}"),
                    Known::Rejected(rejection) => rejection.to_string(),
                    Known::Measured(_) | Known::Nothing => "nothing is wrong with it".to_owned(),
                },
            };
            notes.push(format!("`{}` is pinned and not taken: {why}", pin.candidate));
        }
        let standings = self.known.iter().enumerate().map(standing).collect();
        Ok(Explain { key: self.key().clone(), choice, delta, standings, notes })
    }
}

/// What is known of each candidate for `key`, as far as it can do the problem of `question`.
fn known_of(ledger: &Ledger, question: &Question, key: &Key) -> Vec<Known> {
    let rows = ledger.rows(key);
    let known = |candidate: &Contender| {
        if let Some(reason) = &candidate.unable {
            return Known::Unsupported(reason.clone());
        }
        let own = |row: &&Row| row.candidate == candidate.id && row.environment == candidate.environment;
        match rows.iter().find(own).map(|row| &row.outcome) {
            Some(Outcome::Rejected(rejection)) => Known::Rejected(rejection.clone()),
            Some(Outcome::Measured(samples)) => estimate(samples).map_or(Known::Nothing, Known::Measured),
            None => Known::Nothing,
        }
    };
    question.candidates.iter().map(known).collect()
}

fn estimates(known: &[Known]) -> Vec<Option<Estimate>> {
    let estimate = |known: &Known| match known {
        Known::Measured(estimate) => Some(*estimate),
        _ => None,
    };
    known.iter().map(estimate).collect()
}

/// The place that follows from what was measured. Nothing follows while the first candidate that could be chosen, which is the
/// default, was not measured: others cannot be said to be better than it.
fn conclusion(known: &[Known], delta: f64) -> Option<usize> {
    let first = known.iter().find(|known| !matches!(known, Known::Unsupported(_) | Known::Rejected(_)))?;
    matches!(first, Known::Measured(_)).then(|| decide(&estimates(known), delta)).flatten()
}
