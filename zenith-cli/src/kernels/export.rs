//! `zenith kernels export`: the store as one document, to be carried to machines of the same kind.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::Chosen;
use crate::Failure;

/// Write the store into a JSON document.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The file [default: stdout].
    file: Option<PathBuf>,
    #[command(flatten)]
    store: Chosen,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let document = arguments.store.open()?.export().to_json();
    match &arguments.file {
        Some(file) => fs::write(file, document).map_err(|error| format!("{}: {error}", file.display()))?,
        None => out.write_all(document.as_bytes())?,
    }
    Ok(())
}
