//! A plugin put together: its state, its functions, and the macros that export them. Knows nothing of the memory it is
//! called with; that is `entry`'s matter.

use crate::outcome::{One, Outcome, Process};
use crate::{Error, Output, View, log};

/// Which of a plugin's functions is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The one for single samples.
    Sample,
    /// The one for batches.
    Batch,
}

/// A plugin whose types are forgotten.
pub trait Plugin {
    /// Calls a function and appends what it returns to `outputs`.
    ///
    /// # Errors
    /// The function's own.
    fn call(
        &mut self,
        call: Call,
        input: &mut View<'_>,
        random: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Error>;
}

struct Functions<F>(F);

impl<F> Plugin for Functions<F>
where
    F: FnMut(Call, &mut View<'_>, u64, &mut Vec<Output>) -> Result<(), Error>,
{
    fn call(
        &mut self,
        call: Call,
        input: &mut View<'_>,
        random: u64,
        outputs: &mut Vec<Output>,
    ) -> Result<(), Error> {
        (self.0)(call, input, random, outputs)
    }
}

/// A plugin whose types are forgotten, in its box.
pub type AnyPlugin = Box<dyn Plugin>;

/// Makes a plugin from its configuration.
pub type Build = fn(&str) -> Result<AnyPlugin, Error>;

/// Puts a plugin together.
///
/// # Errors
/// What the configuration is refused with.
pub fn build<S, E, M, P, N, B>(
    text: &str,
    config: impl FnOnce(&str) -> Result<S, E>,
    process: P,
    batch: B,
) -> Result<AnyPlugin, Error>
where
    S: 'static,
    E: Into<Error>,
    P: Process<S, M> + 'static,
    B: Process<S, N, Outcome: One> + 'static,
{
    let mut state = config(text).map_err(Into::into)?;
    Ok(Box::new(Functions(move |call: Call, input: &mut View<'_>, random, outputs: &mut Vec<Output>| {
        let mut give = |output| outputs.push(output);
        match call {
            Call::Sample => process.call(input, &mut state, random)?.outputs(&mut give),
            Call::Batch => batch.call(input, &mut state, random)?.outputs(&mut give),
        }
        Ok(())
    })))
}

/// The flags of a plugin's function.
pub fn flags<S, E, M, P: Process<S, M>>(_: impl FnOnce(&str) -> Result<S, E>, _: P) -> u32 {
    P::Outcome::FLAGS
}

/// The state of a plugin without configuration.
///
/// # Errors
/// None.
pub fn no_config(_: &str) -> Result<(), Error> {
    Ok(())
}

/// Stands for the function for batches where there is none; never called, for it is not exported.
///
/// # Errors
/// Always.
pub fn no_batch(_: &mut View<'_>) -> Result<(), Error> {
    Err("the plugin has no function for batches".into())
}

/// What a function over bytes may return: nothing, or a `Result`.
pub trait BytesOutcome {
    /// 0, or the error's code.
    fn status(self) -> i32;
}

impl BytesOutcome for () {
    fn status(self) -> i32 {
        0
    }
}

impl BytesOutcome for Result<(), Error> {
    fn status(self) -> i32 {
        let Err(error) = self else {
            return 0;
        };
        if !error.text().is_empty() {
            log::error(error.text());
        }
        error.code()
    }
}

/// Makes a plugin of a function: exports ABI 1.
///
/// `name`, `version` and `description` are what users see. `config`, if there is one, is called once with the configuration
/// text and makes the state that `process` gets; without it, a configuration is refused by the host. `process` is any
/// [`Process`](crate::Process); its return type, an [`Outcome`](crate::Outcome), says whether samples may be dropped or
/// split. `batch`, if there is one, gets whole batches and must give the values that `process` would.
///
/// ```
/// use zenith_plugin_guest::{Result, View, plugin};
///
/// fn invert(input: &mut View) -> Result<()> {
///     input.as_mut_slice::<u8>()?.iter_mut().for_each(|v| *v = 255 - *v);
///     Ok(())
/// }
///
/// plugin! {
///     name: "invert",
///     version: "1.0.0",
///     description: "Inverts pictures",
///     process: invert,
/// }
/// ```
#[macro_export]
macro_rules! plugin {
    (
        name: $name:expr,
        version: $version:expr,
        description: $description:expr,
        $(config: $config:expr,)?
        process: $process:expr
        $(, batch: $batch:expr)? $(,)?
    ) => {
        const _: () = {
            const __ZENITH_NAME: &str = $name;
            const __ZENITH_VERSION: &str = $version;
            const __ZENITH_DESCRIPTION: &str = $description;
            assert!(!__ZENITH_NAME.is_empty() && __ZENITH_NAME.len() <= 256, "a name has 1 to 256 bytes");
            assert!(!__ZENITH_VERSION.is_empty() && __ZENITH_VERSION.len() <= 256, "a version has 1 to 256 bytes");
            assert!(__ZENITH_DESCRIPTION.len() <= 4096, "a description has at most 4,096 bytes");

            // On every target, so that mistakes show natively too.
            fn __zenith_flags() -> u32 {
                $crate::__private::flags($crate::__config!($($config)?), $process)
            }

            fn __zenith_build(text: &str) -> $crate::Result<$crate::__private::AnyPlugin> {
                $crate::__private::build(
                    text,
                    $crate::__config!($($config)?),
                    $process,
                    $crate::__batch!($($batch)?),
                )
            }

            #[cfg(not(target_arch = "wasm32"))]
            const _: (fn() -> u32, $crate::__private::Build) = (__zenith_flags, __zenith_build);

            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = "zenith_abi_version")]
            extern "C" fn __zenith_abi_version() -> i32 {
                $crate::__private::VERSION
            }

            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = "zenith_describe")]
            extern "C" fn __zenith_describe() -> *const $crate::__private::RawDescription {
                $crate::__private::entry::describe(
                    __ZENITH_NAME,
                    __ZENITH_VERSION,
                    __ZENITH_DESCRIPTION,
                    __zenith_flags(),
                )
            }

            $crate::__export_configure!(__zenith_build $(, $config)?);
            $crate::__export_process!("zenith_process", __zenith_process, Sample, __zenith_build);
            $($crate::__export_batch!($batch, __zenith_build);)?
        };
    };
}

