//! `zenith kernels explain`: what is known of one key, in each environment it was measured in. The candidates that a program has
//! are not known here, so this is about those that were measured.

use std::io::Write;

use clap::Args;
use serde::Serialize;
use zenith_runtime_gpu::kernel::select::decide::{Estimate, estimate, tied};
use zenith_runtime_gpu::kernel::select::time;
use zenith_runtime_gpu::kernel::store::Outcome;
use zenith_runtime_gpu::kernel::{Device, Key, Row, Settings};

use super::Chosen;
use crate::Failure;
use crate::shown::{columns, plain};

/// Say for a key which candidate is the fastest, and why.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The key as `zenith kernels ls` shows it, or the name of an operation for all its keys.
    what: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: Chosen,
}

/// What is known of one candidate.
#[derive(Debug, Serialize)]
struct Standing {
    candidate: String,
    libraries: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
    verdict: String,
}

/// What is known of a key on one device.
#[derive(Debug, Serialize)]
struct Told {
    key: Key,
    device: Device,
    pinned: Option<String>,
    standings: Vec<Standing>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let store = arguments.store.open()?;
    let key: Option<Key> = if arguments.what.contains('(') { Some(arguments.what.parse()?) } else { None };
    let rows = match &key {
        Some(key) => store.rows(key),
        None => store
            .all()
            .into_iter()
            .filter(|row| row.key.family().op.name.as_str() == arguments.what)
            .collect(),
    };
    if rows.is_empty() {
        return Err(format!(
            "nothing is known of {}: a key or an operation of `zenith kernels ls` would work",
            plain(&arguments.what)
        )
        .into());
    }
    let told: Vec<Told> = places(&rows)
        .into_iter()
        .map(|(key, device)| Told {
            pinned: store.pinned(key).map(|pin| pin.candidate.to_string()),
            standings: standings(&rows, key, device),
            key: key.clone(),
            device: device.clone(),
        })
        .collect();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&told)?)?;
        return Ok(());
    }
    told.iter().try_for_each(|told| show(told, out))
}

/// Each key with each device it was measured on, in the order of rows.
fn places(rows: &[Row]) -> Vec<(&Key, &Device)> {
    let mut places: Vec<(&Key, &Device)> = Vec::new();
    for row in rows {
        let place = (&row.key, &row.environment.device);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

fn standings(rows: &[Row], key: &Key, device: &Device) -> Vec<Standing> {
    let own: Vec<(&Row, Option<Estimate>)> = rows
        .iter()
        .filter(|row| row.key == *key && row.environment.device == *device)
        .map(|row| match &row.outcome {
            Outcome::Measured(samples) => (row, estimate(samples)),
            Outcome::Rejected(_) => (row, None),
        })
        .collect();
    let fastest = own.iter().filter_map(|(_, known)| *known).min_by(|a, b| a.ns.total_cmp(&b.ns));
    let verdict = |row: &Row, known: Option<Estimate>| match (&row.outcome, known.zip(fastest)) {
        (Outcome::Rejected(rejection), _) => rejection.to_string(),
        (_, Some((known, fastest))) if known.ns <= fastest.ns => "the fastest".to_owned(),
        (_, Some((known, fastest))) if tied(&known, &fastest, Settings::default().delta) => {
            "as fast, within noise".to_owned()
        }
        (_, Some((known, fastest))) => format!("{:.2} times as long", known.ns / fastest.ns),
        (_, None) => "without samples".to_owned(),
    };
    own.iter()
        .map(|&(row, known)| Standing {
            candidate: row.candidate.name.to_string(),
            libraries: row
                .environment
                .libraries
                .iter()
                .map(|(name, version)| format!("{name} {version}"))
                .collect(),
            estimate: known,
            verdict: verdict(row, known),
        })
        .collect()
}

fn show(told: &Told, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{}", told.key)?;
    writeln!(out, "on {}: {}", told.device.kind, plain(&told.device.model))?;
    if let Some(pinned) = &told.pinned {
        writeln!(out, "fixed: {pinned}")?;
    }
    let line = |standing: &Standing| {
        let (median, spread, samples) = standing.estimate.map_or_else(Default::default, |known| {
            (time(known.ns), format!("{:.1} %", known.spread * 100.0), known.samples.to_string())
        });
        let libraries = plain(&standing.libraries.join(", ")).into_owned();
        vec![
            standing.candidate.clone(),
            median,
            spread,
            samples,
            plain(&standing.verdict).into_owned(),
            libraries,
        ]
    };
    let lines: Vec<Vec<String>> = told.standings.iter().map(line).collect();
    columns(out, &["CANDIDATE", "MEDIAN", "SPREAD", "SAMPLES", "VERDICT", "LIBRARIES"], &[1, 2, 3], &lines)?;
    Ok(())
}
