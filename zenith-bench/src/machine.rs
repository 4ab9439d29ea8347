//! The facts of the machine and the build that every figure depends on.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde::Serialize;

/// What the figures were measured on, and with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    /// Processors that this process may use.
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
    /// Processes that wanted a processor, on average over the minute before the start.
    pub(crate) load_average: f64,
    pub(crate) rustc: &'static str,
    /// `release`, or `dev` for figures that mean nothing.
    pub(crate) profile: &'static str,
    /// `None` outside of a repository.
    pub(crate) git_commit: Option<String>,
    /// Names and versions of the rivals that are linked in.
    pub(crate) rivals: Vec<(String, String)>,
}

/// The crates that are compared with.
const RIVALS: [&str; 5] = ["crossbeam-queue", "fast_image_resize", "jpeg-decoder", "rtrb", "zune-jpeg"];

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        Self {
            cpu: entry("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: available_parallelism().map_or(1, usize::from),
            kernel: text("/proc/sys/kernel/osrelease"),
            memory_bytes: entry("/proc/meminfo", "MemTotal")
                .and_then(|value| value.split_whitespace().next()?.parse().ok())
                .map_or(0, |kilobytes: u64| kilobytes * 1024),
            load_average: text("/proc/loadavg")
                .split_whitespace()
                .next()
                .and_then(|value| value.parse().ok())
                .unwrap_or(0.0),
            rustc: env!("ZENITH_BENCH_RUSTC"),
            profile: if cfg!(debug_assertions) { "dev" } else { "release" },
            git_commit: commit(),
            rivals: versions(include_str!("../../Cargo.lock")),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The value of `key` in a file of `key: value` lines.
fn entry(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim().to_owned())
}

/// The commit of the sources, marked where they were changed since.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let hash = git(&["rev-parse", "HEAD"])?;
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if changed { format!("{hash} and changes") } else { hash })
}

/// The versions of the rivals in a lock file.
fn versions(lock: &str) -> Vec<(String, String)> {
    let value = |line: Option<&str>, key: &str| {
        let quoted = line?.strip_prefix(key)?.strip_prefix(" = \"")?;
        quoted.strip_suffix('"').map(str::to_owned)
    };
    lock.split("[[package]]")
        .filter_map(|package| {
            let mut lines = package.trim().lines();
            Some((value(lines.next(), "name")?, value(lines.next(), "version")?))
        })
        .filter(|(name, _)| RIVALS.contains(&name.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_there() {
        let machine = Machine::here();
        assert!(machine.cores >= 1 && machine.memory_bytes > 1 << 20);
        assert!(!machine.cpu.is_empty() && !machine.kernel.is_empty());
        assert!(machine.rustc.starts_with("rustc 1."), "{}", machine.rustc);
        let names: Vec<&str> = machine.rivals.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, RIVALS);
    }
}
