//! What users and nodes say to a scheduler, what its doors and its core make of it, and what holds afterwards: a refusal has a word, a
//! sentence and a hint and is no fault of the scheduler's, the laws hold, what is known can be shown, and the journal tells it all. What
//! is said is made up elsewhere, by the property test `arbitrary` and by the fuzz target `scheduler_calls`.

mod laws;

use zenith_proto::v1;
use zenith_scheduler::api::convert::{
    cluster_of, condition_of, detail_of, job_of, joining_of, queue_settings, report_of, submission_of,
    user_settings, why_of,
};
use zenith_scheduler::api::query::Filter;
use zenith_scheduler::controller::ops::{Act, Condition, Happened};
use zenith_scheduler::core::comm::{Comm, Start};
use zenith_scheduler::core::job::Placement;
use zenith_scheduler::core::on_job::{on_cancel, on_hold, on_release, on_requeue, on_submit};
use zenith_scheduler::core::on_node::{
    on_drain, on_gpu_degraded, on_gpu_healthy, on_gpu_unhealthy, on_node_joined, on_node_lost,
    on_node_returned, on_node_silent, on_orphan_gone,
};
use zenith_scheduler::core::on_rank::{Process, on_rank_exited, on_rank_note, on_rank_started, on_rank_used};
use zenith_scheduler::core::on_round::{on_round, on_tick};
use zenith_scheduler::core::on_settings::{on_queue_set, on_user_set};
use zenith_scheduler::core::{Core, Event, JobId, NodeId, Span, Time};
use zenith_scheduler::policy::Policy;
use zenith_scheduler::refusal::{Kind, Refusal};
use zenith_scheduler::view;

/// How long the scheduler's clock goes on between two calls.
const PACE: Span = Span(700);

/// Something that is said.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Submit(Box<v1::Submission>, String),
    Act(Act, u64),
    Join(Box<v1::Register>),
    Report(u32, Box<v1::Report>),
    Health(u32, u32, bool),
    Drain(u32, bool),
    Silent(u32),
    Lost(u32),
    Queue(v1::SetQueueRequest),
    User(v1::SetUserRequest),
    List(v1::ListRequest),
}

/// What the core recorded.
#[derive(Default)]
struct Journal(Vec<Event>);

impl Comm for Journal {
    fn record(&mut self, event: &Event) {
        self.0.push(event.clone());
    }

    fn start(&mut self, _: Start<'_>) {}
    fn signal(&mut self, _: JobId, _: u32, _: &Placement) {}
    fn kill(&mut self, _: JobId, _: u32, _: &Placement) {}
}

/// A scheduler without connections, disk and clock.
pub(crate) struct Listener {
    pub(crate) core: Core,
    journal: Journal,
    now: Time,
    ends: laws::Ends,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let core = Core::new(policy());
        Self { core, journal: Journal::default(), now: Time(1_700_000_000_000), ends: laws::Ends::new() }
    }

    /// Hears a call, decides what starts, and lets some time pass.
    pub(crate) fn hear(&mut self, call: Call) {
        if let Err(refusal) = self.make(call) {
            let v1::Refusal { code, message, hint } = refusal.on_wire();
            assert!(!code.is_empty() && !message.is_empty() && !hint.is_empty(), "{refusal:?}");
            assert_ne!(refusal.kind(), Kind::Internal, "{refusal:?}");
        }
        on_round(&mut self.core, &mut self.journal, self.now).expect("a round");
        laws::hold(&self.core, &mut self.ends);
        self.now = self.now + PACE;
        on_tick(&mut self.core, &mut self.journal, self.now).expect("a tick");
        laws::hold(&self.core, &mut self.ends);
    }

