//! The rule by which choices follow from what all ranks know. Pure, in whole numbers, and blind to the order of rows: who
//! has the same rows comes to the same choices.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Times that differ by no more than this are equal, and the default is preferred.
pub const DELTA_PERCENT: u64 = 2;

/// What one rank knows under a key: the candidates it has, and its default among them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// What is to be chosen for.
    pub key: String,
    /// What is used where nothing is chosen.
    pub default: String,
    /// What this rank could use.
    pub candidates: Vec<Candidate>,
}

/// A candidate that a rank has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its identity.
    pub id: String,
    /// What the rank has measured, if it has.
    pub evidence: Option<Evidence>,
}

/// What a rank has measured of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How often.
    pub samples: u64,
    /// The median, in nanoseconds.
    pub median_ns: u64,
}

/// What was chosen under a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// The candidate.
    pub candidate: String,
    /// What its time is taken to be; `None` for a default that nobody has measured.
    pub median_ns: Option<u64>,
    /// Samples behind it, of all ranks.
    pub samples: u64,
}

/// Choices by key. A key that is missing has no candidate that all ranks have and somebody measured, nor a common default.
pub type Choices = BTreeMap<String, Choice>;

/// Choices from the rows of all ranks.
///
/// For a key, only candidates that every rank lists come into question. A candidate's time is the lower median of the ranks'
/// medians, each counted as often as it has samples. The least time wins; at equal times, more samples, then the lesser name.
/// But the default (rank 0's) wins if it is at most [`DELTA_PERCENT`] slower, and where nobody has measured anything.
#[must_use]
pub fn choose(ranks: &[Vec<Row>]) -> Choices {
    let mut by_key: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for rows in ranks {
        // One row per rank and key: the first in the order of their texts, if a rank says two things.
        let mut own: BTreeMap<&str, &Row> = BTreeMap::new();
        for row in rows {
            let kept = own.entry(&row.key).or_insert(row);
            if order(row) < order(kept) {
                *kept = row;
            }
        }
        for (key, row) in own {
            by_key.entry(key).or_default().push(row);
        }
    }
    let everywhere = by_key.into_iter().filter(|(_, rows)| rows.len() == ranks.len());
    everywhere.filter_map(|(key, rows)| Some((key.to_owned(), choose_one(&rows)?))).collect()
}

/// What the rows of one key are ordered by, whatever order their candidates were listed in.
fn order(row: &Row) -> impl Ord {
    let evidence =
        |candidate: &Candidate| candidate.evidence.map(|evidence| (evidence.samples, evidence.median_ns));
    let mut candidates: Vec<_> =
        row.candidates.iter().map(|candidate| (candidate.id.as_str(), evidence(candidate))).collect();
    candidates.sort_unstable();
    (row.default.as_str(), candidates)
}

fn choose_one(rows: &[&Row]) -> Option<Choice> {
    let first = rows.first()?;
    let common = |id: &str| rows.iter().all(|row| row.candidates.iter().any(|candidate| candidate.id == id));
    let mut measured: Vec<Choice> = first
        .candidates
        .iter()
        .filter(|candidate| common(&candidate.id))
        .filter_map(|candidate| pooled(rows, &candidate.id))
        .collect();
    measured.sort_by(|a, b| {
        let rank = |choice: &Choice| (choice.median_ns, Reverse(choice.samples));
        rank(a).cmp(&rank(b)).then_with(|| a.candidate.cmp(&b.candidate))
    });
    let default = first.default.as_str();
    let Some(best) = measured.first() else {
        return common(default).then(|| Choice {
            candidate: default.to_owned(),
            median_ns: None,
            samples: 0,
        });
    };
    let within_noise = |choice: &&Choice| {
        let (time, least) = (choice.median_ns.unwrap_or(u64::MAX), best.median_ns.unwrap_or(0));
        u128::from(time) * 100 <= u128::from(least) * u128::from(100 + DELTA_PERCENT)
    };
    let kept = measured.iter().find(|choice| choice.candidate == default).filter(within_noise);
    Some(kept.unwrap_or(best).clone())
}

/// What all ranks together know of a candidate; nothing where nobody has measured it.
fn pooled(rows: &[&Row], id: &str) -> Option<Choice> {
    let of_rank = |row: &&Row| row.candidates.iter().filter(|c| c.id == id).filter_map(|c| c.evidence).next();
    let mut evidence: Vec<Evidence> = rows.iter().filter_map(of_rank).filter(|e| e.samples > 0).collect();
    evidence.sort_by_key(|evidence| evidence.median_ns);
    let samples: u128 = evidence.iter().map(|evidence| u128::from(evidence.samples)).sum();
    let mut seen = 0u128;
    for one in evidence {
        seen += u128::from(one.samples);
        if seen * 2 >= samples {
            let samples = u64::try_from(samples).unwrap_or(u64::MAX);
            return Some(Choice { candidate: id.to_owned(), median_ns: Some(one.median_ns), samples });
        }
    }
    None
}
