//! Machine settings as JSON, checked against a small machine: whatever passes must name only what the machine has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zenith_runtime_cpu::config::{Pin, RawMachineConfig};
use zenith_runtime_cpu::numa::{NumaNode, Topology};

fn machine() -> Topology {
    let set = |text: &str| text.parse().expect("a list");
    let node = |id, cpus: &str| NumaNode {
        id,
        cpus: set(cpus),
        memory_bytes: 1 << 30,
        distances: vec![10, 10],
        nearest_cpus: set(cpus),
    };
    Topology {
        cpus: set("0-7"),
        allowed_cpus: set("0-6"),
        allowed_nodes: set("0,2"),
        numa_nodes: vec![node(0, "0-3"), node(2, "4-7")],
        ..Topology::default()
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(raw) = serde_json::from_slice::<RawMachineConfig>(input) else {
        return;
    };
    let machine = machine();
    let env = raw.clone();
    let from_env = RawMachineConfig::from_env(|name| match name {
        "ZENITH_PAGES" => env.pages.clone(),
        "ZENITH_PIN" => env.pin.clone(),
        "ZENITH_NODE" => env.node.clone(),
        "ZENITH_IO" => env.io.clone(),
        _ => None,
    });
    let checked = match raw.check(&machine) {
        Ok(checked) => checked,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    assert_eq!(
        from_env.check(&machine).as_ref(),
        Ok(&checked),
        "the environment means something else"
    );
    if let Pin::To(cpus) = &checked.pin {
        assert!(!cpus.is_empty() && cpus.is_subset(&machine.allowed_cpus));
    }
    assert!(checked.node.is_none_or(|node| machine.node(node).is_some()));
    for workers in [0, 1, 9] {
        if let Some(cpus) = checked.worker_cpus(&machine, Some(2), workers) {
            assert!(cpus.is_subset(&machine.allowed_cpus));
        }
    }
});
