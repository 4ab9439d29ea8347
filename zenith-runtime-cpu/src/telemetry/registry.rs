//! The metrics of a program by name. Looking one up takes a lock; recording into it does not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Counter, Histogram, exposition};

/// Why a metric cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The name is not one: `zenith_` and then lower-case letters, digits and underscores.
    #[error("{0:?} is no metric name: zenith_ followed by a-z, 0-9 and _")]
    Name(String),
    /// The label's name is not one: a lower-case letter, then lower-case letters, digits and underscores; not `le`.
    #[error("{0:?} is no label name: a-z, 0-9 and _, not beginning with a digit, and not le")]
    Label(String),
    /// The name is taken by a metric of another kind.
    #[error("{0} is a metric of another kind already")]
    Kind(String),
}

pub(super) type Labels = Vec<(String, String)>;

#[derive(Debug)]
pub(super) enum Series {
    Counters(BTreeMap<Labels, Arc<Counter>>),
    Histograms(BTreeMap<Labels, Arc<Histogram>>),
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) help: String,
    pub(super) series: Series,
}

/// A set of named metrics.
#[derive(Debug, Default)]
pub struct Registry {
    families: Mutex<BTreeMap<String, Family>>,
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter of this name and these labels; the same one each time. By convention the name ends in `_total`.
    ///
    /// # Errors
    /// [`MetricError`] for a bad name or label, or if the name is a histogram's.
    pub fn counter(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<Arc<Counter>, MetricError> {
        self.with(
            name,
            labels,
            help,
            || Series::Counters(BTreeMap::new()),
            |series, labels| match series {
                Series::Counters(counters) => Some(Arc::clone(counters.entry(labels).or_default())),
                Series::Histograms(_) => None,
            },
        )
    }

    /// The histogram of latencies of this name and these labels; the same one each time. Recorded in nanoseconds,
    /// shown in seconds; by convention the name ends in `_seconds`.
    ///
    /// # Errors
    /// [`MetricError`] for a bad name or label, or if the name is a counter's.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
    ) -> Result<Arc<Histogram>, MetricError> {
        self.with(
            name,
            labels,
            help,
            || Series::Histograms(BTreeMap::new()),
            |series, labels| match series {
                Series::Histograms(histograms) => Some(Arc::clone(histograms.entry(labels).or_default())),
                Series::Counters(_) => None,
            },
        )
    }

    /// All metrics in Prometheus' text format (version 0.0.4).
    #[must_use]
    pub fn prometheus(&self) -> String {
        exposition::text(&self.families.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn with<M>(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        help: &str,
        new: impl FnOnce() -> Series,
        get: impl FnOnce(&mut Series, Labels) -> Option<M>,
    ) -> Result<M, MetricError> {
        if !name.strip_prefix("zenith_").is_some_and(is_word) {
            return Err(MetricError::Name(name.to_owned()));
        }
        let mut owned: Labels = Vec::with_capacity(labels.len());
        for &(label, value) in labels {
            let digit = label.starts_with(|c: char| c.is_ascii_digit());
            if !is_word(label) || digit || label.starts_with("__") || label == "le" {
                return Err(MetricError::Label(label.to_owned()));
            }
            owned.push((label.to_owned(), value.to_owned()));
        }
        owned.sort();
        if let Some(twice) = owned.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(MetricError::Label(twice[0].0.clone()));
        }
        let mut families = self.families.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families
            .entry(name.to_owned())
            .or_insert_with(|| Family { help: help.to_owned(), series: new() });
        get(&mut family.series, owned).ok_or_else(|| MetricError::Kind(name.to_owned()))
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_is_the_same_metric() {
        let registry = Registry::new();
        let labels = [("stage", "read"), ("node", "0")];
        registry.counter("zenith_bytes_total", "bytes", &labels).unwrap().add(3);
        let again = registry.counter("zenith_bytes_total", "bytes", &[labels[1], labels[0]]).unwrap();
        assert_eq!(again.get(), 3);
        let other = registry.counter("zenith_bytes_total", "bytes", &[("stage", "decode")]).unwrap();
        assert_eq!(other.get(), 0);
    }

    #[test]
    fn names_that_prometheus_refuses_are_refused_here() {
        let registry = Registry::new();
        for name in ["", "zenith_", "bytes_total", "zenith_Bytes", "zenith_a-b"] {
            assert_eq!(registry.counter(name, "", &[]).unwrap_err(), MetricError::Name(name.to_owned()));
        }
        for label in ["", "le", "0a", "__name__", "a b"] {
            let error = registry.histogram("zenith_x", "", &[(label, "")]).unwrap_err();
            assert_eq!(error, MetricError::Label(label.to_owned()));
        }
        let twice = registry.counter("zenith_x", "", &[("a", "1"), ("a", "2")]).unwrap_err();
        assert_eq!(twice, MetricError::Label("a".to_owned()));
    }

    #[test]
    fn a_name_has_one_kind() {
        let registry = Registry::new();
        registry.counter("zenith_x", "", &[]).unwrap();
        assert_eq!(
            registry.histogram("zenith_x", "", &[]).unwrap_err(),
            MetricError::Kind("zenith_x".to_owned())
        );
    }
}
