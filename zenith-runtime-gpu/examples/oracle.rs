//! What the selection loses against an oracle: over 60 multiplications it is compared with measuring every candidate at length, in the
//! same run. Prints a line for each shape and a summary.
//!
//! `cargo run --release -p zenith-runtime-gpu --example oracle [-- ROUNDS]`
#![expect(clippy::print_stdout, reason = "what an example prints is what it is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use zenith_runtime_gpu::kernel::key::{Layout, Problem};
use zenith_runtime_gpu::kernel::matmul;
use zenith_runtime_gpu::kernel::select::decide::estimate;
use zenith_runtime_gpu::kernel::select::time;
use zenith_runtime_gpu::kernel::timer::{CpuTimer, Sample, Timer};
use zenith_runtime_gpu::kernel::{Candidates, Device, Selector, Settings, Store};

/// Rounds of the oracle, each a sample of every candidate.
const ROUNDS: usize = 31;
/// A loss that is explained.
const EXPLAINED: f64 = 0.05;
/// What the oracle warms up with.
const WARM: Duration = Duration::from_millis(20);

/// The shapes: squares, a row by a matrix, layers of transformers with few and many tokens, thin and flat ones, sizes that fit no
/// vector, and transposed and wide elements.
fn problems() -> Result<Vec<Problem>, Box<dyn Error>> {
    let squares = [8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768].map(|n| [n, n, n]);
    let rows =
        [[1, 256, 256], [1, 1024, 1024], [1, 4096, 1024], [1, 1024, 4096], [2, 768, 768], [4, 3072, 768]];
    let layers = [
        [8, 768, 768],
        [16, 2304, 768],
        [32, 768, 3072],
        [64, 512, 512],
        [64, 3072, 768],
        [128, 768, 768],
        [256, 1024, 256],
        [512, 512, 64],
        [512, 64, 512],
        [197, 192, 768],
    ];
    let thin = [
        [4096, 16, 16],
        [4096, 32, 64],
        [2048, 8, 512],
        [16, 16, 4096],
        [32, 32, 8192],
        [512, 512, 4],
        [1024, 1024, 8],
        [10_000, 10, 10],
        [10, 10_000, 10],
        [3, 3, 3],
        [256, 1, 256],
        [2048, 1, 512],
    ];
    let odd = [[17, 31, 13], [37, 101, 53], [101, 101, 101], [251, 127, 67], [333, 77, 555], [509, 509, 509]];
    let rowwise = [squares.as_slice(), &rows, &layers, &thin, &odd].concat();

    let plain = [Layout::Rows; 3];
    let transposed = [Layout::Rows, Layout::Columns, Layout::Rows];
    let mut problems = Vec::new();
    for size in rowwise {
        problems.push(matmul::problem(matmul::FLOAT32, size, plain)?);
    }
    for size in
        [[32, 32, 32], [128, 128, 128], [64, 768, 768], [1, 1024, 1024], [512, 64, 64], [384, 384, 384]]
    {
        problems.push(matmul::problem(matmul::FLOAT32, size, transposed)?);
    }
    for size in [
        [16, 16, 16],
        [64, 64, 64],
        [100, 100, 100],
        [256, 256, 256],
        [512, 512, 512],
        [1, 512, 512],
        [2000, 20, 20],
    ] {
        problems.push(matmul::problem(matmul::FLOAT64, size, plain)?);
    }
    Ok(problems)
}

