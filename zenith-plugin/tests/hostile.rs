//! Guests that want to do harm, one by one: each is stopped with its own error, the next call is served, and others go
//! on.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[expect(dead_code, reason = "every test uses some of it")]
mod handwritten;

use std::time::{Duration, Instant};

use handwritten::{
    ADD_ONE, TENSORS, apply, bytes_guest, fixed_guest, host, instance, load, tensor_guest, tight,
};
use zenith_plugin::{Host, Instance, Limits, Plugin, PluginError};

/// A guest that does harm when the first byte is 1, and else adds one to it.
fn sometimes(harm: &str) -> String {
    bytes_guest(&format!(
        "(if (i32.eq (i32.load8_u (local.get $at)) (i32.const 1)) (then {harm}))
         (i32.store8 (local.get $at) (i32.add (i32.load8_u (local.get $at)) (i32.const 1)))
         (i32.const 0)"
    ))
}

/// The error of a call that does harm; calls before and after it must be served, and another plugin's too.
fn harmed(harm: &str) -> PluginError {
    let host = host();
    let hostile = load(&host, &sometimes(harm), &tight()).unwrap();
    let neighbour = load(&host, ADD_ONE, &tight()).unwrap();
    let (mut hostile_instance, mut other_thread) = (hostile.instance().unwrap(), hostile.instance().unwrap());
    let mut neighbour = neighbour.instance().unwrap();
    let good = |instance: &mut Instance| {
        let mut bytes = [5, 6, 7];
        instance.apply_in_place(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(good(&mut hostile_instance), [6, 6, 7]);
    let mut bytes = [1, 2, 3];
    let error = hostile_instance.apply_in_place(&mut bytes).unwrap_err();
    assert_eq!(bytes, [1, 2, 3], "a failed call gives nothing");
    assert_eq!(good(&mut hostile_instance), [6, 6, 7], "the next call gets a new copy");
    assert_eq!(good(&mut other_thread), [6, 6, 7]);
    assert_eq!(good(&mut neighbour), [6, 7, 8]);
    let again = hostile_instance.apply_in_place(&mut bytes).unwrap_err();
    assert_eq!(again.kind(), error.kind());
    assert_eq!((hostile.stats().calls, hostile.stats().traps), (5, 2));
    error
}

#[test]
fn an_endless_loop_is_stopped_in_time() {
    let error = harmed("(loop $ever (br $ever))");
    assert!(
        matches!(error, PluginError::Deadline { deadline, .. } if deadline == tight().deadline),
        "{error}"
    );
    // Whoever shares the machine may make a single call late, but not all of them.
    let mut instance = instance(&sometimes("(loop $ever (br $ever))"));
    let mut late = || {
        let start = Instant::now();
        instance.apply_in_place(&mut [1]).unwrap_err();
        start.elapsed().saturating_sub(tight().deadline)
    };
    let best = (0..100).map(|_| late()).find(|late| *late <= Duration::from_millis(10));
    assert!(best.is_some(), "no call of a hundred was stopped within 10 ms of its deadline");
}

#[test]
fn making_a_copy_is_within_the_deadline() {
    let deadline = Duration::from_millis(100);
    let works = |turns: u64| {
        format!(
            "(module (memory (export \"memory\") 1)
               (func $start (local $left i64) (local.set $left (i64.const {turns}))
                 (loop $more (br_if $more (i64.ne (i64.const 0) (local.tee $left (i64.sub (local.get $left) (i64.const 1)))))))
               (start $start)
               (func (export \"process\") (param i32 i32) (result i32) (loop $ever (br $ever)) (i32.const 0)))"
        )
    };
    let limits = |deadline| Limits { deadline, ..tight() };
    let loading = |turns| {
        let start = Instant::now();
        load(&host(), &works(turns), &limits(Duration::from_secs(60))).unwrap();
        start.elapsed()
    };
    let turns = (0..40).map(|power| 1_u64 << power).find(|turns| loading(*turns) > deadline / 2).unwrap();
    // The start function takes a half of the deadline at least, and the call would take all of it.
    let plugin = loop {
        if let Ok(plugin) = load(&host(), &works(turns), &limits(deadline * 2)) {
            break plugin;
        }
    };
    let mut instance = plugin.instance().unwrap();
    let mut took = || {
        let start = Instant::now();
        assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), "deadline");
        start.elapsed()
    };
    took();
    let best = (0..30).map(|_| took()).find(|took| *took < deadline * 2 + deadline / 4);
    assert!(best.is_some(), "each call with a new copy took far longer than its deadline");
}

#[test]
fn modules_that_would_take_gigabytes_to_compile_are_refused() {
    let results = "i32 ".repeat(1_000);
    let wide = format!(
        "(module (memory (export \"memory\") 1) (type $t (func (result {results})))
           (func $f (type $t) (unreachable)) (func $g (param {results}))
           (func (export \"process\") (param i32 i32) (result i32) {} (i32.const 0)))",
        "(block (type $t) (call $f)) (call $g) ".repeat(2_000)
    );
    let narrow = format!(
        "(module (memory (export \"memory\") 1)
           (func (export \"process\") (param i32 i32) (result i32) {} (i32.const 0)))",
        "(drop (block (result i32) (i32.const 0))) ".repeat(20_000)
    );
    let looked_up = format!(
        "(module (memory (export \"memory\") 1) (type $t (func)) (table 1 funcref)
           (func (export \"process\") (param i32 i32) (result i32) (local {}) {} (i32.const 0) {}))",
        "i32 ".repeat(20_000),
        "(call_indirect (type $t) (i32.const 0)) ".repeat(10_000),
        (2..20_000).map(|local| format!("local.tee {local} ")).collect::<String>(),
    );
    for text in [wide, narrow, looked_up] {
        let bytes = wat::parse_str(&text).unwrap();
        assert!(bytes.len() < 128 << 10, "{}", bytes.len());
        let error = host().load(&bytes, "", &Limits::default()).unwrap_err();
        assert!(matches!(error, PluginError::FunctionTooIntricate { function: 0 | 2, .. }), "{error}");
        assert_eq!(error.kind(), "too_large");
    }
}

#[test]
fn a_thread_with_too_little_stack_is_told_so() {
    let deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    let text = sometimes("(drop (call $deep (i32.const 0)))").replacen("(func", &format!("{deep} (func"), 1);
    let mut instance = instance(&text);
    std::thread::scope(|scope| {
        let small = std::thread::Builder::new().stack_size(256 << 10);
        let told = small.spawn_scoped(scope, || instance.apply_in_place(&mut [1]).unwrap_err()).unwrap();
        let error = told.join().unwrap();
        assert_eq!(error.kind(), "thread_stack", "{error}");
    });
    assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), "stack");
    instance.apply_in_place(&mut [2]).unwrap();
}

#[test]
fn a_loop_of_calls_is_stopped_too() {
    let harm = "(loop $ever (drop (memory.size)) (drop (call_indirect (param i32 i32) (result i32)
        (i32.const 0) (i32.const 0) (i32.const 0))) (br $ever))";
    let text = sometimes(harm).replace(
        "(table $table 1 funcref)",
        "(table $table 1 funcref) (elem (i32.const 0) $calm)
        (func $calm (param i32 i32) (result i32) (i32.const 0))",
    );
    let mut instance = instance(&text);
    assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), "deadline");
}

#[test]
fn deadlines_are_kept_while_others_are_busy() {
    let host = host();
    let endless = load(&host, &sometimes("(loop $ever (br $ever))"), &tight()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut instance = endless.instance().unwrap();
                let start = Instant::now();
                assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), "deadline");
                let took = start.elapsed();
                assert!(took >= tight().deadline, "stopped early, after {took:?}");
            });
        }
    });
}

