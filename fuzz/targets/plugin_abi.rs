//! Plugins from arbitrary bytes: modules that export what the ABI asks for and do anything, arbitrary modules, and a
//! plugin of ABI 1 whose memory and answers are the input. Nothing but typed errors and checked results may come of it.
#![no_main]

use std::fmt::Write;
use std::sync::OnceLock;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use wasm_smith::{Config, Module};
use zenith_data::DType;
use zenith_data::transform::custom::{TensorRef, Yield};
use zenith_fuzz::choices;
use zenith_plugin::{Abi, Cache, Host, HostConfig, Limits, Plugin, PluginError};

/// What a module of ABI 0 may export.
const BYTES: &str = r#"(module (memory (export "memory") 1)
    (func (export "process") (param i32 i32) (result i32) unreachable)
    (func (export "zenith_alloc") (param i32) (result i32) unreachable))"#;

/// What a module of ABI 1 may export.
const TENSORS: &str = r#"(module (memory (export "memory") 1)
    (func (export "zenith_abi_version") (result i32) unreachable)
    (func (export "zenith_describe") (result i32) unreachable)
    (func (export "zenith_process") (param i32) (result i32) unreachable)
    (func (export "zenith_process_batch") (param i32) (result i32) unreachable)
    (func (export "zenith_configure") (param i32 i32) (result i32) unreachable)
    (func (export "_initialize")))"#;

/// What a plugin is given.
const IMPORTS: &str = r#"(module (import "zenith" "log" (func (param i32 i32 i32))))"#;

/// Bytes of memory that an input may fill.
const MOST_DATA: usize = 4_096;

const DEADLINE: Duration = Duration::from_millis(20);

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::new(HostConfig { cache: Cache::Off }).expect("a host"))
}

fn limits(fuel: bool) -> Limits {
    Limits {
        memory: 1 << 20,
        deadline: DEADLINE,
        fuel: fuel.then_some(100_000),
        table_elements: 1_000,
        stack: 64 << 10,
        module_bytes: 64 << 10,
        ..Limits::default()
    }
}

/// What this process has used of processors: unlike a clock it stands still while the process is held.
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` can be written.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(got, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("a sound module")
}

/// A module by wasm-smith that exports what `exports` does, or anything.
fn smith(input: &mut Unstructured<'_>, exports: Option<&str>) -> Result<Vec<u8>> {
    let config = Config {
        exports: exports.map(wasm),
        available_imports: Some(wasm(IMPORTS)),
        exceptions_enabled: false,
        gc_enabled: false,
        compact_imports_enabled: false,
        memory64_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        // References to anything but functions need a collector.
        reference_types_enabled: false,
        max_memory32_bytes: 1 << 19,
        max_table_elements: 900,
        max_memories: 1,
        ..Config::default()
    };
    Ok(Module::new(config, input)?.to_bytes())
}

/// A plugin of ABI 1 with arbitrary memory and an arbitrary result, which the process call may make somewhere in it.
fn answering(data: &[u8], at: u32, flags: u32) -> Vec<u8> {
    let data = &data[..data.len().min(MOST_DATA)];
    let escaped = data.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    let description = [8_u32, 1, 8, 1, 8, 0, flags];
    let description = description.iter().flat_map(|word| word.to_le_bytes());
    let description = description.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:02x}");
        text
    });
    let function = |name: &str, params: &str, gives: u32| {
        format!("(func (export \"{name}\") {params} (result i32) (i32.const {gives}))")
    };
    wasm(&format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 8) "x") (data (i32.const 16) "{description}")
            (data (i32.const 64) "{escaped}") {} {} {} {})"#,
        function("zenith_abi_version", "", 1),
        function("zenith_describe", "", 16),
        function("zenith_process", "(param i32)", at),
        function("zenith_process_batch", "(param i32)", at),
    ))
}

/// What must hold of every tensor that comes back.
fn check(tensor: TensorRef<'_>) {
    let size = tensor.shape.iter().product::<usize>() * tensor.dtype.size();
    assert_eq!(size, tensor.bytes.len());
    assert!(tensor.shape.len() <= 8);
    assert!(tensor.dtype != DType::Bool || tensor.bytes.iter().all(|byte| *byte <= 1));
}

fn call(plugin: &Plugin, length: usize) -> std::result::Result<(), PluginError> {
    let mut instance = plugin.instance()?;
    let sample: Vec<u8> = (0..length).map(|at| at as u8).collect();
    for random in 0..3 {
        let mut count = 0;
        let input = TensorRef { dtype: DType::UInt8, shape: &[length], bytes: &sample };
        let called = instance.apply(input, random, &mut |tensor| {
            check(tensor);
            count += 1;
            Ok(())
        });
        if called.is_ok() {
            assert!(match plugin.yields() {
                Yield::One => count == 1,
                Yield::AtMostOne => count <= 1,
                Yield::Any => true,
            });
        }
        if plugin.takes_batches() {
            let _ = instance.apply_batch(input, random, &mut |tensor| {
                check(tensor);
                assert_eq!(tensor.shape.first(), Some(&length));
                Ok(())
            });
        }
        if plugin.abi() == Abi::Bytes {
            let mut output = vec![0; length];
            let _ = instance.apply_bytes(&sample, &mut output);
        }
    }
    Ok(())
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, [mode, length, flags, low, high])) = choices::<5>(input) else {
        return;
    };
    let mut source = Unstructured::new(bytes);
    let module = match mode % 5 {
        0 => smith(&mut source, Some(BYTES)),
        1 => smith(&mut source, Some(TENSORS)),
        2 => smith(&mut source, None),
        3 => Ok(bytes.to_vec()),
        _ => Ok(answering(bytes, u32::from_le_bytes([low, high % 20, 0, 0]), u32::from(flags % 4))),
    };
    let Ok(module) = module else {
        return;
    };
    let config = if mode & 128 == 0 { "" } else { "size=3" };
    let start = processor_time();
    let loaded = host().load(&module, config, &limits(mode & 64 != 0));
    // Compiling under the sanitizer, and the first copy.
    let took = processor_time().saturating_sub(start);
    assert!(took < Duration::from_secs(20), "loading took {took:?}");
    let start = processor_time();
    match loaded {
        Ok(plugin) => {
            let _ = call(&plugin, usize::from(length));
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.kind().is_empty()),
    }
    // Up to ten calls of 20 ms, a copy anew for each.
    let took = processor_time().saturating_sub(start);
    assert!(took < Duration::from_secs(2), "the calls took {took:?}");
});
