//! A module that was checked and described: what is shared by its instances. Running it is the instances' business.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sha2::{Digest, Sha256};
use wasmtime::InstancePre;
use zenith_data::transform::custom::{Cause, Transform, TransformFault, TransformWorker, Yield};

use crate::host::HostInner;
use crate::live::{Live, State, deadline_ticks};
use crate::log::Log;
use crate::module::{self, Abi, Shape};
use crate::stats::{Meter, Meters};
use crate::wire::Description;
use crate::{Instance, Limits, PluginError, Stats, fork};

/// A loaded plugin. Clones are the same plugin.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

/// What all clones and instances share.
pub(crate) struct Inner {
    pub(crate) host: Arc<HostInner>,
    pub(crate) pre: InstancePre<State>,
    pub(crate) shape: Shape,
    pub(crate) limits: Limits,
    /// The deadline of a call in ticks.
    pub(crate) ticks: u64,
    /// How it calls itself, under ABI 1; else as its file, and so until it was asked.
    pub(crate) name: Arc<str>,
    pub(crate) config: String,
    /// Of the module's bytes and the configuration.
    fingerprint: u64,
    pub(crate) log: Arc<Log>,
    description: Option<Description>,
    meters: Meters,
    /// The copy that loading made, for the first instance.
    spare: Mutex<Option<Live>>,
}

impl Inner {
    /// The error for a result that breaks the ABI.
    pub(crate) fn bad_result(&self, reason: String) -> PluginError {
        PluginError::BadResult { plugin: self.name.to_string(), reason }
    }

    /// The error for a sample that cannot be handed over.
    pub(crate) fn bad_input(&self, reason: String) -> PluginError {
        PluginError::BadInput { plugin: self.name.to_string(), reason }
    }

    /// Refuses to work in a forked child, where no clock runs.
    #[inline]
    pub(crate) fn check_process(&self) -> Result<(), PluginError> {
        if fork::generation() == self.host.generation {
            Ok(())
        } else {
            Err(PluginError::Forked { plugin: self.name.to_string() })
        }
    }

    /// A copy of the module: the spare one, or a new one, made until `ends` at the latest.
    pub(crate) fn copy(&self, meter: &Meter, ends: Option<Instant>) -> Result<Live, PluginError> {
        self.check_process()?;
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        match spare {
            Some(live) => Ok(live),
            None => Live::new(self, meter, ends).map(|(live, _)| live),
        }
    }

    pub(crate) fn lend_meter(&self) -> Arc<Meter> {
        self.meters.lend(|meter| self.host.ticker.watch(meter))
    }

    pub(crate) fn return_meter(&self, meter: Arc<Meter>) {
        self.meters.give_back(meter);
    }

    pub(crate) fn drops(&self) -> bool {
        self.description.as_ref().is_some_and(|d| d.drops)
    }

    pub(crate) fn splits(&self) -> bool {
        self.description.as_ref().is_some_and(|d| d.splits)
    }
}

impl Plugin {
    /// Makes a plugin of a checked module, whose bytes are `bytes`: its first copy is made at once, because only it can say what it is.
    pub(crate) fn new(
        host: Arc<HostInner>,
        pre: InstancePre<State>,
        shape: Shape,
        bytes: &[u8],
        file: &str,
        config: &str,
        limits: &Limits,
    ) -> Result<Self, PluginError> {
        if !config.is_empty() && !shape.configures {
            let message = "it has no zenith_configure, so only the empty one is possible".to_owned();
            return Err(PluginError::Config { plugin: file.to_owned(), code: 0, message });
        }
        let mut inner = Inner {
            host,
            pre,
            shape,
            ticks: deadline_ticks(limits),
            limits: limits.clone(),
            name: file.into(),
            config: config.to_owned(),
            fingerprint: fingerprint(bytes, config),
            log: Arc::new(Log::new()),
            description: None,
            meters: Meters::default(),
            spare: Mutex::default(),
        };
        let meter = inner.lend_meter();
        let made = Live::new(&inner, &meter, None);
        inner.return_meter(meter);
        let (live, description) = made?;
        if let Some(description) = &description {
            inner.name = description.name.as_str().into();
        }
        inner.description = description;
        inner.spare = Mutex::new(Some(live));
        Ok(Self { inner: Arc::new(inner) })
    }

    /// How it calls itself; under ABI 0 the stem of its file, or `plugin`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its version in its own words; empty under ABI 0.
    #[must_use]
    pub fn version(&self) -> &str {
        self.inner.description.as_ref().map_or("", |d| &d.version)
    }

    /// Its description in its own words; empty under ABI 0.
    #[must_use]
    pub fn description(&self) -> &str {
        self.inner.description.as_ref().map_or("", |d| &d.description)
    }

    /// The convention that it follows.
    #[must_use]
    pub fn abi(&self) -> Abi {
        self.inner.shape.abi
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The configuration it was loaded with.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.inner.config
    }

    /// How many tensors become of one.
    #[must_use]
    pub fn yields(&self) -> Yield {
        match (self.inner.drops(), self.inner.splits()) {
            (_, true) => Yield::Any,
            (true, false) => Yield::AtMostOne,
            (false, false) => Yield::One,
        }
    }

    /// Whether it has an entry point for whole batches.
    #[must_use]
    pub fn takes_batches(&self) -> bool {
        self.inner.shape.batches
    }

    /// What the module exports, as `name: type`.
    #[must_use]
    pub fn exports(&self) -> Vec<String> {
        module::exports(self.inner.pre.module())
    }

    /// What the module imports, as `module.name: type`.
    #[must_use]
    pub fn imports(&self) -> Vec<String> {
        module::imported(self.inner.pre.module())
    }

    /// What it did since it was loaded, over all threads.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { suppressed: self.inner.log.suppressed(), ..self.inner.meters.sum() }
    }

    /// One thread's instance of it.
    ///
    /// # Errors
    /// What keeps the module from starting: a limit, a trap, its own refusal of the configuration.
    pub fn instance(&self) -> Result<Instance, PluginError> {
        Instance::new(self.inner.clone())
    }

    /// Whether both are clones of the same plugin.
    #[must_use]
    pub fn is_same(&self, other: &Plugin) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

fn fingerprint(bytes: &[u8], config: &str) -> u64 {
    let module = Sha256::digest(bytes);
    let all = Sha256::new().chain_update(module).chain_update(config).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&all[..8]);
    u64::from_le_bytes(first)
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin").field("name", &self.name()).field("abi", &self.abi()).finish_non_exhaustive()
    }
}

impl Transform for Plugin {
    fn name(&self) -> &str {
        self.name()
    }

    fn yields(&self) -> Yield {
        self.yields()
    }

    fn fingerprint(&self) -> u64 {
        self.inner.fingerprint
    }

    fn cause(&self, fault: &TransformFault) -> Cause {
        fault.downcast_ref::<PluginError>().map_or_else(Cause::default, PluginError::cause)
    }

    fn worker(&self) -> Result<Box<dyn TransformWorker>, TransformFault> {
        Ok(Box::new(self.instance()?))
    }
}
