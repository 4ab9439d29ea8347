//! Who places gangs and runs them, behind one contract. Exactly one engine is responsible for a job from its submission to its
//! end; what an engine cannot do is refused when it is asked for, by name, and never done halfway.

mod capability;
mod embedded;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::broadcast;

pub use self::capability::{Capabilities, Capability};
pub use self::embedded::Embedded;

use crate::controller::logs::{Parts, Wanted};
use crate::controller::ops::{Caller, Submitted};
use crate::core::state::State;
use crate::core::{JobId, Submission};
use crate::refusal::Refusal;

/// What an engine will have answered.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send + 'a>>;

/// A job as an engine has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The job.
    pub job: JobId,
    /// Where it is in its life.
    pub state: State,
    /// Which attempt it is in.
    pub attempt: u32,
    /// GPUs it holds.
    pub gpus: u32,
}

/// Places gangs and runs them.
///
/// Every answer is durable: what was acknowledged survives the death of any process. `tests/engine` is what all of this means.
pub trait Engine: Send + Sync {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// All jobs it is responsible for, by id.
    fn snapshot(&self) -> Answer<'_, Vec<Seen>>;

    /// Takes a gang in, all of it or nothing. With a key (`gang.key`), the same call again gives the same jobs.
    ///
    /// Refuses by [`Refusal::Unsupported`] what needs a capability that is missing.
    fn submit<'a>(&'a self, caller: &'a Caller, gang: Submission) -> Answer<'a, Submitted>;

    /// Jobs that change from now on. Whoever lags is told so, and has to take a snapshot.
    fn watch(&self) -> broadcast::Receiver<Arc<[JobId]>>;

    /// Sends a signal to every rank of a job that runs; the attempt goes on.
    fn signal<'a>(&'a self, caller: &'a Caller, job: JobId, number: u32) -> Answer<'a, ()>;

    /// Ends a job for good.
    fn cancel<'a>(&'a self, caller: &'a Caller, job: JobId) -> Answer<'a, ()>;

    /// What a job's processes wrote.
    fn logs(&self, wanted: Wanted) -> Answer<'_, Vec<Parts>>;

    /// Compares what it believes with what really runs, as far as that can be seen, and says which jobs it cannot vouch for:
    /// those with parts where nobody answers.
    fn reconcile(&self) -> Answer<'_, Vec<JobId>>;
}
