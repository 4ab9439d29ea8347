//! Calls that go well: both ABIs, places in memory, configuration, filters, splits, batches, threads, and many calls.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod handwritten;

use std::path::PathBuf;
use std::time::Duration;

use handwritten::{
    ADD_ONE, TENSORS, apply, bytes_guest, fixed_guest, flat, host, load, resident, tensor_guest, tight,
};
use proptest::prelude::*;
use zenith_data::DType;
use zenith_data::transform::custom::{TensorRef, Transform, Yield};
use zenith_plugin::chain::Chain;
use zenith_plugin::{Abi, Cache, Host, HostConfig, Instance, Limits, PluginError};

/// The only instance of a guest with little memory and, since a machine may be busy, much time.
fn instance(text: &str) -> Instance {
    let limits = Limits { deadline: Duration::from_secs(60), ..tight() };
    load(&host(), text, &limits).unwrap().instance().unwrap()
}

/// Returns its input: the tensor of the `zenith_input` is the tensor of the result.
const ECHO: &str = r#"(func (export "zenith_process") (param $in i32) (result i32)
    (i32.store (i32.const 256) (i32.const 0))
    (i32.store (i32.const 260) (i32.const 1))
    (i32.store (i32.const 264) (local.get $in))
    (i32.const 256))"#;

/// Allocates behind everything, aligned, and never frees.
const ALLOC: &str = r#"(global $top (mut i32) (i32.const 4096))
    (func (export "zenith_alloc") (param $length i32) (result i32) (local $at i32)
        (local.set $at (global.get $top))
        (global.set $top (i32.add (local.get $at) (i32.and (i32.add (local.get $length) (i32.const 15)) (i32.const -16))))
        (if (i32.gt_u (global.get $top) (i32.mul (memory.size) (i32.const 65536)))
            (then (if (i32.eq (memory.grow (i32.add (i32.div_u (local.get $length) (i32.const 65536)) (i32.const 1))) (i32.const -1))
                (then (return (i32.const 0))))))
        (local.get $at))"#;

fn with_alloc(text: &str) -> String {
    let (head, tail) = text.rsplit_once(')').unwrap();
    format!("{head} {ALLOC}){tail}")
}

#[test]
fn the_tutorials_plugin_adds_one_and_stops_at_255() {
    let plugin = load(&host(), ADD_ONE, &Limits::default()).unwrap();
    assert_eq!((plugin.name(), plugin.version(), plugin.abi()), ("plugin", "", Abi::Bytes));
    assert_eq!((plugin.abi().version(), plugin.yields(), plugin.takes_batches()), (0, Yield::One, false));
    let mut instance = plugin.instance().unwrap();
    let mut out = [9; 4];
    instance.apply_bytes(&[1, 2, 3, 255], &mut out).unwrap();
    assert_eq!(out, [2, 3, 4, 255]);
    assert_eq!(apply(&mut instance, &[0, 254]).unwrap(), [(DType::UInt8, vec![2], vec![1, 255])]);
    assert_eq!(apply(&mut instance, &[]).unwrap(), [(DType::UInt8, vec![0], vec![])]);
    let error = instance.apply_bytes(&[1], &mut out).unwrap_err();
    assert!(matches!(error, PluginError::BadInput { .. }) && out == [2, 3, 4, 255]);
    assert!(
        plugin.exports().iter().any(|e| e == "process: a function (i32, i32) -> i32"),
        "{:?}",
        plugin.exports()
    );
    assert_eq!(plugin.imports(), Vec::<String>::new());
    assert_eq!(plugin.stats().calls, 3);
    assert!(plugin.stats().nanoseconds > 0);
}

#[test]
fn a_file_gives_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("add_one.wasm");
    std::fs::write(&path, wat::parse_str(ADD_ONE).unwrap()).unwrap();
    let plugin = host().load_file(&path, "", &Limits::default()).unwrap();
    assert_eq!(plugin.name(), "add_one");
    let error = host().load_file(&path, "size=3", &Limits::default()).unwrap_err();
    assert!(error.kind() == "config" && error.to_string().starts_with("add_one:"), "{error}");
}

