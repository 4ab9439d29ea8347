//! One living copy of a module: its store, its functions, and calls under limits. A copy that broke a limit is not
//! mended; `instance` puts a new one in its place.

use std::sync::Arc;
use std::time::Instant;

use wasmtime::{
    Memory, ResourceLimiter, Store, Trap, TypedFunc, UpdateDeadline, WasmBacktrace, WasmParams, WasmResults,
};

use crate::log::{Log, LogOutside};
use crate::module::Abi;
use crate::place::Place;
use crate::plugin::Inner;
use crate::stats::Meter;
use crate::ticker::TICK;
use crate::wire::{self, Description};
use crate::{Limits, PluginError, signals, stack};

/// The version of the ABI that modules which name one may speak.
pub(crate) const ABI: i32 = 1;

/// Bytes of a guest function's name that are shown.
const MOST_FUNCTION_NAME: usize = 200;

/// What the runtime's callbacks need.
pub(crate) struct State {
    pub(crate) name: Arc<str>,
    pub(crate) log: Arc<Log>,
    keeper: Keeper,
    /// When the call under way must end.
    ends: Instant,
}

/// Refuses what goes beyond the limits, and remembers that it did: guests learn of it only as a number, so the error
/// that follows would otherwise be a riddle.
struct Keeper {
    memory: usize,
    tables: usize,
    elements: usize,
    refused: Option<Refused>,
}

#[derive(Clone, Copy)]
enum Refused {
    Memory(usize),
    Elements(usize),
}

impl ResourceLimiter for Keeper {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory;
        if !fits {
            self.refused = Some(Refused::Memory(desired));
        }
        Ok(fits)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let fits = desired <= self.elements;
        if !fits {
            self.refused = Some(Refused::Elements(desired));
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        self.tables
    }
}

/// The function that does the work.
pub(crate) enum Work {
    /// `process`.
    Bytes(TypedFunc<(i32, i32), i32>),
    /// `zenith_process`, and `zenith_process_batch` if there is one.
    Tensor(TypedFunc<i32, i32>, Option<TypedFunc<i32, i32>>),
}

/// A copy of a module.
pub(crate) struct Live {
    pub(crate) core: Core,
    pub(crate) work: Work,
}

/// What every call needs, apart from the functions: those are borrowed while they run.
pub(crate) struct Core {
    pub(crate) store: Store<State>,
    pub(crate) memory: Memory,
    pub(crate) alloc: Option<TypedFunc<i32, i32>>,
    pub(crate) place: Place,
}

impl Live {
    /// Makes a copy: the start function, `_initialize`, and under ABI 1 what the plugin says of itself and its
    /// configuration, all of it within one deadline.
    pub(crate) fn new(
        plugin: &Inner,
        meter: &Meter,
        ends: Option<Instant>,
    ) -> Result<(Self, Option<Description>), PluginError> {
        let limits = &plugin.limits;
        let keeper = Keeper {
            memory: limits.memory,
            tables: limits.tables as usize,
            elements: limits.table_elements as usize,
            refused: None,
        };
        let state =
            State { name: plugin.name.clone(), log: plugin.log.clone(), keeper, ends: Instant::now() };
        let mut store = Store::new(plugin.pre.module().engine(), state);
        store.limiter(|state| &mut state.keeper);
        store.epoch_deadline_callback(|store| {
            let left = store.data().ends.saturating_duration_since(Instant::now());
            Ok(if left.is_zero() { UpdateDeadline::Interrupt } else { UpdateDeadline::Continue(ticks(left)) })
        });
        let _running = Running::begin(&mut store, plugin, meter, ends)?;
        Self::start(store, plugin)
    }

