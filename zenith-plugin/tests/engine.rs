//! The engine: order, back-pressure, starting and stopping, changes of the chain, and what is left behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[expect(dead_code, reason = "every test uses some of it")]
mod handwritten;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use handwritten::{ADD_ONE, TENSORS, bytes_guest, fixed_guest, flat, host};
use zenith_data::DType;
use zenith_plugin::engine::{Done, Engine, EngineConfig, Item, Next, Refused, Stream};
use zenith_plugin::{Limits, PluginError};

fn engine(buffer_size: usize, workers: usize) -> Engine {
    let limits = Limits { deadline: Duration::from_millis(200), ..Limits::default() };
    Engine::new(host(), EngineConfig { buffer_size, workers, limits }).unwrap()
}

fn wasm(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}

fn item(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Item {
    let length = bytes.as_ref().len();
    Item::new(DType::UInt8, vec![length], bytes, 0)
}

fn done(stream: &mut Stream) -> Done {
    match stream.next().unwrap() {
        Next::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

/// A guest that works the longer, the larger the first byte is.
fn uneven() -> String {
    bytes_guest(
        "(local $left i32) (local.set $left (i32.mul (i32.load8_u (local.get $at)) (i32.const 2000)))
         (loop $more (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $more (i32.gt_s (local.get $left) (i32.const 0))))
         (i32.const 0)",
    )
}

#[test]
fn a_stream_is_ordered_whoever_works() {
    for workers in [0, 1, 4] {
        let engine = engine(16, workers);
        engine.load(&wasm(&uneven()), "").unwrap();
        engine.start().unwrap();
        let mut stream = engine.stream().unwrap();
        let (mut sent, mut got) = (0_u32, 0_u32);
        while got < 2_000 {
            while sent < 2_000 {
                let mut bytes = vec![(sent * 37 % 251) as u8];
                bytes.extend(sent.to_le_bytes());
                match stream.submit(item(bytes)) {
                    Ok(()) => sent += 1,
                    Err(Refused::Full(_)) => break,
                    Err(other) => panic!("{other:?}"),
                }
            }
            let done = done(&mut stream);
            assert_eq!(done.result.unwrap()[0].bytes[1..], got.to_le_bytes());
            assert_eq!(done.item.tensor().bytes[1..], got.to_le_bytes(), "the item comes back with it");
            got += 1;
        }
        assert!(matches!(stream.next().unwrap(), Next::Empty));
    }
}

#[test]
fn a_full_stream_gives_the_sample_back() {
    let engine = engine(3, 2);
    engine.load(&wasm(ADD_ONE), "").unwrap();
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    assert_eq!((stream.capacity(), stream.in_flight()), (3, 0));
    for value in 0..3_u8 {
        stream.submit(item([value])).unwrap();
    }
    let Err(Refused::Full(back)) = stream.submit(item([9])) else {
        panic!("there is no room");
    };
    assert_eq!(back.tensor().bytes, [9]);
    assert_eq!(done(&mut stream).result.unwrap()[0].bytes, [1]);
    stream.submit(back).unwrap();
    for value in [2, 3, 10] {
        assert_eq!(done(&mut stream).result.unwrap()[0].bytes, [value]);
    }
}

#[test]
fn errors_come_in_their_turn() {
    let engine = engine(8, 2);
    let text = bytes_guest(
        "(if (i32.eq (i32.load8_u (local.get $at)) (i32.const 3)) (then (unreachable))) (i32.const 0)",
    );
    engine.load(&wasm(&text), "").unwrap();
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    for value in 0..8_u8 {
        stream.submit(item([value])).unwrap();
    }
    for value in 0..8_u8 {
        let done = done(&mut stream);
        match done.result {
            Ok(tensors) => assert_eq!(tensors[0].bytes, [value]),
            Err(error) => assert!(value == 3 && error.kind() == "trap", "{value}: {error}"),
        }
        assert_eq!(done.item.tensor().bytes, [value]);
    }
}

#[test]
fn patience_ends() {
    let engine = engine(4, 1);
    engine.load(&wasm(&bytes_guest("(loop $ever (br $ever)) (i32.const 0)")), "").unwrap();
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    assert!(matches!(stream.next_within(Duration::from_secs(9)).unwrap(), Next::Empty));
    stream.submit(item([1])).unwrap();
    // Whoever makes the sample, its deadline ends it.
    let mut pending = 0;
    let error = loop {
        match stream.next_within(Duration::from_millis(5)).unwrap() {
            Next::Done(done) => break done.result.unwrap_err(),
            Next::Pending => pending += 1,
            Next::Empty => panic!("a sample is under way"),
        }
    };
    assert!(error.kind() == "deadline" && pending <= 100, "{error} after {pending}");
}

#[test]
fn the_chain_changes_between_samples_but_not_within_a_stream() {
    let engine = engine(4, 2);
    let shape = [1];
    let process = |value: u8| engine.process(flat(&[value], &shape), 0).unwrap()[0].bytes[0];
    assert_eq!(process(1), 1, "a chain without plugins");
    engine.load(&wasm(ADD_ONE), "").unwrap();
    assert_eq!(process(1), 2);
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    stream.submit(item([1])).unwrap();
    engine.load(&wasm(ADD_ONE), "").unwrap();
    stream.submit(item([1])).unwrap();
    assert_eq!(process(1), 3);
    let mut out = [0];
    engine.process_bytes(&[7], &mut out).unwrap();
    assert_eq!(out, [9]);
    assert_eq!(done(&mut stream).result.unwrap()[0].bytes, [2]);
    assert_eq!(
        done(&mut stream).result.unwrap()[0].bytes,
        [2],
        "the stream's chain is the one it began with"
    );
    let error = engine.unload("resize").unwrap_err();
    assert!(matches!(&error, PluginError::NotLoaded { loaded, .. } if loaded == "plugin, plugin"), "{error}");
    engine.unload("plugin").unwrap();
    assert_eq!((process(1), engine.plugins().len()), (2, 1));
    assert!(engine.is_bytes());
}

#[test]
fn what_is_loaded_wrongly_changes_nothing() {
    let engine = engine(4, 1);
    engine.load(&wasm(ADD_ONE), "").unwrap();
    assert_eq!(engine.load(b"nonsense", "").unwrap_err().kind(), "not_wasm");
    assert_eq!(engine.load_file("/nowhere/x.wasm", "").unwrap_err().kind(), "io");
    assert_eq!(engine.plugins().len(), 1);
}

#[test]
fn stopping_lets_streams_be_emptied_and_closing_ends_everything() {
    let engine = engine(64, 2);
    engine.load(&wasm(ADD_ONE), "").unwrap();
    assert!(matches!(engine.stream(), Err(PluginError::Closed)), "workers do not run yet");
    engine.start().unwrap();
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    for value in 0..64_u8 {
        stream.submit(item([value])).unwrap();
    }
    engine.stop();
    assert!(!engine.is_running());
    assert!(matches!(stream.submit(item([0])), Err(Refused::Stopped(_, PluginError::Stopped))));
    for value in 0..64_u8 {
        assert_eq!(done(&mut stream).result.unwrap()[0].bytes, [value + 1]);
    }
    engine.start().unwrap();
    stream.submit(item([5])).unwrap();
    assert_eq!(done(&mut stream).result.unwrap()[0].bytes, [6]);
    engine.close();
    assert!(engine.is_closed());
    let shape = [1];
    assert_eq!(engine.process(flat(&[1], &shape), 0).unwrap_err().kind(), "closed");
    assert_eq!(engine.load(&wasm(ADD_ONE), "").unwrap_err().kind(), "closed");
    assert_eq!(engine.unload("plugin").unwrap_err().kind(), "closed");
    assert_eq!(engine.start().unwrap_err().kind(), "closed");
}

#[test]
fn breaking_off_makes_nothing_more_and_says_so() {
    let endless = wasm(&bytes_guest("(loop $ever (br $ever)) (i32.const 0)"));
    for workers in [0, 1, 2] {
        let engine = engine(64, workers);
        let plugin = engine.load(&endless, "").unwrap();
        engine.start().unwrap();
        let mut stream = engine.stream().unwrap();
        for value in 0..64_u8 {
            stream.submit(item([value])).unwrap();
        }
        engine.break_off();
        let calls = plugin.stats().calls;
        assert!(calls < 64, "the whole queue was made");
        assert_eq!(stream.next().unwrap_err().kind(), "stopped");
        engine.unload("plugin").unwrap();
        engine.load(&wasm(ADD_ONE), "").unwrap();
        engine.start().unwrap();
        assert!(matches!(stream.submit(item([0])), Err(Refused::Stopped(_, PluginError::Stopped))));
        let mut next = engine.stream().unwrap();
        next.submit(item([1])).unwrap();
        assert_eq!(done(&mut next).result.unwrap()[0].bytes, [2]);
        next.submit(item([1])).unwrap();
        engine.close();
        assert_eq!(next.next().unwrap_err().kind(), "closed");
    }
}

#[test]
fn a_stream_knows_what_is_ready() {
    let engine = engine(8, 1);
    engine.load(&wasm(ADD_ONE), "").unwrap();
    engine.start().unwrap();
    let mut stream = engine.stream().unwrap();
    assert!(stream.is_ready(0) && !stream.is_ready(1));
    for value in 0..3_u8 {
        stream.submit(item([value])).unwrap();
    }
    while !stream.is_ready(3) {
        std::thread::yield_now();
    }
    assert!(!stream.is_ready(4));
    done(&mut stream);
    assert!(stream.is_ready(2) && !stream.is_ready(3));
}

#[test]
fn splitters_may_not_multiply_without_end() {
    let tensor = |at| [at, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
    let split = fixed_guest(2, [0, 3, TENSORS, 0, 0], &[tensor(16), tensor(17), tensor(18)]);
    let engine = engine(4, 1);
    for _ in 0..11 {
        engine.load(&wasm(&split), "").unwrap();
    }
    let shape = [1];
    let error = engine.process(flat(&[1], &shape), 0).unwrap_err();
    assert!(error.kind() == "bad_result" && error.to_string().contains("65536"), "{error}");
}

#[test]
fn no_stream_may_be_endless() {
    let config = EngineConfig { buffer_size: usize::MAX, workers: 1, limits: Limits::default() };
    let error = Engine::new(host(), config).unwrap_err();
    assert!(error.kind() == "limits" && error.to_string().contains("buffer_size"), "{error}");
}

/// Bytes that count how many of them there are.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &[200]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn a_dropped_stream_leaves_no_sample_behind() {
    let engine = engine(128, 2);
    engine.load(&wasm(&uneven()), "").unwrap();
    engine.start().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    for taken in [0, 1, 40] {
        let mut stream = engine.stream().unwrap();
        for _ in 0..100 {
            stream.submit(item(Counted::new(&count))).unwrap();
        }
        for _ in 0..taken {
            done(&mut stream);
        }
        drop(stream);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn callers_from_many_threads_share_an_engine() {
    let engine = engine(4, 1);
    engine.load(&wasm(ADD_ONE), "").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..200 {
                    let shape = [1];
                    let given = engine.process(flat(&[thread], &shape), round).unwrap();
                    assert_eq!(given[0].bytes, [thread + 1]);
                }
            });
        }
        for _ in 0..5 {
            let extra = engine.load(&wasm(&bytes_guest("(i32.const 0)")), "").unwrap();
            assert!(engine.plugins().last().unwrap().is_same(&extra));
        }
    });
    assert_eq!(engine.plugins()[0].stats().calls, 800);
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let refused = |config: EngineConfig| Engine::new(host(), config).unwrap_err().kind();
    let good = EngineConfig::default;
    assert_eq!(refused(EngineConfig { buffer_size: 0, ..good() }), "limits");
    assert_eq!(refused(EngineConfig { workers: 100_000, ..good() }), "limits");
    assert_eq!(
        refused(EngineConfig { limits: Limits { stack: 1, ..Limits::default() }, ..good() }),
        "limits"
    );
    assert_eq!(EngineConfig::default().buffer_size, 1_024);
}