#[test]
fn a_memory_bomb_ends_at_the_limit() {
    // Grows until it is refused, and then gives up by a trap.
    let error = harmed(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 8)) (i32.const -1)))) (unreachable)",
    );
    assert!(
        matches!(error, PluginError::Memory { limit, wanted, .. } if limit == 4 << 20 && wanted > limit),
        "{error}"
    );
    // The same, but it reports an error code of its own.
    let error = harmed(
        "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 8)) (i32.const -1)))) (return (i32.const 12))",
    );
    assert_eq!(error.kind(), "memory");
}

#[test]
fn a_guest_that_copes_with_little_memory_is_served() {
    let mut instance = instance(&bytes_guest("(drop (memory.grow (i32.const 60000))) (i32.const 0)"));
    for _ in 0..3 {
        instance.apply_in_place(&mut [1, 2]).unwrap();
    }
}

#[test]
fn memory_that_grows_with_every_call_ends_at_the_limit_and_starts_anew() {
    let host = host();
    let text = bytes_guest(
        "(if (i32.eq (memory.grow (i32.const 4)) (i32.const -1)) (then (unreachable))) (i32.const 0)",
    );
    let plugin = load(&host, &text, &tight()).unwrap();
    let mut instance = plugin.instance().unwrap();
    let kinds: Vec<bool> = (0..64)
        .map(|_| match instance.apply_in_place(&mut [1, 2, 3]) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind(), "memory", "{error}");
                false
            }
        })
        .collect();
    // 64 pages: one of the module's, one of the host's, four a call.
    assert!(kinds[..15].iter().all(|good| *good) && !kinds[15]);
    assert!(kinds[16..31].iter().all(|good| *good) && !kinds[31], "{kinds:?}");
}

