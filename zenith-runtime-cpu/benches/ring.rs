//! Throughput of the ring between two pinned threads, against rtrb and crossbeam's ArrayQueue, in alternating rounds.
//! Every value is summed by the consumer and the sum checked; a refused push or an empty pop counts for nothing.
//!
//! `cargo bench -p zenith-runtime-cpu --bench ring -- [rounds] [millions of values]`

#![expect(unsafe_code, reason = "pins its two threads with sched_setaffinity")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints a table")]

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;
use zenith_runtime_cpu::buffer::ring;

const CAPACITY: usize = 1024;
const BATCH: usize = 64;

/// A value that carries its number.
trait Value: Copy + Default + Send + 'static {
    fn new(n: u64) -> Self;
    fn number(&self) -> u64;
}

impl Value for u64 {
    fn new(n: u64) -> Self {
        n
    }
    fn number(&self) -> u64 {
        *self
    }
}

/// One cache line.
#[derive(Clone, Copy, Default)]
struct Line([u64; 8]);

impl Value for Line {
    fn new(n: u64) -> Self {
        Line([n; 8])
    }
    fn number(&self) -> u64 {
        (self.0[0] & self.0[7]) | (self.0[3] & !self.0[4])
    }
}

fn pin(core: usize) {
    // SAFETY: the set is a plain bit set that outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &raw const set), 0, "two cores are needed");
    }
}

/// Runs both ends, each pinned, from a common start; checks the sum; values per second.
fn race(
    count: u64,
    produce: impl FnOnce(u64) + Send + 'static,
    consume: impl FnOnce(u64) -> u64 + Send + 'static,
) -> f64 {
    let start = Arc::new(Barrier::new(2));
    let begin = Arc::clone(&start);
    let producer = thread::spawn(move || {
        pin(0);
        begin.wait();
        produce(count);
    });
    let consumer = thread::spawn(move || {
        pin(1);
        start.wait();
        let clock = Instant::now();
        let sum = consume(count);
        (sum, clock.elapsed())
    });
    producer.join().unwrap();
    let (sum, took): (u64, Duration) = consumer.join().unwrap();
    assert_eq!(sum, (1..=count).sum::<u64>(), "values were lost or torn");
    count as f64 / took.as_secs_f64()
}

fn ours<V: Value>(count: u64) -> f64 {
    let (mut producer, mut consumer) = ring::ring::<V>(CAPACITY);
    race(
        count,
        move |count| {
            for n in 1..=count {
                while producer.try_push(V::new(n)).is_err() {
                    spin_loop();
                }
            }
        },
        move |count| {
            let mut sum = 0;
            for _ in 0..count {
                sum += loop {
                    match consumer.try_pop() {
                        Some(value) => break value.number(),
                        None => spin_loop(),
                    }
                };
            }
            sum
        },
    )
}

fn ours_blocking<V: Value>(count: u64) -> f64 {
    let (mut producer, mut consumer) = ring::waiting::<V>(CAPACITY);
    race(
        count,
        move |count| (1..=count).for_each(|n| assert!(producer.push(V::new(n)).is_ok())),
        move |count| (0..count).map(|_| consumer.pop().unwrap().number()).sum(),
    )
}

fn rtrb<V: Value>(count: u64) -> f64 {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<V>::new(CAPACITY);
    race(
        count,
        move |count| {
            for n in 1..=count {
                while producer.push(V::new(n)).is_err() {
                    spin_loop();
                }
            }
        },
        move |count| {
            let mut sum = 0;
            for _ in 0..count {
                sum += loop {
                    match consumer.pop() {
                        Ok(value) => break value.number(),
                        Err(_) => spin_loop(),
                    }
                };
            }
            sum
        },
    )
}

fn crossbeam<V: Value>(count: u64) -> f64 {
    let queue = Arc::new(ArrayQueue::<V>::new(CAPACITY));
    let other = Arc::clone(&queue);
    race(
        count,
        move |count| {
            for n in 1..=count {
                while queue.push(V::new(n)).is_err() {
                    spin_loop();
                }
            }
        },
        move |count| {
            let mut sum = 0;
            for _ in 0..count {
                sum += loop {
                    match other.pop() {
                        Some(value) => break value.number(),
                        None => spin_loop(),
                    }
                };
            }
            sum
        },
    )
}

