//! Which candidate runs: what a user fixed, else what was measured, else what is measured now, else what is best nearby, else the
//! default. It asks candidates, timer and store; what samples mean is decided by [`decide`], which is pure.

pub mod decide;
mod explain;
pub mod gate;
mod guarded;
mod ledger;
mod measure;
mod race;
mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use thiserror::Error;

pub use explain::{Choice, Explain, Source, Standing, Verdict, time};

use super::candidate::{Candidate, CandidateId, Candidates, Failure, Workload};
use super::environment::{Device, Environment};
use super::key::{Key, Problem};
use super::store::{Pin, Scope, Store, StoreError};
use super::timer::Timer;
use ledger::Ledger;
use view::View;

/// The most choices that are remembered in memory; with more, all are forgotten and read from the store again.
const MAX_MEMORY: usize = 16 * 1024;

/// How choices are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The part of a time by which candidates have to differ for it to matter.
    pub delta: f64,
    /// What measuring a key may take, the reference and the check of each candidate included. Two calls of each candidate, and
    /// three samples where they are short, are made even if they take longer.
    pub budget: Duration,
    /// How far a neighbour may be, in doublings, for its choice to be taken where nothing is measured.
    pub reach: f64,
    /// How near a neighbour has to be, in doublings, for a new key not to be measured at all; zero measures every key.
    pub near: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { delta: 0.02, budget: Duration::from_millis(800), reach: 4.0, near: 0.0 }
    }
}

/// Why nothing could be chosen.
#[derive(Debug, Error)]
pub enum SelectError {
    /// No candidate can do the problem, or all that could are rejected.
    #[error("no candidate can do {problem}: {reasons}")]
    Nobody {
        /// The problem.
        problem: Box<Problem>,
        /// What each said.
        reasons: String,
    },
    /// There are no operands or no reference to measure with.
    #[error("the workload of {problem}: {reason}")]
    Workload {
        /// The problem.
        problem: Box<Problem>,
        /// What went wrong.
        reason: Failure,
    },
    /// The timer failed.
    #[error("{0}")]
    Timer(String),
}

/// Chooses. To be shared by all threads; one measures at a time.
///
/// A thread that holds a lock which candidates need (Python's, say) must not hold it while it calls [`choose`](Self::choose).
#[derive(Debug)]
pub struct Selector {
    device: Device,
    settings: Settings,
    ledger: Ledger,
    frozen: AtomicBool,
    generation: AtomicU64,
    memory: Mutex<HashMap<Question, Choice>>,
    /// Held while somebody measures.
    measuring: Mutex<()>,
    /// Who measures: a candidate that asks for a choice while it is measured must not wait for itself.
    measurer: Mutex<Option<ThreadId>>,
}

/// What a choice depends on, besides what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    key: Key,
    candidates: Vec<Contender>,
}

/// A candidate as a question sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Contender {
    id: CandidateId,
    environment: Environment,
    /// Why it cannot do the problem, if it cannot.
    unable: Option<String>,
}

impl Selector {
    /// For candidates that run on `device`, with what `store` knows. Without a store nothing is kept beyond its own life.
    #[must_use]
    pub fn new(device: Device, store: Option<Store>, settings: Settings) -> Self {
        Self {
            device,
            settings,
            ledger: Ledger::new(store),
            frozen: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            memory: Mutex::default(),
            measuring: Mutex::default(),
            measurer: Mutex::default(),
        }
    }

    /// Where candidates run.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How choices are made.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where measurements are kept.
    #[must_use]
    pub fn store(&self) -> Option<&Store> {
        self.ledger.store()
    }

    /// What runs `problem`. Measures what is not known yet, unless it is [frozen](Self::freeze): only candidates without a row for
    /// this key in this environment, and only then are operands asked for.
    ///
    /// # Errors
    /// When nobody can do the problem, or there is nothing to measure with.
    pub fn choose(
        &self,
        problem: &Problem,
        candidates: &Candidates,
        workload: &mut dyn FnMut() -> Result<Box<dyn Workload>, Failure>,
        timer: &mut dyn Timer,
    ) -> Result<Choice, SelectError> {
        let question = Question::new(&self.device, problem, candidates);
        if let Some(choice) = lock(&self.memory).get(&question) {
            return Ok(choice.clone());
        }
        if self.is_frozen() || *lock(&self.measurer) == Some(thread::current().id()) {
            return self.recall(problem, candidates);
        }
        let seen = self.generation();
        let view = self.view(problem, candidates, &question);
        if view.is_settled(self.settings.near) {
            return Ok(self.remember(&question, view.choice(false)?, seen));
        }
        let _turn = Turn::take(self);
        // Another thread may have measured it meanwhile.
        let seen = self.generation();
        let view = self.view(problem, candidates, &question);
        if view.is_settled(self.settings.near) {
            return Ok(self.remember(&question, view.choice(false)?, seen));
        }
        self.measure(&view, workload, timer)?;
        let seen = self.generation();
        let choice = self.view(problem, candidates, &question).choice(true)?;
        Ok(self.remember(&question, choice, seen))
    }

