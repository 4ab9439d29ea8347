//! What is known of nodes: joining, silence, loss and return, drained nodes, ill GPUs.

use super::Core;
use super::comm::{Comm, Start};
use super::error::Error;
use super::event::Change;
use super::id::{JobId, NodeId};
use super::job::{Cause, Exit, Placement, Rank};
use super::node::{Contact, GpuSet, Holding, MAX_GPUS_PER_NODE, NodeSpec};
use super::on_job::{end, gone};
use super::on_rank::after_death;
use super::state::State;
use super::time::Time;

/// A node joins; by the name it is known whether it was here before. A node that has been here before says what still
/// runs on it by [`on_node_returned`]. Where it has other GPUs than before and something still holds some of those, nothing
/// new is placed on it until nothing does; then it is what it said.
///
/// Another machine of that name cannot say it. It takes the name over once the former one is lost and held nothing, or is lost
/// and was drained: by that somebody says that nothing runs there.
///
/// # Errors
/// More GPUs than a node may have; another machine than the one of that name.
pub fn on_node_joined(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    spec: NodeSpec,
) -> Result<NodeId, Error> {
    if spec.gpus.len() > MAX_GPUS_PER_NODE as usize {
        return Err(Error::NodeTooLarge { name: spec.name, gpus: spec.gpus.len(), most: MAX_GPUS_PER_NODE });
    }
    let known = core.ledger.cluster.by_name(&spec.name);
    if let Some(node) = known
        && node.spec.is_other_than(&spec)
        && !(node.contact == Contact::Lost && (node.drained || node.holdings.is_empty()))
    {
        return Err(Error::NodeTaken { name: spec.name });
    }
    let node = known.map_or(NodeId(core.ledger.cluster.nodes().len() as u32), |node| node.id);
    core.emit(comm, now, Change::NodeJoined { node, spec })?;
    Ok(node)
}

/// A node has not answered for a while: it gets nothing new, and what runs there is left alone.
///
/// # Errors
/// No such node.
pub fn on_node_silent(core: &mut Core, comm: &mut impl Comm, now: Time, node: NodeId) -> Result<(), Error> {
    match core.node(node)?.contact {
        Contact::Up => core.emit(comm, now, Change::NodeContact { node, contact: Contact::Silent }),
        Contact::Silent | Contact::Lost => Ok(()),
    }
}

/// A silent node answers again on the connection it had, so that nothing of what was said can be missing.
///
/// # Errors
/// No such node.
pub fn on_node_heard(core: &mut Core, comm: &mut impl Comm, now: Time, node: NodeId) -> Result<(), Error> {
    match core.node(node)?.contact {
        Contact::Silent => core.emit(comm, now, Change::NodeContact { node, contact: Contact::Up }),
        Contact::Up | Contact::Lost => Ok(()),
    }
}

/// A node is given up: its gangs are ended and queued again. What it holds stays taken until it has returned.
///
/// # Errors
/// No such node.
pub fn on_node_lost(core: &mut Core, comm: &mut impl Comm, now: Time, node: NodeId) -> Result<(), Error> {
    if core.node(node)?.contact == Contact::Lost {
        return Ok(());
    }
    let holdings = core.node(node)?.holdings.clone();
    core.emit(comm, now, Change::NodeContact { node, contact: Contact::Lost })?;
    for holding in holdings.iter().filter(|holding| !holding.orphan) {
        ranks_lost(core, comm, now, node, holding)?;
    }
    Ok(())
}

/// A node answers again (or for the first time after a restart of either side) and says what it knows: what runs on it, and
/// what has ended without a report that was heard. What it should know and does not was never begun there and is sent once
/// more, or is lost where it had been; what it knows and should not is killed; what is being ended is told so again.
///
/// # Errors
/// No such node.
pub fn on_node_returned(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    known: &[(JobId, u32)],
) -> Result<(), Error> {
    let holdings = core.node(node)?.holdings.clone();
    for holding in holdings.iter().copied() {
        let Holding { job, attempt, slice, orphan } = holding;
        match (known.contains(&(job, attempt)), orphan) {
            (true, true) => comm.kill(job, attempt, &Placement { slices: vec![slice] }),
            (false, true) => core.emit(comm, now, Change::OrphanGone { node, job, attempt })?,
            (true, false) => end_again(core, comm, node, &holding),
            (false, false) if is_to_begin(core, node, &holding) => send_again(core, comm, node, &holding)?,
            (false, false) => ranks_lost(core, comm, now, node, &holding)?,
        }
    }
    for (job, attempt) in known {
        if !holdings.iter().any(|holding| holding.job == *job && holding.attempt == *attempt) {
            let nothing = super::node::Slice { node, gpus: GpuSet::EMPTY, cpus: 0, memory_mib: 0 };
            comm.kill(*job, *attempt, &Placement { slices: vec![nothing] });
        }
    }
    match core.node(node)?.contact {
        Contact::Up => Ok(()),
        Contact::Silent | Contact::Lost => {
            core.emit(comm, now, Change::NodeContact { node, contact: Contact::Up })
        }
    }
}

