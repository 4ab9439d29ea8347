//! `zenith data bench`: how fast a dataset loads, beside the bare work on one thread and, where it is installed, torch.

use std::io::Write;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::pipeline::{OnError, Pipeline, PipelineConfig, Place, Snapshot, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::source::{SampleKey, Source, Spent};
use zenith_runtime_cpu::allocator::PagesWanted;
use zenith_runtime_cpu::limits::processors;

use super::Dataset;
use crate::Failure;

/// Measure how fast a dataset loads, and what limits it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    dataset: Dataset,
    /// Samples in a batch.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    batch_size: u64,
    /// Worker threads; all cores by default.
    #[arg(long)]
    workers: Option<usize>,
    /// Seconds to measure for.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Python to look for torch in.
    #[arg(long, default_value = "python3")]
    python: String,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let source = arguments.dataset.open()?;
    let asked = arguments.workers.map_or_else(processors, Ok)?;
    let time = Duration::from_secs_f64(arguments.seconds.clamp(0.1, 3600.0));
    let bare = bare(&*source, time / 4)?;
    let (loader, snapshot, workers) = loader(&source, arguments.batch_size, asked, time)?;
    writeln!(out, "bare work, one thread     {bare:>12.0} samples/s")?;
    let label = match workers {
        workers if workers == asked => format!("loader, {workers} workers"),
        workers => format!("loader, {workers} of {asked} workers"),
    };
    writeln!(out, "{label:<26}{loader:>12.0} samples/s ({:.2} x)", loader / bare)?;
    stages(&snapshot, out)?;
    torch(arguments, workers, loader, out)
}

/// Samples per second of reading, decoding and writing alone, on this thread. Bad samples are passed over, as the loader
/// does, and do not count.
fn bare(source: &dyn Source, time: Duration) -> Result<f64, Failure> {
    let layout = SlotLayout::new(source.schema(), 64)?;
    let mut slab = vec![0u8; layout.bytes()];
    let mut filler = source.filler()?;
    let order = OrderSpec::Shuffled.epoch(source.len(), 0, 0);
    let (start, mut done, mut bad, mut last) = (Instant::now(), 0u64, 0u64, None);
    while start.elapsed() < time {
        let count = 64.min(source.len());
        let keys: Vec<SampleKey> = (done..done + count)
            .map(|at| SampleKey { sample: order.at(at % source.len()), seed: 0, epoch: 0 })
            .collect();
        let mut slots = Slots::of(&mut slab, &layout, keys.len());
        let mut at = 0;
        while at < keys.len() {
            match filler.fill(&keys[at..], &mut slots.tail(at), &mut Spent::default()) {
                Ok(()) => break,
                Err((place, error)) => {
                    bad += 1;
                    last = Some(error);
                    at += place + 1;
                }
            }
        }
        done += count;
        if let Some(error) = last.take().filter(|_| bad == done && done >= source.len()) {
            return Err(error.into());
        }
    }
    Ok((done - bad) as f64 / start.elapsed().as_secs_f64())
}

fn loader(
    source: &Arc<dyn Source>,
    batch_size: u64,
    workers: usize,
    time: Duration,
) -> Result<(f64, Snapshot, usize), Failure> {
    let spec = StreamSpec {
        order: OrderSpec::Shuffled,
        cut: Cut::Even { batch_size, rank: 0, world: 1, drop_last: false },
        samples: source.len(),
        seed: 0,
    };
    let config = PipelineConfig {
        batch_size: usize::try_from(batch_size)?,
        workers,
        uncapped: false,
        prefetch: 2,
        on_error: OnError::Skip,
        pages: PagesWanted::Auto,
        node: None,
        cpus: None,
    };
    let mut pipeline = Pipeline::new(Arc::clone(source), spec, config)?;
    let (start, mut samples, mut epoch) = (Instant::now(), 0u64, 0);
    while start.elapsed() < time {
        pipeline.begin(Place::new(epoch, 0))?;
        while let Some(batch) = pipeline.next()? {
            samples += batch.len() as u64;
            if start.elapsed() >= time {
                break;
            }
        }
        epoch += 1;
    }
    Ok((samples as f64 / start.elapsed().as_secs_f64(), pipeline.snapshot(), pipeline.size().0))
}

fn stages(snapshot: &Snapshot, out: &mut dyn Write) -> Result<(), Failure> {
    let all = snapshot.read_ns + snapshot.decode_ns + snapshot.transform_ns;
    for (name, ns) in
        [("read", snapshot.read_ns), ("decode", snapshot.decode_ns), ("transform", snapshot.transform_ns)]
    {
        let share = 100.0 * ns as f64 / all.max(1) as f64;
        writeln!(out, "  {name:<22}  {share:>12.1} % of the work")?;
    }
    if snapshot.skipped > 0 {
        writeln!(out, "  skipped                 {:>12} bad samples", snapshot.skipped)?;
    }
    Ok(())
}

/// The same on torch's DataLoader, by the Python package, where there are both.
fn torch(arguments: &Arguments, workers: usize, ours: f64, out: &mut dyn Write) -> Result<(), Failure> {
    let answer = Command::new(&arguments.python)
        .args(["-m", "zenith._bench_torch"])
        .arg(&arguments.dataset.path)
        .args([arguments.batch_size.to_string(), workers.to_string(), arguments.seconds.to_string()])
        .output();
    let rate = match &answer {
        Ok(answer) if answer.status.success() => {
            String::from_utf8_lossy(&answer.stdout).trim().parse::<f64>().ok()
        }
        _ => None,
    };
    match rate {
        Some(rate) => {
            writeln!(out, "torch, {workers} workers          {rate:>12.0} samples/s ({:.2} x)", ours / rate)?;
        }
        None => {
            let reason = match answer {
                Ok(answer) => {
                    String::from_utf8_lossy(&answer.stderr).lines().last().unwrap_or("no answer").to_owned()
                }
                Err(error) => error.to_string(),
            };
            writeln!(out, "torch                     not measured: {reason}")?;
        }
    }
    Ok(())
}
