//! What the exports of a WebAssembly plugin do: numbers from the host become a [`View`], what the plugin returns becomes
//! a `zenith_result`. Only there for wasm32; what the plugin itself does is [`crate::outcome::Process`].
#![expect(unsafe_code, reason = "the host's pointers are followed, and its one function is called")]

use std::borrow::Cow;
use std::cell::RefCell;

use crate::abi::{RawDescription, RawInput, RawResult, RawTensor};
use crate::log::Level;
use crate::plugin::{AnyPlugin, Build, BytesOutcome, Call};
use crate::shape::Shape;
use crate::{DType, Error, MAX_RANK, Output, View, log};

#[link(wasm_import_module = "zenith")]
unsafe extern "C" {
    #[link_name = "log"]
    safe fn host_log(level: i32, text: u32, len: u32);
}

pub(crate) fn log(level: Level, text: &str) {
    host_log(level as i32, address(text.as_ptr()), length(text.len()));
}

fn address<T>(pointer: *const T) -> u32 {
    pointer as u32
}

fn length(len: usize) -> u32 {
    len as u32
}

/// The one plugin of this module. What the host was last told stays here until the next call.
struct Instance {
    plugin: Option<AnyPlugin>,
    description: RawDescription,
    result: RawResult,
    tensors: Vec<RawTensor>,
    outputs: Vec<Output>,
    message: Cow<'static, str>,
}

thread_local! {
    static INSTANCE: RefCell<Instance> = const {
        RefCell::new(Instance {
            plugin: None,
            description: RawDescription {
                name: 0, name_len: 0, version: 0, version_len: 0, description: 0, description_len: 0, flags: 0,
            },
            result: RawResult { status: 0, count: 0, tensors: 0, message: 0, message_len: 0 },
            tensors: Vec::new(),
            outputs: Vec::new(),
            message: Cow::Borrowed(""),
        })
    };
}

/// `zenith_describe`. From here on, a panic's text is logged before the trap.
pub fn describe(
    name: &'static str,
    version: &'static str,
    description: &'static str,
    flags: u32,
) -> *const RawDescription {
    std::panic::set_hook(Box::new(|panic| log::error(&panic.to_string())));
    INSTANCE.with_borrow_mut(|instance| {
        instance.description = RawDescription {
            name: address(name.as_ptr()),
            name_len: length(name.len()),
            version: address(version.as_ptr()),
            version_len: length(version.len()),
            description: address(description.as_ptr()),
            description_len: length(description.len()),
            flags,
        };
        &raw const instance.description
    })
}

/// `zenith_configure`.
///
/// # Safety
/// `text` is the first of `len` readable bytes.
pub unsafe fn configure(text: *const u8, len: usize, build: Build) -> *const RawResult {
    // SAFETY: as the function's own condition says. An empty text may have any pointer.
    let text = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(text, len) } };
    INSTANCE.with_borrow_mut(|instance| {
        let built = std::str::from_utf8(text)
            .map_err(|_| Error::config("the configuration is not UTF-8"))
            .and_then(build)
            .map(|plugin| instance.plugin = Some(plugin));
        instance.answer(built)
    })
}

/// `zenith_process` and `zenith_process_batch`.
///
/// # Safety
/// `input` points to a readable `zenith_input` whose tensor has all its bytes, writable and used by nobody else until
/// the next call.
pub unsafe fn process(input: *const RawInput, call: Call, build: Build) -> *const RawResult {
    INSTANCE.with_borrow_mut(|instance| {
        instance.outputs.clear();
        instance.tensors.clear();
        // SAFETY: as the function's own condition says.
        let done = unsafe { instance.process(input, call, build) };
        instance.answer(done)
    })
}

impl Instance {
    /// # Safety
    /// As [`process`] says.
    unsafe fn process(&mut self, input: *const RawInput, call: Call, build: Build) -> Result<(), Error> {
        // SAFETY: `input` is readable; the host need not align it.
        let RawInput { tensor, random, .. } = unsafe { input.read_unaligned() };
        let dtype = DType::from_code(tensor.dtype)
            .ok_or_else(|| Error::new(Error::INPUT, format!("unknown element type {}", tensor.dtype)))?;
        let axes = tensor.shape.map(|axis| axis as usize);
        let axes = axes.get(..tensor.rank as usize);
        let shape = Shape::new(axes.ok_or_else(|| Error::new(Error::INPUT, "more than eight axes"))?)?;
        let len = shape.bytes(dtype.size())?;
        // SAFETY: the tensor's bytes are there, and until the next call only we use them. An empty one may lie
        // anywhere.
        let bytes = if len == 0 {
            &mut []
        } else {
            unsafe { std::slice::from_raw_parts_mut(tensor.data as *mut u8, len) }
        };
        let mut view = View::of(dtype, shape, bytes);
        let plugin = match &mut self.plugin {
            Some(plugin) => plugin,
            none => none.insert(build("")?),
        };
        plugin.call(call, &mut view, random, &mut self.outputs)?;
        let tensors = self.outputs.iter_mut().map(|output| match output {
            Output::Input => raw(view.dtype(), view.shape(), view.bytes()),
            Output::Tensor(tensor) => raw(tensor.dtype(), tensor.shape(), tensor.bytes()),
        });
        self.tensors.extend(tensors);
        Ok(())
    }

    fn answer(&mut self, done: Result<(), Error>) -> *const RawResult {
        let status = done.as_ref().map_or_else(Error::code, |()| 0);
        self.message = done.err().map(Error::into_text).unwrap_or_default();
        let kept = if status == 0 { self.tensors.len() } else { 0 };
        self.result = RawResult {
            status,
            count: length(kept),
            tensors: address(self.tensors.as_ptr()),
            message: address(self.message.as_ptr()),
            message_len: length(self.message.len()),
        };
        &raw const self.result
    }
}

fn raw(dtype: DType, axes: &[usize], bytes: &[u8]) -> RawTensor {
    let mut shape = [0; MAX_RANK];
    for (to, &axis) in shape.iter_mut().zip(axes) {
        *to = length(axis);
    }
    RawTensor { data: address(bytes.as_ptr()), dtype: dtype as u32, rank: length(axes.len()), shape }
}

/// `process` of ABI 0. The text of an error, for which that ABI has no place, is logged.
///
/// # Safety
/// `bytes` is the first of `len` readable and writable bytes that nobody else uses during the call.
pub unsafe fn process_bytes<R: BytesOutcome>(
    bytes: *mut u8,
    len: usize,
    function: impl Fn(&mut [u8]) -> R,
) -> i32 {
    // SAFETY: as the function's own condition says. An empty sample may have any pointer.
    let bytes = if len == 0 { &mut [] } else { unsafe { std::slice::from_raw_parts_mut(bytes, len) } };
    function(bytes).status()
}
