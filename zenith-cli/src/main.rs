//! The `zenith` command as a program of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    zenith_cli::log::subscribe();
    ExitCode::from(zenith_cli::run(std::env::args()))
}
