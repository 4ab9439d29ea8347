//! Replays work that the policy was not made for: variants of a recorded trace on clusters of other sizes, and invented work in
//! the shapes of published traces. Prints, for each, what the shipped policy reaches beside those that know run times.
//!
//! `cargo run --release -p zenith-scheduler --example holdout -- TRACE [--only WORD] [--cache FILE] [--policy JSON]`

mod draw;
mod invented;
mod scenarios;
mod table;
mod variants;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use zenith_scheduler::policy::Policy;
use zenith_scheduler::simulate::{Named, Trace, run_mixed};

use crate::scenarios::{Scenario, scenarios};
use crate::table::Seen;

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Arguments {
    trace: PathBuf,
    only: Vec<String>,
    /// What the policies for comparison reached, so that they need not run again while the default is worked on.
    cache: Option<PathBuf>,
    /// In the place of the shipped policy.
    policy: Policy,
}

fn arguments() -> Result<Arguments, Failure> {
    let mut words = std::env::args().skip(1);
    let (mut trace, mut only, mut cache, mut policy) = (None, Vec::new(), None, Policy::default());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => only.push(words.next().ok_or("--only needs a word")?),
            "--cache" => cache = Some(PathBuf::from(words.next().ok_or("--cache needs a file")?)),
            "--policy" => policy = serde_json::from_str(&words.next().ok_or("--policy needs JSON")?)?,
            _ => trace = Some(PathBuf::from(word)),
        }
    }
    Ok(Arguments { trace: trace.ok_or("a trace is needed")?, only, cache, policy })
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let recorded = Trace::open(&arguments.trace)?;
    let mut all = scenarios(&recorded);
    all.retain(|scenario| {
        arguments.only.is_empty() || arguments.only.iter().any(|word| scenario.name.contains(word.as_str()))
    });
    let known = arguments.cache.as_deref().map_or(Ok(BTreeMap::new()), read)?;
    let seen = replay(&all, &recorded, known, arguments.policy)?;
    if let Some(path) = &arguments.cache {
        write(path, &seen)?;
    }
    print(&table::table(&all, &seen));
    Ok(())
}

/// What every policy reached in every scenario.
fn replay(
    all: &[Scenario],
    recorded: &Trace,
    mut known: BTreeMap<String, Seen>,
    own: Policy,
) -> Result<BTreeMap<String, Seen>, Failure> {
    known.retain(|key, _| !key.ends_with("/default"));
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(known);
    let work = || -> Result<(), Failure> {
        while let Some(scenario) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let trace = scenario.trace(recorded);
            for policy in table::POLICIES {
                let key = format!("{}/{policy}", scenario.name);
                if seen.lock().map_err(|_| "a thread broke")?.contains_key(&key) {
                    continue;
                }
                let mut policy = Named::find(policy)?;
                if policy.name == "default" {
                    policy.policy = own;
                }
                let outcome = run_mixed(&trace, &scenario.cluster, &policy)?;
                seen.lock().map_err(|_| "a thread broke")?.insert(key, Seen::of(&outcome));
            }
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread broke")?)
    })?;
    Ok(seen.into_inner().map_err(|_| "a thread broke")?)
}

fn read(path: &Path) -> Result<BTreeMap<String, Seen>, Failure> {
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
}

fn write(path: &Path, seen: &BTreeMap<String, Seen>) -> Result<(), Failure> {
    Ok(std::fs::write(path, serde_json::to_string(seen)?)?)
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print(text: &str) {
    println!("{text}");
}
