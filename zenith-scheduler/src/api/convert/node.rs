//! What nodes say of themselves and of their processes, checked.

use zenith_proto::v1;

use super::{invalid, text};
use crate::controller::ops::{Condition, Happened, Joining, Report};
use crate::core::JobId;
use crate::core::job::{Exit, Used};
use crate::core::node::{Gpu, NodeSpec};
use crate::refusal::Refusal;

/// Longest note that is kept of a job.
const MAX_NOTE: usize = 1024;
/// Longest reason that is kept of a GPU.
const MAX_REASON: usize = 512;

/// A node that wants to join.
///
/// # Errors
/// [`Refusal::Invalid`] with the part that makes no sense.
pub fn joining_of(given: v1::Register) -> Result<Joining, Refusal> {
    let spec = given.spec.ok_or_else(|| invalid("spec", "it is missing"))?;
    text::host("name", &spec.name)?;
    text::word("rack", &spec.rack, false)?;
    text::host("address", &given.address)?;
    text::word("identity", &given.identity, false)?;
    let gpus: Result<Vec<Gpu>, Refusal> = spec.gpus.iter().map(gpu_of).collect();
    spec.gpus.iter().try_for_each(|gpu| text::title("model", &gpu.model))?;
    let known = given.known.iter().map(|known| (JobId(known.job), known.attempt));
    let mut gpu_memory_mib: Vec<u64> =
        spec.gpus.iter().map(|gpu| gpu.memory_mib.unwrap_or_default()).collect();
    if gpu_memory_mib.iter().all(|memory| *memory == 0) {
        gpu_memory_mib.clear();
    }
    Ok(Joining {
        spec: NodeSpec {
            name: spec.name,
            address: given.address.clone(),
            rack: spec.rack,
            cpus: spec.cpus,
            memory_mib: spec.memory_mib,
            gpus: gpus?,
            models: spec.gpus.into_iter().map(|gpu| gpu.model).collect(),
            identity: given.identity,
            gpu_memory_mib,
        },
        address: given.address,
        known: known.collect(),
    })
}

fn gpu_of(given: &v1::Gpu) -> Result<Gpu, Refusal> {
    let small = |field, number: u32| {
        u8::try_from(number).map_err(|_| invalid(field, format!("{number}; at most 255 are possible")))
    };
    Ok(Gpu { numa: small("numa", given.numa)?, nvlink: small("nvlink", given.nvlink)? })
}

/// A GPU's index, and how it is.
///
/// # Errors
/// [`Refusal::Invalid`] for an index that no node can have.
pub fn condition_of(given: v1::GpuHealth) -> Result<(u8, Condition), Refusal> {
    let v1::GpuHealth { gpu, healthy, reason, degraded } = given;
    let index = u8::try_from(gpu).map_err(|_| invalid("gpu", format!("{gpu} is no GPU of any node")))?;
    // It comes from a driver, and is shown on terminals.
    let plain = |reason: String| reason.replace(char::is_control, " ");
    let condition = match (healthy, degraded) {
        (true, _) => Condition::Well,
        (false, true) => Condition::Degraded(shortened(plain(reason), MAX_REASON)),
        (false, false) => Condition::Ill(shortened(plain(reason), MAX_REASON)),
    };
    Ok((index, condition))
}

/// What a node reports.
///
/// # Errors
/// [`Refusal::Invalid`] for a report that says nothing.
pub fn report_of(given: v1::Report) -> Result<Report, Refusal> {
    let v1::Report { job, attempt, rank, what, .. } = given;
    let what = match what.ok_or_else(|| invalid("what", "the report says nothing"))? {
        v1::report::What::Started(v1::RankStarted { notes }) => Happened::Started {
            rank,
            notes: notes.into_iter().map(|note| shortened(note, MAX_NOTE)).collect(),
        },
        v1::report::What::Exited(v1::RankExited { how, usage, fault }) => {
            // One that this program does not know is nobody's for sure.
            let fault = v1::Fault::try_from(fault).unwrap_or(v1::Fault::Unspecified);
            let (exit, note) = match how.ok_or_else(|| invalid("how", "the report does not say how"))? {
                v1::rank_exited::How::Code(code) => (Exit::Code(code), None),
                v1::rank_exited::How::Signal(_) if fault == v1::Fault::Job => (Exit::OutOfMemory, None),
                v1::rank_exited::How::Signal(signal) => (Exit::Signal(signal), None),
                v1::rank_exited::How::NotStarted(why) => {
                    let exit = match fault {
                        v1::Fault::Unspecified => Exit::NotStarted,
                        v1::Fault::Job => Exit::Unfit,
                        v1::Fault::Node => Exit::NodeFault,
                        v1::Fault::Port => Exit::PortTaken,
                    };
                    (exit, Some(shortened(why, MAX_NOTE)))
                }
            };
            let used = usage.map_or_else(Used::default, |usage| Used {
                user_ms: usage.user_ms,
                system_ms: usage.system_ms,
                max_rss_kib: usage.max_rss_kib,
            });
            Happened::Exited { rank, exit, used, note }
        }
        v1::report::What::Gone(v1::AttemptGone {}) => Happened::Gone,
    };
    Ok(Report { job: JobId(job), attempt, what })
}

fn shortened(mut note: String, most: usize) -> String {
    if note.len() > most {
        let end = (0..=most).rev().find(|at| note.is_char_boundary(*at)).unwrap_or(0);
        note.truncate(end);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        assert_eq!(shortened("ä".repeat(1000), MAX_NOTE).len(), MAX_NOTE);
        assert_eq!(shortened(format!("x{}", "ä".repeat(1000)), MAX_NOTE).len(), MAX_NOTE - 1);
        assert_eq!(shortened("short".to_owned(), MAX_NOTE), "short");
    }

    #[test]
    fn a_gpu_that_works_on_is_told_from_one_that_does_not() {
        let given =
            |healthy, degraded| v1::GpuHealth { gpu: 3, healthy, reason: "a\nb".to_owned(), degraded };
        assert_eq!(condition_of(given(false, false)).unwrap(), (3, Condition::Ill("a b".to_owned())));
        assert_eq!(condition_of(given(false, true)).unwrap(), (3, Condition::Degraded("a b".to_owned())));
        assert_eq!(condition_of(given(true, false)).unwrap(), (3, Condition::Well));
        assert!(condition_of(v1::GpuHealth { gpu: 256, ..given(true, false) }).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let refused = |given: v1::Register| joining_of(given).unwrap_err().to_string();
        assert_eq!(refused(v1::Register::default()), "spec: it is missing");
        let spec = v1::NodeSpec { name: "a".to_owned(), ..Default::default() };
        let given = v1::Register { spec: Some(spec.clone()), ..Default::default() };
        assert_eq!(refused(given), "address: it is empty");
        let spec = v1::NodeSpec { gpus: vec![v1::Gpu { numa: 300, ..Default::default() }], ..spec };
        let given = v1::Register { spec: Some(spec), address: "::1".to_owned(), ..Default::default() };
        assert_eq!(refused(given), "numa: 300; at most 255 are possible");
        assert_eq!(
            report_of(v1::Report::default()).unwrap_err().to_string(),
            "what: the report says nothing"
        );
    }
}
