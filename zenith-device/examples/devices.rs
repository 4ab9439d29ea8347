//! What is found on this machine, as JSON, by way of the library that `ZENITH_NVML` names, if it names one, and below
//! the folder that is the first argument, if there is one: `cargo run -p zenith-device --example devices`.
#![expect(clippy::print_stdout, reason = "a program that prints what it found")]

use std::env;
use std::path::PathBuf;

use zenith_device::{Settings, discover};

fn main() -> Result<(), serde_json::Error> {
    let host = Settings::host();
    let root = env::args_os().nth(1).map_or(host.root, PathBuf::from);
    let found = discover(&Settings { root, nvml: host.nvml });
    println!("{}", serde_json::to_string_pretty(&found)?);
    Ok(())
}
