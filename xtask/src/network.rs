//! The test of the scheduler in network namespaces, whose cables are pulled out. It needs what an ordinary test may not: root.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, ExitCode, Stdio};

/// Runs it with the release build, or says what is missing; what was not run has not passed.
#[expect(clippy::print_stderr, reason = "a chore reports to its user")]
pub(crate) fn run() -> ExitCode {
    if let Err(missing) = needs() {
        eprintln!("network: {missing}; nothing was tested");
        return ExitCode::from(2);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let test = ["test", "--release", "-p", "zenith-scheduler", "--test", "network", "--"];
    let how = ["--ignored", "--nocapture", "--test-threads", "1"];
    match Command::new(cargo).args(test).args(how).status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("network: cargo does not run: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What this machine has to have.
fn needs() -> Result<(), String> {
    let own = std::fs::metadata("/proc/self").map_err(|error| format!("/proc/self: {error}"))?;
    if own.uid() != 0 {
        return Err(format!("network namespaces are made by root, and this is user {}", own.uid()));
    }
    // A name that is this run's: two runs beside each other do not meet.
    let name = format!("zenith-{}-probe", std::process::id());
    ip(&["netns", "add", &name])?;
    let cable = ["-n", &name, "link", "add", "a", "type", "veth", "peer", "name", "b"];
    let outcome = ip(&cable);
    ip(&["netns", "delete", &name])?;
    outcome
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let words = format!("ip {}", arguments.join(" "));
    match Command::new("ip").args(arguments).stdin(Stdio::null()).output() {
        Ok(outcome) if outcome.status.success() => Ok(()),
        Ok(outcome) => {
            let said = String::from_utf8_lossy(&outcome.stderr);
            Err(format!("`{words}` says {}: network namespaces and veth are needed", said.trim()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err("the program `ip` is needed (package iproute2)".to_owned())
        }
        Err(error) => Err(format!("`{words}`: {error}")),
    }
}
