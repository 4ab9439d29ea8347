//! `zenith kernels diff`: what two stores say differently, such as those of two machines, or of before and after an update.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use zenith_runtime_gpu::kernel::select::time;
use zenith_runtime_gpu::kernel::store::{Difference, Place, Scope};

use super::read;
use crate::Failure;
use crate::shown::plain;

/// Show what differs between two stores.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A document of `zenith kernels export`, or a store's folder.
    first: PathBuf,
    /// Another one.
    second: PathBuf,
    /// Times differ if they do so by more than this part.
    #[arg(long, default_value_t = 0.02)]
    delta: f64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let (first, second) = (read(&arguments.first)?, read(&arguments.second)?);
    let differences = first.diff(&second, arguments.delta);
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&differences)?)?;
        return Ok(());
    }
    for difference in &differences {
        writeln!(out, "{}", plain(&told(difference)))?;
    }
    Ok(())
}

fn told(difference: &Difference) -> String {
    let at = |place: &Place| {
        format!("{} for {} on {}", place.candidate.name, place.key, place.environment.device.model)
    };
    match difference {
        Difference::OnlyFirst(place) => format!("only the first has {}", at(place)),
        Difference::OnlySecond(place) => format!("only the second has {}", at(place)),
        Difference::Speed { place, first_ns, second_ns } => {
            let ratio = second_ns / first_ns;
            format!("{}: {} and {}, {ratio:.2} times as long", at(place), time(*first_ns), time(*second_ns))
        }
        Difference::Verdict { place, first, second } => format!("{}: {first}; and {second}", at(place)),
        Difference::Pin { scope, first, second } => {
            let scope = match scope {
                Scope::Key(key) => key.to_string(),
                Scope::Op(name) => format!("all of {name}"),
            };
            let none = "nothing".to_owned();
            let (first, second) = (first.as_ref().unwrap_or(&none), second.as_ref().unwrap_or(&none));
            format!("fixed for {scope}: {first} and {second}")
        }
    }
}
