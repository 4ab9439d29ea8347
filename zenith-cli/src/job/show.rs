//! `zenith job show`: everything that is known of a job.

use std::io::Write;

use clap::Args;
use zenith_proto::v1;
use zenith_scheduler::client::notation::{self, Memory, Span};
use zenith_scheduler::view::JobDetail;

use crate::Failure;
use crate::connection::Connection;
use crate::shown::{local_time, now_ms, plain, ranges};

/// Ranks that are listed; more are counted.
const RANKS: usize = 64;

/// Show everything that is known of a job.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The job.
    job: u64,
    /// Print JSON, with the job's environment.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let id = arguments.job;
    let client = arguments.connection.open()?;
    let detail = client.call(|mut client| async move { client.get(id).await })?;
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&JobDetail::from(detail))?)?;
        return Ok(());
    }
    let job = detail.job.clone().unwrap_or_default();
    let asked = detail.submission.clone().unwrap_or_default();
    life(&job, &detail, out)?;
    request(&asked, out)?;
    command(&asked, out)?;
    place(&detail, out)
}

fn line(out: &mut dyn Write, name: &str, value: &str) -> Result<(), Failure> {
    Ok(writeln!(out, "{name:<12}  {}", plain(value))?)
}

/// What became of it.
fn life(job: &v1::Job, detail: &v1::JobDetail, out: &mut dyn Write) -> Result<(), Failure> {
    let of = match detail.submission.as_ref().map_or(1, |asked| asked.count) {
        0 | 1 => String::new(),
        count => format!(", number {} of the {count} of array {}", job.id - job.first, job.first),
    };
    line(out, "job", &format!("{} {}{of}", job.id, job.name))?;
    let exit = job.exit_code.map(|code| format!(", exit status {code}")).unwrap_or_default();
    let cause = if job.cause.is_empty() { String::new() } else { format!(": {}", job.cause) };
    line(out, "state", &format!("{}{exit}{cause}", notation::state(job.state())))?;
    line(out, "user, queue", &format!("{}, {} (priority {})", job.user, job.queue, job.priority))?;
    line(out, "submitted", &local_time(job.submitted_ms))?;
    if let Some(started) = job.started_ms {
        let ran = Span(job.ended_ms.unwrap_or_else(now_ms).saturating_sub(started));
        line(out, "started", &format!("{} (ran {ran})", local_time(started)))?;
    }
    if let Some(ended) = job.ended_ms {
        line(out, "ended", &local_time(ended))?;
    }
    if let Some(until) = detail.not_before_ms {
        line(out, "pauses until", &local_time(until))?;
    }
    let v1::JobDetail { preemptions, deaths, failures, .. } = detail;
    let ends = format!("{preemptions} by preemption, {deaths} by lost nodes, {failures} by failures");
    line(out, "attempts", &format!("{}, restarts {} ({ends})", job.attempt, job.restarts))
}

/// What it asked for.
fn request(asked: &v1::Submission, out: &mut dyn Write) -> Result<(), Failure> {
    let wants = asked.resources.unwrap_or_default();
    let mut parts: Vec<String> = Vec::new();
    parts.extend(wants.gpus.map(|gpus| format!("{gpus} GPUs")));
    parts.extend(wants.gpus_per_node.map(|gpus| format!("{gpus} GPUs per node")));
    parts.extend(wants.nodes_min.zip(wants.nodes_max).map(|(min, max)| match max - min.min(max) {
        0 => format!("{min} nodes"),
        _ => format!("{min}..{max} nodes"),
    }));
    let share = if wants.gpus.is_some() || wants.gpus_per_node.is_some() { "GPU" } else { "node" };
    if wants.cpus > 0 {
        parts.push(format!("{} processors per {share}", wants.cpus));
    }
    if wants.memory_mib > 0 {
        parts.push(format!("{} per {share}", Memory(wants.memory_mib)));
    }
    if let Some(level) = notation::topology_word(wants.topology()) {
        let how = if wants.topology_required == Some(true) { "required" } else { "preferred" };
        parts.push(format!("topology {level} {how}"));
    }
    if wants.ranks_per() == v1::RanksPer::Node {
        parts.push("a process per node".to_owned());
    }
    line(out, "asks for", &parts.join(", "))?;
    let mut terms: Vec<String> = Vec::new();
    terms.extend(asked.time_limit_ms.map(|limit| format!("at most {}", Span(limit))));
    if asked.preemptible {
        terms.push("preemptible".to_owned());
    }
    if asked.retries > 0 {
        terms.push(format!("{} retries", asked.retries));
    }
    let after = asked.after.iter();
    terms.extend(after.map(|d| format!("after {}{}", d.job, if d.completed { "" } else { ":any" })));
    if terms.is_empty() { Ok(()) } else { line(out, "terms", &terms.join(", ")) }
}

/// What is run.
fn command(asked: &v1::Submission, out: &mut dyn Write) -> Result<(), Failure> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    let quoted = |word: &String| match word.is_empty() || !word.chars().all(harmless) {
        true => format!("'{}'", word.replace('\'', r"'\''")),
        false => word.clone(),
    };
    let words: Vec<String> = asked.command.iter().map(quoted).collect();
    line(out, "command", &words.join(" "))?;
    line(out, "directory", &asked.directory)?;
    line(out, "environment", &format!("{} variables; --json has them", asked.environment.len()))
}

/// Where it is, and what its processes did.
fn place(detail: &v1::JobDetail, out: &mut dyn Write) -> Result<(), Failure> {
    for slice in &detail.slices {
        let gpus = match slice.gpus.as_slice() {
            [] => "no GPUs".to_owned(),
            gpus => format!("GPUs {}", ranges(gpus.iter().map(|gpu| u64::from(*gpu)))),
        };
        let holds =
            format!("{}: {gpus}, {} processors, {}", slice.node, slice.cpus, Memory(slice.memory_mib));
        line(out, "on", &holds)?;
    }
    for rank in detail.ranks.iter().take(RANKS) {
        let used = rank.usage.map(|used| format!(", {}", usage(&used))).unwrap_or_default();
        line(out, &format!("rank {}", rank.rank), &format!("{} on {}{used}", rank.state, rank.node))?;
    }
    if detail.ranks.len() > RANKS {
        line(out, "ranks", &format!("and {} more; --json has them", detail.ranks.len() - RANKS))?;
    }
    if let Some(used) = detail.usage.filter(|used| *used != v1::Usage::default()) {
        line(out, "used", &usage(&used))?;
    }
    for note in &detail.notes {
        line(out, "note", note)?;
    }
    Ok(())
}

fn usage(used: &v1::Usage) -> String {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let memory = used.max_rss_kib as f64 / 1024.0;
    format!("{:.2} s user, {:.2} s system, {memory:.0} MiB", seconds(used.user_ms), seconds(used.system_ms))
}