    fn make(&mut self, call: Call) -> Result<(), Refusal> {
        let Self { core, journal: comm, now, .. } = self;
        let now = *now;
        match call {
            Call::Submit(given, key) => {
                on_submit(core, comm, now, submission_of(Some(*given), key)?)?;
            }
            Call::Act(act, job) => {
                let on = match act {
                    Act::Cancel => on_cancel,
                    Act::Hold => on_hold,
                    Act::Release => on_release,
                    Act::Requeue => on_requeue,
                };
                on(core, comm, now, JobId(job))?;
            }
            Call::Join(given) => {
                let joining = joining_of(*given)?;
                let node = on_node_joined(core, comm, now, joining.spec)?;
                on_node_returned(core, comm, now, node, &joining.known)?;
            }
            Call::Report(node, given) => {
                let rank = given.rank;
                let report = report_of(*given)?;
                let process = Process { node: NodeId(node), job: report.job, attempt: report.attempt, rank };
                match report.what {
                    Happened::Started { notes, .. } => {
                        for note in &notes {
                            on_rank_note(core, comm, now, process, note)?;
                        }
                        on_rank_started(core, comm, now, process)?;
                    }
                    Happened::Exited { exit, used, .. } => {
                        on_rank_used(core, comm, now, process, used)?;
                        on_rank_exited(core, comm, now, process, exit)?;
                    }
                    Happened::Gone => {
                        on_orphan_gone(core, comm, now, process.node, process.job, process.attempt)?;
                    }
                }
            }
            Call::Health(node, gpu, healthy) => {
                let said =
                    v1::GpuHealth { gpu, healthy, reason: "Xid 79".to_owned(), ..v1::GpuHealth::default() };
                match condition_of(said)? {
                    (gpu, Condition::Well) => on_gpu_healthy(core, comm, now, NodeId(node), gpu)?,
                    (gpu, Condition::Degraded(reason)) => {
                        on_gpu_degraded(core, comm, now, NodeId(node), gpu, &reason)?;
                    }
                    (gpu, Condition::Ill(reason)) => {
                        on_gpu_unhealthy(core, comm, now, NodeId(node), gpu, &reason)?;
                    }
                }
            }
            Call::Drain(node, drained) => on_drain(core, comm, now, NodeId(node), drained)?,
            Call::Silent(node) => on_node_silent(core, comm, now, NodeId(node))?,
            Call::Lost(node) => on_node_lost(core, comm, now, NodeId(node))?,
            Call::Queue(given) => {
                let (name, settings) = queue_settings(given)?;
                on_queue_set(core, comm, now, &name, settings)?;
            }
            Call::User(given) => {
                let (name, settings) = user_settings(given)?;
                on_user_set(core, comm, now, &name, settings)?;
            }
            Call::List(given) => {
                Filter::of(given)?;
            }
        }
        Ok(())
    }

    /// What is known can be shown by every door, and what is shown of a submission can be submitted again as it is.
    pub(crate) fn show(&self) {
        let core = &self.core;
        let shown = view::Cluster::from(cluster_of(core, self.now.0));
        let counted: u64 = shown.counts.values().sum();
        assert_eq!(counted, core.len() as u64);
        for job in core.jobs() {
            let batch = core.batch(job).expect("a job has a submission");
            let detail = detail_of(core, job.id, true).expect("a job that is kept");
            assert_eq!(Some(&job_of(core, job, batch)), detail.job.as_ref());
            assert!(!why_of(core, job.id, self.now).expect("a job that is kept").reason.is_empty());
            let key = &batch.submission.key;
            let again = submission_of(detail.submission.clone(), key.clone()).expect("taken in before");
            assert_eq!(&again, batch.submission.as_ref());
            let text = serde_json::to_string(&view::JobDetail::from(detail).submission).expect("JSON");
            let read: view::Submission = serde_json::from_str(&text).expect("what was shown");
            let again = submission_of(Some(read.into()), key.clone()).expect("taken in before");
            assert_eq!(&again, batch.submission.as_ref());
        }
    }

    /// Whoever reads the journal comes to the same state.
    pub(crate) fn replay(&self) {
        let mut again = Core::new(policy());
        again.replay(&self.journal.0).expect("a journal that does not contradict itself");
        let text = |core: &Core| serde_json::to_string(core.ledger()).expect("JSON");
        assert!(text(&again) == text(&self.core), "the journal tells of another state");
    }
}

/// All of a node is for jobs, so that small nodes are of use.
fn policy() -> Policy {
    Policy { reserve_cpus: 0, reserve_memory_mib: 0, ..Policy::default() }
}
