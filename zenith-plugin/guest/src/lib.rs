//! Zenith plugins in Rust: a function over a tensor, and one macro that makes a WebAssembly plugin of it.
//!
//! ```
//! use zenith_plugin_guest::{Result, View, plugin};
//!
//! fn invert(input: &mut View) -> Result<()> {
//!     input.as_mut_slice::<u8>()?.iter_mut().for_each(|v| *v = 255 - *v);
//!     Ok(())
//! }
//!
//! plugin! { name: "invert", version: "1.0.0", description: "Inverts pictures", process: invert }
//! ```
//!
//! With `crate-type = ["cdylib"]` and `cargo build --release --target wasm32-unknown-unknown` that is a plugin.
//!
//! - The function may change the tensor it is given ([`View`]) or return new ones ([`Tensor`]), drop the sample or split
//!   it: [`Outcome`] lists what can be returned, [`Process`] which arguments a function may have.
//! - The configuration is read once, by the function named as `config:`; what it returns is the plugin's state.
//! - A result must be a function of configuration, tensor and the random bits: there is an instance for each worker,
//!   and any sample may go to any of them. The state is for settings, tables and scratch memory.
//! - An [`Error`] reaches the user, code and text. A panic ends the instance; with [`plugin!`] its text is logged.
//! - [`testing`] calls a plugin natively, so that `cargo test` tests it.
//!
//! What a plugin is to the host is `docs/plugin-abi.md`; nothing here knows the host.

// The macros' own names for this crate, for its tests.
extern crate self as zenith_plugin_guest;

mod abi;
pub mod config;
mod element;
#[cfg(target_arch = "wasm32")]
mod entry;
mod error;
pub mod log;
mod memory;
mod outcome;
mod picture;
mod plugin;
mod shape;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
pub mod simd;
mod tensor;
pub mod testing;
mod view;

pub use element::{DType, Element};
pub use error::{Error, Result};
pub use outcome::{One, Outcome, Output, Process};
pub use picture::{Layout, Picture};
pub use shape::MAX_RANK;
pub use tensor::Tensor;
pub use view::View;

/// What the macros need. Not for plugins.
#[doc(hidden)]
pub mod __private {
    pub use crate::abi::{RawDescription, RawInput, RawResult, RawTensor, VERSION};
    #[cfg(target_arch = "wasm32")]
    pub mod entry {
        pub use crate::entry::{configure, describe, process, process_bytes};
    }
    pub use crate::plugin::{
        AnyPlugin, Build, BytesOutcome, Call, Plugin, build, flags, no_batch, no_config,
    };
}
