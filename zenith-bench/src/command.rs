//! The command line: what to run, for how long, and where the record and the page go.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::Failure;
use crate::harness::Effort;
use crate::record::Record;
use crate::scenarios::{ALL, Bench, Scenario, Sizes};
use crate::{page, table};

/// Zenith beside its rivals: what each part does per second, and per processor second.
#[derive(Debug, Parser)]
#[command(name = "zenith-bench", version, max_term_width = 100)]
struct Command {
    #[command(subcommand)]
    task: Task,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measure everything in earnest; a few minutes.
    Full,
    /// Measure everything roughly; seconds.
    Quick,
    /// Show the names of the scenarios.
    List,
    /// Measure some scenarios in earnest.
    Run {
        /// Names of scenarios, as `list` shows them.
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Args, Debug)]
struct Options {
    /// Folder for record.json and index.html.
    #[arg(long, global = true, default_value = "out/bench")]
    out: PathBuf,
    /// Seconds to measure each case for, over all its rounds [default: 2; quick: 0.15].
    #[arg(long, global = true, value_parser = seconds)]
    seconds: Option<f64>,
    /// Folder of JPEGs to use instead of made ones.
    #[arg(long, global = true)]
    pictures: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=3600.0).contains(seconds))
        .ok_or_else(|| "seconds go from 0 to 3600".to_owned())
}

/// Runs the program with `arguments` (its name first); the exit status: 0, 1 for an error, 2 for arguments that make
/// no sense.
pub fn run(arguments: impl IntoIterator<Item = String>) -> u8 {
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    match execute(&command, &mut io::stdout().lock()) {
        Ok(()) => 0,
        Err(error) => {
            let _ = writeln!(io::stderr(), "zenith-bench: {error}");
            1
        }
    }
}

fn execute(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let all = || ALL.iter().collect();
    let (chosen, sizes, rounds, seconds): (Vec<&Scenario>, _, _, _) = match &command.task {
        Task::List => {
            for scenario in &ALL {
                writeln!(out, "{:<10} {}", scenario.name, scenario.title)?;
            }
            return Ok(());
        }
        Task::Full => (all(), Sizes::FULL, 9, 2.0),
        Task::Quick => (all(), Sizes::QUICK, 3, 0.15),
        Task::Run { names } => (chosen(names)?, Sizes::FULL, 9, 2.0),
    };
    let Options { seconds: wanted, out: folder, pictures } = &command.options;
    let effort = Effort { seconds: wanted.unwrap_or(seconds), rounds };
    let progress: Box<dyn Write> =
        if io::stderr().is_terminal() { Box::new(io::stderr()) } else { Box::new(io::sink()) };
    let mut record = Record::begin(effort);
    let mut bench = Bench::new(effort, sizes, pictures.clone(), progress);
    for scenario in chosen {
        writeln!(out, "{}", scenario.title)?;
        let groups = (scenario.run)(&mut bench).map_err(|error| format!("{}: {error}", scenario.name))?;
        for group in &groups {
            writeln!(out, "{}", table::text(group))?;
        }
        out.flush()?;
        record.add(scenario, groups);
    }
    record.pictures = bench.data();
    write(&record, folder)?;
    writeln!(out, "{} and {}", folder.join(RECORD).display(), folder.join(PAGE).display())?;
    Ok(())
}

const RECORD: &str = "record.json";
const PAGE: &str = "index.html";

fn write(record: &Record, folder: &Path) -> Result<(), Failure> {
    let named = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    fs::create_dir_all(folder).map_err(|error| named(folder, error))?;
    let mut json = serde_json::to_string_pretty(record)?;
    json.push('\n');
    for (name, text) in [(RECORD, json), (PAGE, page::render(record))] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| named(&path, error))?;
    }
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    let find = |name: &String| {
        ALL.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
            let known: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
            format!("there is no scenario {name:?}; there are {}", known.join(", ")).into()
        })
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests;