#[test]
fn an_error_code_is_the_users_and_costs_nothing() {
    let text = bytes_guest(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (if (i32.eq (local.get $length) (i32.const 3)) (then (return (i32.const -7))))
         (i32.store8 (local.get $at) (global.get $calls)) (i32.const 0)",
    );
    let mut instance = instance(&text);
    let error = instance.apply_in_place(&mut [0; 3]).unwrap_err();
    assert!(matches!(&error, PluginError::Code { code: -7, message, .. } if message.is_empty()), "{error}");
    let mut bytes = [0];
    instance.apply_in_place(&mut bytes).unwrap();
    assert_eq!(bytes, [2], "the copy was kept");
}

#[test]
fn error_codes_under_abi_1_have_words() {
    let items = r#"(data (i32.const 256) "\05\00\00\00\00\00\00\00\00\00\00\00\00\02\00\00\09\00\00\00")
        (data (i32.const 512) "too small")
        (func (export "zenith_process") (param i32) (result i32) (i32.const 256))"#;
    let error = apply(&mut instance(&tensor_guest(0, items)), &[1]).unwrap_err();
    assert_eq!(error.to_string(), "guest: error 5: too small");
}

#[test]
fn tensors_come_back_as_they_went() {
    for text in [tensor_guest(0, ECHO), tensor_guest(0, &format!("{ECHO} {ALLOC}"))] {
        let plugin = load(&host(), &text, &Limits::default()).unwrap();
        assert_eq!(
            (plugin.name(), plugin.version(), plugin.description()),
            ("guest", "0.1.0", "a guest of the tests")
        );
        assert_eq!(plugin.abi(), Abi::Tensor);
        let mut instance = plugin.instance().unwrap();
        for dtype in DType::ALL {
            for shape in [vec![], vec![3], vec![2, 0, 5], vec![1, 2, 3, 1, 2, 1, 1, 2]] {
                let length = shape.iter().product::<usize>() * dtype.size();
                let bytes: Vec<u8> = (0..length).map(|at| at as u8 % 2).collect();
                let input = TensorRef { dtype, shape: &shape, bytes: &bytes };
                let mut seen = 0;
                instance
                    .apply(input, 1, &mut |tensor| {
                        assert_eq!(tensor, input);
                        seen += 1;
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(seen, 1);
            }
        }
        let lie = TensorRef { dtype: DType::Float32, shape: &[3], bytes: &[0; 11] };
        assert_eq!(instance.apply(lie, 0, &mut |_| Ok(())).unwrap_err().kind(), "bad_input");
        let many = TensorRef { dtype: DType::UInt8, shape: &[1; 9], bytes: &[0] };
        assert_eq!(instance.apply(many, 0, &mut |_| Ok(())).unwrap_err().kind(), "bad_input");
        assert_eq!(instance.apply_in_place(&mut [0]).unwrap_err().kind(), "bad_input");
    }
}

#[test]
fn randomness_arrives() {
    // Returns the 64 bits as its result.
    let items = r#"(func (export "zenith_process") (param $in i32) (result i32)
        (i32.store (i32.const 260) (i32.const 1)) (i32.store (i32.const 264) (i32.const 512))
        (i32.store (i32.const 512) (i32.add (local.get $in) (i32.const 48)))
        (i32.store (i32.const 516) (i32.const 4))
        (i32.const 256))"#;
    let mut instance = instance(&tensor_guest(0, items));
    let shape = [2];
    let random = 0x0123_4567_89ab_cdef;
    let mut given = Vec::new();
    instance
        .apply(flat(&[1, 2], &shape), random, &mut |tensor| {
            given.extend_from_slice(tensor.bytes);
            Ok(())
        })
        .unwrap();
    assert_eq!(given, random.to_le_bytes());
}

#[test]
fn a_configuration_reaches_the_plugin() {
    // Refuses configurations of three bytes with its own message; else keeps the first byte and returns it.
    let items = r#"(global $kept (mut i32) (i32.const 0)) (data (i32.const 512) "no threes")
        (func (export "zenith_configure") (param $at i32) (param $length i32) (result i32)
            (i32.store (i32.const 256) (i32.const 0))
            (if (i32.eq (local.get $length) (i32.const 3)) (then
                (i32.store (i32.const 256) (i32.const 9))
                (i32.store (i32.const 268) (i32.const 512)) (i32.store (i32.const 272) (i32.const 9))))
            (if (local.get $length) (then (i32.store8 (i32.const 600) (i32.load8_u (local.get $at)))))
            (i32.const 256))
        (func (export "zenith_process") (param i32) (result i32)
            (i32.store (i32.const 260) (i32.const 1)) (i32.store (i32.const 264) (i32.const 300))
            (i32.store (i32.const 300) (i32.const 600)) (i32.store (i32.const 304) (i32.const 1))
            (i32.const 256))"#;
    let module = wat::parse_str(tensor_guest(0, items)).unwrap();
    let host = host();
    let plugin = host.load(&module, "Zenith", &tight()).unwrap();
    assert_eq!(plugin.config(), "Zenith");
    for _ in 0..2 {
        let given = apply(&mut plugin.instance().unwrap(), &[1]).unwrap();
        assert_eq!(given[0].2, b"Z", "every instance is configured");
    }
    host.load(&module, "", &tight()).unwrap();
    let error = host.load(&module, "abc", &tight()).unwrap_err();
    assert!(
        matches!(&error, PluginError::Config { code: 9, message, .. } if message == "no threes"),
        "{error}"
    );
    let error = host.load(&wat::parse_str(tensor_guest(0, ECHO)).unwrap(), "x", &tight()).unwrap_err();
    assert_eq!(error.kind(), "config");
}

#[test]
fn flags_say_what_becomes_of_a_sample() {
    let yields = |flags| load(&host(), &tensor_guest(flags, ECHO), &tight()).unwrap().yields();
    assert_eq!(
        [yields(0), yields(1), yields(2), yields(3)],
        [Yield::One, Yield::AtMostOne, Yield::Any, Yield::Any]
    );
}

#[test]
fn whole_batches_keep_their_first_axis() {
    let batch = ECHO.replace("zenith_process", "zenith_process_batch");
    let plugin = load(&host(), &tensor_guest(0, &format!("{ECHO} {batch}")), &tight()).unwrap();
    assert!(plugin.takes_batches());
    let mut worker = plugin.worker().unwrap();
    assert!(worker.takes_batches());
    let input = TensorRef { dtype: DType::Int16, shape: &[3, 2], bytes: &[7; 12] };
    let mut shapes = Vec::new();
    worker
        .apply_batch(input, 0, &mut |tensor| {
            shapes.push(tensor.shape.to_vec());
            Ok(())
        })
        .unwrap();
    assert_eq!(shapes, [[3, 2]]);
    let fixed = fixed_guest(3, [0, 1, TENSORS, 0, 0], &[[0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0]]);
    let wrong = fixed.replacen(
        "(func (export \"zenith_process\")",
        "(export \"zenith_process_batch\" (func $work)) (func $work (export \"zenith_process\")",
        1,
    );
    let mut instance = instance(&wrong);
    let error = instance.apply_batch(input, 0, &mut |_| Ok(())).unwrap_err();
    assert!(error.kind() == "bad_result" && error.to_string().contains("batch of 3"), "{error}");
    let scalar = TensorRef { dtype: DType::UInt8, shape: &[], bytes: &[7] };
    assert_eq!(instance.apply_batch(scalar, 0, &mut |_| Ok(())).unwrap_err().kind(), "bad_input");
    let mut single = handwritten::instance(&tensor_guest(0, ECHO));
    assert_eq!(single.apply_batch(input, 0, &mut |_| Ok(())).unwrap_err().kind(), "bad_input");
}

#[test]
fn what_a_taker_refuses_is_its_own_error() {
    let mut instance = instance(ADD_ONE);
    let shape = [1];
    let error = instance.apply(flat(&[1], &shape), 0, &mut |_| Err("full".into())).unwrap_err();
    assert!(matches!(&error, PluginError::Taker(fault) if fault.to_string() == "full"), "{error}");
    assert_eq!(apply(&mut instance, &[1]).unwrap()[0].2, [2]);
}

#[test]
fn a_bool_stays_a_bool() {
    let mut instance = instance(ADD_ONE);
    let input = TensorRef { dtype: DType::Bool, shape: &[2], bytes: &[0, 1] };
    assert_eq!(instance.apply(input, 0, &mut |_| Ok(())).unwrap_err().kind(), "bad_result");
}

#[test]
fn modules_own_data_is_left_alone() {
    // Fails when a byte of its data was changed by anybody.
    let guarded = bytes_guest(
        "(local $i i32) (loop $next
            (if (i32.ne (i32.load8_u (local.get $i)) (i32.const 65)) (then (return (i32.const 1))))
            (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 65536))))
         (i32.store8 (local.get $at) (i32.const 66)) (i32.const 0)",
    );
    let guarded =
        guarded.replace("(global", &format!("(data (i32.const 0) \"{}\") (global", "A".repeat(65_536)));
    let mut instance = instance(&guarded);
    for length in [1, 100, 70_000, 3, 200_000, 1_000_000] {
        let mut bytes = vec![9; length];
        instance.apply_in_place(&mut bytes).unwrap();
        assert!(bytes[0] == 66 && bytes[1..].iter().all(|byte| *byte == 9));
    }
}

