//! `zenith plugin bench`: how long a plugin takes for a tensor, on one thread and on several, beside copying the same bytes
//! in and out.

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use zenith_data::DType;
use zenith_plugin::Plugin;
use zenith_runtime_cpu::thread::{Thread, ThreadConfig, allowed_cpus};

use super::{Chosen, Sample, fits, spell};
use crate::Failure;

/// Measure how long a plugin takes.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    plugin: Chosen,
    /// Element type of the tensor it is given.
    #[arg(long, default_value = "uint8")]
    dtype: String,
    /// Shape of the tensor it is given, such as 375,500,3.
    #[arg(long, value_delimiter = ',', default_value = "150528")]
    shape: Vec<usize>,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Threads of the second measurement [default: as many as there are processors].
    #[arg(long)]
    threads: Option<usize>,
}

/// Calls between two looks at the clock.
const BLOCK: u64 = 16;

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let dtype: DType = serde_json::from_value(arguments.dtype.clone().into())?;
    let span = Duration::try_from_secs_f64(arguments.seconds)?;
    fits(dtype, &arguments.shape)?;
    let sample = Sample::random(dtype, &arguments.shape, 0);
    let loading = Instant::now();
    let plugin = arguments.plugin.load()?;
    let loaded = loading.elapsed();
    writeln!(out, "plugin       {} {}", plugin.name(), plugin.version())?;
    writeln!(out, "tensor       {}", spell(dtype, &arguments.shape))?;
    writeln!(out, "load         {:.1} ms", loaded.as_secs_f64() * 1e3)?;

    let copied = copies(&sample, span);
    let alone = calls(&plugin, &sample, span)?;
    let threads = arguments.threads.map_or_else(|| allowed_cpus().map(|cpus| cpus.iter().count()), Ok)?;
    writeln!(out, "two copies   {:.2} us", copied * 1e6)?;
    writeln!(out, "a call       {:.2} us on one thread: {:.0} calls/s", alone * 1e6, 1.0 / alone)?;
    let together = spread(&plugin, &sample, span, threads)?;
    writeln!(
        out,
        "threads      {together:.0} calls/s on {threads}: {:.2} times one thread",
        together * alone
    )?;
    Ok(())
}

/// Seconds of copying the tensor to one place and from there to another.
fn copies(sample: &Sample, span: Duration) -> f64 {
    let mut place = vec![0; sample.bytes.len()];
    let mut result = vec![0; sample.bytes.len()];
    repeat(span, || {
        std::hint::black_box(&mut place[..]).copy_from_slice(std::hint::black_box(&sample.bytes));
        std::hint::black_box(&mut result[..]).copy_from_slice(std::hint::black_box(&place));
        Ok(())
    })
    .unwrap_or(f64::NAN)
}

/// Seconds of a call, the copy of its results included.
fn calls(plugin: &Plugin, sample: &Sample, span: Duration) -> Result<f64, Failure> {
    let mut instance = plugin.instance()?;
    let mut result = Vec::new();
    repeat(span, || {
        result.clear();
        instance.apply(sample.tensor(), 0, &mut |tensor| {
            result.extend_from_slice(tensor.bytes);
            Ok(())
        })?;
        Ok(())
    })
}

/// Calls a second of all threads together.
fn spread(plugin: &Plugin, sample: &Sample, span: Duration, threads: usize) -> Result<f64, Failure> {
    let workers: Vec<Thread<Result<f64, String>>> = (0..threads)
        .map(|number| {
            let plugin = plugin.clone();
            let sample = Sample { bytes: sample.bytes.clone(), shape: sample.shape.clone(), ..*sample };
            Thread::spawn(ThreadConfig::named(format!("plugin-{number}")), move || {
                calls(&plugin, &sample, span).map(f64::recip).map_err(|error| error.to_string())
            })
        })
        .collect::<Result<_, _>>()?;
    let mut sum = 0.0;
    for worker in workers {
        sum += worker.join()??;
    }
    Ok(sum)
}

/// Seconds of one `call`, over as many as fill `span` after a tenth of it for warming up.
fn repeat(span: Duration, mut call: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut measure = |span: Duration| -> Result<f64, Failure> {
        let start = Instant::now();
        let mut count = 0;
        loop {
            for _ in 0..BLOCK {
                call()?;
            }
            count += BLOCK;
            let took = start.elapsed();
            if took >= span {
                return Ok(took.as_secs_f64() / count as f64);
            }
        }
    };
    measure(span / 10)?;
    measure(span)
}
