//! The stand-in between calls: devices, handles, what was asked for, what broke. Knows no C.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::memory::{self, Blocks, Copy, From};
use crate::script::{Census, Fault, Script};
use crate::timeline::{Event, Op, Timeline};

pub(crate) const INVALID_VALUE: u32 = 1;
pub(crate) const OUT_OF_MEMORY: u32 = 2;
pub(crate) const NOT_INITIALIZED: u32 = 3;
pub(crate) const INVALID_DEVICE: u32 = 101;
pub(crate) const INVALID_CONTEXT: u32 = 201;
pub(crate) const INVALID_HANDLE: u32 = 400;
pub(crate) const NOT_READY: u32 = 600;
pub(crate) const ALREADY_REGISTERED: u32 = 712;
pub(crate) const NOT_REGISTERED: u32 = 713;
const OPERATING_SYSTEM: u32 = 304;

/// Copies from pageable memory are this many times slower.
const PAGEABLE: u64 = 4;

/// Handles of contexts are the device's number and this.
pub(crate) const FIRST_CONTEXT: u64 = 1 << 20;

pub(crate) struct State {
    pub(crate) script: Script,
    retained: BTreeMap<u64, u64>,
    /// Which device a stream or event is of.
    owners: BTreeMap<u64, u64>,
    line: Timeline<Copy>,
    device: BTreeMap<u64, Blocks>,
    host: Blocks,
    registered: Blocks,
    copies: u64,
    handles: u64,
    broken: u32,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Starts with the script at `path`; a second start changes nothing.
pub(crate) fn start(path: &Path) -> Result<(), u32> {
    let mut slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_some() {
        return Ok(());
    }
    let text = fs::read(path).map_err(|_| OPERATING_SYSTEM)?;
    let script: Script = serde_json::from_slice(&text).map_err(|_| OPERATING_SYSTEM)?;
    if script.init != 0 {
        return Err(script.init);
    }
    *slot = Some(State {
        script,
        retained: BTreeMap::new(),
        owners: BTreeMap::new(),
        line: Timeline::new(),
        device: BTreeMap::new(),
        host: Blocks::default(),
        registered: Blocks::default(),
        copies: 0,
        handles: 0,
        broken: 0,
    });
    Ok(())
}

/// Does something with a driver that was started. Each call takes its time; one that broke answers nothing else.
pub(crate) fn with<T>(action: impl FnOnce(&mut State) -> Result<T, u32>) -> Result<T, u32> {
    let mut slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = slot.as_mut().ok_or(NOT_INITIALIZED)?;
    state.pass(state.script.call_ns);
    state.well()?;
    let outcome = action(state)?;
    state.well()?;
    Ok(outcome)
}

/// As [`with`], for what gives things back: also a driver that broke forgets them.
pub(crate) fn give_back(action: impl FnOnce(&mut State) -> Result<(), u32>) -> Result<(), u32> {
    let mut slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    let state = slot.as_mut().ok_or(NOT_INITIALIZED)?;
    action(state)?;
    state.well()
}

/// Asks what needs no device: also a driver that broke answers.
pub(crate) fn ask<T>(question: impl FnOnce(&State) -> Result<T, u32>) -> Result<T, u32> {
    let slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    question(slot.as_ref().ok_or(NOT_INITIALIZED)?)
}

/// How much there is.
pub(crate) fn census() -> Census {
    let slot = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    slot.as_ref().map(State::census).unwrap_or_default()
}

impl State {
    fn census(&self) -> Census {
        Census {
            contexts: self.retained.values().sum(),
            streams: self.line.streams() as u64,
            events: self.line.events.values().filter(|event| !event.gone).count() as u64,
            device_blocks: self.device.values().map(Blocks::len).sum(),
            host_blocks: self.host.len(),
            registered: self.registered.len(),
            copies: self.copies,
            now_ns: self.line.now,
        }
    }

    fn well(&self) -> Result<(), u32> {
        if self.broken == 0 { Ok(()) } else { Err(self.broken) }
    }

    fn pass(&mut self, ns: u64) {
        let broken = &mut self.broken;
        self.line.pass(ns, &mut |copy| finish(broken, &copy));
    }

    fn pass_until(&mut self, holds: impl Fn(&Timeline<Copy>) -> bool) -> Result<(), u32> {
        let broken = &mut self.broken;
        self.line.pass_until(holds, &mut |copy| finish(broken, &copy));
        self.well()
    }

