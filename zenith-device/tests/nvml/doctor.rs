//! What is told to people, each finding with its fix.

use zenith_device::doctor::examine;
use zenith_fakenvml::{Code, Ecc, Gpu, Rows, Script};
use zenith_runtime_cpu::doctor::{Finding, State};

use crate::Machine;

fn named<'a>(findings: &'a [Finding], name: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|finding| finding.name == name).collect()
}

#[test]
fn a_machine_without_gpus_has_nothing_to_fix() {
    let findings = examine(&Machine::with_bytes(None).settings());
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.state == State::Good && finding.fix.is_none()));
    assert_eq!(named(&findings, "nvidia driver")[0].value, "not on this machine");
}

#[test]
fn a_broken_driver_is_a_limit_with_a_fix() {
    for machine in [
        Machine::with_bytes(Some(b"this is no library")),
        Machine::new(&Script { init: Code::LibRmVersionMismatch, ..Script::eight() }),
    ] {
        let findings = examine(&machine.settings());
        let driver = named(&findings, "nvidia driver")[0];
        assert!(driver.state == State::Limit && driver.fix.is_some(), "{driver:?}");
        assert!(named(&findings, "gpu health").is_empty(), "nothing is known of it");
    }
}

#[test]
fn an_old_driver_is_a_note() {
    let findings = examine(&Machine::lacking(&Script::eight(), &["nvmlDeviceGetMigMode"]).settings());
    let drivers = named(&findings, "nvidia driver");
    assert_eq!(drivers[0].value, "version 580.82.07, CUDA up to 13.0, tells of 8 GPUs");
    assert_eq!((drivers[0].state, drivers[1].state), (State::Good, State::Note));
    assert!(drivers[1].value.contains("nvmlDeviceGetMigMode") && drivers[1].fix.is_some());
}

#[test]
fn gpus_that_are_not_well_are_named_with_what_repairs_them() {
    let mut script = Script::two_pairs();
    script.gpus[1].ecc = Some(Ecc { enabled: true, uncorrected: 2, ..Ecc::default() });
    script.gpus[2].rows = Some(Rows { pending: true, ..Rows::default() });
    let findings = examine(&Machine::new(&script).settings());
    let health = named(&findings, "gpu health");
    assert_eq!(health.len(), 2, "{health:?}");
    assert_eq!((health[0].state, health[1].state), (State::Limit, State::Note));
    assert!(health[0].value.starts_with("GPU 1 (GPU-00000001-"), "{}", health[0].value);
    assert!(health[0].value.contains("2 memory errors were not corrected"));
    assert!(health[0].fix.as_ref().unwrap().contains("--gpu-reset"));
    assert!(health[1].value.contains("degraded"));
}

#[test]
fn gpus_that_are_well_say_what_is_not_counted() {
    let healthy = |gpus| examine(&Machine::new(&Script { gpus, ..Script::empty() }).settings());
    let all = healthy(vec![Gpu::numbered(0)]);
    assert_eq!(named(&all, "gpu health")[0].value, "no errors counted or pending");
    let some = healthy(vec![Gpu::numbered(0), Gpu { ecc: None, ..Gpu::numbered(1) }]);
    assert!(named(&some, "gpu health")[0].value.contains("1 of 2 do not offer every counter"));
    assert!(some.iter().all(|finding| finding.state == State::Good));
}