/// The processes that an attempt had left on a node after it was given up are gone. False where none were known.
///
/// # Errors
/// No such node.
pub fn on_orphan_gone(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    job: JobId,
    attempt: u32,
) -> Result<bool, Error> {
    let is_it = |holding: &Holding| holding.orphan && holding.job == job && holding.attempt == attempt;
    let known = core.node(node)?.holdings.iter().any(is_it);
    if known {
        core.emit(comm, now, Change::OrphanGone { node, job, attempt })?;
    }
    Ok(known)
}

/// Nothing of an attempt is left on a node. What was left of one that was given up is given back; ranks of the present one
/// that had not been reported gone are lost.
///
/// # Errors
/// No such node.
pub fn on_part_gone(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    job: JobId,
    attempt: u32,
) -> Result<(), Error> {
    if on_orphan_gone(core, comm, now, node, job, attempt)? {
        return Ok(());
    }
    let is_it = |holding: &&Holding| holding.job == job && holding.attempt == attempt;
    match core.node(node)?.holdings.iter().find(is_it).copied() {
        Some(holding) => ranks_lost(core, comm, now, node, &holding),
        None => Ok(()),
    }
}

/// A person closes a node for new work, or opens it again.
///
/// # Errors
/// No such node.
pub fn on_drain(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    drained: bool,
) -> Result<(), Error> {
    match core.node(node)?.drained == drained {
        true => Ok(()),
        false => core.emit(comm, now, Change::NodeDrained { node, drained }),
    }
}

/// A GPU is ill: nothing new is placed on it, and a gang that holds it is queued again, with the reason among its notes. The
/// rest of the node stays in use.
///
/// # Errors
/// No such node or GPU.
pub fn on_gpu_unhealthy(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    gpu: u8,
    reason: &str,
) -> Result<(), Error> {
    set_health(core, comm, now, node, gpu, Some(reason))?;
    let set = GpuSet(1 << gpu);
    if core.node(node)?.next.is_some() {
        // It is numbered as those are that the node has now, and what is held as those were that it had.
        return Ok(());
    }
    let holder = core.node(node)?.holdings.iter().find(|holding| !(holding.slice.gpus & set).is_empty());
    let Some(Holding { job, orphan: false, .. }) = holder.copied() else { return Ok(()) };
    if core.ledger.jobs.of(job)?.state == State::Stopping {
        return Ok(());
    }
    let note = format!("GPU {gpu} of node {} fell ill: {reason}", core.node(node)?.spec.name);
    core.emit(comm, now, Change::Noted { job, note })?;
    let then = after_death(core, job)?;
    end(core, comm, now, job, Cause::GpuUnhealthy { node, gpu }, then)
}

/// A GPU is not what it was and works on: nothing new is placed on it, and what runs there is left alone.
///
/// # Errors
/// No such node or GPU.
pub fn on_gpu_degraded(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    gpu: u8,
    reason: &str,
) -> Result<(), Error> {
    set_health(core, comm, now, node, gpu, Some(reason))
}

/// A GPU is well again.
///
/// # Errors
/// No such node or GPU.
pub fn on_gpu_healthy(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    gpu: u8,
) -> Result<(), Error> {
    set_health(core, comm, now, node, gpu, None)
}

