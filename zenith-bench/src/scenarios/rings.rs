//! Values from one thread to another through a bounded ring. A refused push or an empty pop counts for nothing; the
//! consumer sums what the values carry.

use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::thread::yield_now;

use crossbeam_queue::ArrayQueue;
use zenith_runtime_cpu::buffer::ring;
use zenith_runtime_cpu::numa::CpuSet;
use zenith_runtime_cpu::thread::{Thread, ThreadConfig, allowed_cpus};

use super::{Bench, Scenario};
use crate::Failure;
use crate::harness::{Agreement, Contender, Done, Group, Quantity, Race};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rings",
    title: "Rings",
    about: "Values from a thread to another, each on a processor of its own, through 1,024 slots: Zenith's ring beside \
            rtrb's in many short rounds, each with its memory in another place, and the one whose ends can wait beside \
            crossbeam's ArrayQueue (which also allows several producers and consumers). In batches, up to 64 values go \
            in and out at once. How far apart two processors are decides the speed, and on a virtual machine the host \
            may move them between rounds.",
    run,
};

const SLOTS: usize = 1024;
const BATCH: usize = 64;
/// Tries before a waiting end lets others have its processor, which only matters where processors are short.
const PATIENCE: u32 = 2000;

/// A value that carries its number.
trait Value: Copy + Default + Send + 'static {
    fn new(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Value for u64 {
    fn new(number: u64) -> Self {
        number
    }
    fn number(&self) -> u64 {
        *self
    }
}

/// One cache line.
#[derive(Clone, Copy, Default)]
struct Line([u64; 8]);

impl Value for Line {
    fn new(number: u64) -> Self {
        Self([number; 8])
    }
    /// Wrong for a torn line.
    fn number(&self) -> u64 {
        (self.0[0] & self.0[7]) | (self.0[3] & !self.0[4])
    }
}

/// Spins, and yields now and then.
#[derive(Default)]
struct Wait(u32);

impl Wait {
    #[inline]
    fn once(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(PATIENCE) {
            yield_now();
        } else {
            spin_loop();
        }
    }
}

/// Where both ends run, and how much goes through.
struct Track {
    ends: [Option<CpuSet>; 2],
    values: u64,
    /// Rings made so far.
    made: Cell<usize>,
}

impl Track {
    fn new(values: u64) -> Result<Self, Failure> {
        let alone = |cpu| {
            let mut set = CpuSet::new();
            set.insert(cpu);
            set
        };
        let cpus: Vec<u32> = allowed_cpus()?.iter().take(2).collect();
        let ends = match cpus[..] {
            [first, second] => [Some(alone(first)), Some(alone(second))],
            _ => [None, None],
        };
        Ok(Self { ends, values, made: Cell::new(0) })
    }

    /// Makes a ring at a place in the heap that changes from one to the next, by whole steps of the allocator's alignment
    /// over the size of a page: where it lies beside other lines is worth more than most differences between two rings,
    /// and would otherwise be the same in all rounds of a run.
    fn place<R>(&self, make: impl FnOnce() -> R) -> R {
        const STEPS: usize = 256;
        let made = self.made.replace(self.made.get() + 1);
        // 157 is prime to 256, so that the steps of a few rounds are already spread.
        let shift = black_box(Vec::<u128>::with_capacity(1 + made * 157 % STEPS));
        let ring = make();
        drop(shift);
        ring
    }

    /// Runs both ends on threads of their own; the consumer gives the sum.
    fn run(
        &self,
        passes: u64,
        produce: impl FnOnce() + Send + 'static,
        consume: impl FnOnce() -> u64 + Send + 'static,
    ) -> Result<Done, Failure> {
        let config =
            |name: &str, at: usize| ThreadConfig { name: name.to_owned(), cpus: self.ends[at].clone() };
        let producer = Thread::spawn(config("producer", 0), produce)?;
        let sum = Thread::spawn(config("consumer", 1), consume)?.join()?;
        producer.join()?;
        Ok(Done { units: passes * self.values, sum, took: None })
    }

    fn one_by_one<V: Value>(
        &self,
        passes: u64,
        mut push: impl FnMut(V) -> bool + Send + 'static,
        mut pop: impl FnMut() -> Option<V> + Send + 'static,
    ) -> Result<Done, Failure> {
        let values = self.values;
        let produce = move || {
            for n in (0..passes).flat_map(|_| 1..=values) {
                let mut wait = Wait::default();
                while !push(V::new(n)) {
                    wait.once();
                }
            }
        };
        let consume = move || {
            let mut sum = 0;
            for _ in 0..passes * values {
                let mut wait = Wait::default();
                sum += loop {
                    match pop() {
                        Some(value) => break value.number(),
                        None => wait.once(),
                    }
                };
            }
            sum
        };
        self.run(passes, produce, consume)
    }

    fn in_batches<V: Value>(
        &self,
        passes: u64,
        mut push: impl FnMut(&[V]) -> usize + Send + 'static,
        mut pop: impl FnMut(&mut [V]) -> usize + Send + 'static,
    ) -> Result<Done, Failure> {
        let values = self.values;
        let produce = move || {
            let mut batch = [V::default(); BATCH];
            for first in (0..passes).flat_map(|_| (1..=values).step_by(BATCH)) {
                let len = BATCH.min((values - first + 1) as usize);
                for (slot, n) in batch[..len].iter_mut().zip(first..) {
                    *slot = V::new(n);
                }
                let mut left = &batch[..len];
                let mut wait = Wait::default();
                while !left.is_empty() {
                    let pushed = push(left);
                    left = &left[pushed..];
                    if pushed == 0 {
                        wait.once();
                    }
                }
            }
        };
        let consume = move || {
            let mut batch = [V::default(); BATCH];
            let (mut sum, mut left) = (0, passes * values);
            let mut wait = Wait::default();
            while left > 0 {
                let popped = pop(&mut batch);
                sum += batch[..popped].iter().map(Value::number).sum::<u64>();
                left -= popped as u64;
                if popped == 0 {
                    wait.once();
                }
            }
            sum
        };
        self.run(passes, produce, consume)
    }
}

/// Our ring and rtrb's, value by value.
fn single<V: Value>(track: &Track) -> Vec<Contender<'_>> {
    vec![
        Contender::ours("zenith", |passes| {
            let (mut producer, mut consumer) = track.place(|| ring::ring::<V>(SLOTS));
            track.one_by_one(
                passes,
                move |value| producer.try_push(value).is_ok(),
                move || consumer.try_pop(),
            )
        }),
        Contender::rival("rtrb", |passes| {
            let (mut producer, mut consumer) = track.place(|| rtrb::RingBuffer::<V>::new(SLOTS));
            track.one_by_one(passes, move |value| producer.push(value).is_ok(), move || consumer.pop().ok())
        }),
    ]
}

