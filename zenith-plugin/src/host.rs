//! The host: compilers for the limits in use, the clock, the code cache, and loading. Calls are made by instances.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::{Engine, Linker};

use crate::cache::CodeCache;
use crate::live::{ABI, State};
use crate::scan::scan;
use crate::ticker::Ticker;
use crate::{Cache, Limits, Plugin, PluginError, codegen, fork, log, module};

/// How a plugin is called that has no file.
const NAMELESS: &str = "plugin";

/// Stacks are rounded up to this many bytes, which bounds the number of runtimes.
const STACK_STEP: usize = 16 << 10;

/// Entries of the compiler's tables for one function, of four bytes each: far more than compilers' output asks for, and no more
/// than every machine has for each of its processors.
const MOST_ENTRIES: u64 = 1 << 26;

/// How a host works.
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// Where compiled code is kept between runs.
    pub cache: Cache,
}

/// Loads plugins. Clones are the same host; its clock thread ends when host and plugins are gone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
}

pub(crate) struct HostInner {
    pub(crate) ticker: Ticker,
    /// How often this process was forked when the host was made.
    pub(crate) generation: u32,
    cache: Option<CodeCache>,
    runtimes: Mutex<Vec<Runtime>>,
}

/// The compiler for one amount of stack, with or without fuel: both are compiled in.
#[derive(Clone)]
struct Runtime {
    stack: usize,
    fuel: bool,
    engine: Engine,
    linker: Linker<State>,
}

impl Host {
    /// A host without plugins.
    ///
    /// # Errors
    /// [`PluginError::Host`] when there can be no thread.
    pub fn new(config: HostConfig) -> Result<Self, PluginError> {
        let HostConfig { cache } = config;
        let inner = HostInner {
            ticker: Ticker::new()?,
            generation: fork::watch(),
            cache: CodeCache::open(&cache),
            runtimes: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Loads the plugin in the file `path`, which is called after it unless it says its own name. `config` is handed to
    /// the plugin; the empty one fits all.
    ///
    /// # Errors
    /// [`PluginError`]: the file, the module, its limits, or the plugin itself.
    pub fn load_file(
        &self,
        path: impl AsRef<Path>,
        config: &str,
        limits: &Limits,
    ) -> Result<Plugin, PluginError> {
        let path = path.as_ref();
        let name = path.file_stem().map_or(NAMELESS.into(), |stem| stem.to_string_lossy());
        self.load_file_named(&name, path, config, limits)
    }

    /// Loads the plugin in the file `path`, which is called `name` unless it says its own name.
    ///
    /// # Errors
    /// As [`Host::load_file`].
    pub fn load_file_named(
        &self,
        name: &str,
        path: impl AsRef<Path>,
        config: &str,
        limits: &Limits,
    ) -> Result<Plugin, PluginError> {
        let path = path.as_ref();
        let bytes = read(path, limits.module_bytes)
            .map_err(|source| PluginError::Io { path: path.to_path_buf(), source })?;
        self.load_named(name, &bytes, config, limits)
    }

    /// Loads the plugin with the module `bytes`, which is called `plugin` unless it says its own name.
    ///
    /// # Errors
    /// As [`Host::load_file`].
    pub fn load(&self, bytes: &[u8], config: &str, limits: &Limits) -> Result<Plugin, PluginError> {
        self.load_named(NAMELESS, bytes, config, limits)
    }

    /// Loads the plugin with the module `bytes`, which is called `name` unless it says its own name.
    ///
    /// # Errors
    /// As [`Host::load_file`].
    pub fn load_named(
        &self,
        name: &str,
        bytes: &[u8],
        config: &str,
        limits: &Limits,
    ) -> Result<Plugin, PluginError> {
        limits.check()?;
        let plugin = || name.to_owned();
        if fork::generation() != self.inner.generation {
            return Err(PluginError::Forked { plugin: plugin() });
        }
        if bytes.len() > limits.module_bytes {
            return Err(PluginError::TooLarge { plugin: plugin(), limit: limits.module_bytes });
        }
        codegen::is_module(bytes)
            .map_err(|reason| PluginError::NotWasm { plugin: plugin(), reason: reason.to_owned() })?;
        let scan = scan(bytes);
        if let Some((function, length)) = scan.longest
            && length > limits.function_bytes
        {
            let limit = limits.function_bytes;
            return Err(PluginError::FunctionTooLarge { plugin: plugin(), function, length, limit });
        }
        if let Some((function, cost)) = scan.costliest
            && cost.entries() > MOST_ENTRIES
        {
            let (blocks, values) = (cost.blocks, cost.values);
            return Err(PluginError::FunctionTooIntricate { plugin: plugin(), function, blocks, values });
        }
        if let Some(version) = scan.version.filter(|version| *version != ABI) {
            return Err(PluginError::UnknownAbi { plugin: plugin(), version });
        }
        let runtime = self.inner.runtime(limits)?;
        let compile = || codegen::compile(&runtime.engine, bytes);
        let compiled = match &self.inner.cache {
            Some(cache) => cache.get(&runtime.engine, bytes, compile),
            None => compile(),
        };
        let module = compiled.map_err(|message| PluginError::Compile { plugin: plugin(), message })?;
        let shape = module::inspect(name, &module, limits)?;
        let pre = runtime
            .linker
            .instantiate_pre(&module)
            .map_err(|error| PluginError::Host(format!("{error:#}")))?;
        Plugin::new(self.inner.clone(), pre, shape, bytes, name, config, limits)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("cache", &self.inner.cache).finish_non_exhaustive()
    }
}

impl HostInner {
    /// The runtime for these limits, made when it is first needed.
    fn runtime(&self, limits: &Limits) -> Result<Runtime, PluginError> {
        let (stack, fuel) = (limits.stack.next_multiple_of(STACK_STEP), limits.fuel.is_some());
        let mut runtimes = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtimes.iter().find(|r| (r.stack, r.fuel) == (stack, fuel)) {
            return Ok(runtime.clone());
        }
        let engine = codegen::engine(stack, fuel)?;
        let mut linker = Linker::new(&engine);
        linker
            .func_wrap("zenith", "log", log::log)
            .map_err(|error| PluginError::Host(format!("{error:#}")))?;
        self.ticker.drive(engine.clone());
        let runtime = Runtime { stack, fuel, engine, linker };
        runtimes.push(runtime.clone());
        Ok(runtime)
    }
}

/// A file's bytes; of one that is too long only as many as show it.
fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take((most as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
