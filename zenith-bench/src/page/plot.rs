//! The plots, as inline SVG in the page's colours: bars of one comparison, and all ratios at a glance.

use std::fmt::Write;

use super::{class, escape};
use crate::harness::{Case, Group, Quantity, Side};
use crate::record::Outcome;
use crate::table::{figure, times};

const WIDTH: f64 = 560.0;
const ROW: f64 = 46.0;
const BAR: f64 = 16.0;
/// What the longest bar leaves for the figures behind it.
const FIGURES: f64 = 170.0;

/// What a bar's length stands for.
fn length(seconds: f64, quantity: Quantity) -> f64 {
    match quantity {
        Quantity::Throughput => 1.0 / seconds,
        Quantity::Latency => seconds,
    }
}

/// A bar for each contender: wall time, with a whisker from the worst round to the best.
pub(super) fn bars(group: &Group) -> String {
    let of = |seconds| length(seconds, group.quantity);
    let extent = |case: &Case| of(case.wall.min).max(of(case.wall.max));
    let longest = group.cases.iter().map(extent).fold(0.0, f64::max);
    let scale = (WIDTH - FIGURES) / longest.max(f64::MIN_POSITIVE);
    let height = ROW * group.cases.len() as f64 + 2.0;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(&group.title)
    );
    for (n, case) in group.cases.iter().enumerate() {
        let top = ROW * n as f64;
        let middle = top + 22.0 + BAR / 2.0;
        let width = (of(case.wall.median) * scale).max(1.0);
        let [low, high] = [case.wall.max, case.wall.min].map(|seconds| of(seconds) * scale);
        let [low, high] = [low.min(high), low.max(high)];
        let beside = case.beside_rival.as_ref().map_or(String::new(), |beside| times(beside.wall));
        let unit = match group.quantity {
            Quantity::Throughput => String::new(),
            Quantity::Latency => " each".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<g class=\"{}\"><text class=\"name\" x=\"0\" y=\"{:.1}\">{}</text>\
             <rect x=\"0\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\"/>\
             <path class=\"whisker\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v6M{high:.1} {:.1}v6\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}{unit} <tspan class=\"ratio\" dx=\"6\">{beside}</tspan></text></g>",
            class(case),
            top + 15.0,
            escape(&case.name),
            top + 22.0,
            middle - 3.0,
            middle - 3.0,
            high.max(width) + 8.0,
            middle + 4.5,
            figure(case.wall.median, group.quantity),
        );
    }
    out + "</svg>\n"
}

/// Where the plot of ratios begins, behind the names.
const PLOT: f64 = 400.0;
const SUMMARY: f64 = 1080.0;
const LINE: f64 = 26.0;

/// A comparison's best contender of ours: its name and its wall and processor ratios.
struct Standing {
    title: String,
    wall: f64,
    cpu: f64,
}

fn standing(group: &Group) -> Option<Standing> {
    let best = group
        .cases
        .iter()
        .filter(|case| case.side == Side::Zenith)
        .min_by(|a, b| a.wall.median.total_cmp(&b.wall.median))?;
    let beside = best.beside_rival.as_ref()?;
    Some(Standing { title: group.title.clone(), wall: beside.wall, cpu: beside.cpu })
}

/// The ratio of every comparison on one logarithmic axis.
pub(super) fn summary(scenarios: &[Outcome]) -> String {
    let rows: Vec<(&Outcome, Vec<Standing>)> = scenarios
        .iter()
        .map(|scenario| (scenario, scenario.groups.iter().filter_map(standing).collect()))
        .collect();
    let ratios = || {
        rows.iter()
            .flat_map(|(_, all)| all)
            .flat_map(|s| [s.wall, s.cpu])
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
    };
    // Whole powers of two, so that the axis has honest ticks.
    let low = ratios().fold(0.5, f64::min).log2().floor();
    let high = ratios().fold(2.0, f64::max).log2().ceil();
    let x = |ratio: f64| PLOT + (SUMMARY - PLOT - 90.0) * (ratio.log2() - low) / (high - low);
    let lines = rows.iter().map(|(_, all)| all.len() + 1).sum::<usize>() as f64;
    let height = LINE * lines + 34.0;
    let mut out = format!(
        "<svg class=\"summary\" viewBox=\"0 0 {SUMMARY} {height}\" role=\"img\" aria-label=\"All ratios\">\n"
    );
    let mut power = low;
    while power <= high {
        let at = x(power.exp2());
        let even = if power == 0.0 { " even" } else { "" };
        let _ = writeln!(
            out,
            "<path class=\"grid{even}\" d=\"M{at:.1} 22V{height:.1}\"/><text class=\"tick\" x=\"{at:.1}\" y=\"14\">{}</text>",
            tick(power)
        );
        power += if high - low > 7.0 { 2.0 } else { 1.0 };
    }
    let mut top = 26.0;
    for (scenario, all) in &rows {
        let _ = writeln!(
            out,
            "<text class=\"scenario\" x=\"0\" y=\"{:.1}\">{}</text>",
            top + 18.0,
            escape(scenario.title)
        );
        top += LINE;
        for Standing { title, wall, cpu } in all {
            let middle = top + LINE / 2.0;
            let _ = writeln!(
                out,
                "<g><text class=\"name\" x=\"14\" y=\"{:.1}\">{}</text>\
                 <path class=\"stem {}\" d=\"M{:.1} {middle:.1}H{:.1}\"/>\
                 <circle class=\"cpu\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"5\"/>\
                 <circle class=\"wall\" cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"5\"/>\
                 <text class=\"value\" x=\"{SUMMARY}\" y=\"{:.1}\">{}</text></g>",
                middle + 4.5,
                escape(title),
                if *wall >= 1.0 { "ahead" } else { "behind" },
                x(1.0),
                x(*wall),
                x(*cpu),
                x(*wall),
                middle + 4.5,
                times(*wall),
            );
            top += LINE;
        }
    }
    out += "</svg>\n";
    out + "<p class=\"legend\"><span class=\"wall\"></span> wall time <span class=\"cpu\"></span> processor time</p>\n"
}

fn tick(power: f64) -> String {
    if power < 0.0 { format!("1/{}\u{d7}", (-power).exp2()) } else { format!("{}\u{d7}", power.exp2()) }
}
