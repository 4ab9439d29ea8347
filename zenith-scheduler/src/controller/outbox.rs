//! What the core wants done, kept until what led to it is on disk.

use std::sync::Arc;

use zenith_proto::v1;

use crate::core::comm::{Comm, Start};
use crate::core::event::Event;
use crate::core::job::Placement;
use crate::core::ports::Meeting;
use crate::core::{JobId, NodeId, Submission};

/// Records and actions of one turn, in the order in which they were decided.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) records: Vec<Event>,
    pub(super) actions: Vec<Action>,
}

/// Something to be told to nodes.
#[derive(Debug)]
pub(super) enum Action {
    Start(Box<Gang>),
    /// An attempt is to end.
    End {
        job: JobId,
        attempt: u32,
        kill: bool,
        nodes: Vec<NodeId>,
    },
    /// A signal that somebody asked for.
    Signal {
        job: JobId,
        attempt: u32,
        number: u32,
        nodes: Vec<NodeId>,
    },
    /// Somebody wants to read.
    ReadLog {
        node: NodeId,
        read: v1::ReadLog,
    },
}

/// A gang to be started.
#[derive(Debug)]
pub(super) struct Gang {
    pub(super) job: JobId,
    pub(super) first: JobId,
    pub(super) attempt: u32,
    pub(super) restarts: u32,
    pub(super) placement: Placement,
    pub(super) meeting: Meeting,
    pub(super) only: Option<NodeId>,
    pub(super) submission: Arc<Submission>,
}

impl Comm for Outbox {
    fn record(&mut self, event: &Event) {
        self.records.push(event.clone());
    }

    fn start(&mut self, start: Start<'_>) {
        let Start { job, first, attempt, restarts, placement, meeting, only, submission } = start;
        let (placement, meeting, submission) = (placement.clone(), meeting.clone(), Arc::clone(submission));
        let gang = Gang { job, first, attempt, restarts, placement, meeting, only, submission };
        self.actions.push(Action::Start(Box::new(gang)));
    }

    fn signal(&mut self, job: JobId, attempt: u32, placement: &Placement) {
        self.end(job, attempt, placement, false);
    }

    fn kill(&mut self, job: JobId, attempt: u32, placement: &Placement) {
        self.end(job, attempt, placement, true);
    }
}

impl Outbox {
    fn end(&mut self, job: JobId, attempt: u32, placement: &Placement, kill: bool) {
        let nodes = placement.slices.iter().map(|slice| slice.node).collect();
        self.actions.push(Action::End { job, attempt, kill, nodes });
    }
}
