//! The long crash test: kills parts of a running scheduler at random, many times. The short one is among the tests.

use std::process::{Command, ExitCode};

/// Runs so many rounds with the release build.
#[expect(clippy::print_stderr, reason = "a chore reports to its user")]
pub(crate) fn run(rounds: &str) -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = ["test", "--release", "-p", "zenith-scheduler", "--test", "crash", "--", "--nocapture"];
    match Command::new(cargo).args(test).env("ZENITH_CRASH_ROUNDS", rounds).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo does not run: {error}");
            ExitCode::FAILURE
        }
    }
}
