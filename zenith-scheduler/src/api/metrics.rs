//! What monitors are told, in Prometheus' text format: what the controller has counted, and how things are.

use std::fmt::Write;

use super::Api;
use crate::controller::metrics::{Histogram, Metrics};
use crate::core::Core;
use crate::core::node::Contact;
use crate::core::state::State;
use crate::refusal::Refusal;

/// How things are at one moment.
#[derive(Debug, Default)]
struct Present {
    jobs: Vec<(State, usize)>,
    queued: usize,
    gpus: Gpus,
    nodes: [usize; 3],
    drained: usize,
}

/// GPUs, each in one place.
#[derive(Debug, Default)]
struct Gpus {
    used: u32,
    free: u32,
    ill: u32,
    away: u32,
}

/// The whole text.
///
/// # Errors
/// [`Refusal::Stopping`].
pub(super) async fn text(api: &Api) -> Result<String, Refusal> {
    let present = api.handle.call(|turn| Ok(Present::of(turn.core()))).await?;
    Ok(written(&present, api.handle.metrics(), api.started_ms))
}

impl Present {
    fn of(core: &Core) -> Self {
        let mut present = Self {
            jobs: State::ALL.into_iter().map(|state| (state, core.count(state))).collect(),
            queued: core.queued(),
            ..Self::default()
        };
        for node in core.cluster().nodes() {
            let ill = node.gpus() & node.ill & !node.used();
            present.gpus.used += node.used().len();
            present.gpus.ill += ill.len();
            let idle = (node.sound() & !node.used()).len();
            match node.is_open() {
                true => present.gpus.free += idle,
                false => present.gpus.away += idle,
            }
            present.nodes[node.contact as usize] += 1;
            present.drained += usize::from(node.drained);
        }
        present
    }
}

fn written(present: &Present, metrics: &Metrics, started_ms: u64) -> String {
    let mut out = String::with_capacity(4096);
    let mut page = Page(&mut out);
    page.head("zenith_jobs", "gauge", "Jobs that are kept, by state.");
    for (state, jobs) in &present.jobs {
        page.line("zenith_jobs", &format!("{{state=\"{state}\"}}"), *jobs as f64);
    }
    page.head("zenith_queue_depth", "gauge", "Jobs that may start as soon as there is a place.");
    page.line("zenith_queue_depth", "", present.queued as f64);
    page.head("zenith_gpus", "gauge", "GPUs of all nodes, by what is the matter with them.");
    let Gpus { used, free, ill, away } = present.gpus;
    for (state, gpus) in [("used", used), ("free", free), ("ill", ill), ("away", away)] {
        page.line("zenith_gpus", &format!("{{state=\"{state}\"}}"), f64::from(gpus));
    }
    page.head("zenith_nodes", "gauge", "Nodes, by whether they can be reached.");
    for (contact, name) in [(Contact::Up, "up"), (Contact::Silent, "silent"), (Contact::Lost, "lost")] {
        page.line("zenith_nodes", &format!("{{contact=\"{name}\"}}"), present.nodes[contact as usize] as f64);
    }
    page.head("zenith_nodes_drained", "gauge", "Nodes that are closed for new work.");
    page.line("zenith_nodes_drained", "", present.drained as f64);
    page.head("zenith_start_time_seconds", "gauge", "When the scheduler started, since 1970-01-01 UTC.");
    page.line("zenith_start_time_seconds", "", started_ms as f64 / 1000.0);
    for (name, help, counter) in metrics.counters() {
        page.head(name, "counter", help);
        page.line(name, "", counter as f64);
    }
    for (name, help, histogram) in metrics.histograms() {
        page.head(name, "histogram", help);
        page.histogram(name, histogram);
    }
    out
}

struct Page<'a>(&'a mut String);

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn line(&mut self, name: &str, labels: &str, value: f64) {
        self.put(format_args!("{name}{labels} {value}\n"));
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        let (buckets, count, sum) = histogram.read();
        for (bound, up_to) in buckets {
            self.put(format_args!("{name}_bucket{{le=\"{bound}\"}} {up_to}\n"));
        }
        self.put(format_args!(
            "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}\n"
        ));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Policy;

    #[test]
    fn every_sample_has_a_kind_and_buckets_grow() {
        let metrics = Metrics::default();
        for millis in [0, 1, 3, 3, 40, 5_000, 100_000] {
            metrics.commits.observe(Duration::from_millis(millis));
        }
        let text = written(&Present::of(&Core::new(Policy::default())), &metrics, 1000);
        let mut kinds = Vec::new();
        let mut last = 0.0;
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                kinds.push(kind.split(' ').next().unwrap().to_owned());
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let value: f64 = value.parse().unwrap();
                assert!(kinds.iter().any(|kind| sample.starts_with(kind.as_str())), "{line}");
                if sample.starts_with("zenith_commit_seconds_bucket") {
                    assert!(value >= last, "{line}");
                    last = value;
                }
            }
        }
        assert!(text.contains("zenith_commit_seconds_bucket{le=\"+Inf\"} 7\n"));
        assert!(text.contains("zenith_commit_seconds_count 7\n"));
        assert!(text.contains("zenith_jobs{state=\"queued\"} 0\n"));
    }
}