    /// What runs `problem` by what is known; measures nothing.
    ///
    /// # Errors
    /// When nobody can do the problem.
    pub fn recall(&self, problem: &Problem, candidates: &Candidates) -> Result<Choice, SelectError> {
        let question = Question::new(&self.device, problem, candidates);
        if let Some(choice) = lock(&self.memory).get(&question) {
            return Ok(choice.clone());
        }
        let seen = self.generation();
        let choice = self.view(problem, candidates, &question).choice(false)?;
        // What was not measured may be measured later, unless that is forbidden.
        Ok(if self.is_frozen() { self.remember(&question, choice, seen) } else { choice })
    }

    /// Why `problem` is run by what it is; measures nothing.
    ///
    /// # Errors
    /// When nobody can do the problem.
    pub fn explain(&self, problem: &Problem, candidates: &Candidates) -> Result<Explain, SelectError> {
        let question = Question::new(&self.device, problem, candidates);
        let known = lock(&self.memory).get(&question).cloned();
        self.view(problem, candidates, &question).explain(known, self.settings.delta)
    }

    /// Forbids measuring: from now on a problem that was not measured gets its neighbour's choice or the default.
    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Allows measuring again.
    pub fn thaw(&self) {
        self.frozen.store(false, Ordering::Release);
        self.refresh();
    }

    /// Whether measuring is forbidden.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Forgets what is remembered in memory, so that what others wrote into the store is seen.
    pub fn refresh(&self) {
        let mut memory = lock(&self.memory);
        memory.clear();
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Changes whenever choices that were made may be others now. Who keeps choices compares it.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Fixes a choice.
    ///
    /// # Errors
    /// When it cannot be written into the store.
    pub fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        let done = self.ledger.pin(pin);
        self.refresh();
        done
    }

    /// Takes a fixed choice back; whether there was one.
    ///
    /// # Errors
    /// When it cannot be taken away from the store.
    pub fn unpin(&self, scope: &Scope) -> Result<bool, StoreError> {
        let done = self.ledger.unpin(scope);
        self.refresh();
        done
    }

    /// Forgets what was measured for a key, of one candidate or of all; how many rows that were.
    ///
    /// # Errors
    /// When it cannot be taken away from the store.
    pub fn forget(&self, key: &Key, candidate: Option<&CandidateId>) -> Result<usize, StoreError> {
        let done = self.ledger.forget(key, candidate);
        self.refresh();
        done
    }

    fn view<'a>(
        &'a self,
        problem: &'a Problem,
        candidates: &'a Candidates,
        question: &'a Question,
    ) -> View<'a> {
        View::new(&self.ledger, &self.settings, problem, candidates, question)
    }

    /// Keeps a choice in memory, unless choices may be others since `seen`, the generation before the store was looked at.
    fn remember(&self, question: &Question, choice: Choice, seen: u64) -> Choice {
        let mut memory = lock(&self.memory);
        if self.generation() != seen {
            return choice;
        }
        if memory.len() >= MAX_MEMORY {
            memory.clear();
        }
        memory.insert(question.clone(), choice.clone());
        choice
    }
}

impl Question {
    fn new(device: &Device, problem: &Problem, candidates: &Candidates) -> Self {
        let contender = |candidate: &Arc<dyn Candidate>| Contender {
            id: candidate.id().clone(),
            environment: Environment::new(device, candidate.env_deps()),
            unable: candidate.supports(problem).err(),
        };
        Self { key: candidates.key(problem), candidates: candidates.list().iter().map(contender).collect() }
    }
}

/// The right to measure.
struct Turn<'a> {
    selector: &'a Selector,
    _held: MutexGuard<'a, ()>,
}

impl<'a> Turn<'a> {
    fn take(selector: &'a Selector) -> Self {
        let held = lock(&selector.measuring);
        *lock(&selector.measurer) = Some(thread::current().id());
        Self { selector, _held: held }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.selector.measurer) = None;
    }
}

/// What is behind these locks is whole at every moment, so a panic of another thread spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
