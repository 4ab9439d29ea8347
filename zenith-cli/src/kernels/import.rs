//! `zenith kernels import`: a document of another store into this one, whose own measurements stay.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{Chosen, read};
use crate::Failure;

/// Take a JSON document into the store.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A document of `zenith kernels export`, or another store's folder.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: Chosen,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let imported = arguments.store.open()?.import(&read(&arguments.file)?)?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string(&imported)?)?;
        return Ok(());
    }
    writeln!(out, "new measurements      {}", imported.rows)?;
    writeln!(out, "known, left as it was {}", imported.known)?;
    writeln!(out, "left out as unsound   {}", imported.unsound)?;
    writeln!(out, "fixed choices         {}", imported.pins)?;
    Ok(())
}
