//! What one record costs, alone and with all cores recording into the same metric. One clock reading per million.
//!
//! `cargo bench -p zenith-runtime-cpu --bench telemetry`

#![expect(clippy::print_stdout, reason = "a program that prints a table")]

use std::thread;
use std::time::Instant;

use zenith_runtime_cpu::telemetry::{Counter, Histogram};

const RECORDS: u64 = 1_000_000;
const ROUNDS: usize = 31;

/// The best round of each thread, averaged over the threads, in nanoseconds a record.
fn cost(threads: usize, record: impl Fn(u64) + Sync) -> f64 {
    let best = || {
        (0..ROUNDS)
            .map(|_| {
                let start = Instant::now();
                (0..RECORDS).for_each(|n| record(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40));
                start.elapsed().as_nanos() as f64 / RECORDS as f64
            })
            .fold(f64::INFINITY, f64::min)
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(best)).collect();
        let sum: f64 = running.into_iter().map(|thread| thread.join().expect("no thread panics")).sum();
        sum / threads as f64
    })
}

fn main() {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        let (counter, histogram) = (Counter::new(), Histogram::new());
        let add = cost(threads, |value| counter.add(value));
        let record = cost(threads, |value| histogram.record(value));
        let recorded = threads as u64 * RECORDS * ROUNDS as u64;
        assert_eq!(histogram.summary().count(), recorded, "records were lost");
        assert!(counter.get() > recorded);
        println!("{threads} threads: counter {add:5.2} ns, histogram {record:5.2} ns a record");
    }
}