/// Rings that promise more than rtrb's, value by value.
fn richer<V: Value>(track: &Track) -> Vec<Contender<'_>> {
    vec![
        Contender::ours("zenith, ends that wait", |passes| {
            let (mut producer, mut consumer) = track.place(|| ring::waiting::<V>(SLOTS));
            track.one_by_one(passes, move |value| producer.push(value).is_ok(), move || consumer.pop().ok())
        }),
        Contender::rival("crossbeam ArrayQueue", |passes| {
            let queue = Arc::new(ArrayQueue::<V>::new(SLOTS));
            let other = Arc::clone(&queue);
            track.one_by_one(passes, move |value| queue.push(value).is_ok(), move || other.pop())
        }),
    ]
}

fn batched<V: Value>(track: &Track) -> Vec<Contender<'_>> {
    vec![
        Contender::ours("zenith", |passes| {
            let (mut producer, mut consumer) = track.place(|| ring::ring::<V>(SLOTS));
            track.in_batches(
                passes,
                move |values: &[V]| producer.push_slice(values),
                move |values: &mut [V]| consumer.pop_into(values),
            )
        }),
        Contender::rival("rtrb", |passes| {
            let (mut producer, mut consumer) = track.place(|| rtrb::RingBuffer::<V>::new(SLOTS));
            track.in_batches(
                passes,
                move |values: &[V]| producer.push_partial_slice(values).0.len(),
                move |values: &mut [V]| consumer.pop_partial_slice(values).0.len(),
            )
        }),
    ]
}

fn run(bench: &mut Bench) -> Result<Vec<Group>, Failure> {
    let track = Track::new(bench.sizes.values)?;
    let race = |title: &str, contenders| Race {
        title: title.to_owned(),
        unit: "values",
        quantity: Quantity::Throughput,
        agreement: Agreement::Exact,
        contenders,
        absent: Vec::new(),
    };
    Ok(vec![
        bench.duel(race("u64, one by one", single::<u64>(&track)))?,
        bench.duel(race("64 bytes, one by one", single::<Line>(&track)))?,
        bench.duel(race("u64, in batches", batched::<u64>(&track)))?,
        bench.duel(race("64 bytes, in batches", batched::<Line>(&track)))?,
        bench.race(race("u64, one by one, rings that can do more", richer::<u64>(&track)))?,
        bench.race(race("64 bytes, one by one, rings that can do more", richer::<Line>(&track)))?,
    ])
}
