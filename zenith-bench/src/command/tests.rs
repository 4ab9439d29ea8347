//! The program as a user runs it, on tiny sizes.

use serde_json::Value;

use super::*;
use crate::record::SCHEMA;

fn run(arguments: &[&str]) -> Result<String, Failure> {
    let command = Command::try_parse_from(["zenith-bench"].iter().chain(arguments))?;
    let mut out = Vec::new();
    execute(&command, &mut out)?;
    Ok(String::from_utf8(out)?)
}

#[test]
fn quick_measures_every_scenario_and_leaves_a_record_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/folder");
    let table = run(&["quick", "--seconds", "0.004", "--out", out.to_str().unwrap()]).unwrap();
    let record: Value = serde_json::from_str(&fs::read_to_string(out.join(RECORD)).unwrap()).unwrap();
    let page = fs::read_to_string(out.join(PAGE)).unwrap();

    assert_eq!(record["schema"], SCHEMA);
    for fact in ["cpu", "cores", "kernel", "memory_bytes", "rustc", "profile"] {
        assert!(!record["machine"][fact].is_null(), "{fact} is missing");
    }
    let scenarios = record["scenarios"].as_array().unwrap();
    assert_eq!(scenarios.len(), ALL.len());
    for (scenario, expected) in scenarios.iter().zip(&ALL) {
        assert_eq!(scenario["name"], expected.name);
        assert!(page.contains(&format!("id=\"{}\"", expected.name)));
        assert!(page.contains(expected.title) && table.contains(expected.title));
        let groups = scenario["groups"].as_array().unwrap();
        assert!(!groups.is_empty(), "{} has no groups", expected.name);
        for group in groups {
            check_group(group);
            assert!(page.contains(group["title"].as_str().unwrap()));
        }
    }
    assert!(!page.contains("http"), "the page must not need the network");
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

/// Every figure is there and has an order; one rival is what the others are compared with.
fn check_group(group: &Value) {
    let cases = group["cases"].as_array().unwrap();
    let is_reference = |case: &&Value| case["beside_rival"].is_null();
    assert_eq!(cases.iter().filter(is_reference).count(), 1, "{group}");
    assert!(cases.iter().any(|case| case["side"] == "zenith"), "{group}");
    for case in cases {
        let of = |kind: &str, what: &str| case[kind][what].as_f64().unwrap();
        for kind in ["wall", "cpu"] {
            assert!(of(kind, "min") <= of(kind, "median") && of(kind, "median") <= of(kind, "max"));
        }
        assert!(of("wall", "min") > 0.0, "{case}");
        assert_eq!(case["rounds"], cases[0]["rounds"]);
        assert_eq!(case["rounds"].as_u64().unwrap() % 3, 0);
        assert_ne!(case["checksum"], 0);
        if !case["beside_rival"].is_null() {
            assert!(of("beside_rival", "wall") > 0.0, "{case}");
        }
    }
}

#[test]
fn list_names_the_scenarios_and_run_knows_them() {
    let list = run(&["list"]).unwrap();
    for scenario in &ALL {
        assert!(list.contains(scenario.name));
    }
    let error = run(&["run", "rings", "nonsense"]).unwrap_err().to_string();
    assert!(error.contains("nonsense") && error.contains("tabular"), "{error}");
    assert!(run(&["quick", "--seconds", "-1"]).is_err());
}

#[test]
fn a_folder_without_pictures_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = run(&["run", "decode", "--pictures", missing.to_str().unwrap()]).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}
