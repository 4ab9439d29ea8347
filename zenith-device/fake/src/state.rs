//! The stand-in's memory between calls: the script, and how much of it was told. Knows no C.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::script::{Code, Event, Gpu, Instance, Script};

/// Handles are numbers: of a GPU its own and one, of an instance beyond that these many for each GPU.
const INSTANCES: usize = 64;
const FIRST_INSTANCE: usize = 1 << 16;

pub(crate) struct State {
    pub(crate) script: Script,
    path: PathBuf,
    /// Events told so far.
    told: usize,
    /// GPUs whose events are listened to.
    listened: Vec<usize>,
    /// How often it was started and not shut down.
    started: u32,
    /// Samples of performance counters by their handles: of which GPU, and its how manyth.
    pub(crate) samples: BTreeMap<usize, Option<(usize, usize)>>,
    /// Samples taken of each GPU.
    pub(crate) sampled: BTreeMap<usize, usize>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// What a handle stands for.
pub(crate) enum Handle<'a> {
    Gpu(usize, &'a Gpu),
    Instance(&'a Instance),
}

/// Starts it with the script at `path`.
pub(crate) fn start(path: PathBuf) -> Result<(), Code> {
    let mut slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(state) = slot.as_mut() {
        state.started += 1;
        return Ok(());
    }
    let script = read(&path).ok_or(Code::Unknown)?;
    std::thread::sleep(std::time::Duration::from_millis(script.init_ms));
    if script.init != Code::Success {
        return Err(script.init);
    }
    *slot = Some(State {
        script,
        path,
        told: 0,
        listened: Vec::new(),
        started: 1,
        samples: BTreeMap::new(),
        sampled: BTreeMap::new(),
    });
    Ok(())
}

/// Shuts it down, the last time for good.
pub(crate) fn stop() -> Result<(), Code> {
    let mut slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = slot.as_mut().ok_or(Code::Uninitialized)?;
    state.started -= 1;
    if state.started == 0 {
        *slot = None;
    }
    Ok(())
}

/// Does something with the state of a library that was started.
pub(crate) fn with<T>(action: impl FnOnce(&mut State) -> Result<T, Code>) -> Result<T, Code> {
    let mut slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    action(slot.as_mut().ok_or(Code::Uninitialized)?)
}

fn read(path: &PathBuf) -> Option<Script> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

impl State {
    /// What a handle stands for, unless its GPU answers with a fault.
    pub(crate) fn handle(&self, handle: usize) -> Result<Handle<'_>, Code> {
        let (gpu, slot) = if handle >= FIRST_INSTANCE {
            let place = handle - FIRST_INSTANCE;
            (place / INSTANCES, Some(place % INSTANCES))
        } else {
            (handle.checked_sub(1).ok_or(Code::InvalidArgument)?, None)
        };
        let found = self.script.gpus.get(gpu).ok_or(Code::InvalidArgument)?;
        if found.fault != Code::Success {
            return Err(found.fault);
        }
        let Some(slot) = slot else {
            return Ok(Handle::Gpu(gpu, found));
        };
        let slots = found.mig.as_ref().map_or(&[][..], |mig| &mig.slots[..]);
        let instance = slots.get(slot).and_then(Option::as_ref).ok_or(Code::NotFound)?;
        Ok(Handle::Instance(instance))
    }

    /// The GPU that a handle stands for.
    pub(crate) fn gpu(&self, handle: usize) -> Result<(usize, &Gpu), Code> {
        match self.handle(handle)? {
            Handle::Gpu(number, gpu) => Ok((number, gpu)),
            Handle::Instance(_) => Err(Code::NotSupported),
        }
    }

    pub(crate) fn handle_of_gpu(gpu: usize) -> usize {
        gpu + 1
    }

    pub(crate) fn handle_of_instance(gpu: usize, slot: usize) -> usize {
        FIRST_INSTANCE + gpu * INSTANCES + slot
    }

    pub(crate) fn listen(&mut self, gpu: usize) {
        self.listened.push(gpu);
    }

    pub(crate) fn listen_no_more(&mut self) {
        self.listened.clear();
    }

    /// Whether waiting hangs. Reads the script again, so that tests can go on telling.
    pub(crate) fn is_hung(&mut self) -> bool {
        if let Some(script) = read(&self.path) {
            self.script = script;
        }
        self.script.hung
    }

    /// The next event of a GPU that is listened to.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        while let Some(event) = self.script.events.get(self.told).copied() {
            self.told += 1;
            let (Event::Xid { gpu, .. } | Event::DoubleBit { gpu }) = event;
            if self.listened.contains(&gpu) {
                return Some(event);
            }
        }
        None
    }
}
