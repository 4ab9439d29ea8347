//! `zenith kernels pin`: fixing a choice for an operation or a key, and taking that back. Programs that run see it when they read
//! the store again.

use std::io::Write;

use clap::Args;
use zenith_runtime_gpu::kernel::store::Scope;
use zenith_runtime_gpu::kernel::{Name, Pin};

use super::Chosen;
use crate::Failure;

/// Fix a choice, or take a fixed one back.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// An operation, or a key as `zenith kernels ls` shows it.
    what: String,
    /// The candidate's name.
    #[arg(required_unless_present = "remove")]
    candidate: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    note: String,
    /// Take the fixed choice back.
    #[arg(long, conflicts_with_all = ["candidate", "note"])]
    remove: bool,
    #[command(flatten)]
    store: Chosen,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let store = arguments.store.open()?;
    let scope = if arguments.what.contains('(') {
        Scope::Key(arguments.what.parse()?)
    } else {
        Scope::Op(Name::new(&arguments.what)?)
    };
    let Some(candidate) = &arguments.candidate else {
        if !store.unpin(&scope)? {
            return Err(format!("nothing is fixed for {}", arguments.what).into());
        }
        writeln!(out, "nothing is fixed for {}", arguments.what)?;
        return Ok(());
    };
    let pin = Pin { scope, candidate: Name::new(candidate)?, note: arguments.note.clone() };
    store.pin(&pin)?;
    writeln!(out, "{candidate} is fixed for {}", arguments.what)?;
    Ok(())
}
