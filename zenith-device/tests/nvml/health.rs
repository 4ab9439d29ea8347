//! What is reported of GPUs, and what counters say.

use std::time::{Duration, Instant};

use zenith_device::health::{Cause, Change, Check, Monitor, Remedy, State, Watch, Xid};
use zenith_fakenvml::{Code, Event, Script};

use crate::Machine;

/// Long enough that a wait which sleeps it out is seen, and no test waits for it.
const LONG: Duration = Duration::from_secs(60);

fn states(monitor: &Monitor<'_>) -> Vec<State> {
    monitor.health().map(|gpu| gpu.state).collect()
}

fn causes(monitor: &Monitor<'_>, gpu: usize) -> Vec<Cause> {
    monitor.health().nth(gpu).unwrap().causes.clone()
}

#[test]
fn an_xid_condemns_one_gpu_and_programs_faults_none() {
    let events = [(0, 31), (0, 13), (3, 79), (1, 43), (2, 63), (3, 45)]
        .map(|(gpu, number)| Event::Xid { gpu, number })
        .to_vec();
    let machine = Machine::new(&Script { events, ..Script::eight() });
    let watch = Watch::open(&machine.settings()).unwrap();
    let mut monitor = watch.monitor().unwrap();
    assert_eq!(states(&monitor), [State::Healthy; 8]);
    let started = Instant::now();
    let changes = monitor.wait(LONG);
    assert!(started.elapsed() < LONG, "the first error ends the wait");
    let reported: Vec<(u32, u64)> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Reported { gpu, xid } => Some(((*gpu)?, xid.number?)),
            _ => None,
        })
        .collect();
    assert_eq!(reported, [(0, 31), (0, 13), (3, 79), (1, 43), (2, 63), (3, 45)]);
    assert_eq!(
        changes[6..],
        [
            Change::State { gpu: 2, from: State::Healthy, to: State::Degraded },
            Change::State { gpu: 3, from: State::Healthy, to: State::Condemned },
        ]
    );
    let cause = causes(&monitor, 3)[0];
    assert_eq!((cause, cause.remedy()), (Cause::Xid(Xid::of(79)), Remedy::Reboot));
    assert!(cause.to_string().contains("Xid 79"));
    assert_eq!(states(&monitor)[..2], [State::Healthy; 2]);
    // It stays, until somebody says that it was repaired.
    assert!(monitor.wait(Duration::ZERO).is_empty());
    assert_eq!(states(&monitor)[3], State::Condemned);
    monitor.clear(3);
    assert_eq!(states(&monitor)[3], State::Healthy);
}

#[test]
fn an_error_without_a_number_degrades() {
    let events = vec![Event::DoubleBit { gpu: 1 }, Event::Xid { gpu: 0, number: 999 }];
    let machine = Machine::new(&Script { events, ..Script::two_pairs() });
    let watch = Watch::open(&machine.settings()).unwrap();
    let mut monitor = watch.monitor().unwrap();
    let started = Instant::now();
    monitor.wait(LONG);
    assert!(started.elapsed() < LONG);
    assert_eq!(states(&monitor)[..2], [State::Degraded, State::Condemned]);
    assert_eq!(causes(&monitor, 1), [Cause::DoubleBitEcc]);
}

#[test]
fn counters_hold_as_long_as_they_say_so() {
    let mut script = Script::two_pairs();
    let machine = Machine::new(&script);
    let watch = Watch::open(&machine.settings()).unwrap();
    let mut monitor = watch.monitor().unwrap();
    script.gpus[0].ecc.as_mut().unwrap().uncorrected = 3;
    script.gpus[1].rows.as_mut().unwrap().failed = true;
    script.gpus[2].rows.as_mut().unwrap().pending = true;
    script.gpus[3].recovery = Some(2);
    machine.rewrite(&script);
    assert_eq!(monitor.wait(Duration::ZERO).len(), 4);
    assert_eq!(states(&monitor), [State::Condemned, State::Condemned, State::Degraded, State::Condemned]);
    assert_eq!(causes(&monitor, 0), [Cause::UncorrectedEcc { count: 3 }]);
    assert_eq!(causes(&monitor, 1), [Cause::RowRemapFailed]);
    assert_eq!(causes(&monitor, 2), [Cause::RowRemapPending]);
    assert_eq!(causes(&monitor, 3), [Cause::RecoveryAsked { action: Remedy::Reboot }]);
    machine.rewrite(&Script::two_pairs());
    let changes = monitor.wait(Duration::ZERO);
    assert_eq!(changes[0], Change::State { gpu: 0, from: State::Condemned, to: State::Healthy });
    assert_eq!(states(&monitor), [State::Healthy; 4]);
}

#[test]
fn a_gpu_that_falls_off_the_bus_or_needs_a_reset_is_condemned() {
    let mut script = Script::two_pairs();
    script.gpus[0].fault = Code::GpuIsLost;
    let machine = Machine::new(&script);
    let watch = Watch::open(&machine.settings()).unwrap();
    let mut monitor = watch.monitor().unwrap();
    assert_eq!(causes(&monitor, 0), [Cause::FellOffBus], "it was lost from the start");
    script.gpus[1].fault = Code::GpuIsLost;
    script.gpus[2].fault = Code::ResetRequired;
    machine.rewrite(&script);
    monitor.wait(Duration::ZERO);
    assert_eq!(causes(&monitor, 1), [Cause::FellOffBus]);
    assert_eq!(causes(&monitor, 2), [Cause::ResetRequired]);
    assert_eq!(states(&monitor)[3], State::Healthy);
    // It came back.
    machine.rewrite(&Script::two_pairs());
    monitor.wait(Duration::ZERO);
    monitor.clear(0);
    assert_eq!(states(&monitor), [State::Healthy; 4]);
    assert!(monitor.health().next().unwrap().uuid.is_some());
}

#[test]
fn what_a_gpu_does_not_offer_is_said_to_be_unwatched() {
    let mut script = Script::two_pairs();
    script.gpus[0].ecc = None;
    script.gpus[0].rows = None;
    script.gpus[0].recovery = None;
    script.gpus[1].has_events = false;
    script.gpus[2].register = Code::Unknown;
    script.events = vec![Event::Xid { gpu: 3, number: 48 }];
    let machine = Machine::new(&script);
    let watch = Watch::open(&machine.settings()).unwrap();
    let mut monitor = watch.monitor().unwrap();
    let unwatched: Vec<_> = monitor.health().map(|gpu| gpu.unwatched.clone()).collect();
    assert_eq!(
        unwatched,
        [vec![Check::Ecc, Check::RowRemap, Check::Recovery], vec![Check::Xid], vec![Check::Xid], vec![]]
    );
    monitor.wait(LONG);
    assert_eq!(states(&monitor)[3], State::Condemned, "the others are listened to all the same");
}

#[test]
fn a_library_without_events_still_has_counters() {
    let mut script = Script::two_pairs();
    script.gpus[2].ecc.as_mut().unwrap().uncorrected = 1;
    let machine = Machine::lacking(&script, &["nvmlEventSetFree"]);
    let watch = Watch::open(&machine.settings()).unwrap();
    let mut monitor = watch.monitor().unwrap();
    assert!(monitor.health().all(|gpu| gpu.unwatched == [Check::Xid]));
    monitor.wait(Duration::from_millis(1));
    assert_eq!(states(&monitor), [State::Healthy, State::Healthy, State::Condemned, State::Healthy]);
}
