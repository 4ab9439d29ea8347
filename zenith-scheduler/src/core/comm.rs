//! What the core does to the world: the one way out. Whoever implements it makes records durable before it acts.

use std::sync::Arc;

use super::event::Event;
use super::id::{JobId, NodeId};
use super::job::{Placement, Submission};
use super::ports::Meeting;

/// Effects, in the order in which they are decided.
///
/// The calls must return at once and must not fail: an implementation collects them, writes the records down, and acts after
/// they are durable. An action that goes wrong comes back as an event of its own (`on_rank_exited`).
pub trait Comm {
    /// The state has changed.
    fn record(&mut self, event: &Event);

    /// Every rank of a gang is to be started.
    fn start(&mut self, start: Start<'_>);

    /// Every rank of a gang is to be asked to end.
    fn signal(&mut self, job: JobId, attempt: u32, placement: &Placement);

    /// Every rank of a gang is to be killed. For an attempt that was given up, `placement` is what is left of it.
    fn kill(&mut self, job: JobId, attempt: u32, placement: &Placement);
}

/// A gang to be started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The job.
    pub job: JobId,
    /// The first job of its array.
    pub first: JobId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How often it was queued again before.
    pub restarts: u32,
    /// Where.
    pub placement: &'a Placement,
    /// Where its ranks meet: the same for all of them, however often they are told.
    pub meeting: &'a Meeting,
    /// The only node that is to start its part: it was told before and has not heard. All of them where absent.
    pub only: Option<NodeId>,
    /// What.
    pub submission: &'a Arc<Submission>,
}

/// Does nothing. For replaying and for tests that look at the state alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Comm for Silent {
    fn record(&mut self, _: &Event) {}
    fn start(&mut self, _: Start<'_>) {}
    fn signal(&mut self, _: JobId, _: u32, _: &Placement) {}
    fn kill(&mut self, _: JobId, _: u32, _: &Placement) {}
}
