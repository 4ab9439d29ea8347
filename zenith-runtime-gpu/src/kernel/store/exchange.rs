//! A store as one JSON document, to be carried to other machines, and what differs between two of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::row::{Outcome, Row};
use super::{Pin, Store, StoreError};
use crate::kernel::candidate::CandidateId;
use crate::kernel::environment::Environment;
use crate::kernel::key::Key;
use crate::kernel::select::decide::{Estimate, estimate};

/// What the document says it is.
const FORMAT: &str = "zenith-kernels";
/// The version of the document.
const VERSION: u32 = 1;
/// The most bytes that a document may have.
pub const MAX_DOCUMENT: usize = 1 << 30;

/// A store as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    format: String,
    version: u32,
    /// All rows, sorted.
    pub rows: Vec<Row>,
    /// All fixed choices, sorted.
    pub pins: Vec<Pin>,
}

/// Why a document is not taken in.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// It is not one.
    #[error("this is no export of kernel decisions: {0}")]
    Foreign(String),
    /// It was made by a newer Zenith.
    #[error("this export is of version {0}; version {VERSION} would work")]
    Version(u32),
    /// It is too large.
    #[error("this export has {0} bytes; at most {MAX_DOCUMENT} would work")]
    Large(usize),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What came of taking a document in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Rows that are new.
    pub rows: usize,
    /// Rows of which the store had its own, which stays.
    pub known: usize,
    /// Rows that cannot be, such as times below zero.
    pub unsound: usize,
    /// Pins; those of the same scope were replaced.
    pub pins: usize,
}

/// A difference between two stores.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum Difference {
    /// Only the first has it.
    OnlyFirst(Place),
    /// Only the second has it.
    OnlySecond(Place),
    /// Both measured it, and their medians differ by more than both their spreads and the given part.
    Speed {
        /// What.
        #[serde(flatten)]
        place: Place,
        /// The first's median in nanoseconds.
        first_ns: f64,
        /// The second's.
        second_ns: f64,
    },
    /// One accepts what the other rejects, or they reject for different reasons.
    Verdict {
        /// What.
        #[serde(flatten)]
        place: Place,
        /// What the first says.
        first: String,
        /// What the second says.
        second: String,
    },
    /// Pins differ for a scope.
    Pin {
        /// The scope, as JSON has it.
        scope: super::Scope,
        /// The candidate that the first fixes.
        first: Option<String>,
        /// The candidate that the second fixes.
        second: Option<String>,
    },
}

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The key.
    pub key: Key,
    /// The candidate.
    pub candidate: CandidateId,
    /// The environment.
    pub environment: Environment,
}

impl Exchange {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is none, of another version or too large.
    pub fn parse(text: &str) -> Result<Self, ExchangeError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        if text.len() > MAX_DOCUMENT {
            return Err(ExchangeError::Large(text.len()));
        }
        let foreign = |error: serde_json::Error| ExchangeError::Foreign(error.to_string());
        let head: Head = serde_json::from_str(text).map_err(foreign)?;
        if head.format != FORMAT {
            return Err(ExchangeError::Foreign(format!("its format is not `{FORMAT}`")));
        }
        if head.version != VERSION {
            return Err(ExchangeError::Version(head.version));
        }
        serde_json::from_str(text).map_err(foreign)
    }

    /// The document, a line for each row so that tools for text can compare them.
    #[must_use]
    pub fn to_json(&self) -> String {
        let lines = |values: Vec<String>| values.join(",\n  ");
        // Rows and pins are maps with text for keys, which always have a JSON form.
        let row = |row: &Row| serde_json::to_string(row).unwrap_or_default();
        let pin = |pin: &Pin| serde_json::to_string(pin).unwrap_or_default();
        format!(
            "{{\"format\":\"{FORMAT}\",\"version\":{VERSION},\n \"rows\":[\n  {}],\n \"pins\":[\n  {}]}}\n",
            lines(self.rows.iter().map(row).collect()),
            lines(self.pins.iter().map(pin).collect())
        )
    }

    /// What differs from `other`. Times count as different when they do so by more than `delta`, a part of 1, and by more than
    /// they vary themselves.
    #[must_use]
    pub fn diff(&self, other: &Self, delta: f64) -> Vec<Difference> {
        let index = |rows: &[Row]| -> BTreeMap<(Key, CandidateId, String), Row> {
            let place = |row: &Row| (row.key.clone(), row.candidate.clone(), row.environment.digest());
            rows.iter().map(|row| (place(row), row.clone())).collect()
        };
        let (first, second) = (index(&self.rows), index(&other.rows));
        let mut differences = Vec::new();
        for (place, row) in &first {
            match second.get(place) {
                None => differences.push(Difference::OnlyFirst(row.into())),
                Some(other) => differences.extend(between(row, other, delta)),
            }
        }
        let new = second.iter().filter(|(place, _)| !first.contains_key(*place));
        differences.extend(new.map(|(_, row)| Difference::OnlySecond(row.into())));

        let pins = |pins: &[Pin]| -> BTreeMap<_, _> {
            pins.iter().map(|pin| (pin.scope.clone(), pin.candidate.to_string())).collect()
        };
        let (first, second) = (pins(&self.pins), pins(&other.pins));
        let scopes: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).collect();
        differences.extend(scopes.into_iter().filter(|scope| first.get(*scope) != second.get(*scope)).map(
            |scope| Difference::Pin {
                scope: scope.clone(),
                first: first.get(scope).cloned(),
                second: second.get(scope).cloned(),
            },
        ));
        differences
    }
}

fn between(first: &Row, second: &Row, delta: f64) -> Option<Difference> {
    match (&first.outcome, &second.outcome) {
        (Outcome::Measured(a), Outcome::Measured(b)) => {
            let (a, b): (Estimate, Estimate) = (estimate(a)?, estimate(b)?);
            let apart = (a.ns - b.ns).abs();
            let differs = apart > delta * a.ns.min(b.ns) && apart > a.error_ns + b.error_ns;
            differs.then(|| Difference::Speed { place: first.into(), first_ns: a.ns, second_ns: b.ns })
        }
        (a, b) => {
            (a != b).then(|| Difference::Verdict { place: first.into(), first: word(a), second: word(b) })
        }
    }
}

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Measured(_) => "measured".to_owned(),
        Outcome::Rejected(rejection) => rejection.to_string(),
    }
}

impl From<&Row> for Place {
    fn from(row: &Row) -> Self {
        Self { key: row.key.clone(), candidate: row.candidate.clone(), environment: row.environment.clone() }
    }
}

impl Store {
    /// All that is in it, as data.
    #[must_use]
    pub fn export(&self) -> Exchange {
        Exchange { format: FORMAT.to_owned(), version: VERSION, rows: self.all(), pins: self.pins() }
    }

    /// Takes in what another store exported. Rows that are here stay as they are; pins are replaced.
    ///
    /// # Errors
    /// When the store cannot be written; what was taken in until then stays.
    pub fn import(&self, exchange: &Exchange) -> Result<Imported, ExchangeError> {
        let mut imported = Imported::default();
        for row in &exchange.rows {
            if !row.is_sound() {
                imported.unsound += 1;
            } else if self.put(row)? {
                imported.rows += 1;
            } else {
                imported.known += 1;
            }
        }
        for pin in &exchange.pins {
            self.pin(pin)?;
            imported.pins += 1;
        }
        Ok(imported)
    }
}
