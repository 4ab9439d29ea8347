//! The plugin host: sandboxed WebAssembly modules as [`zenith_data::transform::custom::Transform`]s, with limits and
//! deadlines. It knows modules, memory and calls; where samples come from is the data plane's matter.
//!
//! A [`Host`] compiles modules and keeps their code, a [`Plugin`] is one module that was checked and described, and an
//! [`Instance`] is one thread's copy of it that is called. [`chain`] puts plugins one behind another and [`engine`]
//! runs a chain on threads. What a module must look like is written in `docs/plugin-abi.md`.

pub mod chain;
pub mod engine;

mod cache;
mod codegen;
mod error;
mod fork;
mod host;
mod instance;
mod limits;
mod live;
mod log;
mod module;
mod place;
mod plugin;
mod scan;
mod signals;
mod stack;
mod stats;
mod ticker;
mod wire;

pub use cache::Cache;
pub use error::PluginError;
pub use host::{Host, HostConfig};
pub use instance::Instance;
pub use limits::Limits;
pub use module::Abi;
pub use plugin::Plugin;
pub use stats::Stats;
