//! Outcomes as a table for a terminal.

use std::fmt::Write;

use super::outcome::Outcome;

/// Outcomes side by side, a column each; hours unless it says otherwise.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut row = |name: &str, cell: &dyn Fn(&Outcome) -> String| {
        rows.push((name.to_owned(), outcomes.iter().map(cell).collect()));
    };
    row("", &|o| o.policy.clone());
    row("jobs", &|o| o.jobs.to_string());
    row("too large for the cluster", &|o| o.too_large.to_string());
    row("completion, mean", &|o| format!("{:.1}", o.completion.mean));
    row("completion, median", &|o| format!("{:.2}", o.completion.median));
    row("completion, p95", &|o| format!("{:.1}", o.completion.p95));
    row("longest wait", &|o| format!("{:.0}", o.wait.max));
    let mut bands: Vec<(u32, u32, &str)> = Vec::new();
    for band in outcomes.iter().flat_map(|outcome| &outcome.wait_by_gpus) {
        if !bands.iter().any(|(.., name)| *name == band.name) {
            bands.push((band.from, band.to, &band.name));
        }
    }
    bands.sort_unstable();
    for (.., name) in bands {
        row(&format!("wait, {name} GPUs"), &|o| {
            let band = o.wait_by_gpus.iter().find(|band| band.name == name);
            band.map_or("-".to_owned(), |band| format!("{:.1}", band.wait.mean))
        });
    }
    row("utilisation while submitting", &|o| percent(o.utilisation_while_submitting));
    row("idle beside a queue", &|o| percent(o.idle_beside_queue));
    row("idle but not together", &|o| percent(o.fragmentation));
    row("fairness between queues (Jain)", &|o| format!("{:.3}", o.fairness.jain));
    row("slowdown, median", &|o| format!("{:.1}", o.fairness.median_slowdown));
    row("slowdown, p95", &|o| format!("{:.0}", o.fairness.p95_slowdown));
    row("start predicted, median error", &|o| format!("{:.2}", o.predictions.median_error));
    row("started within the range given", &|o| percent(o.predictions.within_range));
    row("start predicted within x2", &|o| percent(o.predictions.within_factor_two));

    let first = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let cell = rows.iter().flat_map(|(_, cells)| cells).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, cells) in &rows {
        let mut line = format!("{name:<first$}");
        for content in cells {
            // Writing into a string cannot fail.
            let _ = write!(line, "  {content:>cell$}");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}
