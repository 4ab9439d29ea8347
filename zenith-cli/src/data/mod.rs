//! `zenith data`: look into datasets.

mod bench;
mod inspect;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use zenith_data::source::Source;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::detect::SourceSpec;
use zenith_data::source::open::{OpenOptions, open};
use zenith_data::source::table::TableOptions;
use zenith_data::transform::{Mode, Op, Plan};
use zenith_runtime_cpu::config::RawMachineConfig;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Say what a dataset is, what a batch of it holds, and whether its samples can be read.
    Inspect(inspect::Arguments),
    /// Measure how fast a dataset loads, and what limits it.
    Bench(bench::Arguments),
}

/// The dataset and how to read it.
#[derive(Debug, Args)]
struct Dataset {
    /// A file, a folder, or a pattern such as 'train/*.parquet'.
    path: PathBuf,
    /// Transforms for pictures as JSON, such as '[{"op": "resize", "size": [256]}, {"op": "center_crop", "size": [224]}]';
    /// pictures without one are cropped at random to 224.
    #[arg(long)]
    transform: Option<String>,
}

impl Dataset {
    /// Opens it; pictures that need a transform for a common size get the usual one for training.
    fn open(&self) -> Result<Arc<dyn Source>, Failure> {
        let spec = SourceSpec::Path(self.path.clone());
        let io = RawMachineConfig::from_env(|name| std::env::var(name).ok()).backend()?;
        let options = |transform| OpenOptions {
            transform,
            table: TableOptions { skip_bad: true, ..TableOptions::default() },
            cache: CacheDir::user(),
            io,
            ..OpenOptions::default()
        };
        if let Some(json) = &self.transform {
            let ops: Vec<Op> = serde_json::from_str(json)?;
            return Ok(open(&spec, &options(Some(Plan::compile(&ops, Mode::Exact)?)))?);
        }
        // A table refuses the transform; the error of the second try is then the one about the data.
        match open(&spec, &options(Some(Plan::compile(&usual_transform()?, Mode::Exact)?))) {
            Ok(source) => Ok(source),
            Err(zenith_data::Error::Config(_)) => Ok(open(&spec, &options(None))?),
            Err(error) => Err(error.into()),
        }
    }
}

/// What nearly every training on pictures does: random-resized-crop 224, flip, float32, normalise.
fn usual_transform() -> Result<Vec<Op>, Failure> {
    let json = r#"[{"op": "random_resized_crop", "size": [224]}, {"op": "random_horizontal_flip"}, {"op": "to_tensor"},
        {"op": "normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}]"#;
    Ok(serde_json::from_str(json)?)
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    match task {
        Task::Inspect(arguments) => inspect::run(arguments, out),
        Task::Bench(arguments) => bench::run(arguments, out),
    }
}
