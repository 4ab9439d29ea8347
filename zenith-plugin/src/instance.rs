//! One thread's means of calling a plugin. It keeps a copy of the module and replaces one that broke; how the copy is
//! called and limited is `live`'s business, what its memory means `wire`'s.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use zenith_data::DType;
use zenith_data::transform::custom::{Take, TensorRef, TransformFault, TransformWorker};

use crate::live::{Live, Work};
use crate::plugin::Inner;
use crate::stats::Meter;
use crate::wire::{self, INPUT_ROOM, TensorView};
use crate::{Abi, PluginError};

/// A plugin as one thread uses it. A call that traps or breaks a limit costs its copy of the module; the next call
/// makes another.
pub struct Instance {
    plugin: Arc<Inner>,
    meter: Arc<Meter>,
    /// `None` after a copy broke.
    live: Option<Live>,
    /// When the call under way must end, where it takes more than a call of the guest's; else a deadline after that begins.
    ends: Option<Instant>,
    /// The tensors of the last result; memory that is used again.
    views: Vec<TensorView>,
}

/// Which entry point, with the name it has in errors.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entry {
    One,
    Batch,
}

impl Entry {
    const fn name(self) -> &'static str {
        match self {
            Entry::One => "zenith_process",
            Entry::Batch => "zenith_process_batch",
        }
    }
}

impl Instance {
    pub(crate) fn new(plugin: Arc<Inner>) -> Result<Self, PluginError> {
        // Before any lock: in a forked child one may be held for ever.
        plugin.check_process()?;
        let meter = plugin.lend_meter();
        let made = plugin.copy(&meter, None);
        let mut instance = Self { plugin, meter, live: None, ends: None, views: Vec::new() };
        instance.live = Some(made?);
        Ok(instance)
    }

