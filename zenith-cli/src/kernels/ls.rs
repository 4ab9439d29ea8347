//! `zenith kernels ls`: what was measured, a line for each candidate and key, and what is fixed.

use std::io::Write;

use clap::Args;
use serde_json::json;
use zenith_runtime_gpu::kernel::select::decide::estimate;
use zenith_runtime_gpu::kernel::select::time;
use zenith_runtime_gpu::kernel::store::{Outcome, Scope};
use zenith_runtime_gpu::kernel::{Pin, Row};

use super::Chosen;
use crate::Failure;
use crate::shown::{columns, local_time, plain};

/// List what was measured, and what is fixed.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only operations of this name.
    op: Option<String>,
    /// Print JSON: all samples, with the environment they were taken in.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: Chosen,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let store = arguments.store.open()?;
    let is_meant = |op: &str| arguments.op.as_deref().is_none_or(|meant| meant == op);
    let mut rows = store.all();
    rows.retain(|row| is_meant(row.key.family().op.name.as_str()));
    let mut pins = store.pins();
    pins.retain(|pin| match &pin.scope {
        Scope::Key(key) => is_meant(key.family().op.name.as_str()),
        Scope::Op(name) => is_meant(name.as_str()),
    });
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "rows": rows, "pins": pins }))?)?;
        return Ok(());
    }
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    let head = ["CANDIDATE", "MEDIAN", "SAMPLES", "VERDICT", "DEVICE", "WHEN", "KEY"];
    columns(out, &head, &[1, 2], &lines)?;
    for pin in &pins {
        writeln!(out, "{}", fixed(pin))?;
    }
    Ok(())
}

fn line(row: &Row) -> Vec<String> {
    let (median, samples, verdict) = match &row.outcome {
        Outcome::Measured(samples) => {
            let median = estimate(samples).map_or_else(|| "-".to_owned(), |estimate| time(estimate.ns));
            (median, samples.len().to_string(), "right".to_owned())
        }
        Outcome::Rejected(rejection) => ("-".to_owned(), "-".to_owned(), rejection.word().to_owned()),
    };
    let device = &row.environment.device;
    vec![
        row.candidate.name.to_string(),
        median,
        samples,
        verdict,
        plain(&format!("{}: {}", device.kind, device.model)).into_owned(),
        local_time(row.at.saturating_mul(1000)),
        row.key.to_string(),
    ]
}

fn fixed(pin: &Pin) -> String {
    let scope = match &pin.scope {
        Scope::Key(key) => key.to_string(),
        Scope::Op(name) => format!("all of {name}"),
    };
    let note = if pin.note.is_empty() { String::new() } else { format!(" ({})", plain(&pin.note)) };
    format!("{} is fixed for {scope}{note}", pin.candidate)
}
