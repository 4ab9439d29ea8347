//! How busy the parts of an NVIDIA GPU were, by its own performance counters (NVML's GPM, from Hopper on).
//!
//! The counters are read as samples, and what lies between two of them is an [`Activity`]. A [`Sampler`] does that on a
//! thread of its own and keeps the newest and the mean of all. It runs nothing on the GPU. "Utilisation" as nvidia-smi has it
//! is not here: it says that some kernel ran, not how much of the GPU had work.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper::enums::gpm::GpmMetricId;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::gpm::{GpmSample, gpm_metrics_get};
use nvml_wrapper::{Device, Nvml};
use serde::Serialize;
use zenith_runtime_cpu::thread::{Thread, ThreadConfig};

use crate::discovery::Settings;
use crate::finding::{Finding, Kind};
use crate::nvml::device::address;
use crate::nvml::{Library, finding, unreachable_gpu};

/// Activities that are kept one by one; older ones are in the mean alone.
pub const KEPT: usize = 4096;

/// What a sampler may be asked for: the counters themselves are refreshed no faster than every 100 ms.
pub const SHORTEST: Duration = Duration::from_millis(100);

/// Metrics that are asked for, in the order of [`Activity`]'s fields.
const METRICS: [GpmMetricId; 5] = [
    GpmMetricId::SmUtil,
    GpmMetricId::SmOccupancy,
    GpmMetricId::AnyTensorUtil,
    GpmMetricId::DramBwUtil,
    GpmMetricId::PcieRxPerSec,
];

/// What a GPU did in a time. Parts are from 0 to 1; what it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Activity {
    /// Seconds from the sampler's start to its beginning.
    pub start: f64,
    /// Seconds it lasted.
    pub seconds: f64,
    /// Multiprocessors that had at least one warp: the mean over multiprocessors and time.
    pub sm: Option<f64>,
    /// Warps that were resident, of those that could be.
    pub occupancy: Option<f64>,
    /// Time in which tensor cores worked.
    pub tensor: Option<f64>,
    /// Bandwidth of its memory that was used.
    pub memory: Option<f64>,
    /// Bytes that came over PCIe in a second.
    pub pcie_bytes: Option<f64>,
}

/// Why there is no activity to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// NVML cannot be used.
    #[error("{0}")]
    Nvml(Finding),
    /// The library is older than these counters.
    #[error("this NVML has no performance counters: it lacks {}", names.join(", "))]
    Old {
        /// What it lacks.
        names: Vec<&'static str>,
    },
    /// There is no such GPU.
    #[error("NVML knows no GPU at {pci}")]
    NoGpu {
        /// The address that was asked for.
        pci: String,
    },
    /// The GPU has no such counters.
    #[error("GPU {gpu} has no performance counters that NVML reads; NVIDIA's have them from Hopper on")]
    Unsupported {
        /// Its number.
        gpu: u32,
    },
    /// The GPU did not give a sample.
    #[error("GPU {gpu} gives no sample of its performance counters: {reason}")]
    NoSample {
        /// Its number.
        gpu: u32,
        /// What NVML says.
        reason: String,
    },
    /// No thread can be started.
    #[error("no thread for it: {reason}")]
    NoThread {
        /// What the system says.
        reason: String,
    },
}

/// What a sampler has seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Seen {
    /// The newest [`KEPT`], in their order.
    pub newest: Vec<Activity>,
    /// The mean over all of the time, weighted by it; `start` is 0 and `seconds` the sum.
    pub mean: Activity,
    /// Intervals in all.
    pub intervals: u64,
    /// Why no more come; `None` while they do.
    pub ended: Option<String>,
}

/// Samples one GPU until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    shared: Arc<Shared>,
    thread: Option<Thread<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    newest: VecDeque<Activity>,
    /// Means so far, and the seconds that each is over.
    means: [(f64, f64); METRICS.len()],
    seconds: f64,
    intervals: u64,
    ended: Option<String>,
    /// `None` until the first sample was taken, or could not be.
    started: Option<Result<(), Unavailable>>,
    stop: bool,
}