    /// The plugin's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plugin.name
    }

    /// Gives `input` to the plugin and its results to `take`, in their order. `random` is all the randomness it has.
    ///
    /// # Errors
    /// [`PluginError`]; what `take` refused is [`PluginError::Taker`], or the plugin error that it was.
    pub fn apply(&mut self, input: TensorRef<'_>, random: u64, take: Take<'_>) -> Result<(), PluginError> {
        self.apply_with(input, random, &mut |tensor| take(tensor).map_err(PluginError::from_fault))
    }

    /// Gives samples that are stacked along the first axis to the plugin's entry point for batches, and the one result,
    /// which has the same first axis, to `take`.
    ///
    /// # Errors
    /// As [`Instance::apply`]; [`PluginError::BadInput`] where the plugin takes no batches.
    pub fn apply_batch(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: Take<'_>,
    ) -> Result<(), PluginError> {
        self.call_tensors(input, random, Entry::Batch)?;
        self.lend(&mut |tensor| take(tensor).map_err(PluginError::from_fault))
    }

    /// Gives bytes to a plugin of ABI 0, and what it made of them to `output`, which must be as long.
    ///
    /// # Errors
    /// [`PluginError`]; [`PluginError::BadInput`] under ABI 1 or for another length. `output` is as before then.
    #[inline]
    pub fn apply_bytes(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), PluginError> {
        if input.len() != output.len() {
            let reason = format!("{} bytes do not become {}", input.len(), output.len());
            return Err(self.plugin.bad_input(reason));
        }
        output.copy_from_slice(self.bytes(input)?);
        Ok(())
    }

    /// Lets a plugin of ABI 0 change bytes.
    ///
    /// # Errors
    /// As [`Instance::apply_bytes`]; the bytes are as before then.
    #[inline]
    pub fn apply_in_place(&mut self, bytes: &mut [u8]) -> Result<(), PluginError> {
        let result = self.bytes(bytes)?;
        bytes.copy_from_slice(result);
        Ok(())
    }

    /// As [`Instance::apply`], for takers whose errors are a plugin's.
    pub(crate) fn apply_with(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: &mut dyn FnMut(TensorRef<'_>) -> Result<(), PluginError>,
    ) -> Result<(), PluginError> {
        if self.plugin.shape.abi == Abi::Tensor {
            self.call_tensors(input, random, Entry::One)?;
            return self.lend(take);
        }
        let result = self.bytes(input.bytes)?;
        if input.dtype == DType::Bool && !wire::are_bools(result) {
            self.live = None;
            return Err(self.plugin.bad_result(wire::NO_BOOL.to_owned()));
        }
        take(TensorRef { bytes: result, ..input })
    }

    /// What a plugin of ABI 0 makes of `input`, in its memory.
    #[inline]
    pub(crate) fn bytes(&mut self, input: &[u8]) -> Result<&[u8], PluginError> {
        let range = self.attempt(input.len(), |instance| instance.call_bytes(input))?;
        match &self.live {
            Some(live) => Ok(&live.core.data()[range]),
            None => Err(PluginError::Host("a good call left no copy".to_owned())),
        }
    }

    #[inline]
    fn call_bytes(&mut self, input: &[u8]) -> Result<Range<usize>, PluginError> {
        let plugin = &*self.plugin;
        let Live { core, work } = ready(&mut self.live, plugin, &self.meter, self.ends)?;
        let Work::Bytes(process) = work else {
            return Err(plugin.bad_input("it takes tensors, not bytes alone".to_owned()));
        };
        core.timed(plugin, &self.meter, self.ends, |core| {
            let at = core.prepare(plugin, input.len())?;
            let range = at..at + input.len();
            core.data_mut()[range.clone()].copy_from_slice(input);
            match core.call(plugin, "process", process, (at as i32, input.len() as i32))? {
                0 => Ok(range),
                code => Err(core.reported(plugin, code, String::new())),
            }
        })
    }

    /// Calls a plugin of ABI 1; its checked results are in `views`.
    fn call_tensors(&mut self, input: TensorRef<'_>, random: u64, entry: Entry) -> Result<(), PluginError> {
        let need = INPUT_ROOM + input.bytes.len();
        self.attempt(need, |instance| instance.call_tensors_once(input, random, entry))
    }

    fn call_tensors_once(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        entry: Entry,
    ) -> Result<(), PluginError> {
        let (plugin, views) = (&*self.plugin, &mut self.views);
        let bad_result = |reason| plugin.bad_result(reason);
        if wire::size(input.dtype, input.shape) != Some(input.bytes.len()) {
            let TensorRef { dtype, shape, bytes } = input;
            return Err(
                plugin.bad_input(format!("{} bytes are no {dtype} tensor of shape {shape:?}", bytes.len()))
            );
        }
        let Live { core, work } = ready(&mut self.live, plugin, &self.meter, self.ends)?;
        let Work::Tensor(one, batch) = work else {
            return Err(plugin.bad_input("it takes bytes alone".to_owned()));
        };
        let (function, samples) = match (entry, batch) {
            (Entry::One, _) => (&*one, None),
            (Entry::Batch, Some(batch)) => match input.shape.first() {
                Some(&samples) => (&*batch, Some(samples)),
                None => return Err(plugin.bad_input("a batch needs an axis".to_owned())),
            },
            (Entry::Batch, None) => return Err(plugin.bad_input("it takes single samples only".to_owned())),
        };
        core.timed(plugin, &self.meter, self.ends, |core| {
            let length = input.bytes.len();
            let at = core.prepare(plugin, INPUT_ROOM + length)?;
            let head = wire::input((at + INPUT_ROOM) as u32, input.dtype, input.shape, random)
                .map_err(|reason| plugin.bad_input(reason))?;
            let memory = core.data_mut();
            memory[at..at + head.len()].copy_from_slice(&head);
            memory[at + INPUT_ROOM..at + INPUT_ROOM + length].copy_from_slice(input.bytes);
            let result = core.call(plugin, entry.name(), function, at as i32)?;
            let memory = core.data();
            let outcome = wire::outcome(memory, result as u32).map_err(bad_result)?;
            if outcome.status != 0 {
                return Err(core.reported(plugin, outcome.status, outcome.message));
            }
            match (outcome.count, samples) {
                (1, _) => {}
                (count, Some(samples)) => {
                    return Err(bad_result(format!("{count} tensors became of a batch of {samples}")));
                }
                (0, None) if plugin.drops() => {}
                (0, None) => {
                    return Err(bad_result("it dropped a sample, but does not say that it may".to_owned()));
                }
                (_, None) if plugin.splits() => {}
                (count, None) => {
                    return Err(bad_result(format!(
                        "it made {count} tensors of a sample, but does not say that it may split"
                    )));
                }
            }
            wire::tensors(memory, &outcome, plugin.limits.memory, views).map_err(bad_result)?;
            match (samples, views.first()) {
                (Some(samples), Some(view)) if view.shape().first() != Some(&samples) => Err(bad_result(
                    format!("a batch of {samples} samples became a tensor of shape {:?}", view.shape()),
                )),
                _ => Ok(()),
            }
        })
    }

    /// Gives the tensors of the last call to `take`.
    fn lend(
        &self,
        take: &mut dyn FnMut(TensorRef<'_>) -> Result<(), PluginError>,
    ) -> Result<(), PluginError> {
        let memory = self.live.as_ref().map_or(&[][..], |live| live.core.data());
        for view in &self.views {
            take(TensorRef { dtype: view.dtype, shape: view.shape(), bytes: &memory[view.range()] })?;
        }
        Ok(())
    }

    /// Calls, and throws the copy away if the call broke it. Where memory is short because of places that shorter samples
    /// left behind, a new copy has room: then the call is made once more.
    #[inline]
    fn attempt<T>(
        &mut self,
        need: usize,
        call: impl Fn(&mut Self) -> Result<T, PluginError>,
    ) -> Result<T, PluginError> {
        let left_behind = self.live.as_ref().is_some_and(|live| live.core.place.is_shorter(need));
        // Making a copy and a second call are within the one deadline.
        let is_more = left_behind || self.live.is_none();
        self.ends = is_more.then(|| Instant::now() + self.plugin.limits.deadline);
        let mut result = call(self);
        if left_behind && matches!(result, Err(PluginError::Memory { .. })) {
            self.live = None;
            result = call(self);
        }
        if result.as_ref().is_err_and(PluginError::poisons) {
            self.live = None;
        }
        result
    }
}

/// The copy, made if there is none.
#[inline]
fn ready<'a>(
    live: &'a mut Option<Live>,
    plugin: &Inner,
    meter: &Meter,
    ends: Option<Instant>,
) -> Result<&'a mut Live, PluginError> {
    plugin.check_process()?;
    match live {
        Some(live) => Ok(live),
        None => Ok(live.insert(plugin.copy(meter, ends)?)),
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.plugin.return_meter(self.meter.clone());
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("plugin", &self.name()).finish_non_exhaustive()
    }
}

impl TransformWorker for Instance {
    fn apply(&mut self, input: TensorRef<'_>, random: u64, take: Take<'_>) -> Result<(), TransformFault> {
        Ok(self.apply(input, random, take)?)
    }

    fn takes_batches(&self) -> bool {
        self.plugin.shape.batches
    }

    fn apply_batch(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: Take<'_>,
    ) -> Result<(), TransformFault> {
        Ok(self.apply_batch(input, random, take)?)
    }
}