    fn start(mut store: Store<State>, plugin: &Inner) -> Result<(Self, Option<Description>), PluginError> {
        let instance = match plugin.pre.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return Err(failure(&store, plugin, "its start function", &error)),
        };
        let broken = |error: wasmtime::Error| PluginError::Host(format!("{error:#}"));
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| PluginError::Host("a checked memory is gone".to_owned()))?;
        let shape = plugin.shape;
        let alloc = match shape.allocates {
            true => Some(instance.get_typed_func(&mut store, "zenith_alloc").map_err(broken)?),
            false => None,
        };
        let work = match shape.abi {
            Abi::Bytes => Work::Bytes(instance.get_typed_func(&mut store, "process").map_err(broken)?),
            Abi::Tensor => {
                let one = instance.get_typed_func(&mut store, "zenith_process").map_err(broken)?;
                let batch = match shape.batches {
                    true => {
                        Some(instance.get_typed_func(&mut store, "zenith_process_batch").map_err(broken)?)
                    }
                    false => None,
                };
                Work::Tensor(one, batch)
            }
        };
        let mut core = Core { store, memory, alloc, place: Place::default() };
        if shape.initializes {
            let initialize: TypedFunc<(), ()> =
                instance.get_typed_func(&mut core.store, "_initialize").map_err(broken)?;
            core.call(plugin, "_initialize", &initialize, ())?;
        }
        if shape.abi == Abi::Bytes {
            return Ok((Self { core, work }, None));
        }
        let asked = |core: &mut Core, name: &'static str| {
            let function: TypedFunc<(), i32> =
                instance.get_typed_func(&mut core.store, name).map_err(broken)?;
            core.call(plugin, name, &function, ())
        };
        let version = asked(&mut core, "zenith_abi_version")?;
        if version != ABI {
            return Err(PluginError::UnknownAbi { plugin: plugin.name.to_string(), version });
        }
        let at = asked(&mut core, "zenith_describe")?;
        let description = wire::description(core.data(), at as u32).map_err(|e| plugin.bad_result(e))?;
        core.store.data_mut().name = description.name.as_str().into();
        if shape.configures {
            let configure: TypedFunc<(i32, i32), i32> =
                instance.get_typed_func(&mut core.store, "zenith_configure").map_err(broken)?;
            core.configure(plugin, &configure)?;
        }
        Ok((Self { core, work }, Some(description)))
    }
}

impl Core {
    /// The guest's memory.
    #[inline]
    pub(crate) fn data(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    /// The guest's memory, to be written.
    #[inline]
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        self.memory.data_mut(&mut self.store)
    }

    /// Hands over the user's configuration.
    fn configure(
        &mut self,
        plugin: &Inner,
        configure: &TypedFunc<(i32, i32), i32>,
    ) -> Result<(), PluginError> {
        let config = plugin.config.as_bytes();
        let at = self.prepare(plugin, config.len())?;
        self.data_mut()[at..at + config.len()].copy_from_slice(config);
        let result = self.call(plugin, "zenith_configure", configure, (at as i32, config.len() as i32))?;
        let outcome = wire::outcome(self.data(), result as u32).map_err(|e| plugin.bad_result(e))?;
        if outcome.status != 0 {
            let (code, message) = (outcome.status, outcome.message);
            return Err(PluginError::Config { plugin: plugin.name.to_string(), code, message });
        }
        Ok(())
    }

    /// Calls a function of the guest. The clock must run: see [`Core::timed`].
    #[inline]
    pub(crate) fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        plugin: &Inner,
        name: &'static str,
        function: &TypedFunc<P, R>,
        params: P,
    ) -> Result<R, PluginError> {
        match function.call(&mut self.store, params) {
            Ok(results) => Ok(results),
            Err(error) => Err(failure(&self.store, plugin, name, &error)),
        }
    }

    /// Runs `work` as one call: its deadline, which is `ends` where it began before, its fuel, its account.
    #[inline]
    pub(crate) fn timed<T>(
        &mut self,
        plugin: &Inner,
        meter: &Meter,
        ends: Option<Instant>,
        work: impl FnOnce(&mut Self) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        let running = Running::begin(&mut self.store, plugin, meter, ends)?;
        let result = work(self);
        let took = running.began.elapsed();
        drop(running);
        let stopped = result.as_ref().is_err_and(PluginError::poisons);
        meter.record(took, stopped);
        result
    }

    /// What an error code of the guest means: where a limit was in its way, that limit.
    pub(crate) fn reported(&self, plugin: &Inner, code: i32, message: String) -> PluginError {
        refusal(&self.store, plugin).unwrap_or_else(|| PluginError::Code {
            plugin: plugin.name.to_string(),
            code,
            message,
        })
    }

    /// The limit that the guest met during this call, if it met one.
    pub(crate) fn refusal(&self, plugin: &Inner) -> Option<PluginError> {
        refusal(&self.store, plugin)
    }
}

