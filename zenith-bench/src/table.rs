//! Figures as text for people, and the table on stdout.

use std::fmt::Write as _;

use crate::harness::{Beside, Case, Group, Quantity, Spread};

/// A figure and its unit: `units` per second, or the time for one.
pub(crate) fn figure(seconds: f64, quantity: Quantity) -> String {
    match quantity {
        Quantity::Throughput => rate(1.0 / seconds),
        Quantity::Latency => duration(seconds),
    }
}

fn rate(per_second: f64) -> String {
    let (value, prefix) = match per_second {
        rate if rate >= 1e9 => (rate / 1e9, " G/s"),
        rate if rate >= 1e6 => (rate / 1e6, " M/s"),
        rate if rate >= 1e4 => (rate / 1e3, " k/s"),
        rate => (rate, "/s"),
    };
    format!("{}{prefix}", three_digits(value))
}

fn duration(seconds: f64) -> String {
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s if s >= 1e-6 => (s * 1e6, "\u{b5}s"),
        s => (s * 1e9, "ns"),
    };
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// The worst and the best round.
pub(crate) fn range(spread: Spread, quantity: Quantity) -> String {
    let (low, high) = match quantity {
        Quantity::Throughput => (spread.max, spread.min),
        Quantity::Latency => (spread.min, spread.max),
    };
    format!("{} \u{2013} {}", figure(low, quantity), figure(high, quantity))
}

/// How many times as fast, such as `1.25x`.
pub(crate) fn times(ratio: f64) -> String {
    format!("{}x", three_digits(ratio))
}

/// Where the median of a ratio lies, if that is known.
pub(crate) fn between(beside: &Beside) -> String {
    let range = |[low, high]: [f64; 2]| format!("{}\u{2013}{}", three_digits(low), three_digits(high));
    beside.wall_between.map(range).unwrap_or_default()
}

/// What the columns of figures are called.
pub(crate) fn headings(group: &Group) -> [String; 2] {
    let unit = group.unit;
    match group.quantity {
        Quantity::Throughput => [format!("{unit}/s"), format!("{unit}/cpu-s")],
        Quantity::Latency => ["wall each".to_owned(), "cpu each".to_owned()],
    }
}

/// The table of one comparison.
pub(crate) fn text(group: &Group) -> String {
    let [wall, cpu] = headings(group);
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "  {:<52} {wall:>13} {:>23} {cpu:>17} {:>8} {:>11} {:>8}",
        group.title, "worst \u{2013} best round", "wall", "95 %", "cpu"
    );
    for case in &group.cases {
        let Case { name, wall, cpu, beside_rival, .. } = case;
        let beside =
            beside_rival.as_ref().map(|b| [times(b.wall), between(b), times(b.cpu)]).unwrap_or_default();
        let _ = writeln!(
            out,
            "    {name:<50} {:>13} {:>23} {:>17} {:>8} {:>11} {:>8}",
            figure(wall.median, group.quantity),
            range(*wall, group.quantity),
            figure(cpu.median, group.quantity),
            beside[0],
            beside[1],
            beside[2],
        );
    }
    for absent in &group.not_measured {
        let _ = writeln!(out, "    {:<50} not measured: {}", absent.name, absent.reason);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(figure(1.0 / 1234.0, Quantity::Throughput), "1234/s");
        assert_eq!(figure(1.0 / 98_760.0, Quantity::Throughput), "98.8 k/s");
        assert_eq!(figure(2e-9, Quantity::Throughput), "500 M/s");
        assert_eq!(figure(4.2e-6, Quantity::Latency), "4.20 \u{b5}s");
        assert_eq!(figure(0.0314, Quantity::Latency), "31.4 ms");
        assert_eq!(times(12.345), "12.3x");
    }
}
