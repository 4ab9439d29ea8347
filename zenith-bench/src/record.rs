//! The outcome of a run as data: facts of the machine and every figure. How it looks is for `table` and `page`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::harness::{Effort, Group};
use crate::machine::Machine;
use crate::scenarios::Scenario;

/// Name and version of the record's shape.
pub(crate) const SCHEMA: &str = "zenith-bench/1";

/// Everything one run found out. Times are in seconds; those of cases are for one unit.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) schema: &'static str,
    /// When it began, such as `2026-11-23T02:10:59Z`.
    pub(crate) began: String,
    pub(crate) machine: Machine,
    pub(crate) rounds: usize,
    pub(crate) seconds_per_case: f64,
    /// The pictures, where any were used.
    pub(crate) pictures: Option<String>,
    pub(crate) scenarios: Vec<Outcome>,
}

/// What one scenario found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) about: &'static str,
    pub(crate) groups: Vec<Group>,
}

impl Record {
    /// A record that is to be filled.
    pub(crate) fn begin(effort: Effort) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: SCHEMA,
            began: moment(now.as_secs()),
            machine: Machine::here(),
            rounds: effort.rounds,
            seconds_per_case: effort.seconds,
            pictures: None,
            scenarios: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, scenario: &Scenario, groups: Vec<Group>) {
        self.scenarios.push(Outcome {
            name: scenario.name,
            title: scenario.title,
            about: scenario.about,
            groups,
        });
    }
}

/// UTC in ISO 8601, of seconds since 1970.
fn moment(seconds: u64) -> String {
    // Years begin in March here, so that the leap day is a year's last.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let clock = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", clock / 3600, clock / 60 % 60, clock % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_utc() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(moment(1_795_399_859), "2026-11-23T02:10:59Z");
    }
}
