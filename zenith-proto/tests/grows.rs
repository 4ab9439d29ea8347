//! What was said once is said for ever: no field, value or method goes away, or changes its number, its name or its type.
//! `ZENITH_BLESS=1 cargo test -p zenith-proto` adds what is new to the list; nothing takes away from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

/// Numbers of every message that are left to installations.
const THEIRS: std::ops::Range<i32> = 100..200;

#[test]
fn what_was_said_before_is_still_said() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let files = protox::compile([root.join("proto/zenith.proto")], [root.join("proto")]).unwrap();
    let mut said = BTreeSet::new();
    for file in &files.file {
        for message in &file.message_type {
            let name = message.name();
            let is_theirs = |at: &i32| {
                message.reserved_range.iter().any(|range| (range.start()..range.end()).contains(at))
            };
            assert!(THEIRS.clone().all(|at| is_theirs(&at)), "{name} does not reserve {THEIRS:?}");
            let is_map = message
                .nested_type
                .iter()
                .all(|nested| nested.options.as_ref().is_some_and(|options| options.map_entry()));
            assert!(
                is_map && message.enum_type.is_empty(),
                "{name} has types within, which nobody looks at here"
            );
            for field in &message.field {
                let kind = match field.type_name() {
                    "" => format!("{:?}", field.r#type()),
                    named => named.to_owned(),
                };
                let absent = if field.proto3_optional() { " optional" } else { "" };
                let one_of = match field.oneof_index.and_then(|at| message.oneof_decl.get(at as usize)) {
                    Some(one_of) if !field.proto3_optional() => format!(" of {}", one_of.name()),
                    _ => String::new(),
                };
                said.insert(format!(
                    "{name}.{} = {}: {:?} {kind}{absent}{one_of}",
                    field.name(),
                    field.number(),
                    field.label()
                ));
            }
        }
        for known in &file.enum_type {
            said.extend(
                known
                    .value
                    .iter()
                    .map(|value| format!("{}.{} = {}", known.name(), value.name(), value.number())),
            );
        }
        for service in &file.service {
            said.extend(service.method.iter().map(|method| {
                let stream = |is_stream| if is_stream { "stream " } else { "" };
                format!(
                    "{}.{}({}{}) {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                )
            }));
        }
    }
    let path = root.join("proto/said.txt");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    let gone: Vec<&String> = kept.difference(&said).collect();
    assert!(gone.is_empty(), "no longer said as it was: {gone:#?}");
    if env::var_os("ZENITH_BLESS").is_some() {
        let lines: Vec<&str> = said.iter().map(String::as_str).collect();
        fs::write(&path, lines.join("\n") + "\n").unwrap();
    } else {
        let new: Vec<&String> = said.difference(&kept).collect();
        assert!(
            new.is_empty(),
            "not in {}: ZENITH_BLESS=1 cargo test -p zenith-proto: {new:#?}",
            path.display()
        );
    }
}
