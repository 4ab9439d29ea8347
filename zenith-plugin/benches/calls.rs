//! What a call costs: the bare call, a plugin that works on 150 KB against the same work as native code with the same two
//! copies, the checks that stop endless loops, a copy that is replaced, and loading. `cargo bench -p zenith-plugin --bench calls`
//! measures; a module's path as argument is measured as well: its loading, the work of one of ABI 0 beside `add_one`'s, and that of
//! `image_resize` beside the native resize.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use wasmtime::{Config, Engine, Module, Store, TypedFunc};
use zenith_data::DType;
use zenith_data::pixels::PixelBuf;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::custom::TensorRef;
use zenith_data::transform::{Interpolation, Mode, Op, Plan, Scratch};
use zenith_plugin::{Cache, Host, HostConfig, Instance, Limits, PluginError};

/// Bytes of a sample.
const SAMPLE: usize = 150_000;

/// Adds one to each byte, saturating, four vectors a round.
fn vectors() -> String {
    let lane = |offset: usize| {
        format!(
            "(v128.store offset={offset} (local.get $at) (i8x16.add_sat_u (v128.load offset={offset} (local.get $at))
                (i8x16.splat (i32.const 1))))"
        )
    };
    format!(
        "(module (memory (export \"memory\") 1)
            (func (export \"process\") (param $at i32) (param $length i32) (result i32) (local $end i32) (local $byte i32)
            (local.set $end (i32.add (local.get $at) (i32.and (local.get $length) (i32.const -64))))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
                {} {} {} {}
                (local.set $at (i32.add (local.get $at) (i32.const 64)))
                (br $next)))
            (local.set $end (i32.add (local.get $end) (i32.and (local.get $length) (i32.const 63))))
            (block $done (loop $next
                (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
                (local.set $byte (i32.load8_u (local.get $at)))
                (i32.store8 (local.get $at)
                    (i32.add (local.get $byte) (i32.lt_u (local.get $byte) (i32.const 255))))
                (local.set $at (i32.add (local.get $at) (i32.const 1)))
                (br $next)))
            (i32.const 0)))",
        lane(0),
        lane(16),
        lane(32),
        lane(48)
    )
}

/// Returns, or traps when there is anything to do.
const BARE: &str = "(module (memory (export \"memory\") 1)
    (func (export \"process\") (param i32 i32) (result i32)
        (if (i32.gt_u (local.get 1) (i32.const 16)) (then (unreachable))) (i32.const 0)))";

/// How long and how often is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    round: Duration,
}

/// Times of the ways to do something, in nanoseconds: medians over rounds in which the ways alternate.
fn compare<const N: usize>(effort: Effort, mut ways: [&mut dyn FnMut(); N]) -> [f64; N] {
    let calls: Vec<u32> = ways
        .iter_mut()
        .map(|way| {
            let start = Instant::now();
            let mut calls = 0;
            while start.elapsed() < effort.round / 4 || calls == 0 {
                way();
                calls += 1;
            }
            (calls * 4).max(1)
        })
        .collect();
    let mut times = vec![Vec::new(); N];
    for _ in 0..effort.rounds {
        for (at, way) in ways.iter_mut().enumerate() {
            let start = Instant::now();
            for _ in 0..calls[at] {
                way();
            }
            times[at].push(start.elapsed().as_nanos() as f64 / f64::from(calls[at]));
        }
    }
    std::array::from_fn(|at| {
        times[at].sort_by(f64::total_cmp);
        times[at][times[at].len() / 2]
    })
}

fn load(host: &Host, text: &str) -> Instance {
    host.load(&wat::parse_str(text).unwrap(), "", &Limits::default()).unwrap().instance().unwrap()
}

/// The work as native code, in memory of its own: copied in, changed, copied out.
#[inline(never)]
fn native(input: &[u8], place: &mut [u8], output: &mut [u8]) {
    place.copy_from_slice(input);
    for byte in black_box(&mut *place) {
        *byte = byte.saturating_add(1);
    }
    output.copy_from_slice(place);
}

