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
    pub(crate) utilisation: f64,
    pub(crate) prediction: f64,
    pub(crate) near: f64,
    #[serde(default)]
    pub(crate) idle: f64,
    #[serde(default)]
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
            utilisation: outcome.utilisation_while_submitting * 100.0,
            prediction: outcome.predictions.median_error,
            near: outcome.predictions.within_factor_two * 100.0,
            idle: outcome.idle_beside_queue * 100.0,
            inside: outcome.predictions.within_range * 100.0,
            jobs: outcome.jobs,
        }
    }
}

pub(crate) fn table(all: &[Scenario], seen: &BTreeMap<String, Seen>) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<32} {:>29} | {:>27} | {:>17} | {:>6} | {:>11}",
        "mean completion, wait >= 8, longest",
        "fifo easy oracle default",
        "easy oracle default",
        "easy default",
        "idle %",
        "start error"
    );
    for scenario in all {
        let of = |policy: &str| seen.get(&format!("{}/{policy}", scenario.name)).copied().unwrap_or_default();
        let [fifo, easy, oracle, own] = POLICIES.map(of);
        let _ = writeln!(
            text,
            "{:<32} {:>7.1}{:>7.1}{:>7.1}{:>8.1} | {:>8.0}{:>8.0}{:>8.0} {} | {:>7.0}{:>8.0} {} | {:>5.2}{} {:>5.1} | {:>5.1} {:>3.0}% {:>3.0}% | {:>3.0}%",
            scenario.name,
            fifo.completion,
            easy.completion,
            oracle.completion,
            own.completion,
            easy.large_wait,
            oracle.large_wait,
            own.large_wait,
            if own.large_wait <= easy.large_wait { " " } else { "!" },
            easy.longest_wait,
            own.longest_wait,
            if own.longest_wait <= easy.longest_wait * 2.0 { " " } else { "!" },
            own.fragmentation,
            if own.fragmentation <= 1.0 { " " } else { "!" },
            own.idle,
            own.prediction,
            own.near,
            own.inside,
            own.utilisation,
        );
    }
    text
}
