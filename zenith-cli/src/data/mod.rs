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
    /// Opens it.
    fn open(&self) -> Result<Arc<dyn Source>, Failure> {
        Ok(open(&SourceSpec::Path(self.path.clone()), &self.options()?)?)
    }

    /// How it is opened. Pictures, which need a transform for a common size, get the usual one for training where none is
    /// given; it is not meant for the rows of a table.
    fn options(&self) -> Result<OpenOptions, Failure> {
        let ops: Vec<Op> = match &self.transform {
            Some(json) => serde_json::from_str(json)?,
            None => usual_transform()?,
        };
        Ok(OpenOptions {
            transform: Some(Plan::compile(&ops, Mode::Exact)?),
            untransformed_rows: self.transform.is_none(),
            table: TableOptions { skip_bad: true, ..TableOptions::default() },
            cache: CacheDir::user(),
            io: RawMachineConfig::from_env(|name| std::env::var(name).ok()).backend()?,
            ..OpenOptions::default()
        })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_table_is_opened_at_the_first_try_and_refuses_only_a_transform_that_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        fs::write(&path, "a,label\n1.5,0\n2.5,1\n").unwrap();
        let usual = Dataset { path: path.clone(), transform: None };
        assert!(usual.options().unwrap().untransformed_rows, "a second try would load all of it again");
        let source = usual.open().unwrap();
        assert_eq!((source.len(), source.pictures()), (2, false));
        let given = Dataset { path, transform: Some(r#"[{"op": "resize", "size": [8]}]"#.to_owned()) };
        let error = given.open().err().unwrap().to_string();
        assert!(error.contains("a transform of pictures was given"), "{error}");
    }
}
