//! Plugins one behind another: what one gives is what the next gets. Each result is copied straight from one plugin's
//! memory into the next one's. Knows no threads and no queues; those are `engine`'s.

use zenith_data::DType;
use zenith_data::sampler::rng::mix;
use zenith_data::transform::custom::TensorRef;

use crate::{Abi, Instance, Plugin, PluginError};

/// Keeps the randomness of one place in a chain from that of the others.
const PLACE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Keeps the randomness of the tensors of a split sample apart.
const PIECE: u64 = 0xd1b5_4a32_d192_ed03;

/// An ordered list of plugins.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    plugins: Vec<Plugin>,
}

impl Chain {
    /// The chain of `plugins`, the first of which gets the samples.
    #[must_use]
    pub fn new(plugins: Vec<Plugin>) -> Self {
        Self { plugins }
    }

    /// Puts a plugin at the end.
    pub fn push(&mut self, plugin: Plugin) {
        self.plugins.push(plugin);
    }

    /// Takes out the plugin called `name`; of several the one that came last.
    pub fn remove(&mut self, name: &str) -> Option<Plugin> {
        let at = self.plugins.iter().rposition(|plugin| plugin.name() == name)?;
        Some(self.plugins.remove(at))
    }

    /// The plugins in their order.
    #[must_use]
    pub fn plugins(&self) -> &[Plugin] {
        &self.plugins
    }

    /// Whether every plugin follows ABI 0, so that bytes become as many bytes.
    #[must_use]
    pub fn is_bytes(&self) -> bool {
        self.plugins.iter().all(|plugin| plugin.abi() == Abi::Bytes)
    }

    /// One thread's instances of all plugins.
    ///
    /// # Errors
    /// [`PluginError`] of the first plugin that cannot be started.
    pub fn worker(&self) -> Result<ChainWorker, PluginError> {
        let stages = self.plugins.iter().map(Plugin::instance).collect::<Result<_, _>>()?;
        Ok(ChainWorker { stages, results: Results::default() })
    }
}

/// One thread's way through a chain, with memory that is used again from sample to sample.
#[derive(Debug)]
pub struct ChainWorker {
    stages: Vec<Instance>,
    results: Results,
}

impl ChainWorker {
    /// Sends a sample through all plugins. `random` is the sample's randomness, 64 bits that are a pure function of
    /// (seed, epoch, sample); each plugin, and each tensor that a plugin makes of a sample, gets 64 of its own.
    ///
    /// # Errors
    /// [`PluginError`] of the plugin that failed; there are no results then.
    pub fn apply(&mut self, input: TensorRef<'_>, random: u64) -> Result<&Results, PluginError> {
        self.results.clear();
        let results = &mut self.results;
        let done = pass(&mut self.stages, input, random, &mut |tensor| {
            results.push(tensor);
            Ok(())
        });
        if let Err(error) = done {
            self.results.clear();
            return Err(error);
        }
        Ok(&self.results)
    }

    /// As [`ChainWorker::apply`], but the results go to `take`, which sees them in the last plugin's memory.
    ///
    /// # Errors
    /// As [`ChainWorker::apply`]; also what `take` refused.
    pub fn apply_with(
        &mut self,
        input: TensorRef<'_>,
        random: u64,
        take: &mut dyn FnMut(TensorRef<'_>) -> Result<(), PluginError>,
    ) -> Result<(), PluginError> {
        pass(&mut self.stages, input, random, take)
    }

    /// Sends bytes through plugins that all follow ABI 0, into `output`, which must be as long.
    ///
    /// # Errors
    /// [`PluginError`] of the plugin that failed, or [`PluginError::BadInput`] of one that takes no bytes alone or for
    /// another length. `output` is as before then.
    pub fn apply_bytes(&mut self, input: &[u8], output: &mut [u8]) -> Result<(), PluginError> {
        match &mut self.stages[..] {
            [] if input.len() == output.len() => {
                output.copy_from_slice(input);
                Ok(())
            }
            [] => Err(PluginError::BadInput {
                plugin: "a chain without plugins".to_owned(),
                reason: format!("{} bytes do not become {}", input.len(), output.len()),
            }),
            [only] => only.apply_bytes(input, output),
            [first, rest @ ..] => hand_on(rest, first.bytes(input)?, output),
        }
    }
}

/// Bytes from plugin to plugin, each copying them out of the memory of the one before.
fn hand_on(stages: &mut [Instance], input: &[u8], output: &mut [u8]) -> Result<(), PluginError> {
    match stages {
        [last] => last.apply_bytes(input, output),
        [next, rest @ ..] => hand_on(rest, next.bytes(input)?, output),
        [] => Ok(()),
    }
}

fn pass(
    stages: &mut [Instance],
    input: TensorRef<'_>,
    random: u64,
    take: &mut dyn FnMut(TensorRef<'_>) -> Result<(), PluginError>,
) -> Result<(), PluginError> {
    let Some((first, rest)) = stages.split_first_mut() else {
        return take(input);
    };
    let mut piece = 0_u64;
    first.apply_with(input, mix(random), &mut |tensor| {
        let random = mix(random.wrapping_add(PLACE).wrapping_add(piece.wrapping_mul(PIECE)));
        piece += 1;
        pass(rest, tensor, random, take)
    })
}

/// Tensors one after another in memory that is used again.
#[derive(Debug, Default)]
pub struct Results {
    bytes: Vec<u8>,
    counts: Vec<usize>,
    tensors: Vec<Placed>,
}

/// Where a tensor lies in [`Results`].
#[derive(Clone, Copy, Debug)]
struct Placed {
    dtype: DType,
    /// Ends of its bytes and its shape; they begin where those of the one before end.
    bytes: usize,
    counts: usize,
}

impl Results {
    fn clear(&mut self) {
        self.bytes.clear();
        self.counts.clear();
        self.tensors.clear();
    }

    fn push(&mut self, tensor: TensorRef<'_>) {
        self.bytes.extend_from_slice(tensor.bytes);
        self.counts.extend_from_slice(tensor.shape);
        self.tensors.push(Placed { dtype: tensor.dtype, bytes: self.bytes.len(), counts: self.counts.len() });
    }

    /// How many tensors there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether the sample was dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The tensors in their order.
    pub fn iter(&self) -> impl Iterator<Item = TensorRef<'_>> {
        let mut from = (0, 0);
        self.tensors.iter().map(move |placed| {
            let (bytes, counts) = std::mem::replace(&mut from, (placed.bytes, placed.counts));
            TensorRef {
                dtype: placed.dtype,
                shape: &self.counts[counts..placed.counts],
                bytes: &self.bytes[bytes..placed.bytes],
            }
        })
    }
}
