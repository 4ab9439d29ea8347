//! Findings about GPUs for those who ask what is wrong with a machine: drivers that are missing or broken, and GPUs that
//! are not well. Each has its fix.

use std::time::Duration;

use zenith_runtime_cpu::doctor::{Finding, State};

use crate::discovery::{Discovery, Settings, discover};
use crate::finding::{self, Kind, Source};
use crate::gpu::Gpu;
use crate::health::{self, GpuHealth, Remedy, Watch};

const HEALTH: &str = "gpu health";

/// All findings about the GPUs that `settings` name.
#[must_use]
pub fn examine(settings: &Settings) -> Vec<Finding> {
    let found = discover(settings);
    let health = match Watch::open(settings) {
        Ok(watch) => watch.monitor().map(|mut monitor| {
            monitor.wait(Duration::ZERO);
            monitor.health().cloned().collect()
        }),
        // The discovery has the same finding.
        Err(_) => Ok(Vec::new()),
    };
    // As is this one: the library does not count its GPUs.
    findings(&found, &health.unwrap_or_default())
}

/// What follows from what was found.
#[must_use]
pub fn findings(found: &Discovery, health: &[GpuHealth]) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        found.sources.iter().filter_map(|finding| driver(found, finding)).collect();
    findings.extend(health.iter().filter_map(condition));
    findings.extend(found.gpus.iter().filter_map(counted_by_amdgpu));
    let has_gpus = found.gpus.iter().any(Gpu::has_driver);
    if has_gpus && !findings.iter().any(|finding| finding.name == HEALTH) {
        findings.push(all_well(health));
    }
    findings
}

fn driver(found: &Discovery, finding: &finding::Finding) -> Option<Finding> {
    let name = match finding.source {
        Source::Nvml => "nvidia driver",
        Source::Amdgpu => "amd driver",
        // The machine's own findings tell of the GPUs on the bus.
        Source::Pci if !finding.is_trouble() => return None,
        Source::Pci => "pci bus",
    };
    let mut value = finding.kind.to_string();
    if let (Source::Nvml, Kind::Answered { .. }, Some(driver)) =
        (finding.source, &finding.kind, &found.driver)
    {
        let version = driver.version.as_deref().unwrap_or("unknown");
        let cuda = driver.cuda.as_deref().unwrap_or("unknown");
        value = format!("version {version}, CUDA up to {cuda}, {value}");
    }
    let state = match &finding.kind {
        _ if !finding.is_trouble() => State::Good,
        Kind::SymbolsMissing { usable: true, .. } | Kind::Unreadable { .. } => State::Note,
        _ => State::Limit,
    };
    Some(Finding { name, state, value, fix: finding.hint.clone() })
}

fn condition(gpu: &GpuHealth) -> Option<Finding> {
    let state = match gpu.state {
        health::State::Healthy => return None,
        health::State::Degraded => State::Note,
        health::State::Condemned => State::Limit,
    };
    let causes: Vec<String> = gpu.causes.iter().map(ToString::to_string).collect();
    let uuid = gpu.uuid.as_ref().map_or_else(String::new, |uuid| format!(" ({uuid})"));
    let mut remedies: Vec<Remedy> = gpu.causes.iter().map(health::Cause::remedy).collect();
    remedies.dedup();
    let fixes: Vec<String> = remedies.iter().map(ToString::to_string).collect();
    Some(Finding {
        name: HEALTH,
        state,
        value: format!("GPU {}{uuid} is {}: {}", gpu.gpu, gpu.state, causes.join("; ")),
        fix: Some(fixes.join("; then ")),
    })
}

/// AMD's GPUs are not watched, but their driver counts too.
fn counted_by_amdgpu(gpu: &Gpu) -> Option<Finding> {
    let count = gpu.ecc.as_ref()?.uncorrected.filter(|&count| count > 0)?;
    (gpu.source == Source::Amdgpu).then(|| Finding {
        name: HEALTH,
        state: State::Limit,
        value: format!(
            "GPU {} counted {count} errors that were not corrected",
            gpu.pci.as_deref().unwrap_or("without an address")
        ),
        fix: Some("reset it when nothing runs on it (amd-smi reset -G), and look at dmesg".to_owned()),
    })
}

fn all_well(health: &[GpuHealth]) -> Finding {
    let unwatched = health.iter().filter(|gpu| !gpu.unwatched.is_empty()).count();
    let value = match (health.len(), unwatched) {
        (0, _) => "no errors counted".to_owned(),
        (_, 0) => "no errors counted or pending".to_owned(),
        (all, some) => format!("no errors counted; {some} of {all} do not offer every counter"),
    };
    Finding { name: HEALTH, state: State::Good, value, fix: None }
}
