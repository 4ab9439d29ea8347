//! What is judged, and how it is shown.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::{Deserialize, Serialize};
use zenith_scheduler::simulate::Outcome;

use crate::scenarios::Scenario;

pub(crate) const POLICIES: [&str; 4] = ["fifo", "easy", "sjf-oracle", "default"];

/// What is judged of an outcome; hours.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) completion: f64,
    pub(crate) wait: f64,
    pub(crate) large_wait: f64,
    pub(crate) longest_wait: f64,
    pub(crate) fragmentation: f64,
    pub(crate) prediction: f64,
    pub(crate) near: f64,
    pub(crate) idle: f64,
    pub(crate) inside: f64,
    pub(crate) jobs: usize,
}

impl Seen {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let large = outcome.wait_by_gpus.iter().find(|band| band.name == ">= 8");
        Self {
            completion: outcome.completion.mean,
            wait: outcome.wait.mean,
            large_wait: large.map_or(0.0, |band| band.wait.mean),
            longest_wait: outcome.wait.max,
            fragmentation: outcome.fragmentation * 100.0,
            prediction: outcome.predictions.median_error,
            near: outcome.predictions.within_factor_two * 100.0,
            idle: outcome.idle_beside_queue * 100.0,
            inside: outcome.predictions.within_range * 100.0,
            jobs: outcome.jobs,
        }
    }
}

/// A line per scenario. Hours; `!` marks a wait of gangs longer than EASY's, a longest wait of more than twice EASY's, and more
/// idle time than 1 % and than EASY has.
pub(crate) fn table(all: &[Scenario], seen: &BTreeMap<String, Seen>) -> String {
    let first = all.iter().map(|scenario| scenario.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "{:first$}  mean completion, h            wait >= 8 GPUs, h     longest wait  idle, not together  idle   start",
        ""
    );
    let _ = writeln!(
        text,
        "{:first$}    fifo   easy oracle default    easy oracle default  easy default  easy default  beside  error   x2 range",
        ""
    );
    for scenario in all {
        let of = |policy: &str| seen.get(&format!("{}/{policy}", scenario.name)).copied().unwrap_or_default();
        let [fifo, easy, oracle, own] = POLICIES.map(of);
        let mark = |bad: bool| if bad { '!' } else { ' ' };
        let _ = writeln!(
            text,
            "{:first$} {:7.1}{:7.1}{:7.1} {:7.1} {:7.0}{:7.0} {:7.0}{}{:5.0} {:7.0}{}{:5.2} {:7.2}{} {:6.2} {:6.1} {:3.0}% {:3.0}%",
            scenario.name,
            fifo.completion,
            easy.completion,
            oracle.completion,
            own.completion,
            easy.large_wait,
            oracle.large_wait,
            own.large_wait,
            mark(own.large_wait > easy.large_wait + 0.5),
            easy.longest_wait,
            own.longest_wait,
            mark(own.longest_wait > 2.0 * easy.longest_wait),
            easy.fragmentation,
            own.fragmentation,
            mark(own.fragmentation > easy.fragmentation.max(1.0)),
            own.idle,
            own.prediction,
            own.near,
            own.inside,
        );
    }
    text
}
