//! Laws of the core that hold whatever it was asked and told. Makes nothing up itself.

use std::collections::BTreeMap;

use zenith_scheduler::core::node::{Contact, GpuSet, Holding};
use zenith_scheduler::core::state::State;
use zenith_scheduler::core::{Core, JobId};

/// How jobs have ended so far.
pub(crate) type Ends = BTreeMap<JobId, State>;

/// No GPU is held twice, no gang has a part of what it needs, what is free and what is held is all there is, no job is revived.
pub(crate) fn hold(core: &Core, ends: &mut Ends) {
    let mut free = 0;
    for node in core.cluster().nodes() {
        let mut all = GpuSet::EMPTY;
        let (mut cpus, mut memory) = (0, 0);
        for holding in &node.holdings {
            assert!((all & holding.slice.gpus).is_empty(), "a GPU of node {} is held twice", node.id);
            all = all | holding.slice.gpus;
            cpus += holding.slice.cpus;
            memory += holding.slice.memory_mib;
            let job = core.job(holding.job).expect("a job that holds something is kept");
            let is_present = job.attempt == holding.attempt && job.state.is_placed();
            assert!(is_present || holding.orphan, "{} holds what it left", holding.job);
            assert!(!holding.orphan || node.contact != Contact::Silent || !is_present);
        }
        assert_eq!(all, node.used());
        let left = (node.spec.cpus - node.free_cpus(), node.spec.memory_mib - node.free_memory_mib());
        assert_eq!((cpus, memory), left, "of node {}", node.id);
        assert!((all & !node.gpus()).is_empty());
        free += node.free().len();
    }
    assert_eq!(free, core.cluster().free_gpus());

    for job in core.jobs() {
        let batch = core.batch(job).expect("a job has a submission");
        assert_eq!(job.state.is_placed(), job.gang.is_some(), "{}: {}", job.id, job.state);
        if let Some(gang) = &job.gang {
            let gpus = gang.placement.gpus();
            match batch.submission.request.gpus {
                Some(wanted) => assert_eq!(gpus, wanted, "a part of gang {}", job.id),
                None => assert!(gpus >= batch.shape.gpus() && gpus.is_multiple_of(batch.shape.gpus())),
            }
            for slice in &gang.placement.slices {
                let node = core.cluster().node(slice.node).expect("a node is never forgotten");
                let is_it = |h: &Holding| h.job == job.id && h.attempt == job.attempt && h.slice == *slice;
                let gone_with_node = job.state == State::Stopping;
                assert!(gone_with_node || node.holdings.iter().any(is_it), "{} lacks a part", job.id);
            }
        }
        if let Some(end) = ends.get(&job.id) {
            assert_eq!(job.state, *end, "{} was revived", job.id);
        } else if job.state.is_final() {
            ends.insert(job.id, job.state);
        }
    }
    let queued = core.jobs().filter(|job| job.state == State::Queued).count();
    assert_eq!(core.queued(), queued, "a queued job is not in the queue");
}
