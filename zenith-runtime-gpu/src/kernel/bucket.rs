//! Which sizes count as the same size. Pure arithmetic: a size goes in, the span of sizes around it that share a choice comes out.

use std::collections::BTreeMap;
use std::fmt;

use super::key::Name;

/// The most steps per doubling that a rule may have; more would make spans of one size each.
pub const MAX_STEPS: u32 = 64;

/// Consecutive sizes that share a choice, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The least size.
    pub low: u64,
    /// The greatest size.
    pub high: u64,
}

/// How the sizes of a dimension are cut into spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Every size is a span of its own: for what takes few values, such as a model's width.
    Exact,
    /// Each doubling is cut into this many equal spans: for what takes any value, such as a sequence's length. Powers of two
    /// are the greatest of their span. Rounded up to a power of two, at most [`MAX_STEPS`].
    Octave(u32),
}

/// A rule for each dimension of an operation, by the dimension's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets {
    rules: BTreeMap<Name, Rule>,
    otherwise: Rule,
}

impl Span {
    /// One size alone.
    #[must_use]
    pub const fn exact(size: u64) -> Self {
        Self { low: size, high: size }
    }

    /// Whether `size` is in it.
    #[must_use]
    pub const fn contains(self, size: u64) -> bool {
        self.low <= size && size <= self.high
    }
}

impl Rule {
    /// The span that `size` is in.
    #[must_use]
    pub fn span(self, size: u64) -> Span {
        let Self::Octave(steps) = self else {
            return Span::exact(size);
        };
        // Spans end at powers of two, so the arithmetic is that of spans beginning there, one less.
        let Some(below) = size.checked_sub(1).filter(|&below| below > 0) else {
            return Span::exact(size);
        };
        let octave = 1_u64 << below.ilog2();
        let width = (octave / u64::from(steps.clamp(1, MAX_STEPS).next_power_of_two())).max(1);
        let low = below - (below - octave) % width;
        Span { low: low + 1, high: low.saturating_add(width) }
    }
}

impl Buckets {
    /// The same rule for every dimension.
    #[must_use]
    pub const fn all(rule: Rule) -> Self {
        Self { rules: BTreeMap::new(), otherwise: rule }
    }

    /// Another rule for the dimension `name`.
    #[must_use]
    pub fn with(mut self, name: Name, rule: Rule) -> Self {
        self.rules.insert(name, rule);
        self
    }

    /// The rule of the dimension `name`.
    #[must_use]
    pub fn rule(&self, name: &Name) -> Rule {
        self.rules.get(name).copied().unwrap_or(self.otherwise)
    }
}

impl Default for Buckets {
    /// Four spans per doubling: sizes of a span differ by less than a quarter.
    fn default() -> Self {
        Self::all(Rule::Octave(4))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spans_partition_the_sizes(size: u64, steps in 1_u32..=MAX_STEPS) {
            let rule = Rule::Octave(steps);
            let span = rule.span(size);
            prop_assert!(span.contains(size));
            prop_assert_eq!(rule.span(span.low), span);
            prop_assert_eq!(rule.span(span.high), span);
            if span.high < u64::MAX {
                prop_assert_eq!(rule.span(span.high + 1).low, span.high + 1);
            }
            // Sizes of a span differ by less than the step that the rule promises.
            prop_assert!((span.high - span.low) as f64 <= span.low as f64 / f64::from(steps));
        }
    }

    #[test]
    fn powers_of_two_are_the_greatest_of_their_span() {
        for exponent in 0..64 {
            assert_eq!(Rule::Octave(4).span(1 << exponent).high, 1 << exponent);
        }
    }

    #[test]
    fn spans_grow_with_the_logarithm_of_the_greatest_size() {
        for exponent in 4..20_u32 {
            let spans: BTreeSet<Span> =
                (0..=1_u64 << exponent).map(|size| Rule::Octave(4).span(size)).collect();
            assert!(spans.len() as u32 <= 4 * exponent + 2, "{} spans below 2^{exponent}", spans.len());
        }
    }

    #[test]
    fn dimensions_have_rules_of_their_own() {
        let name = |text: &str| Name::new(text).unwrap();
        let buckets = Buckets::default().with(name("k"), Rule::Exact);
        assert_eq!(buckets.rule(&name("k")), Rule::Exact);
        assert_eq!(buckets.rule(&name("m")), Rule::Octave(4));
        assert_eq!(buckets.rule(&name("m")).span(1300).to_string(), "1281-1536");
        assert_eq!(buckets.rule(&name("k")).span(1300).to_string(), "1300");
    }
}
