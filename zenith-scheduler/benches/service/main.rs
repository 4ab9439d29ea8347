//! What a running scheduler takes: from nothing to a job's first output, from a submission to the first instruction of its
//! rank, launches without a pause, memory at rest, a list of a long queue, a simulation, and how soon deaths, urgent work and
//! silence are dealt with. Whole processes of the release build, as a user has them; prints one JSON object.
//!
//! `cargo build --release -p zenith-cli && cargo bench -p zenith-scheduler --bench service -- [PART..]`; the parts are `cold`,
//! `starts`, `sustained`, `lists`, `gangs`, `ends` and `simulate`, all of them without an argument. `ZENITH_TRACE` names the CSV that
//! is simulated.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports, and stops where it cannot go on"
)]

mod cluster;
mod ends;
mod lists;
mod starts;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cluster::Cluster;

const PARTS: [&str; 7] = ["cold", "starts", "sustained", "lists", "gangs", "ends", "simulate"];

/// What was measured, by name and unit.
#[derive(Default)]
struct Figures(BTreeMap<String, f64>);

impl Figures {
    fn note(&mut self, name: &str, figure: f64) {
        eprintln!("{name}: {figure:.3}");
        self.0.insert(name.to_owned(), figure);
    }

    /// Quantiles of sorted times.
    fn quantiles(&mut self, name: &str, times: &[f64], quantiles: &[(&str, f64)]) {
        for (word, q) in quantiles {
            let place = ((times.len() - 1) as f64 * q).round() as usize;
            self.note(&format!("{name} {word}, ms"), times[place]);
        }
    }
}

const MEDIAN: (&str, f64) = ("p50", 0.5);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo bench` hands over arguments that mean nothing here.
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = asked.iter().find(|word| !PARTS.contains(&word.as_str())) {
        eprintln!("there is no part {unknown}; there are {}", PARTS.join(", "));
        std::process::exit(2);
    }
    let is_wanted = |part: &str| asked.is_empty() || asked.iter().any(|word| word == part);
    let mut figures = Figures::default();
    if is_wanted("cold") {
        figures.quantiles("cold start to first output", &starts::cold(5).await, &[MEDIAN]);
    }
    if ["starts", "sustained", "lists"].iter().any(|part| is_wanted(part)) {
        alone(&mut figures, is_wanted).await;
    }
    if is_wanted("gangs") {
        gangs(&mut figures).await;
    }
    if is_wanted("ends") {
        ends(&mut figures).await;
    }
    if is_wanted("simulate") {
        simulate(&mut figures).await;
    }
    println!("{}", serde_json::to_string_pretty(&figures.0).unwrap());
}

/// One node.
async fn alone(figures: &mut Figures, is_wanted: impl Fn(&str) -> bool) {
    let mut cluster = Cluster::prepare();
    cluster.controller(&[]);
    cluster.agent("alone", "8");
    let client = cluster.ready(1).await;
    if is_wanted("starts") {
        tokio::time::sleep(Duration::from_secs(2)).await;
        figures.note("controller at rest, MiB", cluster.resident("controller"));
        figures.note("agent at rest, MiB", cluster.resident("alone"));
        let times = starts::latency(&mut cluster, &client, 1, 300).await;
        figures.quantiles("submit to exec", &times, &[MEDIAN, ("p99", 0.99)]);
    }
    if is_wanted("sustained") {
        let before = ["controller", "alone"].map(|name| cluster.processor_seconds(name));
        let rate = starts::sustained(&mut cluster, &client, 10_000).await;
        figures.note("launches a second over 10,000 jobs", rate);
        for (name, before) in ["controller", "alone"].into_iter().zip(before) {
            let used = cluster.processor_seconds(name) - before;
            figures.note(&format!("{name}: processor seconds for 10,000 launches"), used);
            figures.note(&format!("{name}: MiB after 10,000 launches"), cluster.resident(name));
        }
    }
    if is_wanted("lists") {
        const JOBS: u32 = 100_000;
        lists::fill(&mut cluster, &client, JOBS).await;
        let times = lists::listing(&mut cluster, &client, JOBS as usize, 11).await;
        figures.quantiles("list of 100,000 queued jobs by gRPC", &times, &[MEDIAN, ("longest", 1.0)]);
        let times = lists::printing(&mut cluster, &lists::command(), JOBS as usize, 11).await;
        figures.quantiles("zenith job ls with 100,000 queued jobs", &times, &[MEDIAN, ("longest", 1.0)]);
        figures.note("controller with 100,000 queued jobs, MiB", cluster.resident("controller"));
    }
}

/// Four nodes of eight GPUs: a gang of all of them, a rank for each GPU.
async fn gangs(figures: &mut Figures) {
    let mut cluster = Cluster::prepare();
    cluster.controller(&[]);
    (0..4).for_each(|node| cluster.agent(&format!("n{node}"), "8"));
    let client = cluster.ready(4).await;
    let [gang, bare, ratio] = starts::beside_bare(&mut cluster, &client, 32, 100).await;
    figures.quantiles("gang of 4 nodes x 8 GPUs", &gang, &[MEDIAN, ("p90", 0.9)]);
    figures.quantiles("32 shells executed by nobody but us", &bare, &[MEDIAN, ("p90", 0.9)]);
    figures.note("such a gang over such shells, ratio p50", ratio[ratio.len() / 2]);
}

/// The same nodes when something goes wrong.
async fn ends(figures: &mut Figures) {
    let mut cluster = Cluster::prepare();
    let timers = ["--grace", ends::GRACE, "--silent-after", ends::SILENT, "--lost-after", ends::LOST];
    cluster.controller(&timers);
    (0..4).for_each(|node| cluster.agent(&format!("n{node}"), "8"));
    let client = cluster.ready(4).await;
    let [willing, stubborn] = ends::member_death(&mut cluster, &client, 32).await;
    figures.note("member death to the gang's next attempt, s", willing);
    figures.note("member death to the gang's next attempt where ranks ignore the signal, s", stubborn);
    let [started, back] = ends::preemption(&mut cluster, &client, 32).await;
    let name =
        format!("urgent submission to exec where the victim ignores the signal, grace {} s, s", ends::GRACE);
    figures.note(&name, started);
    figures.note("end of the urgent work to the victim's next attempt, s", back);
    let [silent, lost, again] = ends::silence(&mut cluster, &client, 8).await;
    figures.note(&format!("last word of a node to silent, timer {} s, s", ends::SILENT), silent);
    figures.note(&format!("last word of a node to lost, timer {} s, s", ends::LOST), lost);
    figures.note("last word of a node to its work's next attempt elsewhere, s", again);
}

async fn simulate(figures: &mut Figures) {
    let Some(trace) = std::env::var_os("ZENITH_TRACE") else {
        eprintln!("nothing is simulated: ZENITH_TRACE names no CSV");
        return;
    };
    let (zenith, trace) = (lists::command(), Path::new(&trace));
    let times = lists::simulating(&zenith, trace, &["--policy", "default"], 5).await;
    figures.quantiles("zenith cluster simulate --policy default", &times, &[MEDIAN]);
    let times = lists::simulating(&zenith, trace, &[], 5).await;
    figures.quantiles("zenith cluster simulate", &times, &[MEDIAN]);
}
