//! Waits for errors of NVIDIA's GPUs and looks at their counters. What was reported stays until it is cleared; what
//! counters say holds as long as they say it.

use std::thread;
use std::time::{Duration, Instant};

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::event::EventData;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING,
};
use nvml_wrapper::{Device, EventSet, Nvml};

use super::{Cause, Change, Check, GpuHealth, Remedy, State, Xid};
use crate::finding::{Finding, Kind};
use crate::nvml::device::fields;
use crate::nvml::{Library, finding, handle};

/// Events taken in one wait; a driver that reports without end does not keep us.
const EVENTS_PER_WAIT: usize = 256;

/// How long at most a wait goes on after the library failed to wait, so that who calls it again does not spin.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Reported causes kept of one GPU.
const CAUSES_PER_GPU: usize = 16;

/// Watches the GPUs of one library.
#[derive(Debug)]
pub struct Monitor<'nvml> {
    nvml: &'nvml Nvml,
    gpus: Vec<Watched<'nvml>>,
    /// `None` when the library or every GPU has no events.
    events: Option<EventSet<'nvml>>,
}

#[derive(Debug)]
struct Watched<'nvml> {
    /// Its handle, or why there is none.
    device: Result<Device<'nvml>, Cause>,
    /// Causes that were reported.
    reported: Vec<Cause>,
    health: GpuHealth,
}

impl<'nvml> Monitor<'nvml> {
    pub(super) fn new(library: &'nvml Library) -> Result<Self, Finding> {
        let nvml = &library.nvml;
        let count =
            nvml.device_count().map_err(|error| finding(Kind::NoAnswer { reason: error.to_string() }))?;
        let mut gpus: Vec<Watched<'_>> = (0..count).map(|gpu| Watched::new(nvml, gpu)).collect();
        let events = if library.has_events() { register(nvml, &mut gpus) } else { None };
        for gpu in &mut gpus {
            if events.is_none() && !gpu.health.unwatched.contains(&Check::Xid) {
                gpu.health.unwatched.push(Check::Xid);
            }
            gpu.look();
        }
        Ok(Self { nvml, gpus, events })
    }

    /// How each GPU is, by number.
    pub fn health(&self) -> impl ExactSizeIterator<Item = &GpuHealth> {
        self.gpus.iter().map(|gpu| &gpu.health)
    }

    /// Waits for errors until there are some or `timeout` is over, then looks at the counters. What happened, in order.
    pub fn wait(&mut self, timeout: Duration) -> Vec<Change> {
        let mut changes = Vec::new();
        let end = Instant::now() + timeout;
        let mut is_over = false;
        for _ in 0..EVENTS_PER_WAIT {
            // Once there is one, the others that are there already are taken too.
            let left = if is_over { Duration::ZERO } else { end.saturating_duration_since(Instant::now()) };
            let Some(events) = &self.events else {
                thread::sleep(left);
                break;
            };
            let milliseconds = u32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
            match events.wait(milliseconds) {
                Ok(event) => {
                    is_over = true;
                    changes.extend(note(&mut self.gpus, &event));
                }
                // An interrupt may come before the time is over.
                Err(NvmlError::Timeout) if !left.is_zero() && Instant::now() < end => {}
                Err(NvmlError::Timeout) => break,
                // It does not say which GPU is lost, and would say so again at once: the counters tell.
                Err(_) => {
                    thread::sleep(left.min(PAUSE_AFTER_ERROR));
                    break;
                }
            }
        }
        for gpu in &mut self.gpus {
            let from = gpu.health.state;
            gpu.look();
            let (gpu, to) = (gpu.health.gpu, gpu.health.state);
            if from != to {
                changes.push(Change::State { gpu, from, to });
            }
        }
        changes
    }

    /// Forgets what was reported of a GPU: somebody reset it. What its counters say still holds.
    pub fn clear(&mut self, gpu: u32) {
        if let Some(watched) = self.gpus.iter_mut().find(|watched| watched.health.gpu == gpu) {
            watched.reported.clear();
            if watched.device.is_err() {
                watched.device = self.nvml.device_by_index(gpu).map_err(|error| unreachable(&error));
                watched.health.uuid = watched.uuid();
            }
            watched.look();
        }
    }
}