/// Makes a plugin of a function over bytes: exports ABI 0. The function is given a sample's bytes, changes them in place,
/// and returns nothing or a [`Result`](crate::Result).
///
/// ```
/// fn add_one(bytes: &mut [u8]) {
///     bytes.iter_mut().for_each(|byte| *byte = byte.saturating_add(1));
/// }
///
/// zenith_plugin_guest::byte_plugin!(add_one);
/// ```
#[macro_export]
macro_rules! byte_plugin {
    ($process:expr $(,)?) => {
        const _: () = {
            #[cfg(not(target_arch = "wasm32"))]
            const _: fn(&mut [u8]) -> i32 = |bytes| $crate::__private::BytesOutcome::status($process(bytes));

            #[cfg(target_arch = "wasm32")]
            #[unsafe(export_name = "process")]
            unsafe extern "C" fn __zenith_process(bytes: *mut u8, len: usize) -> i32 {
                // SAFETY: the host gives a place of its own that holds the sample.
                unsafe { $crate::__private::entry::process_bytes(bytes, len, $process) }
            }
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __config {
    () => {
        $crate::__private::no_config
    };
    ($config:expr) => {
        $config
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __batch {
    () => {
        $crate::__private::no_batch
    };
    ($batch:expr) => {
        $batch
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_configure {
    ($build:ident) => {};
    ($build:ident, $config:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[unsafe(export_name = "zenith_configure")]
        unsafe extern "C" fn __zenith_configure(
            text: *const u8,
            len: usize,
        ) -> *const $crate::__private::RawResult {
            // SAFETY: the host gives a place of its own that holds the configuration.
            unsafe { $crate::__private::entry::configure(text, len, $build) }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_process {
    ($name:literal, $function:ident, $call:ident, $build:ident) => {
        #[cfg(target_arch = "wasm32")]
        #[unsafe(export_name = $name)]
        unsafe extern "C" fn $function(
            input: *const $crate::__private::RawInput,
        ) -> *const $crate::__private::RawResult {
            // SAFETY: the host gives a `zenith_input` in a place of its own.
            unsafe { $crate::__private::entry::process(input, $crate::__private::Call::$call, $build) }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_batch {
    ($batch:expr, $build:ident) => {
        $crate::__export_process!("zenith_process_batch", __zenith_process_batch, Batch, $build);
    };
}
