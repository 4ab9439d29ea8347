//! `zenith kernels demo`: the way of a decision, on matrices and with the libraries that are built in. A first pass finds nothing
//! in the store and measures; a second one, with nothing in memory, finds everything and measures nothing.

use std::cell::Cell;
use std::io::Write;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use zenith_runtime_gpu::kernel::select::{Choice, Source, time};
use zenith_runtime_gpu::kernel::{
    Candidates, CpuTimer, Device, Layout, Problem, Selector, Settings, Store, matmul,
};

use super::Chosen;
use crate::Failure;
use crate::shown::{columns, plain};

/// Show the whole way on matrices: nothing is known, measure, choose, remember, and measure nothing.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Sizes m x n x k.
    #[arg(long, value_delimiter = ',', default_value = "16x16x16,1x512x512,256x256x256,4096x8x64")]
    shapes: Vec<String>,
    /// Element type.
    #[arg(long, default_value = matmul::FLOAT32, value_parser = [matmul::FLOAT32, matmul::FLOAT64])]
    dtype: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: Chosen,
}

/// One problem of one pass.
struct Step {
    problem: Problem,
    choice: Choice,
    /// Candidates that were measured.
    benchmarks: usize,
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let problems = arguments.shapes.iter().map(|shape| problem(&arguments.dtype, shape));
    let problems = problems.collect::<Result<Vec<Problem>, Failure>>()?;
    // A store of its own, so that there is something to see each time, unless one is named.
    let folder = std::env::temp_dir().join(format!("zenith-kernels-demo-{}", std::process::id()));
    let store = if arguments.store.store.is_some() { arguments.store.open()? } else { Store::at(&folder) };
    let outcome = both(arguments, &problems, &store, out);
    if arguments.store.store.is_none() {
        let removed = std::fs::remove_dir_all(&folder);
        outcome?;
        return removed.map_err(|error| format!("{}: {error}", folder.display()).into());
    }
    outcome
}

fn both(
    arguments: &Arguments,
    problems: &[Problem],
    store: &Store,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let candidates = matmul::candidates()?;
    let device = Device::cpu();
    let passes = [pass(problems, &candidates, store, &device)?, pass(problems, &candidates, store, &device)?];
    if arguments.json {
        let step = |step: &Step| {
            json!({
                "problem": step.problem.to_string(),
                "choice": step.choice,
                "benchmarks": step.benchmarks,
                "seconds": step.seconds,
            })
        };
        let passes = passes.each_ref().map(|pass| pass.iter().map(step).collect::<Vec<_>>());
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "device": device, "passes": passes }))?)?;
        return Ok(());
    }
    writeln!(out, "{}: {}", device.kind, plain(&device.model))?;
    let selector = Selector::new(device.clone(), Some(store.clone()), Settings::default());
    for problem in problems {
        writeln!(out)?;
        write!(out, "{}", selector.explain(problem, &candidates)?)?;
    }
    for (title, pass) in
        ["first pass", "second pass, with an empty memory and the same store"].iter().zip(&passes)
    {
        writeln!(out, "\n{title}")?;
        let lines: Vec<Vec<String>> = pass.iter().map(line).collect();
        columns(out, &["M", "N", "K", "CHOICE", "FROM", "BENCHMARKS", "TOOK"], &[0, 1, 2, 5, 6], &lines)?;
    }
    Ok(())
}

/// All problems by a selection that remembers nothing yet.
fn pass(
    problems: &[Problem],
    candidates: &Candidates,
    store: &Store,
    device: &Device,
) -> Result<Vec<Step>, Failure> {
    let selector = Selector::new(device.clone(), Some(store.clone()), Settings::default());
    let step = |problem: &Problem| -> Result<Step, Failure> {
        let tuned = Cell::new(false);
        let mut workload = || {
            tuned.set(true);
            matmul::workload(problem)
        };
        let known = store.rows(&candidates.key(problem)).len();
        let start = Instant::now();
        let choice = selector.choose(problem, candidates, &mut workload, &mut CpuTimer::new())?;
        let seconds = start.elapsed().as_secs_f64();
        let now = store.rows(&candidates.key(problem)).len();
        Ok(Step {
            problem: problem.clone(),
            choice,
            benchmarks: if tuned.get() { now - known } else { 0 },
            seconds,
        })
    };
    problems.iter().map(step).collect()
}

fn problem(dtype: &str, shape: &str) -> Result<Problem, Failure> {
    let sizes: Option<Vec<u64>> =
        shape.split('x').map(|size| size.parse().ok().filter(|&size| size > 0)).collect();
    match sizes.as_deref() {
        Some(&[m, n, k]) => Ok(matmul::problem(dtype, [m, n, k], [Layout::Rows; 3])?),
        _ => Err(format!("{} is no m x n x k: 256x256x64 would work", plain(shape)).into()),
    }
}

fn line(step: &Step) -> Vec<String> {
    let size = |name| step.problem.dim(name).unwrap_or(0).to_string();
    let source = match &step.choice.source {
        Source::Measured => "measured now".to_owned(),
        Source::Stored => "the store".to_owned(),
        other => other.to_string(),
    };
    vec![
        size("m"),
        size("n"),
        size("k"),
        step.choice.candidate.name.to_string(),
        source,
        step.benchmarks.to_string(),
        time(step.seconds * 1e9),
    ]
}
