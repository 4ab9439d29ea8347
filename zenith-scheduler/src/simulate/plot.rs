//! Outcomes as a picture: an SVG of three panels that needs no program but a browser. The numbers are in the JSON.

use std::fmt::Write;

use super::cluster::ClusterShape;
use super::outcome::Outcome;

const COLORS: [&str; 6] = ["#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774"];
const WIDTH: f64 = 760.0;
const PANEL: f64 = 190.0;
const LEFT: f64 = 70.0;
const GAP: f64 = 60.0;

/// One line of a panel.
struct Line {
    color: &'static str,
    points: Vec<(f64, f64)>,
}

/// A panel with its axes.
struct Panel<'a> {
    title: &'a str,
    x: &'a str,
    log_x: bool,
    x_range: (f64, f64),
    y_max: f64,
    lines: Vec<Line>,
}

/// Completion, queued jobs and used GPUs of several outcomes.
pub fn plot(outcomes: &[Outcome]) -> String {
    let lines = |points: &dyn Fn(&Outcome) -> Vec<(f64, f64)>| {
        let each = outcomes.iter().zip(COLORS.iter().cycle());
        each.map(|(outcome, color)| Line { color, points: points(outcome) }).collect::<Vec<_>>()
    };
    let end = outcomes.iter().flat_map(|o| &o.timeline).map(|sample| sample.at).fold(1.0, f64::max);
    let queued = outcomes.iter().flat_map(|o| &o.timeline).map(|sample| sample.queued).max().unwrap_or(1);
    let gpus =
        outcomes.iter().map(|o| o.cluster.iter().map(ClusterShape::gpus).sum::<u64>()).max().unwrap_or(1);
    let panels = [
        Panel {
            title: "share of jobs that have completed",
            x: "hours after submission",
            log_x: true,
            x_range: (0.01, 2000.0),
            y_max: 1.0,
            lines: lines(&|o| o.completion_curve.clone()),
        },
        Panel {
            title: "queued jobs",
            x: "hours",
            log_x: false,
            x_range: (0.0, end),
            y_max: queued.max(1) as f64,
            lines: lines(&|o| o.timeline.iter().map(|s| (s.at, s.queued as f64)).collect()),
        },
        Panel {
            title: "GPUs in use",
            x: "hours",
            log_x: false,
            x_range: (0.0, end),
            y_max: gpus.max(1) as f64,
            lines: lines(&|o| o.timeline.iter().map(|s| (s.at, f64::from(s.busy))).collect()),
        },
    ];
    let height = panels.len() as f64 * (PANEL + GAP) + GAP;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    legend(&mut svg, outcomes);
    for (at, panel) in panels.iter().enumerate() {
        draw(&mut svg, panel, GAP + at as f64 * (PANEL + GAP));
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String, outcomes: &[Outcome]) {
    for (at, (outcome, color)) in outcomes.iter().zip(COLORS.iter().cycle()).enumerate() {
        let x = LEFT + at as f64 * 160.0;
        let name = escaped(&outcome.policy);
        add(svg, format_args!("<rect x=\"{x}\" y=\"14\" width=\"12\" height=\"12\" fill=\"{color}\"/>\n"));
        add(svg, format_args!("<text x=\"{}\" y=\"24\">{name}</text>\n", x + 18.0));
    }
}

fn draw(svg: &mut String, panel: &Panel<'_>, top: f64) {
    let (from, to) = panel.x_range;
    let right = WIDTH - 20.0;
    let scale = |value: f64| if panel.log_x { value.max(from).ln() } else { value };
    let x = |value: f64| LEFT + (right - LEFT) * (scale(value) - scale(from)) / (scale(to) - scale(from));
    let y = |value: f64| top + PANEL * (1.0 - value / panel.y_max);
    add(
        svg,
        format_args!("<text x=\"{LEFT}\" y=\"{}\" font-weight=\"bold\">{}</text>\n", top - 8.0, panel.title),
    );
    for part in 0..=4 {
        let value = panel.y_max * f64::from(part) / 4.0;
        let at = y(value);
        add(
            svg,
            format_args!(
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\n"
            ),
        );
        let label = if panel.y_max <= 1.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        add(
            svg,
            format_args!(
                "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                LEFT - 6.0,
                at + 4.0
            ),
        );
    }
    let ticks: Vec<f64> = match panel.log_x {
        true => vec![0.01, 0.1, 1.0, 10.0, 100.0, 1000.0],
        false => (0..=5).map(|part| to * f64::from(part) / 5.0).collect(),
    };
    for value in ticks {
        let label = if value < 1.0 { value.to_string() } else { format!("{value:.0}") };
        let at = top + PANEL + 16.0;
        add(
            svg,
            format_args!("<text x=\"{:.1}\" y=\"{at:.1}\" text-anchor=\"middle\">{label}</text>\n", x(value)),
        );
    }
    let at = top + PANEL + 32.0;
    add(
        svg,
        format_args!(
            "<text x=\"{right}\" y=\"{at:.1}\" text-anchor=\"end\" fill=\"#555\">{}</text>\n",
            panel.x
        ),
    );
    for line in &panel.lines {
        let mut path = String::new();
        for (px, py) in line.points.iter().filter(|(px, _)| (from..=to).contains(px) || panel.log_x) {
            add(&mut path, format_args!("{:.1},{:.1} ", x(px.min(to)), y(*py)));
        }
        let (color, path) = (line.color, path.trim_end());
        add(
            svg,
            format_args!(
                "<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" points=\"{path}\"/>\n"
            ),
        );
    }
}

fn add(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = svg.write_fmt(text);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
