//! Why a plugin cannot be loaded or a call gave nothing: one variant per cause.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use zenith_data::transform::custom::{Cause, TransformFault};

/// Any error of a plugin or its host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The file cannot be read.
    #[error("cannot read the plugin {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The bytes are no core WebAssembly module.
    #[error("{plugin}: {reason}; a core WebAssembly module (built for wasm32-unknown-unknown) would work")]
    NotWasm {
        /// The plugin.
        plugin: String,
        /// What they seem to be.
        reason: String,
    },
    /// The module is longer than its limit.
    #[error("{plugin}: the module is longer than {limit} bytes; raise module_bytes to load it")]
    TooLarge {
        /// The plugin.
        plugin: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// A function of the module is longer than its limit.
    #[error(
        "{plugin}: function {function} has {length} bytes, but the limit is {limit}; raise function_bytes to load it"
    )]
    FunctionTooLarge {
        /// The plugin.
        plugin: String,
        /// Its number among the functions that the module defines.
        function: usize,
        /// Its length, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Compiling a function of the module may take too much memory.
    #[error(
        "{plugin}: function {function} has {blocks} blocks and {values} values in them, and compiling it may take too much memory; \
         split it into several"
    )]
    FunctionTooIntricate {
        /// The plugin.
        plugin: String,
        /// Its number among the functions that the module defines.
        function: usize,
        /// Its blocks and branches.
        blocks: u64,
        /// Its locals, and the parameters and results of its blocks.
        values: u64,
    },
    /// The module is invalid or uses what is not allowed here.
    #[error("{plugin}: cannot compile the module: {message}")]
    Compile {
        /// The plugin.
        plugin: String,
        /// The compiler's reason, with the offset in the module.
        message: String,
    },
    /// Something that a plugin needs is not exported.
    #[error("{plugin}: the module does not export {export}")]
    MissingExport {
        /// The plugin.
        plugin: String,
        /// What is missing, with its type.
        export: &'static str,
    },
    /// An export or import of the ABI has another type.
    #[error("{plugin}: {name} is {found}, but must be {expected}")]
    WrongSignature {
        /// The plugin.
        plugin: String,
        /// The export or import.
        name: String,
        /// Its type.
        found: String,
        /// The type that the ABI says.
        expected: &'static str,
    },
    /// The module speaks a version of the ABI that this host does not know.
    #[error("{plugin}: the module speaks version {version} of the plugin ABI; this Zenith knows version 1")]
    UnknownAbi {
        /// The plugin.
        plugin: String,
        /// What `zenith_abi_version` returned.
        version: i32,
    },
    /// The module wants something that no plugin is given.
    #[error(
        "{plugin}: the module imports {module:?} {name:?}; plugins are given nothing but \"zenith\" \"log\""
    )]
    UnknownImport {
        /// The plugin.
        plugin: String,
        /// Module of the import.
        module: String,
        /// Name of the import.
        name: String,
    },
    /// The memory limit was reached.
    #[error("{plugin}: {wanted} bytes of memory are needed, but the limit is {limit}")]
    Memory {
        /// The plugin.
        plugin: String,
        /// How large the memory was to become, in bytes.
        wanted: usize,
        /// How large it may be, in bytes.
        limit: usize,
    },
    /// A call took longer than it may.
    #[error("{plugin}: stopped after its deadline of {deadline:?}")]
    Deadline {
        /// The plugin.
        plugin: String,
        /// The wall time of a call.
        deadline: Duration,
    },
    /// A call used more fuel than it was given.
    #[error("{plugin}: stopped after {fuel} units of fuel")]
    Fuel {
        /// The plugin.
        plugin: String,
        /// What it was given.
        fuel: u64,
    },
    /// More tables, or longer ones, than allowed.
    #[error("{plugin}: {wanted} {what} are needed, but the limit is {limit}")]
    Tables {
        /// The plugin.
        plugin: String,
        /// `tables` or `table elements`.
        what: &'static str,
        /// How many are needed.
        wanted: u64,
        /// How many are allowed.
        limit: u64,
    },
    /// The calls were nested too deeply.
    #[error("{plugin}: the call needs more than {limit} bytes of stack")]
    Stack {
        /// The plugin.
        plugin: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The calling thread has too little stack left for what a call may use.
    #[error(
        "{plugin}: a call may use {limit} bytes of stack, but this thread has {left} left; give the thread more, or lower stack"
    )]
    ThreadStack {
        /// The plugin.
        plugin: String,
        /// What a call may use, in bytes.
        limit: usize,
        /// What the thread has, in bytes.
        left: usize,
    },
    /// The call trapped.
    #[error("{plugin}: trapped in {call}: {trap}")]
    Trap {
        /// The plugin.
        plugin: String,
        /// The function of the ABI that was called.
        call: &'static str,
        /// What kind of trap it was.
        trap: String,
    },
    /// The plugin itself reports an error.
    #[error("{plugin}: error {code}{}", colon(message))]
    Code {
        /// The plugin.
        plugin: String,
        /// The plugin's own code, never 0.
        code: i32,
        /// The plugin's own words; empty under ABI 0 and where it said none.
        message: String,
    },
    /// What came back breaks the ABI.
    #[error("{plugin}: {reason}")]
    BadResult {
        /// The plugin.
        plugin: String,
        /// What is wrong.
        reason: String,
    },
    /// The plugin refuses its configuration, or takes none.
    #[error("{plugin}: the configuration is refused{}", colon(message))]
    Config {
        /// The plugin.
        plugin: String,
        /// The plugin's own code, 0 where it has no configuration at all.
        code: i32,
        /// Why.
        message: String,
    },
    /// The sample cannot be given to this plugin.
    #[error("{plugin}: the sample cannot be given to it: {reason}")]
    BadInput {
        /// The plugin.
        plugin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A limit that cannot be kept.
    #[error("the limit {limit} cannot be {value}: {reason}")]
    Limits {
        /// The field of [`Limits`](crate::Limits).
        limit: &'static str,
        /// What it was.
        value: String,
        /// What would work.
        reason: &'static str,
    },
    /// The host was made by the process that this one was forked from.
    #[error("{plugin}: it was loaded before this process was forked; load it anew in the child")]
    Forked {
        /// The plugin.
        plugin: String,
    },
    /// The engine was made by the process that this one was forked from.
    #[error("the engine was made before this process was forked; make a new one in the child")]
    ForkedEngine,
    /// There is no such plugin in the engine.
    #[error("no plugin called {plugin:?} is loaded; there are: {loaded}")]
    NotLoaded {
        /// The name that was asked for.
        plugin: String,
        /// The names that are there.
        loaded: String,
    },
    /// The engine was closed, or its workers do not run.
    #[error("the engine is closed")]
    Closed,
    /// The stream was broken off.
    #[error("the engine's threads were stopped while the stream was open")]
    Stopped,
    /// The machine gives no thread, no address space or no code for this processor.
    #[error("cannot make a plugin host: {0}")]
    Host(String),
    /// Whoever took a result did not want it.
    #[error("a result was refused: {0}")]
    Taker(#[source] TransformFault),
}

/// A message as the end of a sentence; nothing where there is none.
fn colon(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl PluginError {
    /// A name for programs: one word per cause, the names of `docs/plugin-abi.md` where it has one.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } => "io",
            Self::NotWasm { .. } => "not_wasm",
            Self::TooLarge { .. } | Self::FunctionTooLarge { .. } | Self::FunctionTooIntricate { .. } => {
                "too_large"
            }
            Self::Compile { .. } => "compile",
            Self::MissingExport { .. } => "missing_export",
            Self::WrongSignature { .. } => "wrong_signature",
            Self::UnknownAbi { .. } => "unknown_abi",
            Self::UnknownImport { .. } => "unknown_import",
            Self::Memory { .. } => "memory",
            Self::Deadline { .. } => "deadline",
            Self::Fuel { .. } => "fuel",
            Self::Tables { .. } => "tables",
            Self::Stack { .. } => "stack",
            Self::ThreadStack { .. } => "thread_stack",
            Self::Trap { .. } => "trap",
            Self::Code { .. } => "code",
            Self::BadResult { .. } => "bad_result",
            Self::Config { .. } => "config",
            Self::BadInput { .. } => "bad_input",
            Self::Limits { .. } => "limits",
            Self::Forked { .. } | Self::ForkedEngine => "forked",
            Self::NotLoaded { .. } => "not_loaded",
            Self::Closed => "closed",
            Self::Stopped => "stopped",
            Self::Host(_) => "host",
            Self::Taker(_) => "taker",
        }
    }

    /// The plugin's own error code, where it gave one.
    #[must_use]
    pub const fn code(&self) -> Option<i32> {
        match self {
            // A configuration is refused with 0 where there is none to be had at all.
            Self::Code { code, .. } | Self::Config { code, .. } if *code != 0 => Some(*code),
            _ => None,
        }
    }

    /// What programs are told of it.
    pub(crate) const fn cause(&self) -> Cause {
        Cause { kind: self.kind(), code: self.code() }
    }

    /// The plugin that the error is about, where there is one.
    #[must_use]
    pub fn plugin(&self) -> Option<&str> {
        match self {
            Self::NotWasm { plugin, .. }
            | Self::TooLarge { plugin, .. }
            | Self::FunctionTooLarge { plugin, .. }
            | Self::FunctionTooIntricate { plugin, .. }
            | Self::Compile { plugin, .. }
            | Self::MissingExport { plugin, .. }
            | Self::WrongSignature { plugin, .. }
            | Self::UnknownAbi { plugin, .. }
            | Self::UnknownImport { plugin, .. }
            | Self::Memory { plugin, .. }
            | Self::Deadline { plugin, .. }
            | Self::Fuel { plugin, .. }
            | Self::Tables { plugin, .. }
            | Self::Stack { plugin, .. }
            | Self::ThreadStack { plugin, .. }
            | Self::Trap { plugin, .. }
            | Self::Code { plugin, .. }
            | Self::BadResult { plugin, .. }
            | Self::Config { plugin, .. }
            | Self::BadInput { plugin, .. }
            | Self::Forked { plugin, .. }
            | Self::NotLoaded { plugin, .. } => Some(plugin),
            _ => None,
        }
    }

    /// Whether the instance that gave this error is thrown away: everything but what the plugin itself reports in an
    /// orderly way, and what was wrong before or after the call.
    pub(crate) const fn poisons(&self) -> bool {
        !matches!(
            self,
            Self::Code { .. }
                | Self::BadInput { .. }
                | Self::ThreadStack { .. }
                | Self::Taker(_)
                | Self::Forked { .. }
                | Self::ForkedEngine
                | Self::Config { .. }
        )
    }

    /// The error that an error of the data plane's contract carries, or itself as the taker's refusal.
    pub(crate) fn from_fault(fault: TransformFault) -> Self {
        match fault.downcast::<Self>() {
            Ok(own) => *own,
            Err(other) => Self::Taker(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_the_plugins_own_code_and_no_other() {
        let plugin = || "p".to_owned();
        let own = PluginError::Code { plugin: plugin(), code: -7, message: String::new() };
        assert_eq!(own.cause(), Cause { kind: "code", code: Some(-7) });
        let refused = |code| PluginError::Config { plugin: plugin(), code, message: String::new() };
        assert_eq!((refused(3).code(), refused(0).code()), (Some(3), None));
        let late = PluginError::Deadline { plugin: plugin(), deadline: Duration::from_secs(1) };
        assert_eq!(late.cause(), Cause { kind: "deadline", code: None });
    }
}