/// Records why a GPU is ill, or that it is well, where that is news.
fn set_health(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    gpu: u8,
    illness: Option<&str>,
) -> Result<(), Error> {
    let record = core.node(node)?;
    let gpus = record.next.as_ref().map_or(record.spec.gpus.len(), |next| next.gpus.len());
    if usize::from(gpu) >= gpus {
        return Err(Error::NoGpu { node, gpu });
    }
    let is_ill = !(record.ill & GpuSet(1 << gpu)).is_empty();
    let is_known = match illness {
        Some(reason) => is_ill && record.illnesses.get(&gpu).is_some_and(|known| known == reason),
        None => !is_ill,
    };
    if is_known {
        return Ok(());
    }
    let reason = illness.unwrap_or_default().to_owned();
    core.emit(comm, now, Change::GpuHealth { node, gpu, healthy: illness.is_none(), reason })
}

/// No rank of the part has been heard of, the gang is wanted, it is known where it meets, and the node still has what it is
/// to run on.
fn is_to_begin(core: &Core, node: NodeId, holding: &Holding) -> bool {
    if core.node(node).is_ok_and(|node| node.next.is_some()) {
        return false;
    }
    let job = core.ledger.jobs.get(holding.job).filter(|job| job.attempt == holding.attempt);
    let gang = job.and_then(|job| job.gang.as_ref()).filter(|gang| gang.stop.is_none());
    gang.is_some_and(|gang| {
        let mine = ranks_on(core, holding.job, node);
        gang.meeting.is_some()
            && mine.iter().all(|rank| gang.ranks.get(*rank as usize) == Some(&Rank::Pending))
    })
}

fn send_again(core: &Core, comm: &mut impl Comm, node: NodeId, holding: &Holding) -> Result<(), Error> {
    let job = core.ledger.jobs.of(holding.job)?;
    let Some(gang) = &job.gang else { return Ok(()) };
    let Some(meeting) = &gang.meeting else { return Ok(()) };
    comm.start(Start {
        job: job.id,
        first: job.first,
        attempt: job.attempt,
        restarts: job.restarts,
        placement: &gang.placement,
        meeting,
        only: Some(node),
        submission: &core.ledger.batch(job.first)?.submission,
    });
    Ok(())
}

/// The end of a gang may have been decided while its node was away. Ranks take being told so any number of times.
fn end_again(core: &Core, comm: &mut impl Comm, node: NodeId, holding: &Holding) {
    let job = core.ledger.jobs.get(holding.job).filter(|job| job.attempt == holding.attempt);
    let Some(gang) = job.and_then(|job| job.gang.as_ref()) else { return };
    let Some(stop) = gang.stop else { return };
    let slices = gang.placement.slices.iter().filter(|slice| slice.node == node).copied();
    let here = Placement { slices: slices.collect() };
    match stop.killed {
        true => comm.kill(holding.job, holding.attempt, &here),
        false => comm.signal(holding.job, holding.attempt, &here),
    }
}

/// The ranks that a placed job has on a node.
pub(super) fn ranks_on(core: &Core, job: JobId, node: NodeId) -> Vec<u32> {
    let Some(job) = core.ledger.jobs.get(job) else { return Vec::new() };
    let (Some(gang), Some(batch)) = (&job.gang, core.batch(job)) else { return Vec::new() };
    let per = batch.shape.ranks;
    let is_here = |rank: &u32| gang.placement.slice_of(*rank, per).is_some_and(|slice| slice.node == node);
    (0..gang.ranks.len() as u32).filter(is_here).collect()
}

/// The ranks that a gang had on a node are gone, and with them the gang.
fn ranks_lost(
    core: &mut Core,
    comm: &mut impl Comm,
    now: Time,
    node: NodeId,
    holding: &Holding,
) -> Result<(), Error> {
    let id = holding.job;
    let job = core.ledger.jobs.of(id)?;
    if job.attempt != holding.attempt {
        return Ok(());
    }
    let Some(gang) = &job.gang else { return Ok(()) };
    let is_left = |rank: &u32| !matches!(gang.ranks[*rank as usize], Rank::Gone(_));
    let lost: Vec<u32> = ranks_on(core, id, node).into_iter().filter(is_left).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let stopping = gang.stop.is_some();
    for rank in lost {
        core.emit(comm, now, Change::RankGone { job: id, rank, exit: Exit::NodeLost })?;
    }
    if !stopping {
        let then = after_death(core, id)?;
        return end(core, comm, now, id, Cause::NodeLost { node }, then);
    }
    let alive = core.ledger.jobs.of(id)?.gang.as_ref().map_or(0, |gang| gang.alive);
    if alive == 0 { gone(core, comm, now, id) } else { Ok(()) }
}
