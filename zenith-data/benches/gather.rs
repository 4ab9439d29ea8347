//! Rows per second of filling batches from a table in memory in exact random order, against a plain copy row by row of
//! the same memory into the same slots. Rounds alternate; both wall time and the thread's CPU time are shown, because
//! the latter is steadier on a machine that does other things.
//!
//! `cargo bench -p zenith-data --bench gather [-- ROWS]`
#![expect(unsafe_code, reason = "the CPU clock of the thread is a system call")]
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::time::{Duration, Instant};

use zenith_data::DType;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::source::table::{MemoryColumn, TableOptions, TableSource};
use zenith_data::source::{SampleKey, Source, Spent};

const FEATURES: usize = 100;
const ROUNDS: usize = 5;
/// Slabs in rotation, as a loader with a few batches ahead has them.
const SLABS: usize = 4;

fn cpu_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Fisher-Yates: every row once.
fn permutation(rows: usize) -> Vec<SampleKey> {
    let mut state = 42;
    let mut ids: Vec<u64> = (0..rows as u64).collect();
    for at in (1..rows).rev() {
        ids.swap(at, random(&mut state) as usize % (at + 1));
    }
    ids.into_iter().map(|sample| SampleKey { sample, seed: 0, epoch: 0 }).collect()
}

/// Calls `fill` for every whole batch; gives million rows per second of wall and of CPU time.
fn rate(keys: &[SampleKey], batch: usize, mut fill: impl FnMut(usize, &[SampleKey])) -> (f64, f64) {
    let (wall, cpu) = (Instant::now(), cpu_time());
    for (nth, keys) in keys.chunks_exact(batch).enumerate() {
        fill(nth % SLABS, keys);
    }
    let rows = (keys.len() / batch * batch) as f64 / 1e6;
    (rows / wall.elapsed().as_secs_f64(), rows / (cpu_time() - cpu).as_secs_f64())
}

fn median(values: &mut [(f64, f64)]) -> (f64, f64) {
    let middle = values.len() / 2;
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let wall = values[middle].0;
    values.sort_by(|a, b| a.1.total_cmp(&b.1));
    (wall, values[middle].1)
}

fn main() {
    let rows = std::env::args().filter_map(|a| a.parse().ok()).next().unwrap_or(2_000_000usize);
    // Columns of their own, so that the table is transposed into its own memory, as it is when loaded from a file.
    let columns: Vec<MemoryColumn> = (0..FEATURES)
        .map(|c| {
            let values = (0..rows).flat_map(|r| ((r * FEATURES + c) as f32).to_le_bytes()).collect();
            MemoryColumn::owned(format!("f{c}"), DType::Float32, [], values)
        })
        .chain(std::iter::once({
            let labels = (0..rows).flat_map(|r| (r as i64).to_le_bytes()).collect();
            MemoryColumn::owned("label", DType::Int64, [], labels)
        }))
        .collect::<Result<_, _>>()
        .expect("columns");
    let source = TableSource::from_columns(&columns, &TableOptions::default()).expect("a table");
    drop(columns);
    let plain: Vec<f32> = (0..rows * FEATURES).map(|v| v as f32).collect();
    let labels: Vec<i64> = (0..rows as i64).collect();
    let keys = permutation(rows);
    println!(
        "{rows} rows of {FEATURES} float32 and an int64 label, random order, one thread; M rows/s (wall, CPU), medians of {ROUNDS}"
    );
    for batch in [64usize, 1024] {
        let layout = SlotLayout::new(source.schema(), batch);
        let mut slabs: Vec<Vec<u8>> = (0..SLABS).map(|_| vec![1u8; layout.bytes]).collect();
        let mut filler = source.filler().expect("a filler");
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(rate(&keys, batch, |slab, keys| {
                let mut slots = Slots::of(&mut slabs[slab], &layout, batch);
                filler.fill(keys, &mut slots, &mut Spent::default()).expect("rows");
            }));
            theirs.push(rate(&keys, batch, |slab, keys| {
                let (inputs, rest) = slabs[slab].split_at_mut(layout.offsets[1]);
                for (nth, key) in keys.iter().enumerate() {
                    let row = key.sample as usize;
                    let source = &plain[row * FEATURES..(row + 1) * FEATURES];
                    for (slot, value) in
                        inputs[nth * FEATURES * 4..(nth + 1) * FEATURES * 4].chunks_exact_mut(4).zip(source)
                    {
                        slot.copy_from_slice(&value.to_le_bytes());
                    }
                    rest[nth * 8..(nth + 1) * 8].copy_from_slice(&labels[row].to_le_bytes());
                }
            }));
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        println!(
            "batch {batch:5}: gather {:5.2} {:5.2}   row by row {:5.2} {:5.2}   ratio {:.2} {:.2}",
            ours.0,
            ours.1,
            theirs.0,
            theirs.1,
            ours.0 / theirs.0,
            ours.1 / theirs.1
        );
    }
}
