//! Replays recorded work under one policy or several and prints what came of it:
//! `simulate TRACE [--nodes N] [--gpus-per-node G] [--policy P]... [--json] [--plot FILE.svg]`.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use zenith_scheduler::simulate::{ClusterShape, Named, POLICIES, Trace, plot, run, table};

fn main() -> Result<(), Box<dyn Error>> {
    let mut trace = None;
    let mut cluster = ClusterShape { nodes: 64, gpus_per_node: 8 };
    let (mut names, mut json, mut picture) = (Vec::new(), false, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--nodes" => cluster.nodes = value()?.parse()?,
            "--gpus-per-node" => cluster.gpus_per_node = value()?.parse()?,
            "--policy" => names.push(value()?),
            "--plot" => picture = Some(PathBuf::from(value()?)),
            "--json" => json = true,
            _ if word.starts_with("--") => return Err(format!("no option {word}").into()),
            _ => trace = Some(PathBuf::from(word)),
        }
    }
    let trace = Trace::open(&trace.ok_or("which trace?")?)?;
    if names.is_empty() {
        names.extend(POLICIES.map(str::to_owned));
    }
    let mut outcomes = Vec::new();
    for name in &names {
        outcomes.push(run(&trace, cluster, &Named::find(name)?)?);
    }
    let text = if json { serde_json::to_string_pretty(&outcomes)? } else { table::table(&outcomes) };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    if let Some(path) = picture {
        std::fs::write(path, plot::plot(&outcomes))?;
    }
    Ok(())
}
