//! Guests written by hand, and means to load them.
#![expect(clippy::unwrap_used, reason = "a guest that cannot be loaded ends the test")]

use std::time::Duration;

use zenith_data::DType;
use zenith_data::transform::custom::TensorRef;
use zenith_plugin::{Cache, Host, HostConfig, Instance, Limits, Plugin, PluginError};

/// Adds one to every byte and stops at 255.
pub(crate) const ADD_ONE: &str = r#"(module (memory (export "memory") 1)
    (func (export "process") (param $at i32) (param $length i32) (result i32) (local $end i32) (local $byte i32)
        (local.set $end (i32.add (local.get $at) (local.get $length)))
        (block $done (loop $next
            (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
            (local.set $byte (i32.load8_u (local.get $at)))
            (i32.store8 (local.get $at)
                (i32.add (local.get $byte) (i32.lt_u (local.get $byte) (i32.const 255))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $next)))
        (i32.const 0)))"#;

/// A host that keeps no code.
pub(crate) fn host() -> Host {
    Host::new(HostConfig { cache: Cache::Off }).unwrap()
}

/// Limits for guests that are going to break them soon.
pub(crate) fn tight() -> Limits {
    Limits { deadline: Duration::from_millis(50), memory: 4 << 20, ..Limits::default() }
}

pub(crate) fn load(host: &Host, text: &str, limits: &Limits) -> Result<Plugin, PluginError> {
    host.load(&wat::parse_str(text).unwrap(), "", limits)
}

/// The only instance of a guest with tight limits.
pub(crate) fn instance(text: &str) -> Instance {
    load(&host(), text, &tight()).unwrap().instance().unwrap()
}

/// A guest of ABI 0 whose `process` is `body`.
pub(crate) fn bytes_guest(body: &str) -> String {
    format!(
        "(module (memory (export \"memory\") 1) (global $calls (mut i32) (i32.const 0)) (table $table 1 funcref)
            (func $process (export \"process\") (param $at i32) (param $length i32) (result i32) {body}))"
    )
}

/// Words as the escapes of a string in the text format.
pub(crate) fn words(words: &[u32]) -> String {
    words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect()
}

/// A guest of ABI 1: called `guest` with these `flags`; more `items` of the module, among them `zenith_process`.
pub(crate) fn tensor_guest(flags: u32, items: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1)
            (data (i32.const 16) "guest0.1.0a guest of the tests")
            (data (i32.const 64) "{}")
            (func (export "zenith_abi_version") (result i32) (i32.const 1))
            (func (export "zenith_describe") (result i32) (i32.const 64))
            {items})"#,
        words(&[16, 5, 21, 5, 26, 20, flags])
    )
}

/// A guest of ABI 1 that always returns the result at 256: `result`, and behind it `tensors`.
pub(crate) fn fixed_guest(flags: u32, result: [u32; 5], tensors: &[[u32; 11]]) -> String {
    let items = format!(
        r#"(data (i32.const 256) "{}{}")
           (func (export "zenith_process") (param i32) (result i32) (i32.const 256))"#,
        words(&result),
        words(&tensors.concat())
    );
    tensor_guest(flags, &items)
}

/// Where the tensors of [`fixed_guest`] lie.
pub(crate) const TENSORS: u32 = 276;

/// Bytes as a tensor with one axis.
pub(crate) fn flat<'a>(bytes: &'a [u8], shape: &'a [usize; 1]) -> TensorRef<'a> {
    TensorRef { dtype: DType::UInt8, shape, bytes }
}

/// What a call gives, as owned values.
pub(crate) type Given = Vec<(DType, Vec<usize>, Vec<u8>)>;

pub(crate) fn apply(instance: &mut Instance, bytes: &[u8]) -> Result<Given, PluginError> {
    let mut given = Vec::new();
    let shape = [bytes.len()];
    instance.apply(flat(bytes, &shape), 7, &mut |tensor| {
        given.push((tensor.dtype, tensor.shape.to_vec(), tensor.bytes.to_vec()));
        Ok(())
    })?;
    Ok(given)
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