/// Pushes `1..=count` through `push`, which takes a slice and says how much of it went in.
fn push_in_batches<V: Value>(count: u64, mut push: impl FnMut(&[V]) -> usize) {
    let mut batch = [V::default(); BATCH];
    let mut next = 1;
    while next <= count {
        let len = BATCH.min((count - next + 1) as usize);
        for (at, slot) in batch[..len].iter_mut().enumerate() {
            *slot = V::new(next + at as u64);
        }
        let mut done = 0;
        while done < len {
            let pushed = push(&batch[done..len]);
            if pushed == 0 {
                spin_loop();
            }
            done += pushed;
        }
        next += len as u64;
    }
}

/// Takes `count` values through `pop`, which fills the front of a slice and says how much.
fn pop_in_batches<V: Value>(count: u64, mut pop: impl FnMut(&mut [V]) -> usize) -> u64 {
    let mut batch = [V::default(); BATCH];
    let (mut sum, mut left) = (0, count);
    while left > 0 {
        let popped = pop(&mut batch);
        if popped == 0 {
            spin_loop();
        }
        sum += batch[..popped].iter().map(Value::number).sum::<u64>();
        left -= popped as u64;
    }
    sum
}

fn ours_batched<V: Value>(count: u64) -> f64 {
    let (mut producer, mut consumer) = ring::ring::<V>(CAPACITY);
    race(
        count,
        move |count| push_in_batches(count, |values: &[V]| producer.push_slice(values)),
        move |count| pop_in_batches(count, |values: &mut [V]| consumer.pop_into(values)),
    )
}

fn rtrb_batched<V: Value>(count: u64) -> f64 {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<V>::new(CAPACITY);
    race(
        count,
        move |count| push_in_batches(count, |values: &[V]| producer.push_partial_slice(values).0.len()),
        move |count| pop_in_batches(count, |values: &mut [V]| consumer.pop_partial_slice(values).0.len()),
    )
}

type Entry = (&'static str, fn(u64) -> f64);

fn table(title: &str, rounds: usize, count: u64, entries: &[Entry]) {
    let mut rates = vec![Vec::new(); entries.len()];
    for _ in 0..rounds {
        for (entry, rates) in entries.iter().zip(&mut rates) {
            rates.push(entry.1(count));
        }
    }
    println!("{title}");
    let mut first = 0.0;
    for (at, (entry, rates)) in entries.iter().zip(&mut rates).enumerate() {
        rates.sort_by(f64::total_cmp);
        let (median, best) = (rates[rates.len() / 2] / 1e6, rates[rates.len() - 1] / 1e6);
        if at == 0 {
            first = median;
        }
        println!("  {:<22} median {median:8.1}  best {best:8.1} M/s  {:5.2}x", entry.0, first / median);
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let rounds = arguments.next().unwrap_or(7) as usize;
    let count = arguments.next().unwrap_or(10) * 1_000_000;
    table(
        "u64, one by one",
        rounds,
        count,
        &[
            ("zenith", ours::<u64>),
            ("rtrb", rtrb::<u64>),
            ("crossbeam ArrayQueue", crossbeam::<u64>),
            ("zenith, blocking", ours_blocking::<u64>),
        ],
    );
    table(
        "64 bytes, one by one",
        rounds,
        count,
        &[
            ("zenith", ours::<Line>),
            ("rtrb", rtrb::<Line>),
            ("crossbeam ArrayQueue", crossbeam::<Line>),
            ("zenith, blocking", ours_blocking::<Line>),
        ],
    );
    table(
        "u64, in batches of 64",
        rounds,
        4 * count,
        &[("zenith", ours_batched::<u64>), ("rtrb", rtrb_batched::<u64>)],
    );
    table(
        "64 bytes, in batches of 64",
        rounds,
        count,
        &[("zenith", ours_batched::<Line>), ("rtrb", rtrb_batched::<Line>)],
    );
}
