//! One HTML page that needs nothing but itself: the facts, a summary, and for each scenario its plots and tables.
//! Light or dark as the reader's system is.

mod plot;

use std::fmt::Write;

use crate::harness::{Case, Group, Side};
use crate::record::{Outcome, Record};
use crate::table::{between, figure, headings, range, times};

const STYLE: &str = include_str!("style.css");

/// The page.
pub(crate) fn render(record: &Record) -> String {
    let scenarios: String = record.scenarios.iter().map(section).collect();
    let summary = plot::summary(&record.scenarios);
    let nav: String =
        record.scenarios.iter().map(|s| format!("<a href=\"#{}\">{}</a>", s.name, escape(s.title))).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Zenith benchmarks</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header><h1>Zenith beside its rivals</h1>\n<p class=\"lead\">{lead}</p>\n<nav>{nav}</nav></header>\n\
         {warning}{facts}\
         <section class=\"card\"><h2>At a glance</h2>\n\
         <p>Each comparison's best Zenith contender beside the fastest rival in it. On the right of the line Zenith is \
         faster, or does with less processor time.</p>\n{summary}</section>\n\
         {scenarios}\
         <footer>{schema} &middot; every figure with its spread is in record.json</footer>\n</body>\n</html>\n",
        lead = lead(record),
        warning = warning(record),
        facts = facts(record),
        schema = record.schema,
    )
}

fn lead(record: &Record) -> String {
    format!(
        "All contenders of a comparison run in turn, {} rounds each (rings in more and shorter ones). Figures are \
         medians of the rounds; ratios are medians of the ratios within a round, so that a machine that is busy with \
         other things is so for all. Where the rounds are enough to say so, the median ratio lies in the range under \
         95 % with that confidence.",
        record.rounds
    )
}

fn warning(record: &Record) -> String {
    let machine = &record.machine;
    let mut warnings = Vec::new();
    if machine.profile != "release" {
        warnings
            .push("This was built without optimisation: the figures mean nothing. Use --release.".to_owned());
    }
    if machine.load_average > 0.5 * machine.cores as f64 {
        warnings.push(format!(
            "The machine was busy when this began (load average {:.1} on {} processors): trust ratios and processor \
             time more than wall time.",
            machine.load_average, machine.cores
        ));
    }
    warnings.iter().map(|text| format!("<p class=\"warning\">{}</p>\n", escape(text))).collect()
}

fn facts(record: &Record) -> String {
    let machine = &record.machine;
    let rivals: Vec<String> =
        machine.rivals.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let mut facts = vec![
        ("Processor", machine.cpu.clone()),
        ("Processors in use", machine.cores.to_string()),
        ("Memory", format!("{:.1} GiB", machine.memory_bytes as f64 / f64::from(1 << 30))),
        ("Kernel", machine.kernel.clone()),
        ("Compiler", format!("{}, {} profile", machine.rustc, machine.profile)),
        ("Rivals", rivals.join(", ")),
    ];
    if let Some(pictures) = &record.pictures {
        facts.push(("Pictures", pictures.clone()));
    }
    if let Some(commit) = &machine.git_commit {
        facts.push(("Commit", commit.clone()));
    }
    facts.push(("Began", record.began.clone()));
    let mut out = String::from("<dl class=\"card facts\">\n");
    for (name, value) in facts {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    out + "</dl>\n"
}

fn section(outcome: &Outcome) -> String {
    let groups: String = outcome.groups.iter().map(figures).collect();
    format!(
        "<section class=\"card\" id=\"{}\"><h2>{}</h2>\n<p>{}</p>\n<div class=\"groups\">{groups}</div></section>\n",
        outcome.name,
        escape(outcome.title),
        escape(outcome.about)
    )
}

fn figures(group: &Group) -> String {
    let absent: String = group
        .not_measured
        .iter()
        .map(|a| {
            format!("<p class=\"absent\">{} was not measured: {}</p>\n", escape(&a.name), escape(&a.reason))
        })
        .collect();
    format!(
        "<figure><figcaption>{}</figcaption>\n{}{absent}<details><summary>Figures</summary>{}</details></figure>\n",
        escape(&group.title),
        plot::bars(group),
        table(group)
    )
}

fn table(group: &Group) -> String {
    let [wall, cpu] = headings(group);
    let mut out = format!(
        "<table><thead><tr><th></th><th>{wall}</th><th>worst \u{2013} best round</th><th>{cpu}</th>\
         <th>wall</th><th>95 %</th><th>cpu</th></tr></thead><tbody>\n"
    );
    for case in &group.cases {
        let beside =
            case.beside_rival.as_ref().map(|b| [times(b.wall), between(b), times(b.cpu)]).unwrap_or_default();
        let _ = writeln!(
            out,
            "<tr class=\"{}\"><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            class(case),
            escape(&case.name),
            figure(case.wall.median, group.quantity),
            range(case.wall, group.quantity),
            figure(case.cpu.median, group.quantity),
            beside[0],
            beside[1],
            beside[2],
        );
    }
    out + "</tbody></table>"
}

fn class(case: &Case) -> &'static str {
    match case.side {
        Side::Zenith => "ours",
        Side::Rival => "rival",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
