//! `Track`: where a loader is, whatever makes its batches and however many iterators there are. It outlives the engines.
//!
//! Iterators of one loader do not disturb each other; the loader's place is that of the newest one in use. Knows no
//! pipeline and waits for nothing, so that a signal handler can ask while `next` waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// (epoch, cursor, part), as Python has it.
pub(crate) type At = (u64, u64, u64);

/// The marks that iterators leave.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The iterator that stands there, and the place; `None` where no iteration has begun or the last one has ended.
    place: Option<(u64, At)>,
    begun: u64,
    /// Iterators that have neither ended nor been dropped, oldest first.
    in_use: Vec<u64>,
}

impl Marks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new iterator stands at `place`; its number.
    pub(crate) fn begin(&self, place: At) -> u64 {
        let mut state = self.state();
        state.begun += 1;
        let number = state.begun;
        state.place = Some((number, place));
        state.in_use.push(number);
        number
    }

    /// Iterator `number` has handed out the batch before `place`.
    pub(crate) fn reach(&self, number: u64, place: At) {
        let mut state = self.state();
        if state.in_use.last() == Some(&number) {
            state.place = Some((number, place));
        }
    }

    /// Iterator `number` has come to its end.
    pub(crate) fn end(&self, number: u64) {
        let mut state = self.state();
        if state.in_use.last() == Some(&number) {
            state.place = None;
        }
        state.in_use.retain(|used| *used != number);
    }

    /// Iterator `number` is gone; its place stays the loader's until another iterator hands out a batch.
    pub(crate) fn leave(&self, number: u64) {
        self.state().in_use.retain(|used| *used != number);
    }
}

/// The place of one loader.
#[pyclass(module = "zenith._core", frozen)]
#[derive(Default)]
pub(crate) struct Track {
    pub(crate) marks: Arc<Marks>,
}

#[pymethods]
impl Track {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// A new iterator stands at `place`; its number, by which it is known below.
    fn begin(&self, place: At) -> u64 {
        self.marks.begin(place)
    }

    /// Iterator `number` has handed out the batch before `place`. Is the loader's place only from the newest in use.
    fn reach(&self, number: u64, place: At) {
        self.marks.reach(number, place);
    }

    /// Iterator `number` has come to its end.
    fn end(&self, number: u64) {
        self.marks.end(number);
    }

    /// Iterator `number` is gone.
    fn leave(&self, number: u64) {
        self.marks.leave(number);
    }

    /// Forgets place and iterators: the loader goes elsewhere.
    fn clear(&self) {
        let mut state = self.marks.state();
        state.in_use.clear();
        state.place = None;
    }

    /// The place behind the last batch of the newest iterator in use; `None` between iterations.
    fn place(&self) -> Option<At> {
        self.marks.state().place.map(|(_, place)| place)
    }

    /// The iterators whose orders may still be asked for: the one that `place` is of first, then those in use.
    fn concerned(&self) -> Vec<u64> {
        let state = self.marks.state();
        state.place.iter().map(|(number, _)| *number).chain(state.in_use.iter().copied()).collect()
    }

    /// The number of the newest iterator; 0 before the first.
    fn newest(&self) -> u64 {
        self.marks.state().begun
    }
}