    pub(crate) fn device(&self, device: i32) -> Result<(u64, &crate::script::Device), u32> {
        let number = usize::try_from(device).map_err(|_| INVALID_DEVICE)?;
        Ok((number as u64, self.script.devices.get(number).ok_or(INVALID_DEVICE)?))
    }

    pub(crate) fn retain(&mut self, device: i32) -> Result<u64, u32> {
        let (number, _) = self.device(device)?;
        *self.retained.entry(number).or_default() += 1;
        Ok(FIRST_CONTEXT + number)
    }

    pub(crate) fn release(&mut self, device: i32) -> Result<(), u32> {
        let (number, _) = self.device(device)?;
        let count = self.retained.get_mut(&number).filter(|count| **count > 0).ok_or(INVALID_CONTEXT)?;
        *count -= 1;
        Ok(())
    }

    /// The device of a context that is retained.
    pub(crate) fn device_of(&self, context: u64) -> Result<u64, u32> {
        let device = context.checked_sub(FIRST_CONTEXT).ok_or(INVALID_CONTEXT)?;
        self.retained.get(&device).filter(|count| **count > 0).map(|_| device).ok_or(INVALID_CONTEXT)
    }

    pub(crate) fn add_stream(&mut self, device: u64) -> u64 {
        self.handles += 1;
        self.owners.insert(self.handles, device);
        self.line.add_stream(self.handles);
        self.handles
    }

    pub(crate) fn remove_stream(&mut self, stream: u64) -> Result<(), u32> {
        self.owners.remove(&stream).ok_or(INVALID_HANDLE)?;
        // A driver ends what runs before the stream goes.
        let ended = self.pass_until(|line| line.is_idle(stream));
        self.line.remove_stream(stream);
        ended
    }

    pub(crate) fn add_event(&mut self, device: u64) -> u64 {
        self.handles += 1;
        self.owners.insert(self.handles, device);
        self.line.events.insert(self.handles, Event::default());
        self.handles
    }

    pub(crate) fn remove_event(&mut self, event: u64) -> Result<(), u32> {
        self.owners.remove(&event).ok_or(INVALID_HANDLE)?;
        self.line.events.get_mut(&event).ok_or(INVALID_HANDLE)?.gone = true;
        Ok(())
    }

    pub(crate) fn record(&mut self, event: u64, stream: u64) -> Result<(), u32> {
        self.stream(stream)?;
        let marks = self.line.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        marks.asked += 1;
        let generation = marks.asked;
        self.line.push(stream, Op::Record { event, generation });
        Ok(())
    }

    pub(crate) fn wait(&mut self, stream: u64, event: u64) -> Result<(), u32> {
        self.stream(stream)?;
        let generation = self.line.events.get(&event).ok_or(INVALID_HANDLE)?.asked;
        self.line.push(stream, Op::Wait { event, generation });
        Ok(())
    }

    pub(crate) fn has_happened(&self, event: u64) -> Result<bool, u32> {
        let event = self.line.events.get(&event).ok_or(INVALID_HANDLE)?;
        Ok(event.happened == event.asked)
    }

    pub(crate) fn finish_event(&mut self, event: u64) -> Result<(), u32> {
        let asked = self.line.events.get(&event).ok_or(INVALID_HANDLE)?.asked;
        self.pass_until(|line| line.events.get(&event).is_none_or(|event| event.happened >= asked))
    }

    pub(crate) fn is_idle(&self, stream: u64) -> Result<bool, u32> {
        self.stream(stream)?;
        Ok(self.line.is_idle(stream))
    }

    pub(crate) fn finish_stream(&mut self, stream: u64) -> Result<(), u32> {
        self.stream(stream)?;
        self.pass_until(|line| line.is_idle(stream))
    }

    /// Milliseconds between two events.
    pub(crate) fn between(&self, start: u64, end: u64) -> Result<f32, u32> {
        let at = |event: u64| {
            let event = self.line.events.get(&event).ok_or(INVALID_HANDLE)?;
            match (event.asked, event.asked == event.happened) {
                (0, _) => Err(INVALID_HANDLE),
                (_, false) => Err(NOT_READY),
                (_, true) => Ok(event.at),
            }
        };
        Ok((at(end)? as f64 - at(start)? as f64) as f32 / 1e6)
    }