/// What an event changes.
fn note(gpus: &mut [Watched<'_>], event: &EventData<'_>) -> Option<Change> {
    let is_it =
        |gpu: &&mut Watched<'_>| gpu.device.as_ref().is_ok_and(|device| handle::same(device, &event.device));
    let mut gpu = gpus.iter_mut().find(is_it);
    let number = gpu.as_ref().map(|gpu| gpu.health.gpu);
    if let Some(error) = &event.event_data {
        let xid = match error {
            XidError::Value(number) => Xid::of(*number),
            XidError::Unknown => Xid::UNKNOWN,
        };
        if let Some(gpu) = &mut gpu {
            gpu.report(Cause::Xid(xid));
        }
        return Some(Change::Reported { gpu: number, xid });
    }
    if event.event_type.contains(EventTypes::DOUBLE_BIT_ECC_ERROR) {
        gpu?.report(Cause::DoubleBitEcc);
    }
    None
}

/// A set of the events of all GPUs that have some; the others learn that they are not watched.
///
/// The wrapper gives the whole set up when one GPU's registration fails, so it is made anew without that GPU.
fn register<'nvml>(nvml: &'nvml Nvml, gpus: &mut [Watched<'nvml>]) -> Option<EventSet<'nvml>> {
    for gpu in gpus.iter_mut() {
        let supported = gpu.device.as_ref().ok().and_then(|device| device.supported_event_types().ok());
        if !supported.is_some_and(|events| events.contains(EventTypes::CRITICAL_XID_ERROR)) {
            gpu.health.unwatched.push(Check::Xid);
        }
    }
    loop {
        match register_all(nvml, gpus)? {
            Ok(set) => return Some(set),
            Err(place) => gpus[place].health.unwatched.push(Check::Xid),
        }
    }
}

/// A set of the events of all GPUs that are watched, or the first one whose events cannot be had; `None` when there is
/// no set or nothing to watch.
fn register_all<'nvml>(nvml: &'nvml Nvml, gpus: &[Watched<'nvml>]) -> Option<Result<EventSet<'nvml>, usize>> {
    let mut set = None;
    for (place, gpu) in gpus.iter().enumerate() {
        let Ok(device) = &gpu.device else {
            continue;
        };
        if gpu.health.unwatched.contains(&Check::Xid) {
            continue;
        }
        let wanted = EventTypes::CRITICAL_XID_ERROR | EventTypes::DOUBLE_BIT_ECC_ERROR;
        let events = wanted & device.supported_event_types().unwrap_or(EventTypes::CRITICAL_XID_ERROR);
        let open = match set.take() {
            Some(open) => open,
            None => nvml.create_event_set().ok()?,
        };
        match device.register_events(events, open) {
            Ok(open) => set = Some(open),
            Err(_) => return Some(Err(place)),
        }
    }
    set.map(Ok)
}

impl<'nvml> Watched<'nvml> {
    fn new(nvml: &'nvml Nvml, gpu: u32) -> Self {
        let device = nvml.device_by_index(gpu).map_err(|error| unreachable(&error));
        let health =
            GpuHealth { gpu, uuid: None, state: State::Healthy, causes: Vec::new(), unwatched: Vec::new() };
        let mut watched = Self { device, reported: Vec::new(), health };
        watched.health.uuid = watched.uuid();
        watched
    }

    fn uuid(&self) -> Option<String> {
        self.device.as_ref().ok().and_then(|device| device.uuid().ok())
    }

    /// Keeps a cause, unless it says nothing about the GPU or is known.
    fn report(&mut self, cause: Cause) {
        let is_news = cause.state() > State::Healthy && !self.reported.contains(&cause);
        if is_news && self.reported.len() < CAUSES_PER_GPU {
            self.reported.push(cause);
        }
    }

    /// Looks at the counters and puts the state together.
    fn look(&mut self) {
        let mut causes = self.reported.clone();
        let mut unwatched: Vec<Check> =
            self.health.unwatched.iter().copied().filter(|check| *check == Check::Xid).collect();
        match &self.device {
            Err(cause) => causes.push(*cause),
            Ok(device) => look_at(device, &mut causes, &mut unwatched),
        }
        self.health.state = causes.iter().map(Cause::state).max().unwrap_or_default();
        self.health.causes = causes;
        self.health.unwatched = unwatched;
    }
}

fn look_at(device: &Device<'_>, causes: &mut Vec<Cause>, unwatched: &mut Vec<Check>) {
    match device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile) {
        Ok(0) => {}
        Ok(count) => causes.push(Cause::UncorrectedEcc { count }),
        Err(error) => fault(&error, Check::Ecc, causes, unwatched),
    }
    let ids =
        [NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_GET_GPU_RECOVERY_ACTION];
    match fields(device, ids) {
        Ok([failure, pending, action]) => {
            match failure {
                None => unwatched.push(Check::RowRemap),
                Some(0) => {}
                Some(_) => causes.push(Cause::RowRemapFailed),
            }
            if pending.is_some_and(|pending| pending != 0) {
                causes.push(Cause::RowRemapPending);
            }
            match action {
                None => unwatched.push(Check::Recovery),
                Some(0) => {}
                Some(2) => causes.push(Cause::RecoveryAsked { action: Remedy::Reboot }),
                Some(_) => causes.push(Cause::RecoveryAsked { action: Remedy::Reset }),
            }
        }
        Err(error) => {
            fault(&error, Check::RowRemap, causes, unwatched);
            fault(&error, Check::Recovery, causes, unwatched);
        }
    }
}

/// What it means that a counter cannot be had.
fn fault(error: &NvmlError, check: Check, causes: &mut Vec<Cause>, unwatched: &mut Vec<Check>) {
    match unreachable(error) {
        Cause::Unreadable => unwatched.push(check),
        cause if causes.contains(&cause) => {}
        cause => causes.push(cause),
    }
}

/// What it means that a GPU does not answer.
fn unreachable(error: &NvmlError) -> Cause {
    match error {
        NvmlError::GpuLost => Cause::FellOffBus,
        NvmlError::ResetRequired => Cause::ResetRequired,
        _ => Cause::Unreadable,
    }
}
