//! What everybody else has of the controller: a way to call it, and to hear of changes.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{broadcast, mpsc, oneshot};

use super::logs::Routes;
use super::metrics::Metrics;
use super::turn::Turn;
use crate::core::JobId;
use crate::refusal::Refusal;

/// Calls that wait at most; more callers wait for a place.
pub(super) const CALLS: usize = 4096;

/// Changes that a listener may lag behind by before it has to look at everything again.
pub(super) const CHANGES: usize = 1024;

/// What is left to do for a call once it is known whether its changes are on disk.
pub(super) type Completion = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// A call: what it does, and what is left to do then.
pub(super) type Call = Box<dyn FnOnce(&mut Turn<'_>) -> Completion + Send>;

/// A way to a controller. Cheap to clone; the controller stops when the last one is gone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) changes: broadcast::Sender<Arc<[JobId]>>,
    pub(super) logs: Arc<Routes>,
    pub(super) metrics: Arc<Metrics>,
}

/// A call that was begun.
#[derive(Debug)]
pub struct Begun<T> {
    answer: oneshot::Receiver<Result<T, Refusal>>,
}

impl<T> Begun<T> {
    /// Its answer. A wait that is given up may be taken up again.
    ///
    /// # Errors
    /// As [`Handle::call`].
    pub async fn answer(&mut self) -> Result<T, Refusal> {
        (&mut self.answer).await.map_err(|_| Refusal::Stopping)?
    }

    /// Its answer if it has come.
    pub fn try_answer(&mut self) -> Option<Result<T, Refusal>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(Refusal::Stopping)),
        }
    }
}

/// The controller's thread.
#[derive(Debug)]
pub struct Running {
    pub(super) thread: JoinHandle<()>,
}

impl Running {
    /// Waits until the controller has written everything down and is gone, which is after the last [`Handle`] is.
    ///
    /// # Panics
    /// Where the controller panicked.
    pub fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Handle {
    /// Runs `call` in the controller's thread. The answer comes after everything that the call saw and changed is on disk.
    ///
    /// # Errors
    /// What `call` refuses; [`Refusal::Full`] and [`Refusal::Store`] where its changes could not be written, and then none of
    /// them was made; [`Refusal::Stopping`].
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Turn<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        self.begin(call).await?.answer().await
    }

    /// The same without waiting for the answer: once this has returned, the call comes before all that are begun later.
    ///
    /// # Errors
    /// [`Refusal::Stopping`].
    pub async fn begin<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Turn<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Begun<T>, Refusal> {
        let (sender, answer) = oneshot::channel();
        let call: Call = Box::new(move |turn| {
            let outcome = call(turn);
            Box::new(move |written| {
                // A caller that has gone away wants no answer.
                let _ = sender.send(written.and(outcome));
            })
        });
        self.calls.send(call).await.map_err(|_| Refusal::Stopping)?;
        Ok(Begun { answer })
    }

    /// Returns when the controller's thread has ended, whatever the reason. The controller stays while this waits.
    pub async fn ended(&self) {
        self.calls.closed().await;
    }

    /// The controller's thread runs.
    pub fn is_alive(&self) -> bool {
        !self.calls.is_closed()
    }

    /// What the controller has counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Jobs that have changed, after the changes are on disk. A listener that is told that it lags has missed some.
    pub fn changes(&self) -> broadcast::Receiver<Arc<[JobId]>> {
        self.changes.subscribe()
    }
}
