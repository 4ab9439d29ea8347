//! Why a candidate was chosen, as data and as a table for people.

use std::fmt;

use serde::Serialize;

use super::decide::Estimate;
use crate::kernel::candidate::{CandidateId, Rejection};
use crate::kernel::key::{Key, Name};

/// Where a choice comes from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Source {
    /// A user fixed it.
    Pinned {
        /// Why, in the user's words.
        note: String,
    },
    /// It was measured before.
    Stored,
    /// It was measured by this call.
    Measured,
    /// Nothing is known of the key; it is what is best for the nearest key that was measured.
    Neighbour {
        /// The nearest key.
        key: Key,
        /// How far it is: doublings of sizes, all dimensions together.
        doublings: f64,
    },
    /// Nothing is known: the first candidate that can do it.
    Default {
        /// Why nothing better is known.
        reason: String,
    },
}

/// What is chosen for a problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Choice {
    /// The candidate's place among the operation's.
    pub index: usize,
    /// The candidate.
    pub candidate: CandidateId,
    /// Where the choice comes from.
    pub source: Source,
}

/// How a candidate stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Verdict {
    /// It is the chosen one.
    Chosen,
    /// As fast as the fastest, as far as is known; another one goes before it.
    Tied,
    /// Slower than the fastest.
    Slower,
    /// Never chosen.
    Rejected(Rejection),
    /// It cannot do this.
    Unsupported {
        /// What it said.
        reason: String,
    },
    /// Not measured here.
    Unmeasured,
}

/// A candidate, and what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// Which.
    pub candidate: CandidateId,
    /// Whether it is the default.
    pub default: bool,
    /// How it stands.
    pub verdict: Verdict,
    /// What its samples say.
    pub estimate: Option<Estimate>,
    /// Its time as a multiple of the fastest's.
    pub ratio: Option<f64>,
}

/// Why a candidate was chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explain {
    /// The key.
    pub key: Key,
    /// What is chosen.
    pub choice: Choice,
    /// The difference, as a part of 1, that does not count.
    pub delta: f64,
    /// All candidates, in the order of their priority.
    pub standings: Vec<Standing>,
    /// What is unusual, such as a pin that cannot be kept.
    pub notes: Vec<String>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinned { note } if note.is_empty() => f.write_str("pinned"),
            Self::Pinned { note } => write!(f, "pinned: {note}"),
            Self::Stored => f.write_str("measured before"),
            Self::Measured => f.write_str("measured now"),
            Self::Neighbour { key, doublings } => write!(f, "best for {key}, {doublings:.2} doublings away"),
            Self::Default { reason } => write!(f, "the default: {reason}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen => f.write_str("chosen"),
            Self::Tied => f.write_str("as fast, within noise"),
            Self::Slower => f.write_str("slower"),
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Unsupported { reason } => write!(f, "cannot: {reason}"),
            Self::Unmeasured => f.write_str("not measured"),
        }
    }
}

/// A time for people: three digits and a unit.
#[must_use]
pub fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

impl fmt::Display for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.key)?;
        writeln!(f, "{}: {}", self.choice.candidate.name, self.choice.source)?;
        let name = |name: &Name| name.as_str().len();
        let width =
            self.standings.iter().map(|standing| name(&standing.candidate.name)).max().unwrap_or(0).max(9);
        writeln!(
            f,
            "  {:width$}  {:>9}  {:>7}  {:>7}  {:>6}  verdict",
            "candidate", "median", "spread", "samples", "ratio"
        )?;
        for standing in &self.standings {
            let columns = standing.estimate.map_or([const { String::new() }; 3], |estimate| {
                [time(estimate.ns), format!("{:.1} %", estimate.spread * 100.0), estimate.samples.to_string()]
            });
            let ratio = standing.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let [median, spread, samples] = columns;
            let default = if standing.default { " (default)" } else { "" };
            writeln!(
                f,
                "  {:width$}  {median:>9}  {spread:>7}  {samples:>7}  {ratio:>6}  {}{default}",
                standing.candidate.name, standing.verdict
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_have_three_digits() {
        let shown = [1.234, 12.34, 123.4, 1234.0, 5.6e7, 7.89e9].map(time);
        assert_eq!(shown, ["1.23 ns", "12.3 ns", "123 ns", "1.23 us", "56.0 ms", "7.89 s"]);
    }
}