#[test]
fn places_that_are_left_behind_never_end_a_stream() {
    // 4 MiB of memory, and samples that get longer and longer: old places fill it, so a new copy takes over.
    for text in [ADD_ONE.to_owned(), with_alloc(ADD_ONE)] {
        let mut instance = instance(&text);
        for length in (1..60).map(|step| step * 65_536 - 70_000 * usize::from(step > 2)) {
            let mut bytes = vec![1; length.min(3_800_000)];
            instance.apply_in_place(&mut bytes).unwrap_or_else(|error| panic!("{length}: {error}"));
            assert!(bytes.iter().all(|byte| *byte == 2));
        }
    }
}

#[test]
fn calls_leave_memory_flat() {
    let mut instances = [instance(ADD_ONE), instance(&tensor_guest(0, ECHO)), instance(&with_alloc(ADD_ONE))];
    let sample = [1; 100];
    let mut round = |calls: usize| {
        for _ in 0..calls {
            for instance in &mut instances {
                let shape = [sample.len()];
                instance.apply(flat(&sample, &shape), 3, &mut |_| Ok(())).unwrap();
            }
        }
    };
    round(1_000);
    let before = resident();
    round(334_000);
    let grown = resident().saturating_sub(before);
    assert!(grown < 2 << 20, "a million calls cost {grown} bytes");
}

