//! The engine that is built in: this program's controller and its agents.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::{Answer, Capabilities, Engine, Seen};
use crate::controller::Handle;
use crate::controller::logs::{Parts, Wanted};
use crate::controller::ops::{Act, Caller, Submitted};
use crate::core::node::Contact;
use crate::core::{JobId, Submission};
use crate::refusal::Refusal;

/// A controller as an engine.
#[derive(Clone, Debug)]
pub struct Embedded(Handle);

impl Embedded {
    /// The engine of a controller.
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }
}

impl Engine for Embedded {
    fn capabilities(&self) -> Capabilities {
        Capabilities::all()
    }

    fn snapshot(&self) -> Answer<'_, Vec<Seen>> {
        Box::pin(self.0.call(|turn| {
            let jobs = turn.core().jobs();
            Ok(jobs
                .map(|job| Seen { job: job.id, state: job.state, attempt: job.attempt, gpus: job.gpus() })
                .collect())
        }))
    }

    fn submit<'a>(&'a self, caller: &'a Caller, gang: Submission) -> Answer<'a, Submitted> {
        Box::pin(async move {
            if let Some(missing) = self.capabilities().missing(Capabilities::needed(&gang)) {
                return Err(Refusal::Unsupported { capability: missing.name() });
            }
            let caller = caller.clone();
            self.0.call(move |turn| turn.submit(&caller, gang)).await
        })
    }

    fn watch(&self) -> broadcast::Receiver<Arc<[JobId]>> {
        self.0.changes()
    }

    fn signal<'a>(&'a self, caller: &'a Caller, job: JobId, number: u32) -> Answer<'a, ()> {
        let caller = caller.clone();
        Box::pin(self.0.call(move |turn| turn.signal(&caller, job, number)))
    }

    fn cancel<'a>(&'a self, caller: &'a Caller, job: JobId) -> Answer<'a, ()> {
        let caller = caller.clone();
        Box::pin(self.0.call(move |turn| turn.act(&caller, job, Act::Cancel)))
    }

    fn logs(&self, wanted: Wanted) -> Answer<'_, Vec<Parts>> {
        Box::pin(self.0.logs(wanted))
    }

    /// Nodes that are connected report by themselves, and said what they know when they connected; so what cannot be vouched
    /// for is what lies on nodes that are away.
    fn reconcile(&self) -> Answer<'_, Vec<JobId>> {
        Box::pin(self.0.call(|turn| {
            let nodes = turn.core().cluster().nodes().iter().filter(|node| node.contact != Contact::Up);
            let mut jobs: Vec<JobId> =
                nodes.flat_map(|node| &node.holdings).map(|holding| holding.job).collect();
            jobs.sort_unstable();
            jobs.dedup();
            Ok(jobs)
        }))
    }
}
