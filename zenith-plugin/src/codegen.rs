//! From a module to machine code: what WebAssembly may contain here and how it is compiled. Keeps nothing; the code
//! cache is `cache`, who runs the code is `live`.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::available_parallelism;

use wasmtime::{Config, Engine, Module, OptLevel, WasmBacktraceDetails, WasmFeatures};
use zenith_runtime_cpu::thread::panic_message;

use crate::{PluginError, signals};

/// What all common tools emit for wasm32, and all of it means the same on every machine. Absent, among others: threads,
/// relaxed SIMD (results differ between processors), 64-bit and several memories, exceptions, garbage collection.
const FEATURES: WasmFeatures =
    WasmFeatures::WASM2.union(WasmFeatures::EXTENDED_CONST).difference(WasmFeatures::GC_TYPES);

/// Bytes of module for which one more thread is worth starting.
const BYTES_PER_THREAD: usize = 16 << 10;

/// The most threads that compile one module.
const MOST_THREADS: usize = 16;

/// Stack of a compiling thread.
const COMPILER_STACK: usize = 8 << 20;

/// The compiler and runtime for one amount of stack, with or without fuel.
pub(crate) fn engine(stack: usize, fuel: bool) -> Result<Engine, PluginError> {
    let mut config = Config::new();
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(false)
        .epoch_interruption(true)
        .consume_fuel(fuel)
        .max_wasm_stack(stack)
        // Traps are faults of the processor, see `signals`: checks before every access would make loops over samples up to
        // half as slow again. With room for every 32-bit address and a guard behind it, loads and stores need no bounds checks.
        .memory_reservation(1 << 32)
        .memory_guard_size(32 << 20)
        .memory_may_move(false)
        .memory_init_cow(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(1))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .generate_address_map(false)
        .native_unwind_info(false);
    let engine = Engine::new(&config).map_err(|error| PluginError::Host(format!("{error:#}")))?;
    signals::installed();
    Ok(engine)
}

/// The kind of file that `bytes` are, where they are no module.
pub(crate) fn is_module(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes {
        [0, b'a', b's', b'm', 1, 0, 0, 0, ..] => Ok(()),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Err("this is a WebAssembly component"),
        [0, b'a', b's', b'm', ..] => Err("this is WebAssembly of another version"),
        [] => Err("this is empty"),
        bytes if bytes.trim_ascii_start().starts_with(b"(") => Err("this is WebAssembly as text"),
        _ => Err("this is no WebAssembly"),
    }
}

/// Compiles a module on threads that end with it: a pool of the whole process would stay behind in the parent when this
/// process is forked.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<Module, String> {
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let threads = (bytes.len() / BYTES_PER_THREAD).clamp(1, threads);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .stack_size(COMPILER_STACK)
        .thread_name(|at| format!("zenith-wasm-{at}"))
        .build()
        .map_err(|error| error.to_string())?;
    // A bug of the compiler is that module's bad luck, not the end of a training run.
    catch_unwind(AssertUnwindSafe(|| pool.install(|| Module::from_binary(engine, bytes))))
        .map_err(|panic| format!("the compiler failed: {}", panic_message(&*panic)))?
        .map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let engine = engine(512 << 10, false).unwrap();
        compile(&engine, &wat::parse_str(text).unwrap()).unwrap_err()
    }

    #[test]
    fn what_differs_between_machines_is_refused() {
        for text in [
            "(module (memory 1 2 shared))",
            "(module (memory i64 1))",
            "(module (memory 1) (memory 1))",
            "(module (func (result i32) (i32.const 0) (return_call 0)))",
            "(module (type (struct)))",
            "(module (tag))",
            "(module (func (param v128 v128) (result v128)
                (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
        ] {
            assert!(!refusal(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn what_common_tools_emit_compiles() {
        let engine = engine(512 << 10, true).unwrap();
        for text in [
            "(module (func (param v128) (result v128) (i8x16.add_sat_u (local.get 0) (local.get 0))))",
            "(module (memory 1) (func (memory.fill (i32.const 0) (i32.const 0) (i32.const 9))))",
            "(module (func (param i32) (result i32) (i32.extend8_s (local.get 0))))",
            "(module (func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0))))",
            "(module (func (result i32 i32) (i32.const 0) (i32.const 0)))",
            "(module (table 1 funcref) (table 1 funcref) (func (table.size 1) drop))",
            "(module (memory 1) (data (offset (i32.add (i32.const 1) (i32.const 2))) \"x\"))",
            "(module (global (export \"g\") (mut i32) (i32.const 0)))",
        ] {
            compile(&engine, &wat::parse_str(text).unwrap()).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }

    #[test]
    fn files_that_are_no_modules_are_named() {
        assert!(is_module(b"\0asm\x01\0\0\0").is_ok());
        assert!(is_module(b"\0asm\x0d\0\x01\0").unwrap_err().contains("component"));
        assert!(is_module(b"  (module)").unwrap_err().contains("text"));
        assert!(is_module(b"").unwrap_err().contains("empty"));
        assert!(is_module(b"\x7fELF").unwrap_err().contains("no WebAssembly"));
        assert!(is_module(b"\0asm\x02\0\0\0").unwrap_err().contains("version"));
    }
}