/// The median time of every candidate, measured in turn.
fn oracle(problem: &Problem, candidates: &Candidates, rounds: usize) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut timer = CpuTimer::new();
    let mut workload = matmul::workload(problem)?;
    let mut runs = Vec::new();
    for candidate in candidates.list() {
        let mut prepared = candidate.prepare(problem, workload.as_mut())?;
        let pace = timer.pace(prepared.as_mut(), WARM)?;
        runs.push((prepared, pace, Vec::<Sample>::new()));
    }
    let count = runs.len();
    for round in 0..rounds {
        for turn in 0..count {
            let (prepared, pace, samples) = &mut runs[(round + turn) % count];
            samples.push(timer.sample(prepared.as_mut(), pace)?);
        }
    }
    Ok(runs
        .iter()
        .map(|(_, _, samples)| estimate(samples).map_or(f64::INFINITY, |estimate| estimate.ns))
        .collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    let candidates = matmul::candidates()?;
    let problems = problems()?;
    let folder = tempfile::tempdir()?;
    let selector = Selector::new(Device::cpu(), Some(Store::at(folder.path())), Settings::default());
    println!(
        "{} shapes, {} candidates, {rounds} rounds of the oracle, {}",
        problems.len(),
        candidates.list().len(),
        selector.device().model
    );

    let name = |index: usize| candidates.list()[index].id().name.as_str();
    let (mut tuning, mut longest) = (Duration::ZERO, Duration::ZERO);
    let (mut losses, mut against_default) = (Vec::new(), Vec::new());
    let mut always = vec![Vec::new(); candidates.list().len()];
    let mut winners: BTreeMap<&str, usize> = BTreeMap::new();
    for problem in &problems {
        let start = Instant::now();
        let choice =
            selector.choose(problem, &candidates, &mut || matmul::workload(problem), &mut CpuTimer::new())?;
        let took = start.elapsed();
        (tuning, longest) = (tuning + took, longest.max(took));

        let times = oracle(problem, &candidates, rounds)?;
        let best = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b])).ok_or("no candidates")?;
        let loss = times[choice.index] / times[best] - 1.0;
        *winners.entry(name(best)).or_default() += 1;
        losses.push(loss);
        against_default.push(times[choice.index] / times[0]);
        always.iter_mut().zip(&times).for_each(|(always, own)| always.push(own / times[best]));
        let [m, n, k] = ["m", "n", "k"].map(|dim| problem.dim(dim).unwrap_or(0));
        let family = problem.family();
        println!(
            "{:>5} x {n:>5} x {k:>4} {} {:<4}  chosen {:<14} best {:<14} {:>9}  loss {:>5.1} %  of the default {:>4.2}  tuned in {:>4} ms  ({})",
            m,
            family.dtypes[0],
            family.layouts[1],
            name(choice.index),
            name(best),
            time(times[best]),
            loss * 100.0,
            times[choice.index] / times[0],
            took.as_millis(),
            times.iter().map(|own| format!("{:.2}", own / times[best])).collect::<Vec<_>>().join(" "),
        );
    }

    // What is lost is explained: by what the selection saw.
    for (problem, _) in problems.iter().zip(&losses).filter(|(_, loss)| **loss > EXPLAINED) {
        println!("{}", selector.explain(problem, &candidates)?);
    }

    let warm = Selector::new(Device::cpu(), Some(Store::at(folder.path())), Settings::default());
    let start = Instant::now();
    for problem in &problems {
        warm.choose(
            problem,
            &candidates,
            &mut || Err(zenith_runtime_gpu::kernel::Failure("a warm process measures nothing".into())),
            &mut CpuTimer::new(),
        )?;
    }
    let reading = start.elapsed();

    let worst = losses.iter().copied().fold(0.0, f64::max);
    let mean =
        |ratios: &[f64]| (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    println!("winners: {winners:?}");
    for (index, always) in always.iter().enumerate() {
        println!(
            "always {:<14} {:.3} of the oracle's time, worst {:.2}",
            name(index),
            mean(always),
            always.iter().copied().fold(0.0, f64::max)
        );
    }
    let chosen: Vec<f64> = losses.iter().map(|loss| 1.0 + loss).collect();
    println!(
        "chosen: {:.4} of the oracle's time, loss median {:.2} %, worst {:.2} %, more than 2 %: {} of {}",
        mean(&chosen),
        median(losses.clone()) * 100.0,
        worst * 100.0,
        losses.iter().filter(|&&loss| loss > 0.02).count(),
        losses.len()
    );
    println!("against the default: worst {:.3}", against_default.iter().copied().fold(0.0, f64::max));
    println!(
        "tuning: {:.1} s, longest {} ms; read by a warm process in {:.1} ms",
        tuning.as_secs_f64(),
        longest.as_millis(),
        reading.as_secs_f64() * 1e3
    );
    Ok(())
}