#[test]
fn broken_copies_leave_memory_flat() {
    let limits = Limits { deadline: Duration::from_millis(2), ..tight() };
    let deep = "(drop (call $process (local.get $at) (local.get $length)))";
    let grows =
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 8)) (i32.const -1)))) (unreachable)";
    let kinds =
        [("(unreachable)", "trap"), ("(loop $e (br $e))", "deadline"), (deep, "stack"), (grows, "memory")];
    for (harm, kind) in kinds {
        let text = bytes_guest(&format!("{harm} (i32.const 0)"));
        let mut instance = load(&host(), &text, &limits).unwrap().instance().unwrap();
        let mut round = |calls: usize| {
            for _ in 0..calls {
                let error = instance.apply_in_place(&mut [0; 100]).unwrap_err();
                // On a busy machine the clock may come first.
                assert!(error.kind() == kind || error.kind() == "deadline", "{error}");
            }
        };
        round(50);
        let before = resident();
        round(500);
        let grown = resident().saturating_sub(before);
        assert!(grown < 4 << 20, "500 calls that end by {kind} cost {grown} bytes");
    }
}

#[test]
fn sixteen_threads_share_a_plugin() {
    let plugin = load(&host(), ADD_ONE, &Limits::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..16_u8 {
            let plugin = &plugin;
            scope.spawn(move || {
                let mut instance = plugin.instance().unwrap();
                for length in 1..200 {
                    let mut bytes = vec![thread; length];
                    instance.apply_in_place(&mut bytes).unwrap();
                    assert!(bytes.iter().all(|byte| *byte == thread + 1));
                }
            });
        }
    });
    assert_eq!(plugin.stats().calls, 16 * 199);
}

