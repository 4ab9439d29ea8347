//! Carrying samples through a chain: a thread's instances of it, renewed when the chain changes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use zenith_data::transform::custom::TensorRef;
use zenith_runtime_cpu::thread::panic_message;

use super::Tensor;
use crate::PluginError;
use crate::chain::{Chain, ChainWorker};

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
            let mut tensors = Vec::new();
            self.of(version)?.apply_with(input, random, &mut |tensor| {
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
