//! The GPUs that the machine's drivers tell of, and how they are. Asks `zenith-device`; decides what that means for a node:
//! which GPUs are handed out, which are drained, and when one comes back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use zenith_device::health::{Cause, GpuHealth, Monitor, State, Watch};
use zenith_device::{Discovery, Finding, Kind, Settings, Source, discover};
use zenith_proto::v1;

use super::{Family, Gpu, Gpus, Teller};

/// How long errors are waited for before counters are looked at again.
const ROUND: Duration = Duration::from_secs(2);

/// Where no library is, for looking at GPUs of others than NVIDIA.
const NO_LIBRARY: &str = "/dev/null/no-library";

/// What to do with a GPU that is cut.
const CUT: &str = "it is cut into MIG instances, which are not handed out: turn MIG off (nvidia-smi -mig 0), or declare GPUs by --gpus";

/// The GPUs that drivers tell of.
#[derive(Clone, Debug)]
pub struct Devices {
    settings: Settings,
}

/// A GPU in the list.
struct Listed {
    gpu: Gpu,
    /// Why nothing is ever placed on it.
    unfit: Option<&'static str>,
}

impl Devices {
    /// Those that these settings lead to.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Gpus for Devices {
    fn run(self: Box<Self>, mut teller: Teller) {
        let found = discover(&self.settings);
        for finding in found.sources.iter().filter(|finding| finding.is_trouble()) {
            warn(finding);
        }
        let listed = list(&found);
        if !listed.is_empty() {
            tracing::info!(count = listed.len(), model = listed[0].gpu.model, "GPUs were found");
        }
        if !teller.list(listed.iter().map(|listed| listed.gpu.clone()).collect()) {
            tracing::warn!(
                "the drivers of the GPUs answer after all: start the agent again to hand them out"
            );
            return;
        }
        if !listed.is_empty() {
            watch(&self.settings, &listed, &teller);
        }
    }
}

fn warn(finding: &Finding) {
    let hint = finding.hint.as_deref().unwrap_or("`zenith doctor` says more");
    tracing::warn!(hint, "GPUs may be missing: {finding}");
}

/// What a node hands out: NVIDIA's GPUs by NVML's number, those that do not answer too, so that numbers stay what they are; then
/// AMD's. What no driver knows cannot be used.
fn list(found: &Discovery) -> Vec<Listed> {
    let group = |place: usize| found.interconnect.groups.iter().position(|group| group.contains(&place));
    let mut alone = found.interconnect.groups.len()..;
    let mut nvidia: Vec<(u32, Listed)> = Vec::new();
    let mut amd = Vec::new();
    for (place, gpu) in found.gpus.iter().enumerate() {
        let (Some(family), Some(number)) = (family_of(gpu.source), gpu.index) else { continue };
        let is_cut = gpu.mig.as_ref().is_some_and(|mig| mig.enabled);
        let listed = Listed {
            gpu: Gpu {
                family,
                number,
                uuid: gpu.uuid.clone(),
                numa: gpu.numa_node,
                nvlink: group(place).or_else(|| alone.next()).map_or(0, |group| group as u32),
                model: gpu.model.clone().unwrap_or_default(),
                memory_mib: gpu.memory.map(|memory| memory.total_bytes >> 20),
            },
            unfit: is_cut.then_some(CUT),
        };
        match family {
            Family::Amd => amd.push(listed),
            Family::Nvidia | Family::Declared => nvidia.push((number, listed)),
        }
    }
    for finding in &found.sources {
        if let (Source::Nvml, Kind::GpuLost { gpu } | Kind::GpuUnreadable { gpu, .. }) =
            (finding.source, &finding.kind)
        {
            nvidia.push((*gpu, silent(*gpu, alone.next().map_or(0, |group| group as u32))));
        }
    }
    nvidia.sort_by_key(|(number, _)| *number);
    nvidia.into_iter().map(|(_, listed)| listed).chain(amd).collect()
}

fn family_of(source: Source) -> Option<Family> {
    match source {
        Source::Nvml => Some(Family::Nvidia),
        Source::Amdgpu => Some(Family::Amd),
        Source::Pci => None,
    }
}

/// One that is counted and does not answer.
fn silent(number: u32, nvlink: u32) -> Listed {
    let gpu = Gpu {
        family: Family::Nvidia,
        number,
        uuid: None,
        numa: None,
        nvlink,
        model: String::new(),
        memory_mib: None,
    };
    Listed { gpu, unfit: None }
}