#[test]
fn processes_share_the_cache() {
    const CHILD: &str = "ZENITH_TEST_CACHE_CHILD";
    let run = |dir: PathBuf| {
        let host = Host::new(HostConfig { cache: Cache::Dir(dir) }).unwrap();
        let plugin = load(&host, ADD_ONE, &Limits::default()).unwrap();
        let mut bytes = [1];
        plugin.instance().unwrap().apply_in_place(&mut bytes).unwrap();
        assert_eq!(bytes, [2]);
    };
    if let Some(dir) = std::env::var_os(CHILD) {
        return run(dir.into());
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let children: Vec<_> = (0..4)
            .map(|_| {
                std::process::Command::new(std::env::current_exe().unwrap())
                    .args(["processes_share_the_cache", "--exact"])
                    .env(CHILD, dir.path().join("plugins"))
                    .stdout(std::process::Stdio::null())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        let files: Vec<_> =
            std::fs::read_dir(dir.path().join("plugins")).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        if round == 1 {
            // A file that is cut off is mended by one of the next.
            let code = std::fs::read(&files[0]).unwrap();
            std::fs::write(&files[0], &code[..code.len() / 2]).unwrap();
        }
    }
}

#[test]
fn chains_run_in_order() {
    let host = host();
    let add = load(&host, ADD_ONE, &tight()).unwrap();
    let double = load(
        &host,
        &ADD_ONE.replace("(i32.lt_u (local.get $byte) (i32.const 255))", "(local.get $byte)"),
        &tight(),
    )
    .unwrap();
    let bytes = |plugins: Vec<_>, input: &[u8]| {
        let chain = Chain::new(plugins);
        assert!(chain.is_bytes());
        let mut worker = chain.worker().unwrap();
        let mut out = vec![0; input.len()];
        worker.apply_bytes(input, &mut out).unwrap();
        let shape = [input.len()];
        let results = worker.apply(flat(input, &shape), 0).unwrap();
        assert_eq!(results.len(), 1);
        assert!(results.iter().all(|tensor| tensor.bytes == out));
        out
    };
    assert_eq!(bytes(vec![], &[1, 2]), [1, 2]);
    assert_eq!(bytes(vec![add.clone()], &[1, 2]), [2, 3]);
    assert_eq!(bytes(vec![add.clone(), double.clone()], &[1, 2]), [4, 6]);
    assert_eq!(bytes(vec![double.clone(), add.clone()], &[1, 2]), [3, 5]);
    assert_eq!(bytes(vec![add.clone(), add.clone(), double, add], &[0, 0]), [5, 5]);
}

#[test]
fn chains_split_and_drop() {
    let host = host();
    let split = fixed_guest(
        2,
        [0, 3, TENSORS, 0, 0],
        &[
            [16, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
            [17, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0],
            [19, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        ],
    );
    // Drops tensors of two elements.
    let filter = tensor_guest(
        1,
        &ECHO.replace(
            "(i32.store (i32.const 260) (i32.const 1))",
            "(i32.store (i32.const 260) (i32.ne (i32.load offset=12 (local.get $in)) (i32.const 2)))",
        ),
    );
    let load = |text: &str| load(&host, text, &tight()).unwrap();
    let (split, filter, add) = (load(&split), load(&filter), load(ADD_ONE));
    let mut chain = Chain::new(vec![split, filter]);
    chain.push(add);
    assert!(!chain.is_bytes());
    let mut worker = chain.worker().unwrap();
    for _ in 0..3 {
        let shape = [1];
        let results = worker.apply(flat(&[0], &shape), 9).unwrap();
        let given: Vec<_> = results.iter().map(|t| (t.shape.to_vec(), t.bytes.to_vec())).collect();
        assert_eq!(given, [(vec![1], b"h".to_vec()), (vec![1], b"t".to_vec())]);
    }
    assert_eq!(chain.remove("guest").unwrap().yields(), Yield::AtMostOne, "the later one goes first");
    assert!(chain.remove("nobody").is_none());
    assert_eq!(chain.plugins().len(), 2);
}

#[test]
fn an_error_inside_a_chain_names_its_plugin_and_spares_the_others() {
    let host = host();
    let bad = load(
        &host,
        &tensor_guest(0, "(func (export \"zenith_process\") (param i32) (result i32) (unreachable))"),
        &tight(),
    )
    .unwrap();
    let add = load(&host, ADD_ONE, &tight()).unwrap();
    let mut worker = Chain::new(vec![add.clone(), bad.clone()]).worker().unwrap();
    let shape = [1];
    let error = worker.apply(flat(&[0], &shape), 9).unwrap_err();
    assert!(error.to_string().starts_with("guest: trapped in zenith_process"), "{error}");
    assert_eq!((add.stats().traps, bad.stats().traps), (0, 1));
    let error = worker.apply_bytes(&[0], &mut [0]).unwrap_err();
    assert_eq!(error.kind(), "bad_input");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn bytes_of_any_length_become_their_successors(
        samples in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3_000), 1..8),
        allocates: bool,
    ) {
        let text = if allocates { with_alloc(ADD_ONE) } else { ADD_ONE.to_owned() };
        let mut instance = instance(&text);
        for sample in samples {
            let expected: Vec<u8> = sample.iter().map(|byte| byte.saturating_add(1)).collect();
            let mut out = vec![0; sample.len()];
            instance.apply_bytes(&sample, &mut out).unwrap();
            prop_assert_eq!(out, expected);
        }
    }
}
