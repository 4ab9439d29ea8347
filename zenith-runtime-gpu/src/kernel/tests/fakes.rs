//! Candidates that take as long as they are told, a clock that they move, and a timer that reads it. Some behave badly.
#![expect(
    unsafe_code,
    reason = "candidates write to an output through its address, some of them where they must not"
)]

use std::any::Any;
use std::ffi::OsString;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::kernel::candidate::{Candidate, CandidateId, Candidates, Failure, Judgement, Prepared, Workload};
use crate::kernel::environment::{Device, Library};
use crate::kernel::host::HostTensor;
use crate::kernel::key::{Family, Name, Problem};
use crate::kernel::sandbox::Probe;
use crate::kernel::select::gate::{Guarded, Tolerance, compare};
use crate::kernel::select::{Choice, SelectError, Selector};
use crate::kernel::timer::{Pace, Sample, Timer, TimerError};
use crate::kernel::{Buckets, Rule};

/// Elements of the output.
const LEN: usize = 16;
/// What every element of a right result is.
const RIGHT: f32 = 2.5;

/// Time that only candidates move.
#[derive(Debug)]
pub(super) struct Clock {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ns: f64,
    /// How far a call's time may be from what it should be, as a part of it.
    noise: f64,
    random: u64,
}

impl Clock {
    pub(super) fn new(noise: f64, seed: u64) -> Arc<Self> {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Arc::new(Self { state: Mutex::new(State { ns: 0.0, noise, random }) })
    }

    fn advance(&self, ns: f64) {
        let mut state = self.state.lock().unwrap();
        // Xorshift: the same numbers every time.
        state.random ^= state.random << 13;
        state.random ^= state.random >> 7;
        state.random ^= state.random << 17;
        let factor = 1.0 + state.noise * (2.0 * (state.random >> 11) as f64 / (1_u64 << 53) as f64 - 1.0);
        state.ns += ns * factor;
    }

    /// A call's work of 10 microseconds.
    pub(super) fn work(&self) {
        self.advance(1e4);
    }

    pub(super) fn ns(&self) -> f64 {
        self.state.lock().unwrap().ns
    }
}

/// A timer that reads a made-up clock.
#[derive(Debug)]
pub(super) struct FakeTimer(pub(super) Arc<Clock>);

impl Timer for FakeTimer {
    fn now(&mut self) -> Duration {
        Duration::from_nanos(self.0.ns() as u64)
    }

    fn pace(&mut self, prepared: &mut dyn Prepared, _: Duration) -> Result<Pace, TimerError> {
        let start = self.0.ns();
        prepared.run(1)?;
        Ok(Pace { calls: 1, ns: self.0.ns() - start, busy: 0.0 })
    }

    fn sample(&mut self, prepared: &mut dyn Prepared, pace: &mut Pace) -> Result<Sample, TimerError> {
        let start = self.0.ns();
        prepared.run(pace.calls)?;
        Ok(Sample { ns: (self.0.ns() - start) / pace.calls as f64, quiet: true })
    }
}

/// What a candidate does besides taking time.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Manner {
    Right,
    Wrong,
    /// Leaves the last element as it was.
    Unfinished,
    /// Writes so many elements from the begin of the output, or behind it.
    Stray(isize),
    Fails,
    Panics,
    CannotPrepare,
    Unable,
    /// Fails after so many calls.
    Tires(u64),
    /// Is tried out by a shell first.
    Risky(String),
    /// Is to be tried out first, which cannot be.
    Untriable,
}

pub(super) struct Fake {
    id: CandidateId,
    library: Library,
    manner: Manner,
    cost: Box<dyn Fn(&Problem) -> f64 + Send + Sync>,
    clock: Arc<Clock>,
    /// Calls that were made.
    pub(super) calls: Arc<AtomicU64>,
}

impl Fake {
    /// A right candidate whose calls take `ns`.
    pub(super) fn new(clock: &Arc<Clock>, name: &str, ns: f64) -> Self {
        Self::by(clock, name, move |_| ns)
    }

    pub(super) fn by(
        clock: &Arc<Clock>,
        name: &str,
        cost: impl Fn(&Problem) -> f64 + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: CandidateId::new(name, "1", "source").unwrap(),
            library: Library::new(&format!("lib{name}"), "1.0"),
            manner: Manner::Right,
            cost: Box::new(cost),
            clock: Arc::clone(clock),
            calls: Arc::default(),
        }
    }

    pub(super) fn with(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    pub(super) fn library(mut self, version: &str) -> Self {
        self.library.version = version.to_owned();
        self
    }
}

impl Candidate for Fake {
    fn id(&self) -> &CandidateId {
        &self.id
    }

    fn supports(&self, _: &Problem) -> Result<(), String> {
        if self.manner == Manner::Unable { Err("it is unable".to_owned()) } else { Ok(()) }
    }

