//! The benchmark program; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(zenith_bench::run(std::env::args()))
}