    fn stream(&self, stream: u64) -> Result<(), u32> {
        if self.line.has_stream(stream) { Ok(()) } else { Err(INVALID_HANDLE) }
    }

    pub(crate) fn allocate(&mut self, device: u64, bytes: u64) -> Result<u64, u32> {
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if bytes > self.free_bytes(device) {
            return Err(OUT_OF_MEMORY);
        }
        let address = memory::allocate(bytes).ok_or(OUT_OF_MEMORY)?;
        self.device.entry(device).or_default().add(address, bytes);
        Ok(address)
    }

    pub(crate) fn total_bytes(&self, device: u64) -> u64 {
        self.script.devices.get(device as usize).map_or(0, |device| device.memory)
    }

    pub(crate) fn free_bytes(&self, device: u64) -> u64 {
        self.total_bytes(device).saturating_sub(self.device.get(&device).map_or(0, Blocks::bytes))
    }

    pub(crate) fn free(&mut self, address: u64) -> Result<(), u32> {
        // Freeing waits for what runs, as a driver does.
        let streams: Vec<u64> = self.owners.keys().copied().collect();
        let ended = self.pass_until(|line| streams.iter().all(|stream| line.is_idle(*stream)));
        let known = self.device.values_mut().any(|blocks| blocks.take(address).is_some());
        if !known {
            return Err(INVALID_VALUE);
        }
        memory::free(address);
        ended
    }

    pub(crate) fn allocate_host(&mut self, bytes: u64) -> Result<u64, u32> {
        if self.script.host_alloc != 0 {
            return Err(self.script.host_alloc);
        }
        let address = memory::allocate(bytes).ok_or(OUT_OF_MEMORY)?;
        self.host.add(address, bytes);
        Ok(address)
    }

    pub(crate) fn free_host(&mut self, address: u64) -> Result<(), u32> {
        self.host.take(address).ok_or(INVALID_VALUE)?;
        memory::free(address);
        Ok(())
    }

    pub(crate) fn register(&mut self, address: u64, bytes: u64) -> Result<(), u32> {
        if self.script.register != 0 {
            return Err(self.script.register);
        }
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        if self.registered.touch(address, bytes) {
            return Err(ALREADY_REGISTERED);
        }
        self.registered.add(address, bytes);
        Ok(())
    }

    pub(crate) fn unregister(&mut self, address: u64) -> Result<(), u32> {
        self.registered.take(address).map(drop).ok_or(NOT_REGISTERED)
    }

    /// Asks for a copy; `up` is from the host to a device.
    pub(crate) fn copy(
        &mut self,
        up: bool,
        (from, to): (u64, u64),
        bytes: u64,
        stream: u64,
    ) -> Result<(), u32> {
        self.stream(stream)?;
        let (host, device) = if up { (from, to) } else { (to, from) };
        let owner = self.owners.get(&stream).copied().ok_or(INVALID_HANDLE)?;
        if !self.device.get(&owner).is_some_and(|blocks| blocks.contain(device, bytes)) {
            return Err(INVALID_VALUE);
        }
        let number = self.copies;
        self.copies += 1;
        let mut breaks = None;
        for fault in &self.script.faults {
            match *fault {
                Fault::Refused { copy, code } if copy == number => return Err(code),
                Fault::Breaks { copy, code } if copy == number => breaks = Some(code),
                Fault::Refused { .. } | Fault::Breaks { .. } => {}
            }
        }
        let speed = self.script.devices.get(owner as usize).map_or(1, |device| device.bytes_per_us.max(1));
        let locked = self.host.contain(host, bytes) || self.registered.contain(host, bytes);
        let ns = bytes * 1_000 / speed;
        let (from, ns) = match (locked, up) {
            (true, _) => (From::Address(from), ns),
            (false, true) => (From::Staged(memory::staged(from, bytes)), ns * PAGEABLE),
            (false, false) => (From::Address(from), ns * PAGEABLE),
        };
        self.line
            .push(stream, Op::Copy { engine: usize::from(!up), ns, copy: Copy { from, to, bytes, breaks } });
        if !locked && !up {
            // Into pageable memory a driver returns only when the bytes are there.
            self.pass_until(|line| line.is_idle(stream))?;
        }
        Ok(())
    }
}

fn finish(broken: &mut u32, copy: &Copy) {
    // Nothing runs on a device that broke.
    if *broken != 0 {
        return;
    }
    memory::run(copy);
    *broken = copy.breaks.unwrap_or(0);
}
