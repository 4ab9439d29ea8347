//! What performance counters say, and what is said where there are none.

use std::time::Duration;

use zenith_device::activity::{Sampler, Seen, Unavailable};
use zenith_device::{Kind, Source};
use zenith_fakenvml::{Busy, Code, Gpu, Script};

use crate::Machine;

const EVERY: Duration = Duration::from_millis(100);

fn script(busy: Vec<Busy>) -> Script {
    Script { gpus: vec![Gpu::numbered(0), Gpu { busy, ..Gpu::numbered(1) }], ..Script::empty() }
}

/// What a sampler has seen once something holds of it.
fn seen(sampler: &Sampler, holds: impl Fn(&Seen) -> bool) -> Seen {
    loop {
        let seen = sampler.seen();
        if holds(&seen) {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn intervals_and_their_mean() {
    let busy = |sm, tensor| Busy { sm: Some(sm), tensor, ..Busy::default() };
    let machine = Machine::new(&script(vec![busy(80.0, Some(50.0)), busy(20.0, None)]));
    // The address that frameworks give is written in either case.
    let sampler = Sampler::start(&machine.settings(), Some("0000:11:00.0"), EVERY).unwrap();
    let seen = seen(&sampler, |seen| seen.intervals >= 2);
    let first = seen.newest[0];
    assert_eq!((first.sm, first.tensor, first.memory, first.occupancy), (Some(0.8), Some(0.5), None, None));
    let second = seen.newest[1];
    assert_eq!((second.sm, second.tensor), (Some(0.2), None));
    assert!(second.start >= first.start + first.seconds - 1e-9 && first.seconds >= 0.1);
    let weighted: f64 = seen.newest.iter().map(|interval| interval.sm.unwrap() * interval.seconds).sum();
    assert!((seen.mean.sm.unwrap() - weighted / seen.mean.seconds).abs() < 1e-9);
    assert_eq!(seen.mean.tensor, Some(0.5), "the mean is over the time in which it was told");
    assert_eq!((seen.mean.memory, seen.ended), (None, None));
}

#[test]
fn a_gpu_that_stops_answering_ends_it_with_a_reason() {
    let lost = Busy { fault: Code::GpuIsLost, ..Busy::default() };
    let machine = Machine::new(&script(vec![Busy { sm: Some(10.0), ..Busy::default() }, lost]));
    let sampler = Sampler::start(&machine.settings(), Some("0000:11:00.0"), EVERY).unwrap();
    let seen = seen(&sampler, |seen| seen.ended.is_some());
    assert_eq!((seen.intervals, seen.newest.len(), seen.mean.sm), (1, 1, Some(0.1)));
}

#[test]
fn why_there_is_none() {
    let why = |machine: &Machine, pci| Sampler::start(&machine.settings(), pci, EVERY).unwrap_err();
    let absent = why(&Machine::with_bytes(None), None);
    assert!(
        matches!(&absent, Unavailable::Nvml(finding) if finding.kind == Kind::Absent && finding.source == Source::Nvml)
    );
    let machine = Machine::new(&script(Vec::new()));
    assert_eq!(why(&machine, None), Unavailable::Unsupported { gpu: 0 });
    assert_eq!(why(&machine, Some("0000:77:00.0")), Unavailable::NoGpu { pci: "0000:77:00.0".to_owned() });
    assert_eq!(
        why(&Machine::new(&Script::empty()), None),
        Unavailable::NoGpu { pci: "any address".to_owned() }
    );
    let old = Machine::lacking(&script(Vec::new()), &["nvmlGpmSampleFree"]);
    assert_eq!(why(&old, None), Unavailable::Old { names: vec!["nvmlGpmSampleFree"] });
}