/// A function of a module on a bare runtime, with or without the checks that stop endless loops.
fn raw(text: &str, epochs: bool) -> (Store<()>, TypedFunc<(i32, i32), i32>) {
    let mut config = Config::new();
    config.epoch_interruption(epochs);
    let engine = Engine::new(&config).unwrap();
    let module = Module::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
    let mut store = Store::new(&engine, ());
    if epochs {
        store.set_epoch_deadline(1_000_000);
    }
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
    instance.get_memory(&mut store, "memory").unwrap().grow(&mut store, 4).unwrap();
    let function = instance.get_typed_func(&mut store, "process").unwrap();
    (store, function)
}

fn bare(host: &Host, effort: Effort) {
    let mut instance = load(host, BARE);
    let (mut store, function) = raw(BARE, true);
    let [ours, runtime, clock] = compare(
        effort,
        [
            &mut || instance.apply_bytes(black_box(&[]), &mut []).unwrap(),
            &mut || assert_eq!(function.call(&mut store, (0, 0)).unwrap(), 0),
            &mut || {
                black_box(Instant::now());
            },
        ],
    );
    println!(
        "bare call                    {ours:9.1} ns   (the runtime alone {runtime:.1} ns, a look at the clock {clock:.1} ns)"
    );
}

fn sample(effort: Effort, what: &str, instance: &mut Instance) {
    let input: Vec<u8> = (0..SAMPLE).map(|at| (at * 7 % 256) as u8).collect();
    let (mut ours, mut place, mut theirs) = (vec![0; SAMPLE], vec![0; SAMPLE], vec![0; SAMPLE]);
    let [guest, reference] = compare(
        effort,
        [&mut || instance.apply_bytes(black_box(&input), black_box(&mut ours)).unwrap(), &mut || {
            native(black_box(&input), &mut place, black_box(&mut theirs));
        }],
    );
    assert!(ours == theirs, "{what} is not the same work");
    println!(
        "{what:<28} {:9.1} us   native with its copies {:.1} us: {:.2}x of native's throughput",
        guest / 1e3,
        reference / 1e3,
        reference / guest
    );
}

fn checks(effort: Effort) {
    for (what, text) in [("checks in a loop of vectors", vectors()), ("checks in a loop of bytes", bytes())] {
        let ((mut with, checked), (mut without, free)) = (raw(&text, true), raw(&text, false));
        let [checked, free] = compare(
            effort,
            [&mut || assert_eq!(checked.call(&mut with, (65_536, SAMPLE as i32)).unwrap(), 0), &mut || {
                assert_eq!(free.call(&mut without, (65_536, SAMPLE as i32)).unwrap(), 0);
            }],
        );
        println!(
            "{what:<28} {:9.1} us   without them {:.1} us: {:+.0} %",
            checked / 1e3,
            free / 1e3,
            (checked / free - 1.0) * 100.0
        );
    }
}

/// The loop of single bytes alone.
fn bytes() -> String {
    vectors().replace("(i32.const -64)", "(i32.const 0)").replace("(i32.const 63)", "(i32.const -1)")
}

fn replaced(host: &Host, effort: Effort) {
    let mut instance = load(host, BARE);
    let [trap] = compare(
        effort,
        [&mut || {
            let error = instance.apply_bytes(&[0; 17], &mut [0; 17]).unwrap_err();
            assert!(matches!(error, PluginError::Trap { .. }));
        }],
    );
    println!("a trap and another copy      {:9.1} us", trap / 1e3);
}

