//! The bare loop: what a loader could reach if it did nothing but the work itself. Each thread reads a file, decodes
//! the crop with libjpeg-turbo, resizes it antialiased, flips and normalises it into a float32 slot, and goes on.
//!
//! It is a yardstick, not a loader: nothing is ordered, handed over, bounded or recovered. It speaks the exchange of
//! `rivals/protocol.py` (configuration on standard input, JSON lines on standard output).

mod crop;
mod epoch;
mod jpeg;
mod meter;
mod picture;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::epoch::{Files, Member};

/// The part of the harness's configuration that concerns this rival.
#[derive(Deserialize)]
struct Config {
    dataset: PathBuf,
    batch_size: usize,
    workers: usize,
    epochs: u64,
    #[serde(default = "default_size")]
    size: u32,
    #[serde(default)]
    seed: u64,
}

const fn default_size() -> u32 {
    224
}

const CHECKED_BATCHES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let config: Config = serde_json::from_reader(io::stdin())?;
    let imported = meter::pss_bytes();
    let before = meter::since_process_start()?;
    send(&json!({ "mark": "construct" }))?;

    let start = Instant::now();
    let files = Files::list(&config.dataset)?;
    let mut team = (0..config.workers.max(1))
        .map(|_| Member::new(&config))
        .collect::<Result<Vec<_>, _>>()?;
    let construct = start.elapsed().as_secs_f64();
    let mut epochs = Vec::new();
    for number in 0..config.epochs {
        epochs.push(epoch::run(&files, &config, &mut team, number)?);
    }
    send(&json!({ "mark": "measured" }))?;

    let first = epochs[0]["first_batch_seconds"].as_f64().unwrap_or_default();
    send(&json!({ "result": {
        "versions": { "zenith-rival-bare": env!("CARGO_PKG_VERSION"), "libjpeg-turbo": "vendored by turbojpeg-sys" },
        "import_seconds": 0.0,
        "before_construct_seconds": before,
        "construct_seconds": construct,
        "first_batch_seconds": construct + first,
        "imported_pss_bytes": imported,
        "epochs": epochs,
        "sanity": epoch::sanity(&files, &config, CHECKED_BATCHES * config.batch_size)?,
        "extra": {},
    } }))?;
    Ok(())
}

fn send(message: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}
