//! `zenith plugin`: look into WebAssembly plugins and measure them.

mod bench;
mod check;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use zenith_data::DType;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::custom::TensorRef;
use zenith_plugin::{Host, HostConfig, Limits, Plugin};

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Say what a plugin is, and try it on random tensors.
    Check(check::Arguments),
    /// Measure how long a plugin takes.
    Bench(bench::Arguments),
}

/// Bytes of a tensor at most.
const MOST_BYTES: usize = 1 << 30;

/// The plugin, and what it may use.
#[derive(Debug, Args)]
struct Chosen {
    /// The .wasm file.
    file: PathBuf,
    /// The plugin's configuration.
    #[arg(long, default_value = "")]
    config: String,
    /// Memory of an instance, in MiB [default: 256].
    #[arg(long)]
    memory_mib: Option<usize>,
    /// Wall time of a call, in milliseconds [default: 1000].
    #[arg(long)]
    deadline_ms: Option<u64>,
    /// Fuel of a call [default: no limit].
    #[arg(long)]
    fuel: Option<u64>,
}

impl Chosen {
    fn load(&self) -> Result<Plugin, Failure> {
        let mut limits = Limits { fuel: self.fuel, ..Limits::default() };
        if let Some(mebibytes) = self.memory_mib {
            limits.memory = mebibytes.saturating_mul(1 << 20);
        }
        if let Some(milliseconds) = self.deadline_ms {
            limits.deadline = Duration::from_millis(milliseconds);
        }
        Ok(Host::new(HostConfig::default())?.load_file(&self.file, &self.config, &limits)?)
    }
}

/// A tensor of random values that are ordinary for its type.
struct Sample {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Sample {
    /// Random bytes; of floats, values from 0 to 1. `shape` is one that [`fits`].
    fn random(dtype: DType, shape: &[usize], seed: u64) -> Self {
        let mut rng = SampleRng::new(seed, 0, 0);
        let count: usize = shape.iter().product();
        let mut bytes = Vec::with_capacity(count * dtype.size());
        for _ in 0..count {
            let value = rng.next_u64();
            match dtype {
                DType::Bool => bytes.push((value & 1) as u8),
                DType::Float32 => bytes.extend(((value >> 40) as f32 / (1 << 24) as f32).to_le_bytes()),
                DType::Float64 => bytes.extend(((value >> 11) as f64 / (1_u64 << 53) as f64).to_le_bytes()),
                _ => bytes.extend(&value.to_le_bytes()[..dtype.size()]),
            }
        }
        Self { dtype, shape: shape.to_vec(), bytes }
    }

    /// A batch of itself and itself.
    fn twice(&self) -> Self {
        let shape = [&[2], &self.shape[..]].concat();
        Self { dtype: self.dtype, shape, bytes: self.bytes.repeat(2) }
    }

    fn tensor(&self) -> TensorRef<'_> {
        TensorRef { dtype: self.dtype, shape: &self.shape, bytes: &self.bytes }
    }
}

/// Refuses shapes of more bytes than a plugin's memory could hold.
fn fits(dtype: DType, shape: &[usize]) -> Result<(), Failure> {
    let bytes = shape.iter().try_fold(dtype.size(), |bytes, axis| bytes.checked_mul(*axis));
    if bytes.is_some_and(|bytes| bytes <= MOST_BYTES) {
        return Ok(());
    }
    Err(format!(
        "--shape: a tensor of {} is larger than 1 GiB; a smaller one would work",
        spell(dtype, shape)
    )
    .into())
}

/// A type and a shape as text, such as `uint8 [224, 224, 3]`.
fn spell(dtype: DType, shape: &[usize]) -> String {
    let shape: Vec<String> = shape.iter().map(ToString::to_string).collect();
    format!("{dtype} [{}]", shape.join(", "))
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    match task {
        Task::Check(arguments) => check::run(arguments, out),
        Task::Bench(arguments) => bench::run(arguments, out),
    }
}
