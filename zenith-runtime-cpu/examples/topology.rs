//! Prints the topology below a root (default: this machine) as JSON: `cargo run --example topology [ROOT]`.
#![expect(clippy::print_stdout, reason = "the JSON is the program's product")]

use std::error::Error;
use std::path::Path;

use zenith_runtime_cpu::numa::Topology;

fn main() -> Result<(), Box<dyn Error>> {
    let topology = match std::env::args_os().nth(1) {
        Some(root) => Topology::read(Path::new(&root))?,
        None => Topology::host()?,
    };
    println!("{}", serde_json::to_string_pretty(&topology)?);
    Ok(())
}
