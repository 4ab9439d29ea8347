//! How long looking for GPUs takes: on this machine, and with a stand-in for NVIDIA's library that has eight GPUs, one
//! of them cut, and a driver library that is broken. `cargo run --release -p zenith-device --example discovery`.
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use zenith_device::{Settings, discover};
use zenith_fakenvml::{Script, install};

const ROUNDS: usize = 51;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut script = Script::eight();
    script.gpus[5] = script.gpus[5].clone().cut();
    let library = install(folder.path(), &script)?;
    let broken = folder.path().join("broken.so");
    fs::write(&broken, "this is no library")?;
    show("this machine", &Settings::host());
    show("eight GPUs", &Settings { nvml: Some(library), ..Settings::host() });
    show("a broken library", &Settings { nvml: Some(broken), ..Settings::host() });
    Ok(())
}

fn show(name: &str, settings: &Settings) {
    let mut gpus = 0;
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            gpus = discover(settings).gpus.len();
            start.elapsed()
        })
        .collect();
    let first = times[0];
    times.sort_unstable();
    println!(
        "{name}: {gpus} GPUs, first {first:?}, median {:?}, slowest {:?}",
        times[ROUNDS / 2],
        times[ROUNDS - 1]
    );
}