impl Sampler {
    /// Begins to sample the GPU at PCI address `pci`, or the first one, every `every` (at least [`SHORTEST`]).
    ///
    /// # Errors
    /// When NVML, its counters or the GPU cannot be had; nothing runs then.
    pub fn start(settings: &Settings, pci: Option<&str>, every: Duration) -> Result<Self, Unavailable> {
        let shared = Arc::new(Shared::default());
        let (inner, settings, pci) = (Arc::clone(&shared), settings.clone(), pci.map(str::to_owned));
        let run = move || run(&inner, &settings, pci.as_deref(), every.max(SHORTEST));
        let thread = Thread::spawn(ThreadConfig { name: "zenith-activity".to_owned(), cpus: None }, run)
            .map_err(|error| Unavailable::NoThread { reason: error.to_string() })?;
        let sampler = Self { shared, thread: Some(thread) };
        let mut state = sampler.shared.state();
        while state.started.is_none() {
            state = sampler.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let started = state.started.clone().unwrap_or(Ok(()));
        drop(state);
        started.map(|()| sampler)
    }

    /// What was seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let state = self.shared.state();
        let mean = |at: usize| Some(state.means[at]).filter(|(_, time)| *time > 0.0).map(|(mean, _)| mean);
        Seen {
            newest: state.newest.iter().copied().collect(),
            mean: Activity::of(0.0, state.seconds, [mean(0), mean(1), mean(2), mean(3), mean(4)]),
            intervals: state.intervals,
            ended: state.ended.clone(),
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        drop(self.thread.take());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment or a push, so what a panic left is still right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, outcome: Result<(), Unavailable>) {
        self.state().started = Some(outcome);
        self.changed.notify_all();
    }

    /// Waits for the next sample's time; whether it is to be taken.
    fn pause(&self, until: Instant) -> bool {
        let mut state = self.state();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.stop || left.is_zero() {
                return !state.stop;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn add(&mut self, activity: Activity) {
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(activity);
        let values = [activity.sm, activity.occupancy, activity.tensor, activity.memory, activity.pcie_bytes];
        for ((mean, time), value) in self.means.iter_mut().zip(values) {
            if let Some(value) = value.filter(|_| activity.seconds > 0.0) {
                *time += activity.seconds;
                // Exact for equal values, as a sum divided by the time is not.
                *mean += (value - *mean) * (activity.seconds / *time);
            }
        }
        self.seconds += activity.seconds;
        self.intervals += 1;
    }
}

impl Activity {
    fn of(start: f64, seconds: f64, [sm, occupancy, tensor, memory, pcie_bytes]: [Option<f64>; 5]) -> Self {
        Self { start, seconds, sm, occupancy, tensor, memory, pcie_bytes }
    }
}

fn run(shared: &Shared, settings: &Settings, pci: Option<&str>, every: Duration) {
    let library = match open(settings) {
        Ok(library) => library,
        Err(unavailable) => return shared.started(Err(unavailable)),
    };
    let nvml = &library.nvml;
    let first = find(nvml, pci).and_then(|(gpu, device)| {
        let refused = |error: NvmlError| Unavailable::NoSample { gpu, reason: error.to_string() };
        match device.gpm_support() {
            Ok(true) => Ok((device.gpm_sample().map_err(refused)?, device)),
            Ok(false) | Err(NvmlError::NotSupported) => Err(Unavailable::Unsupported { gpu }),
            Err(error) => Err(refused(error)),
        }
    });
    let (mut sample, device) = match first {
        Ok(first) => first,
        Err(unavailable) => return shared.started(Err(unavailable)),
    };
    let origin = Instant::now();
    let mut taken = origin;
    shared.started(Ok(()));
    while shared.pause(taken + every) {
        match next(nvml, &device, &sample) {
            Ok((new, values)) => {
                let now = Instant::now();
                let (start, seconds) = ((taken - origin).as_secs_f64(), (now - taken).as_secs_f64());
                shared.state().add(Activity::of(start, seconds, values));
                (sample, taken) = (new, now);
            }
            Err(error) => {
                shared.state().ended = Some(error.to_string());
                return;
            }
        }
    }
}

fn open(settings: &Settings) -> Result<Library, Unavailable> {
    let library = Library::open(settings.nvml.as_deref()).map_err(|kind| Unavailable::Nvml(finding(kind)))?;
    // The wrapper's samples panic on their way out where the library cannot free them.
    let missing = library.missing_counters();
    if missing.is_empty() { Ok(library) } else { Err(Unavailable::Old { names: missing }) }
}

fn find<'nvml>(nvml: &'nvml Nvml, pci: Option<&str>) -> Result<(u32, Device<'nvml>), Unavailable> {
    let count = nvml
        .device_count()
        .map_err(|error| Unavailable::Nvml(finding(Kind::NoAnswer { reason: error.to_string() })))?;
    for gpu in 0..count {
        let device = match nvml.device_by_index(gpu) {
            Ok(device) => device,
            Err(error) if pci.is_none() => {
                return Err(Unavailable::Nvml(finding(unreachable_gpu(gpu, &error))));
            }
            Err(_) => continue,
        };
        let is_it = |pci: &str| device.pci_info().is_ok_and(|info| address(&info).eq_ignore_ascii_case(pci));
        if pci.is_none_or(is_it) {
            return Ok((gpu, device));
        }
    }
    Err(Unavailable::NoGpu { pci: pci.unwrap_or("any address").to_owned() })
}

/// A sample, and what lies between it and the one before.
fn next<'nvml>(
    nvml: &'nvml Nvml,
    device: &Device<'nvml>,
    before: &GpmSample<'nvml>,
) -> Result<(GpmSample<'nvml>, [Option<f64>; METRICS.len()]), NvmlError> {
    let sample = device.gpm_sample()?;
    let told = gpm_metrics_get(nvml, before, &sample, &METRICS)?;
    let mut values = [None; METRICS.len()];
    for (at, (value, result)) in values.iter_mut().zip(told).enumerate() {
        // All but the last are per cent.
        let scale = if at + 1 == METRICS.len() { 1.0 } else { 100.0 };
        *value =
            result.ok().map(|result| result.value / scale).filter(|value| value.is_finite() && *value >= 0.0);
    }
    Ok((sample, values))
}
