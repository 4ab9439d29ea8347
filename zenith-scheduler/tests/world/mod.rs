//! A world for tests: it keeps what the core recorded and told it to do, and plays the agents. Checks nothing itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use zenith_scheduler::core::comm::{Comm, Start};
use zenith_scheduler::core::event::Event;
use zenith_scheduler::core::job::{Exit, Placement};
use zenith_scheduler::core::node::NodeSpec;
use zenith_scheduler::core::on_job::on_submit;
use zenith_scheduler::core::on_node::on_node_joined;
use zenith_scheduler::core::on_rank::{Process, on_rank_exited, on_rank_started};
use zenith_scheduler::core::on_round::{Round, on_round, on_tick};
use zenith_scheduler::core::request::Request;
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{Core, JobId, Span, Submission, Time};
use zenith_scheduler::policy::Policy;

/// What the core did.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) events: Vec<Event>,
    pub(crate) started: Vec<(JobId, u32)>,
    pub(crate) signalled: Vec<JobId>,
    pub(crate) killed: Vec<(JobId, u32)>,
}

impl Comm for Journal {
    fn record(&mut self, event: &Event) {
        self.events.push(event.clone());
    }

    fn start(&mut self, start: Start<'_>) {
        self.started.push((start.job, start.attempt));
    }

    fn signal(&mut self, job: JobId, _: u32, _: &Placement) {
        self.signalled.push(job);
    }

    fn kill(&mut self, job: JobId, attempt: u32, _: &Placement) {
        self.killed.push((job, attempt));
    }
}

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) journal: Journal,
    pub(crate) now: Time,
}

impl World {
    pub(crate) fn new(nodes: u32, gpus: u32, policy: Policy) -> Self {
        let mut world = Self { core: Core::new(policy), journal: Journal::default(), now: Time(0) };
        for node in 0..nodes {
            world.join(NodeSpec::with_gpus(&format!("n{node}"), gpus));
        }
        world
    }

    pub(crate) fn join(&mut self, spec: NodeSpec) {
        on_node_joined(&mut self.core, &mut self.journal, self.now, spec).unwrap();
    }

    pub(crate) fn submit(&mut self, submission: Submission) -> JobId {
        on_submit(&mut self.core, &mut self.journal, self.now, submission).unwrap()
    }

    pub(crate) fn gpus(&mut self, gpus: u32) -> JobId {
        self.submit(Submission { request: Request::gpus(gpus), ..Submission::default() })
    }

    pub(crate) fn later(&mut self, span: Span) {
        self.now = self.now + span;
        on_tick(&mut self.core, &mut self.journal, self.now).unwrap();
    }

    pub(crate) fn round(&mut self) -> Round {
        on_round(&mut self.core, &mut self.journal, self.now).unwrap()
    }

    /// A round, after which everything that was placed runs.
    pub(crate) fn settle(&mut self) {
        self.round();
        let placed: Vec<JobId> =
            self.core.jobs().filter(|job| job.state == State::Starting).map(|job| job.id).collect();
        placed.into_iter().for_each(|job| self.up(job));
    }

    pub(crate) fn up(&mut self, job: JobId) {
        for process in self.processes(job) {
            on_rank_started(&mut self.core, &mut self.journal, self.now, process).unwrap();
        }
    }

    /// Every rank of a job ends like this.
    pub(crate) fn exit(&mut self, job: JobId, exit: Exit) {
        for process in self.processes(job) {
            on_rank_exited(&mut self.core, &mut self.journal, self.now, process, exit).unwrap();
        }
    }

    pub(crate) fn exit_rank(&mut self, job: JobId, rank: usize, exit: Exit) {
        let process = self.processes(job)[rank];
        on_rank_exited(&mut self.core, &mut self.journal, self.now, process, exit).unwrap();
    }

    pub(crate) fn processes(&self, job: JobId) -> Vec<Process> {
        let record = self.core.job(job).unwrap();
        let per = self.core.batch(record).unwrap().shape.ranks;
        let Some(gang) = &record.gang else { return Vec::new() };
        let node = |rank| gang.placement.slice_of(rank, per).unwrap().node;
        let attempt = record.attempt;
        (0..gang.ranks.len() as u32).map(|rank| Process { node: node(rank), job, attempt, rank }).collect()
    }

    pub(crate) fn state(&self, job: JobId) -> State {
        self.core.job(job).unwrap().state
    }
}
