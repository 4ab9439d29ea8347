//! `zenith kernels`: which implementation of an operation is the fastest here, why, and how that is carried elsewhere.

mod demo;
mod diff;
mod explain;
mod export;
mod import;
mod ls;
mod pin;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zenith_runtime_gpu::kernel::Store;
use zenith_runtime_gpu::kernel::store::Exchange;

use crate::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// List what was measured, and what is fixed.
    Ls(ls::Arguments),
    /// Say for a key which candidate is the fastest, and why.
    Explain(explain::Arguments),
    /// Show what differs between two stores.
    Diff(diff::Arguments),
    /// Fix a choice, or take a fixed one back.
    Pin(pin::Arguments),
    /// Write the store into a JSON document.
    Export(export::Arguments),
    /// Take a JSON document into the store.
    Import(import::Arguments),
    /// Show the whole way on matrices: nothing is known, measure, choose, remember, and measure nothing.
    Demo(demo::Arguments),
}

/// Which store.
#[derive(Debug, Args)]
struct Chosen {
    /// The store's folder [default: $ZENITH_KERNEL_STORE, else zenith/kernels in the user's cache].
    #[arg(long)]
    store: Option<PathBuf>,
}

impl Chosen {
    fn open(&self) -> Result<Store, Failure> {
        let store = self.store.as_deref().map(Store::at).or_else(Store::user);
        store.ok_or_else(|| {
            "there is no store: neither HOME nor a folder in ZENITH_KERNEL_STORE; --store would work".into()
        })
    }
}

/// A document of `zenith kernels export`, or what such a document of a store's folder would be.
fn read(path: &Path) -> Result<Exchange, Failure> {
    if path.is_dir() {
        return Ok(Store::at(path).export());
    }
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Exchange::parse(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

pub(crate) fn run(task: &Task, out: &mut dyn Write) -> Result<(), Failure> {
    match task {
        Task::Ls(arguments) => ls::run(arguments, out),
        Task::Explain(arguments) => explain::run(arguments, out),
        Task::Diff(arguments) => diff::run(arguments, out),
        Task::Pin(arguments) => pin::run(arguments, out),
        Task::Export(arguments) => export::run(arguments, out),
        Task::Import(arguments) => import::run(arguments, out),
        Task::Demo(arguments) => demo::run(arguments, out),
    }
}