    fn env_deps(&self) -> Vec<Library> {
        vec![self.library.clone()]
    }

    fn prepare(&self, problem: &Problem, workload: &mut dyn Workload) -> Result<Box<dyn Prepared>, Failure> {
        if self.manner == Manner::CannotPrepare {
            return Err(Failure("it does not compile".to_owned()));
        }
        let output = workload.host().and_then(|host| host.first().map(HostTensor::address));
        Ok(Box::new(Run {
            manner: self.manner.clone(),
            ns: (self.cost)(problem),
            clock: Arc::clone(&self.clock),
            calls: Arc::clone(&self.calls),
            output: output.ok_or_else(|| Failure("no output".to_owned()))?.cast(),
            own: 0,
        }))
    }

    fn probe(&self, _: &Problem) -> Option<Probe> {
        let command = match &self.manner {
            Manner::Risky(script) => vec!["/bin/sh", "-c", script],
            Manner::Untriable => vec!["/there/is/no/such/program"],
            _ => return None,
        };
        let command = command.into_iter().map(OsString::from).collect();
        Some(Probe { command, env: Vec::new(), deadline: Duration::from_millis(400) })
    }
}

struct Run {
    manner: Manner,
    ns: f64,
    clock: Arc<Clock>,
    calls: Arc<AtomicU64>,
    output: NonNull<f32>,
    own: u64,
}

impl Prepared for Run {
    fn run(&mut self, calls: u64) -> Result<(), Failure> {
        for _ in 0..calls {
            self.calls.fetch_add(1, Ordering::Relaxed);
            self.own += 1;
            self.clock.advance(self.ns);
            match self.manner {
                Manner::Fails => return Err(Failure("no".to_owned())),
                Manner::Panics => panic!("at the disco"),
                Manner::Tires(most) if self.own > most => return Err(Failure("tired".to_owned())),
                _ => {}
            }
            let value = if self.manner == Manner::Wrong { RIGHT + 0.1 } else { RIGHT };
            let written = if self.manner == Manner::Unfinished { LEN - 1 } else { LEN };
            for place in 0..written {
                // SAFETY: the output has `LEN` elements, and lives as long as its workload, which is longer than this.
                unsafe { self.output.add(place).write(value) };
            }
            if let Manner::Stray(place) = self.manner {
                // SAFETY: the places that tests stray to are in the guard zones, which are memory of the output too.
                unsafe { self.output.offset(place).write(value) };
            }
        }
        Ok(())
    }
}

/// An output that has to be [`RIGHT`] everywhere.
#[derive(Debug)]
pub(super) struct FakeWorkload {
    output: Guarded<f32>,
}

impl FakeWorkload {
    pub(super) fn new() -> Self {
        Self { output: Guarded::new(LEN) }
    }
}

impl Workload for FakeWorkload {
    fn poison(&mut self) -> Result<(), Failure> {
        self.output.poison();
        Ok(())
    }

    fn judge(&mut self) -> Result<(), Judgement> {
        self.output.check()?;
        let result = self.output.elements().iter().map(|&element| f64::from(element));
        let tolerance = Tolerance { relative: 1e-6, absolute: 0.0 };
        Ok(compare(result, [f64::from(RIGHT); LEN], tolerance)?)
    }

    fn host(&mut self) -> Option<Vec<HostTensor>> {
        let dtype = Name::new("float32").unwrap();
        // SAFETY: the output has `LEN` elements, next to each other, and is owned by this.
        Some(vec![unsafe { HostTensor::new(self.output.address().cast(), dtype, vec![LEN as u64], vec![1]) }])
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

pub(super) fn problem(length: u64) -> Problem {
    let family = Family::plain("attention", 1, &["float32"]).unwrap();
    Problem::new(family, vec![(Name::new("length").unwrap(), length)]).unwrap()
}

/// The candidates in their order, lengths in four spans per doubling.
pub(super) fn candidates(fakes: Vec<Fake>) -> Candidates {
    let mut fakes = fakes.into_iter().map(|fake| Arc::new(fake) as Arc<dyn Candidate>);
    let mut candidates = Candidates::new(fakes.next().unwrap(), Buckets::all(Rule::Octave(4)));
    fakes.for_each(|fake| candidates.add(fake).unwrap());
    candidates
}

pub(super) fn device() -> Device {
    Device { kind: "cpu".into(), model: "made up".into(), driver: None }
}

/// Chooses with the made-up workload and timer.
pub(super) fn choose(
    selector: &Selector,
    clock: &Arc<Clock>,
    length: u64,
    candidates: &Candidates,
) -> Result<Choice, SelectError> {
    let mut workload = || Ok(Box::new(FakeWorkload::new()) as Box<dyn Workload>);
    selector.choose(&problem(length), candidates, &mut workload, &mut FakeTimer(Arc::clone(clock)))
}