/// Tells how GPUs are, until nobody wants to know.
fn watch(settings: &Settings, listed: &[Listed], teller: &Teller) {
    let has = |family| listed.iter().any(|listed| listed.gpu.family == family);
    let opened = if has(Family::Nvidia) { Some(Watch::open(settings)) } else { None };
    let watch = opened.and_then(|watch| watch.inspect_err(unwatched).ok());
    let mut monitor = watch.as_ref().and_then(|watch| watch.monitor().inspect_err(unwatched).ok());
    let mut repairs = Repairs::default();
    loop {
        let mut now: Vec<v1::GpuHealth> = (0..listed.len() as u32).map(well).collect();
        if let Some(monitor) = &mut monitor {
            repairs.notice(monitor);
            for health in monitor.health() {
                note(&mut now, listed, Family::Nvidia, health.gpu, health.state, || reason_of(health));
            }
        }
        if has(Family::Amd) {
            let nvml = Some(PathBuf::from(NO_LIBRARY));
            for gpu in discover(&Settings { nvml, root: settings.root.clone() }).gpus {
                let count = gpu.ecc.and_then(|ecc| ecc.uncorrected).unwrap_or(0);
                if let (Source::Amdgpu, Some(number), 1..) = (gpu.source, gpu.index, count) {
                    let cause = Cause::UncorrectedEcc { count };
                    let reason = || format!("{cause} ({})", cause.remedy());
                    note(&mut now, listed, Family::Amd, number, cause.state(), reason);
                }
            }
        }
        for (told, listed) in now.iter_mut().zip(listed) {
            if let (true, Some(reason)) = (told.healthy, listed.unfit) {
                *told = v1::GpuHealth { healthy: false, degraded: true, reason: reason.to_owned(), ..*told };
            }
        }
        if !teller.health(now) {
            return;
        }
        match &mut monitor {
            Some(monitor) => {
                monitor.wait(ROUND);
            }
            None => thread::sleep(ROUND),
        }
    }
}

fn unwatched(finding: &Finding) {
    let hint = finding.hint.as_deref().unwrap_or("`zenith doctor` says more");
    tracing::warn!(hint, "nobody watches whether GPUs are well: {finding}");
}

fn well(gpu: u32) -> v1::GpuHealth {
    v1::GpuHealth { gpu, healthy: true, ..Default::default() }
}

fn note(
    now: &mut [v1::GpuHealth],
    listed: &[Listed],
    family: Family,
    number: u32,
    state: State,
    reason: impl FnOnce() -> String,
) {
    let is_it = |listed: &Listed| (listed.gpu.family, listed.gpu.number) == (family, number);
    let Some(told) = listed.iter().position(is_it).and_then(|place| now.get_mut(place)) else { return };
    if state > State::Healthy {
        told.healthy = false;
        told.degraded = state == State::Degraded;
        told.reason = reason();
    }
}

/// The causes in the words of the table, and what repairs them.
fn reason_of(health: &GpuHealth) -> String {
    let causes = health.causes.iter().filter(|cause| cause.state() > State::Healthy);
    let (mut words, mut remedies) = (Vec::new(), Vec::new());
    for cause in causes {
        words.push(cause.to_string());
        let remedy = cause.remedy().to_string();
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    format!("{} ({})", words.join("; "), remedies.join("; then "))
}

/// Which GPUs were repaired. What a driver reports it never takes back, but counters and answers that were bad and are good again
/// say that the GPU has been reset.
#[derive(Debug, Default)]
struct Repairs {
    /// GPUs whose counters, or whose silence, have said that something is wrong.
    bad: BTreeSet<u32>,
}

impl Repairs {
    fn notice(&mut self, monitor: &mut Monitor<'_>) {
        let health: Vec<GpuHealth> = monitor.health().cloned().collect();
        for gpu in health {
            let is_silent =
                |cause: &Cause| matches!(cause, Cause::FellOffBus | Cause::ResetRequired | Cause::Unreadable);
            // One that did not answer from the start is asked again only when it is cleared.
            let never_answered = gpu.uuid.is_none() && gpu.causes.iter().any(is_silent);
            if never_answered || self.is_over(gpu.gpu, &gpu.causes) {
                monitor.clear(gpu.gpu);
            }
        }
    }

    /// Whether what was reported of a GPU is over.
    fn is_over(&mut self, gpu: u32, causes: &[Cause]) -> bool {
        let is_reported = |cause: &Cause| matches!(cause, Cause::Xid(_) | Cause::DoubleBitEcc);
        if causes.iter().any(|cause| !is_reported(cause)) {
            self.bad.insert(gpu);
            return false;
        }
        self.bad.remove(&gpu) && !causes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use zenith_device::health::Xid;

    use super::*;

    #[test]
    fn a_report_is_over_once_counters_were_bad_and_are_good_again() {
        let mut repairs = Repairs::default();
        let xid = Cause::Xid(Xid::of(79));
        assert!(!repairs.is_over(1, &[xid]), "nothing says that it was repaired");
        assert!(!repairs.is_over(1, &[xid, Cause::FellOffBus]));
        assert!(!repairs.is_over(0, &[xid]), "that was another GPU");
        assert!(repairs.is_over(1, &[xid]));
        assert!(!repairs.is_over(1, &[]));
    }

    #[test]
    fn the_reason_has_the_words_of_the_table_and_the_remedy_once() {
        let causes = vec![
            Cause::Xid(Xid::of(31)),
            Cause::Xid(Xid::of(79)),
            Cause::FellOffBus,
            Cause::UncorrectedEcc { count: 2 },
        ];
        let health = GpuHealth { gpu: 0, uuid: None, state: State::Condemned, causes, unwatched: vec![] };
        assert_eq!(
            reason_of(&health),
            "Xid 79: the GPU fell off the bus; it fell off the bus; 2 memory errors were not corrected since the driver \
             was loaded (reboot the node; then reset it when nothing runs on it (nvidia-smi --gpu-reset))"
        );
    }
}