#[test]
fn deep_recursion_ends_at_the_stack_limit() {
    let error = harmed("(drop (call $process (local.get $at) (local.get $length)))");
    assert!(matches!(error, PluginError::Stack { .. }), "{error}");
}

#[test]
fn traps_are_named() {
    let error = harmed("(unreachable)");
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert!(matches!(error, PluginError::Trap { call: "process", .. }), "{error}");
    for (harm, words) in [
        ("(drop (i32.div_u (local.get $at) (i32.const 0)))", "divide by zero"),
        ("(drop (i32.load (i32.const -4)))", "out of bounds memory"),
        ("(i32.store offset=4294967295 (i32.const -1) (i32.const 0))", "out of bounds memory"),
        ("(memory.fill (i32.const 65530) (i32.const 0) (i32.const -1))", "out of bounds memory"),
        ("(drop (call_indirect (param i32) (result i32) (i32.const 0) (i32.const 9)))", "table"),
        ("(drop (i32.trunc_f32_u (f32.const nan)))", "conversion to integer"),
    ] {
        let error = harmed(harm);
        assert!(error.kind() == "trap" && error.to_string().contains(words), "{harm}: {error}");
    }
}

#[test]
fn fuel_ends_a_call_at_the_same_place() {
    let limits = Limits { fuel: Some(10_000), deadline: Duration::from_secs(20), ..Limits::default() };
    let host = host();
    // Counts its rounds in a global that the next call cannot see, so count them in the error code instead.
    let plugin = load(&host, &sometimes("(loop $ever (br $ever))"), &limits).unwrap();
    let mut instance = plugin.instance().unwrap();
    for _ in 0..3 {
        let error = instance.apply_in_place(&mut [1]).unwrap_err();
        assert!(matches!(error, PluginError::Fuel { fuel: 10_000, .. }), "{error}");
        instance.apply_in_place(&mut [5]).unwrap();
    }
    let short = load(&host, ADD_ONE, &limits).unwrap();
    let mut instance = short.instance().unwrap();
    let longest = |instance: &mut Instance| {
        (1..10_000).find(|length| instance.apply_in_place(&mut vec![0; *length]).is_err()).unwrap()
    };
    assert_eq!(longest(&mut instance), longest(&mut instance), "fuel is deterministic");
}

#[test]
fn tables_are_bounded() {
    let error = harmed("(drop (table.grow $table (ref.null func) (i32.const 70000))) (unreachable)");
    assert!(matches!(error, PluginError::Tables { what: "table elements", wanted: 70_001, .. }), "{error}");
    let limits = tight();
    let refused = |text: &str| load(&host(), text, &limits).unwrap_err();
    assert_eq!(refused(&bytes_guest("(i32.const 0)").replace("1 funcref", "70000 funcref")).kind(), "tables");
    let many = bytes_guest("(i32.const 0)")
        .replace("(global", &format!("{} (global", "(table 1 funcref)".repeat(4)));
    assert!(matches!(refused(&many), PluginError::Tables { what: "tables", wanted: 5, limit: 4, .. }));
}

#[test]
fn modules_that_need_too_much_are_refused_before_they_run() {
    let text = "(module (memory (export \"memory\") 65) (func (export \"process\") (param i32 i32) (result i32) (i32.const 0))
        (func $start unreachable) (start $start))";
    let error = load(&host(), text, &tight()).unwrap_err();
    assert!(matches!(error, PluginError::Memory { wanted: 4_259_840, .. }), "{error}");
}