fn threads(host: &Host, effort: Effort) {
    let plugin = host.load(&wat::parse_str(BARE).unwrap(), "", &Limits::default()).unwrap();
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    let rate = |threads: usize| {
        let start = Instant::now();
        let calls: u64 = std::thread::scope(|scope| {
            let work = || {
                let (mut instance, mut calls) = (plugin.instance().unwrap(), 0_u64);
                while start.elapsed() < effort.round * 4 {
                    for _ in 0..1_000 {
                        instance.apply_bytes(&[], &mut []).unwrap();
                    }
                    calls += 1_000;
                }
                calls
            };
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        calls as f64 / start.elapsed().as_secs_f64() / 1e6
    };
    let (one, all) = (rate(1), rate(most));
    println!("calls on {most:>2} threads          {all:9.2} M/s  on one {one:.2} M/s: {:.2}x", all / one);
}

/// A photograph-sized picture through the plugin and through the data plane's own resize, with and without vector instructions.
fn resize(effort: Effort, host: &Host, path: &Path) {
    const WIDTH: usize = 500;
    const HEIGHT: usize = 375;
    let pixels: Vec<u8> =
        (0..WIDTH * HEIGHT * 3).map(|at| (at * 31 % 256) as u8 ^ (at / 1_500) as u8).collect();
    let op = Op::Resize {
        size: vec![224, 224],
        interpolation: Interpolation::Bilinear,
        max_size: None,
        antialias: true,
    };
    let plan = Plan::compile(&[op], Mode::Exact).unwrap();
    let view = plan.view(WIDTH as u32, HEIGHT as u32, &mut SampleRng::new(0, 0, 0)).unwrap();
    let mut source = PixelBuf::new();
    source.reset(WIDTH as u32, HEIGHT as u32, 3);
    source.pixels_mut().copy_from_slice(&pixels);
    let mut drawn = [vec![0; 224 * 224 * 3], vec![0; 224 * 224 * 3]];
    let [portable, fast] = &mut drawn;
    let (mut slow, mut quick) = (Scratch::portable(), Scratch::new());
    let plugin = host.load_file(path, "224x224", &Limits::default()).unwrap();
    let mut instance = plugin.instance().unwrap();
    let shape = [HEIGHT, WIDTH, 3];
    let input = TensorRef { dtype: DType::UInt8, shape: &shape, bytes: &pixels };
    let mut made = Vec::new();
    let [guest, portable_time, fast_time] = compare(
        effort,
        [
            &mut || {
                made.clear();
                let mut take = |tensor: TensorRef<'_>| {
                    made.extend_from_slice(tensor.bytes);
                    Ok(())
                };
                instance.apply(input, 0, &mut take).unwrap();
            },
            &mut || plan.render(&view, &source, &mut slow, portable).unwrap(),
            &mut || plan.render(&view, &source, &mut quick, fast).unwrap(),
        ],
    );
    let planes: Vec<u8> = (0..3).flat_map(|c| made.iter().skip(c).step_by(3).copied()).collect();
    assert!(drawn.iter().all(|drawn| *drawn == planes), "the plugin draws another picture");
    println!(
        "image_resize 500x375 to 224  {:9.1} us   native {:.1} us: {:.2}x its time; with vector instructions {:.1} us: {:.2}x",
        guest / 1e3,
        portable_time / 1e3,
        guest / portable_time,
        fast_time / 1e3,
        guest / fast_time
    );
}

/// Loading in milliseconds, by a new host each time; the end of a host is not timed.
fn loading(effort: Effort, module: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let load = |cache: Cache| {
        let start = Instant::now();
        let host = Host::new(HostConfig { cache }).unwrap();
        let plugin = host.load(module, "", &Limits::default()).unwrap();
        let took = start.elapsed().as_secs_f64() * 1e3;
        drop(black_box(plugin));
        took
    };
    let median = |cache: &dyn Fn() -> Cache| {
        let mut times: Vec<f64> = (0..effort.rounds).map(|_| load(cache())).collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let kept = || Cache::Dir(dir.path().to_path_buf());
    load(kept());
    let (cold, warm) = (median(&|| Cache::Off), median(&kept));
    println!(
        "loading {:>7} bytes        {cold:9.2} ms   from the cache {warm:.2} ms (a new host each time)",
        module.len()
    );
}

fn main() {
    let (flags, paths): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    // Without `--bench` this is a test run: everything once.
    let effort = match flags.iter().any(|flag| flag == "--bench") {
        true => Effort { rounds: 15, round: Duration::from_millis(60) },
        false => Effort { rounds: 1, round: Duration::from_micros(100) },
    };
    let host = Host::new(HostConfig { cache: Cache::Off }).unwrap();
    bare(&host, effort);
    sample(effort, "150 KB, vectors", &mut load(&host, &vectors()));
    sample(effort, "150 KB, byte by byte", &mut load(&host, &bytes()));
    checks(effort);
    replaced(&host, effort);
    threads(&host, effort);
    loading(effort, &wat::parse_str(vectors()).unwrap());
    for path in paths.iter().map(Path::new) {
        loading(effort, &std::fs::read(path).unwrap());
        let plugin = host.load_file(path, "", &Limits::default()).unwrap();
        if plugin.abi() == zenith_plugin::Abi::Bytes {
            sample(effort, plugin.name(), &mut plugin.instance().unwrap());
        }
        if plugin.name() == "image_resize" {
            resize(effort, &host, path);
        }
    }
}
