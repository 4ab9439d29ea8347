//! The text Prometheus reads: a `HELP` and a `TYPE` line for each name, then a line for each value.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

use super::Summary;
use super::registry::{Family, Labels, Series};

/// Bucket bounds shown, as powers of two of nanoseconds: from about 1 microsecond to 18 minutes.
const BOUNDS: [u32; 16] = [10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40];

pub(super) fn text(families: &BTreeMap<String, Family>) -> String {
    let mut out = String::new();
    for (name, family) in families {
        write_family(&mut out, name, family).expect("writing to a string cannot fail");
    }
    out
}

fn write_family(out: &mut String, name: &str, family: &Family) -> fmt::Result {
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    writeln!(out, "# HELP {name} {help}")?;
    match &family.series {
        Series::Counters(counters) => {
            writeln!(out, "# TYPE {name} counter")?;
            for (labels, counter) in counters {
                writeln!(out, "{name}{} {}", Braces(labels, None), counter.get())?;
            }
        }
        Series::Histograms(histograms) => {
            writeln!(out, "# TYPE {name} histogram")?;
            for (labels, histogram) in histograms {
                write_histogram(out, name, labels, &histogram.summary())?;
            }
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, name: &str, labels: &Labels, summary: &Summary) -> fmt::Result {
    for exponent in BOUNDS {
        // Values are whole nanoseconds: less than the power of two is at most one less, which is the bound shown.
        let bound = seconds((1 << exponent) - 1);
        writeln!(out, "{name}_bucket{} {}", Braces(labels, Some(&bound)), summary.below(exponent))?;
    }
    writeln!(out, "{name}_bucket{} {}", Braces(labels, Some("+Inf")), summary.count())?;
    writeln!(out, "{name}_sum{} {}", Braces(labels, None), seconds(summary.sum()))?;
    writeln!(out, "{name}_count{} {}", Braces(labels, None), summary.count())
}

/// Nanoseconds as decimal seconds, exactly.
fn seconds(nanoseconds: u64) -> String {
    format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000)
}

/// Labels as `{a="b",le="c"}`, or nothing.
struct Braces<'a>(&'a Labels, Option<&'a str>);

impl Display for Braces<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = self.1.map(|bound| ("le", bound));
        let labels = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(bound);
        let mut separator = '{';
        for (name, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{separator}{name}=\"{value}\"")?;
            separator = ',';
        }
        if separator == ',' { f.write_char('}') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use crate::telemetry::Registry;

    #[test]
    fn counters_have_a_head_and_a_line_for_each_set_of_labels() {
        let registry = Registry::new();
        registry.counter("zenith_b_total", "what b\\is\nfor", &[]).unwrap().add(7);
        let labels = [("path", "a\"b\\c\nd"), ("node", "0")];
        registry.counter("zenith_a_total", "bytes", &labels).unwrap().add(3);
        registry.counter("zenith_a_total", "bytes", &[("node", "1")]).unwrap();
        let expected = concat!(
            "# HELP zenith_a_total bytes\n",
            "# TYPE zenith_a_total counter\n",
            "zenith_a_total{node=\"0\",path=\"a\\\"b\\\\c\\nd\"} 3\n",
            "zenith_a_total{node=\"1\"} 0\n",
            "# HELP zenith_b_total what b\\\\is\\nfor\n",
            "# TYPE zenith_b_total counter\n",
            "zenith_b_total 7\n",
        );
        assert_eq!(registry.prometheus(), expected);
    }

    #[test]
    fn histograms_are_cumulative_and_end_in_infinity() {
        let registry = Registry::new();
        let histogram = registry.histogram("zenith_wait_seconds", "wait", &[("stage", "read")]).unwrap();
        for nanoseconds in [0, 1023, 1024, 3_000_000_000, u64::from(u32::MAX), 1 << 50] {
            histogram.record(nanoseconds);
        }
        let text = registry.prometheus();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "# TYPE zenith_wait_seconds histogram");
        assert_eq!(lines[2], "zenith_wait_seconds_bucket{stage=\"read\",le=\"0.000001023\"} 2");
        assert_eq!(lines[3], "zenith_wait_seconds_bucket{stage=\"read\",le=\"0.000004095\"} 3");
        assert_eq!(lines[13], "zenith_wait_seconds_bucket{stage=\"read\",le=\"4.294967295\"} 5");
        assert_eq!(lines[18], "zenith_wait_seconds_bucket{stage=\"read\",le=\"+Inf\"} 6");
        assert_eq!(lines[19], "zenith_wait_seconds_sum{stage=\"read\"} 1125907.201811966");
        assert_eq!(lines[20], "zenith_wait_seconds_count{stage=\"read\"} 6");
        let counts: Vec<u64> =
            lines[2..19].iter().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
        assert!(counts.is_sorted());
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(Registry::new().prometheus(), "");
    }
}
