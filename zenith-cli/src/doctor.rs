//! `zenith doctor`: what limits this machine and what ails its GPUs, each finding with its fix.

use std::io::Write;

use clap::Args;
use zenith_device::Settings;
use zenith_runtime_cpu::doctor::{State, examine_host};
use zenith_runtime_cpu::numa::Topology;

use crate::Failure;
use crate::topology::Format;

/// Show what limits this machine, each finding with its fix.
///
/// NVIDIA's library is libnvidia-ml.so.1, wherever the loader finds it; ZENITH_NVML names another one.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// For people or for programs.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let mut findings = examine_host(&Topology::host()?);
    findings.extend(zenith_device::doctor::examine(&Settings::host()));
    if arguments.format == Format::Json {
        writeln!(out, "{}", serde_json::to_string_pretty(&findings)?)?;
        return Ok(());
    }
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    for finding in &findings {
        let mark = match finding.state {
            State::Good => "ok   ",
            State::Note => "note ",
            State::Limit => "LIMIT",
        };
        writeln!(out, "{mark}  {:<width$}  {}", finding.name, finding.value)?;
        if let Some(fix) = &finding.fix {
            writeln!(out, "       {:<width$}  fix: {fix}", "")?;
        }
    }
    let limits = findings.iter().filter(|finding| finding.state == State::Limit).count();
    match limits {
        0 => writeln!(out, "\nnothing limits this machine")?,
        1 => writeln!(out, "\none thing limits this machine")?,
        limits => writeln!(out, "\n{limits} things limit this machine")?,
    }
    Ok(())
}
