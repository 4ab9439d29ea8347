//! Carrying samples through a chain: a thread's instances of it, renewed when the chain changes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use zenith_data::transform::custom::TensorRef;
use zenith_runtime_cpu::thread::panic_message;

use super::Tensor;
use crate::PluginError;
use crate::chain::{Chain, ChainWorker};

/// Tensors, and bytes of them, that may become of one item.
const MOST_TENSORS: usize = 1 << 16;
const MOST_BYTES: usize = 1 << 30;

/// A chain as it is between two changes.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) number: u64,
    pub(super) chain: Chain,
}

/// One thread's instances of the chain that it last met.
#[derive(Debug, Default)]
pub(super) struct Way {
    known: Option<(u64, ChainWorker)>,
}

impl Way {
    /// The instances of `version`.
    pub(super) fn of(&mut self, version: &Version) -> Result<&mut ChainWorker, PluginError> {
        match &mut self.known {
            Some((number, _)) if *number == version.number => {}
            known => {
                // The old instances go first: their memory may be what the new ones need.
                *known = None;
                *known = Some((version.number, version.chain.worker()?));
            }
        }
        match &mut self.known {
            Some((_, worker)) => Ok(worker),
            None => Err(PluginError::Host("instances that were just made are gone".to_owned())),
        }
    }

    /// Whether it has instances of `version`.
    pub(super) fn knows(&self, version: &Version) -> bool {
        self.known.as_ref().is_some_and(|(number, _)| *number == version.number)
    }

    /// Sends one sample through. A panic is that sample's error and costs the instances.
    pub(super) fn walk(
        &mut self,
        version: &Arc<Version>,
        input: TensorRef<'_>,
        random: u64,
    ) -> Result<Vec<Tensor>, PluginError> {
        let walked = catch_unwind(AssertUnwindSafe(|| {
            let (mut tensors, mut bytes) = (Vec::new(), 0);
            self.of(version)?.apply_with(input, random, &mut |tensor| {
                bytes += tensor.bytes.len();
                // What each plugin may make of one tensor multiplies along the chain.
                if tensors.len() == MOST_TENSORS || bytes > MOST_BYTES {
                    let plugin = version.chain.plugins().last().map_or("the chain", |last| last.name());
                    let reason = format!(
                        "one item became more than {MOST_TENSORS} tensors or {} MiB",
                        MOST_BYTES >> 20
                    );
                    return Err(PluginError::BadResult { plugin: plugin.to_owned(), reason });
                }
                tensors.push(Tensor::copied(tensor));
                Ok(())
            })?;
            Ok(tensors)
        }));
        walked.unwrap_or_else(|panic| {
            self.known = None;
            Err(PluginError::Host(format!("a panic: {}", panic_message(&*panic))))
        })
    }
}