#[test]
fn a_huge_module_is_refused_before_it_is_compiled() {
    let mut bytes = wat::parse_str(ADD_ONE).unwrap();
    // A custom section of 100 MB.
    let length = 100_000_000_u32;
    bytes.push(0);
    bytes.extend((0..5).map(|i| ((length >> (7 * i)) & 0x7f) as u8 | if i < 4 { 0x80 } else { 0 }));
    bytes.resize(bytes.len() + length as usize, 0);
    let start = Instant::now();
    let error = host().load(&bytes, "", &Limits::default()).unwrap_err();
    assert!(matches!(error, PluginError::TooLarge { limit: 16_777_216, .. }), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(100_000_000).unwrap();
    let error = host().load_file(file.path(), "", &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), "too_large");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_huge_function_is_refused_before_it_is_compiled() {
    // Compiling loops within loops takes time by the square of their number.
    let loops = format!("{} {}", "loop ".repeat(50_000), "end ".repeat(50_000));
    let text = bytes_guest("(i32.const 0)").replace("(global", &format!("(func {loops}) (global"));
    let start = Instant::now();
    let error = load(&host(), &text, &Limits::default()).unwrap_err();
    assert!(
        matches!(&error, PluginError::FunctionTooLarge { function: 0, limit: 131_072, .. })
            && error.kind() == "too_large",
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    let small = Limits { function_bytes: 10, ..Limits::default() };
    assert_eq!(load(&host(), ADD_ONE, &small).unwrap_err().kind(), "too_large");
}

#[test]
fn starts_that_never_end_are_stopped() {
    let endless = "(func $ever (loop $ever (br $ever)))";
    let module = |items: &str| bytes_guest("(i32.const 0)").replace("(global", &format!("{items} (global"));
    for items in [
        format!("{endless} (start $ever)"),
        endless.replacen("$ever (", "$ever (export \"_initialize\") (", 1),
    ] {
        let error = load(&host(), &module(&items), &tight()).unwrap_err();
        assert_eq!(error.kind(), "deadline", "{items}");
    }
    let version = "(func (export \"zenith_process\") (param i32) (result i32) unreachable)";
    let text =
        tensor_guest(0, version).replace("(i32.const 64))\n", "(loop $ever (br $ever)) (i32.const 64))\n");
    assert_eq!(load(&host(), &text, &tight()).unwrap_err().kind(), "deadline");
    let configure = tensor_guest(
        0,
        &format!(
            "{version} (func (export \"zenith_configure\") (param i32 i32) (result i32) (loop $ever (br $ever)) unreachable)"
        ),
    );
    assert_eq!(load(&host(), &configure, &tight()).unwrap_err().kind(), "deadline");
}

#[test]
fn a_start_that_traps_is_named() {
    let text =
        bytes_guest("(i32.const 0)").replace("(global", "(func $bad unreachable) (start $bad) (global");
    let error = load(&host(), &text, &tight()).unwrap_err();
    assert!(matches!(&error, PluginError::Trap { call: "its start function", .. }), "{error}");
}

#[test]
fn what_is_no_plugin_is_refused() {
    let kind = |bytes: &[u8]| host().load(bytes, "", &Limits::default()).unwrap_err().kind();
    let text = |text: &str| kind(&wat::parse_str(text).unwrap());
    assert_eq!(kind(b"no module"), "not_wasm");
    assert_eq!(kind(b"\0asm\x01\0\0\0\x07"), "compile");
    assert_eq!(text("(module)"), "missing_export");
    assert_eq!(text("(module (memory (export \"memory\") 1 1 shared))"), "compile");
    assert_eq!(
        text("(module (func (export \"process\") (param i32 i32) (result i32) unreachable))"),
        "missing_export"
    );
    assert_eq!(
        text("(module (memory (export \"memory\") 1) (func (export \"process\")))"),
        "wrong_signature"
    );
    assert_eq!(text("(module (import \"env\" \"exec\" (func)))"), "unknown_import");
    let path = std::path::Path::new("/nowhere/x.wasm");
    let error = host().load_file(path, "", &Limits::default()).unwrap_err();
    assert!(matches!(&error, PluginError::Io { path: at, .. } if at == path), "{error}");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(host().load_file(folder.path(), "", &Limits::default()).unwrap_err().kind(), "io");
}

#[test]
fn places_that_cannot_be_are_refused() {
    let with = |answer: &str| {
        let alloc = format!("(func (export \"zenith_alloc\") (param i32) (result i32) {answer})");
        let text = bytes_guest("(i32.const 0)").replace("(global", &format!("{alloc} (global"));
        let mut instance = instance(&text);
        instance.apply_in_place(&mut [1, 2, 3]).unwrap_err()
    };
    assert_eq!(with("(i32.const 0)").kind(), "memory");
    assert_eq!(with("(i32.const 8)").kind(), "bad_result");
    assert_eq!(with("(i32.const 65536)").kind(), "bad_result");
    assert_eq!(with("(i32.const -16)").kind(), "bad_result");
    assert_eq!(with("(loop $ever (br $ever)) (i32.const 16)").kind(), "deadline");
    assert!(matches!(with("unreachable"), PluginError::Trap { call: "zenith_alloc", .. }));
}

/// The error of a guest that returns what it should not.
fn refused(flags: u32, result: [u32; 5], tensors: &[[u32; 11]]) -> PluginError {
    let mut instance = instance(&fixed_guest(flags, result, tensors));
    apply(&mut instance, &[1, 2, 3]).unwrap_err()
}

const fn bytes_at(at: u32, length: u32) -> [u32; 11] {
    [at, 1, 1, length, 0, 0, 0, 0, 0, 0, 0]
}

#[test]
fn results_that_lie_are_refused() {
    let one = |tensor| refused(3, [0, 1, TENSORS, 0, 0], &[tensor]);
    for lie in [
        bytes_at(u32::MAX, 1),
        bytes_at(0, u32::MAX),
        bytes_at(131_000, 5_000_000),
        [0, 99, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        [0, 1, 9, 1, 1, 1, 1, 1, 1, 1, 1],
        [0, 1, 4, 65_536, 65_536, 65_536, 65_536, 0, 0, 0, 0],
        [2, 7, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    ] {
        assert_eq!(one(lie).kind(), "bad_result", "{lie:?}");
    }
    assert_eq!(refused(3, [0, u32::MAX, TENSORS, 0, 0], &[]).kind(), "bad_result");
    assert_eq!(refused(3, [0, 1, u32::MAX - 3, 0, 0], &[]).kind(), "bad_result");
    assert_eq!(refused(3, [5, 0, 0, 65_000, u32::MAX], &[]).kind(), "bad_result");
    let outside =
        tensor_guest(0, "(func (export \"zenith_process\") (param i32) (result i32) (i32.const -8))");
    assert_eq!(apply(&mut instance(&outside), &[1]).unwrap_err().kind(), "bad_result");
}

#[test]
fn tensors_that_overlap_are_read_but_bounded() {
    let many = vec![bytes_at(0, 60_000); 60];
    let mut overlapping = instance(&fixed_guest(2, [0, 60, TENSORS, 0, 0], &many));
    let given = apply(&mut overlapping, &[1]).unwrap();
    assert!(given.len() == 60 && given.iter().all(|tensor| tensor == &given[0] && tensor.2.len() == 60_000));
    let more = vec![bytes_at(0, 60_000); 80];
    let error = refused(2, [0, 80, TENSORS, 0, 0], &more);
    assert!(error.to_string().contains("in all"), "{error}");
}

#[test]
fn dropping_and_splitting_must_be_announced() {
    let tensors = [bytes_at(16, 2), bytes_at(18, 3)];
    let given =
        |flags, count| apply(&mut instance(&fixed_guest(flags, [0, count, TENSORS, 0, 0], &tensors)), &[1]);
    assert_eq!(given(0, 0).unwrap_err().kind(), "bad_result");
    assert_eq!(given(0, 2).unwrap_err().kind(), "bad_result");
    assert_eq!(given(1, 2).unwrap_err().kind(), "bad_result");
    assert_eq!(given(2, 0).unwrap_err().kind(), "bad_result");
    assert_eq!(given(1, 0).unwrap().len(), 0);
    let both = given(2, 2).unwrap();
    assert_eq!((both[0].2.as_slice(), both[1].2.as_slice()), (b"gu".as_slice(), b"est".as_slice()));
    assert_eq!(given(0, 1).unwrap()[0].1, [2]);
}

#[test]
fn descriptions_that_lie_are_refused() {
    let process = "(func (export \"zenith_process\") (param i32) (result i32) unreachable)";
    let kind = |text: &str| load(&host(), text, &tight()).unwrap_err().kind();
    assert_eq!(kind(&tensor_guest(8, process)), "bad_result");
    assert_eq!(
        kind(&tensor_guest(0, process).replace("(i32.const 64))\n", "(i32.const -64))\n")),
        "bad_result"
    );
    let error =
        load(&host(), &tensor_guest(0, process).replace("(i32.const 1))\n", "(i32.const 2))\n"), &tight());
    assert!(matches!(error, Err(PluginError::UnknownAbi { version: 2, .. })), "{error:?}");
    // One that exports and imports what this host has never heard of.
    let next = "(module (import \"zenith\" \"clock\" (func)) (memory (export \"memory\") 1)
        (func (export \"zenith_abi_version\") (result i32) (i32.const 3))
        (func (export \"zenith_process3\")))";
    let error = load(&host(), next, &tight());
    assert!(matches!(error, Err(PluginError::UnknownAbi { version: 3, .. })), "{error:?}");
}

#[test]
fn a_flood_of_lines_is_counted_not_shown() {
    let text = r#"(module (import "zenith" "log" (func $log (param i32 i32 i32)))
        (memory (export "memory") 1) (data (i32.const 0) "hello")
        (func (export "process") (param i32 i32) (result i32) (local $left i32)
            (local.set $left (i32.const 1000))
            (loop $more
                (call $log (i32.const 3) (i32.const 0) (i32.const 5))
                (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                (br_if $more (local.get $left)))
            (i32.const 0)))"#;
    let plugin = load(&host(), text, &Limits::default()).unwrap();
    plugin.instance().unwrap().apply_in_place(&mut [0]).unwrap();
    let suppressed = plugin.stats().suppressed;
    assert!((900..1_000).contains(&suppressed), "{suppressed}");
    let endless = text.replace("(local.set $left (i32.sub (local.get $left) (i32.const 1)))", "");
    let error =
        load(&host(), &endless, &tight()).unwrap().instance().unwrap().apply_in_place(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), "deadline");
    let outside = text.replace("(i32.const 0) (i32.const 5)", "(i32.const -1) (i32.const 5)");
    let error =
        load(&host(), &outside, &tight()).unwrap().instance().unwrap().apply_in_place(&mut [0]).unwrap_err();
    assert!(error.kind() == "bad_result" && error.to_string().contains("zenith.log"), "{error}");
}

#[test]
fn a_sample_longer_than_the_memory_is_refused_and_shorter_ones_go_on() {
    let mut instance = instance(ADD_ONE);
    assert_eq!(instance.apply_in_place(&mut vec![0; 5 << 20]).unwrap_err().kind(), "memory");
    instance.apply_in_place(&mut vec![0; 3 << 20]).unwrap();
    let fixed = ADD_ONE.replace("\"memory\") 1", "\"memory\") 1 2");
    let mut instance = handwritten::instance(&fixed);
    instance.apply_in_place(&mut vec![0; 65_536]).unwrap();
    let error = instance.apply_in_place(&mut vec![0; 65_537]).unwrap_err();
    assert!(matches!(error, PluginError::Memory { limit: 131_072, .. }), "{error}");
}

#[test]
fn hostile_neighbours_on_many_threads_disturb_nobody() {
    let host = host();
    let limits = Limits { deadline: Duration::from_millis(5), ..tight() };
    let harms = [
        "(loop $ever (br $ever))",
        "(unreachable)",
        "(drop (call $process (local.get $at) (local.get $length)))",
    ];
    let hostile: Vec<Plugin> =
        harms.iter().map(|harm| load(&host, &sometimes(harm), &limits).unwrap()).collect();
    let good = load(&host, ADD_ONE, &Limits::default()).unwrap();
    std::thread::scope(|scope| {
        for plugin in &hostile {
            scope.spawn(move || {
                let mut instance = plugin.instance().unwrap();
                for _ in 0..20 {
                    instance.apply_in_place(&mut [1]).unwrap_err();
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut instance = good.instance().unwrap();
                for round in 0..5_000_u32 {
                    let mut bytes = round.to_le_bytes();
                    instance.apply_in_place(&mut bytes).unwrap();
                    assert_eq!(bytes, round.to_le_bytes().map(|byte| byte.saturating_add(1)));
                }
            });
        }
    });
}

#[test]
fn a_host_that_is_dropped_first_is_kept_by_its_plugins() {
    let plugin: Plugin = {
        let host: Host = host();
        load(&host, &sometimes("(loop $ever (br $ever))"), &tight()).unwrap()
    };
    let mut instance = plugin.instance().unwrap();
    drop(plugin);
    assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), "deadline");
}