/// Whole ticks that are no shorter than `time`.
fn ticks(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u64::MAX >> 1)
}

/// A call under way: its clock runs until this is dropped.
struct Running<'a> {
    began: Instant,
    meter: &'a Meter,
}

impl<'a> Running<'a> {
    #[inline]
    fn begin(
        store: &mut Store<State>,
        plugin: &Inner,
        meter: &'a Meter,
        ends: Option<Instant>,
    ) -> Result<Self, PluginError> {
        let limits = &plugin.limits;
        if let Err(left) = stack::check(limits.stack) {
            let plugin = plugin.name.to_string();
            return Err(PluginError::ThreadStack { plugin, limit: limits.stack, left });
        }
        let began = Instant::now();
        let state = store.data_mut();
        state.keeper.refused = None;
        state.ends = ends.unwrap_or(began + limits.deadline);
        store.set_epoch_deadline(
            ends.map_or(plugin.ticks, |ends| ticks(ends.saturating_duration_since(began))),
        );
        if let Some(fuel) = limits.fuel {
            // Only fails where the engine counts no fuel, and this one was chosen because it does.
            let set = store.set_fuel(fuel);
            debug_assert!(set.is_ok());
        }
        plugin.host.ticker.enter(meter);
        signals::enter(began);
        Ok(Self { began, meter })
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        signals::leave();
        self.meter.leave();
    }
}

/// Ticks of a whole call.
pub(crate) fn deadline_ticks(limits: &Limits) -> u64 {
    ticks(limits.deadline)
}

fn refusal(store: &Store<State>, plugin: &Inner) -> Option<PluginError> {
    let (name, limits) = (plugin.name.to_string(), &plugin.limits);
    store.data().keeper.refused.map(|refused| match refused {
        Refused::Memory(wanted) => PluginError::Memory { plugin: name, wanted, limit: limits.memory },
        Refused::Elements(wanted) => PluginError::Tables {
            plugin: name,
            what: "table elements",
            wanted: wanted as u64,
            limit: u64::from(limits.table_elements),
        },
    })
}

/// The cause of an error of the runtime.
#[cold]
fn failure(store: &Store<State>, plugin: &Inner, call: &'static str, error: &wasmtime::Error) -> PluginError {
    let (name, limits) = (plugin.name.to_string(), &plugin.limits);
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => return PluginError::Deadline { plugin: name, deadline: limits.deadline },
        Some(Trap::OutOfFuel) => return PluginError::Fuel { plugin: name, fuel: limits.fuel.unwrap_or(0) },
        Some(Trap::StackOverflow) => return PluginError::Stack { plugin: name, limit: limits.stack },
        _ => {}
    }
    if let Some(outside) = error.downcast_ref::<LogOutside>() {
        return plugin.bad_result(outside.to_string());
    }
    if let Some(refusal) = refusal(store, plugin) {
        return refusal;
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        // No fault of the guest's: there was no address space for it, for instance.
        return PluginError::Host(format!("{name}: {}", error.root_cause()));
    };
    let mut trap = trap.to_string();
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    if let Some(function) = frames.first().and_then(|frame| frame.func_name()) {
        let end = function.floor_char_boundary(MOST_FUNCTION_NAME.min(function.len()));
        trap.push_str(&format!(" in function {}", wire::text(&function.as_bytes()[..end])));
    }
    PluginError::Trap { plugin: name, call, trap }
}
