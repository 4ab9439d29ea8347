//! The scenarios: which work on which cluster.

use zenith_scheduler::simulate::{ClusterShape, Trace};

use crate::invented::{GANGS, ODD, PLAIN, POWERS, Runs, SINGLE, Shape, invent};
use crate::variants::{
    dates_shuffled, many_users, nameless, part, pressed, queues_dealt, queues_merged, runs_resampled,
};

type Make = Box<dyn Fn(&Trace) -> Trace + Send + Sync>;

/// Work and a cluster.
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) cluster: Vec<ClusterShape>,
    make: Make,
}

impl Scenario {
    pub(crate) fn trace(&self, recorded: &Trace) -> Trace {
        (self.make)(recorded)
    }
}

fn scenario(
    name: &str,
    cluster: &[(u32, u32)],
    make: impl Fn(&Trace) -> Trace + Send + Sync + 'static,
) -> Scenario {
    let kind =
        |(nodes, gpus_per_node): &(u32, u32)| ClusterShape { nodes: *nodes, gpus_per_node: *gpus_per_node };
    Scenario { name: name.to_owned(), cluster: cluster.iter().map(kind).collect(), make: Box::new(make) }
}

fn made(name: &str, cluster: &[(u32, u32)], shape: Shape) -> Scenario {
    let gpus: u32 = cluster.iter().map(|(nodes, gpus)| nodes * gpus).sum();
    scenario(name, cluster, move |_| invent(&shape, u64::from(gpus), 11))
}

const USUAL: &[(u32, u32)] = &[(64, 8)];

pub(crate) fn scenarios(_: &Trace) -> Vec<Scenario> {
    let mut all = Vec::new();
    for (nodes, gpus) in
        [(64, 8), (32, 8), (48, 8), (56, 8), (80, 8), (96, 8), (128, 8), (128, 4), (256, 2), (32, 16)]
    {
        all.push(scenario(&format!("recorded on {nodes}x{gpus}"), &[(nodes, gpus)], Trace::clone));
    }
    all.push(scenario("recorded on 48x8 and 32x4", &[(48, 8), (32, 4)], Trace::clone));
    for half in 0..2 {
        all.push(scenario(&format!("half {}", half + 1), USUAL, move |trace| part(trace, half, half + 1, 2)));
    }
    for quarter in 0..4 {
        let name = format!("quarter {}", quarter + 1);
        all.push(scenario(&name, USUAL, move |trace| part(trace, quarter, quarter + 1, 4)));
    }
    all.push(scenario("one queue, nobody named", USUAL, nameless));
    all.push(scenario("queues dealt anew", USUAL, queues_dealt));
    all.push(scenario("queues merged to three", USUAL, queues_merged));
    all.push(scenario("queues as many users", USUAL, many_users));
    all.push(scenario("dates shuffled in weeks", USUAL, dates_shuffled));
    all.push(scenario("run times resampled", USUAL, |trace| runs_resampled(trace, 4)));
    all.push(scenario("run times resampled, 96x8", &[(96, 8)], |trace| runs_resampled(trace, 5)));
    for percent in [70_u32, 85, 98, 102, 115, 130] {
        let name = format!("load {percent} %");
        all.push(scenario(&name, USUAL, move |trace| pressed(trace, f64::from(percent) / 100.0)));
    }
    let small: &[(u32, u32)] = &[(16, 8)];
    all.push(made("log-normal", USUAL, PLAIN));
    all.push(made("log-normal, 16x8", small, PLAIN));
    all.push(made("log-normal, load 1.1", USUAL, Shape { load: 1.1, ..PLAIN }));
    all.push(made("log-normal, nobody named", USUAL, Shape { named: false, ..PLAIN }));
    all.push(made("log-normal, large run longer", USUAL, Shape { growth: 1.4, ..PLAIN }));
    all.push(made("bursts of fifty", USUAL, Shape { burst: 50.0, ..PLAIN }));
    let two = Runs::Two { short: 600.0, long: 60_000.0, share: 0.05 };
    all.push(made("hyper-exponential", USUAL, Shape { runs: two, ..PLAIN }));
    all.push(made("hyper-exponential, nobody named", USUAL, Shape { runs: two, named: false, ..PLAIN }));
    all.push(made("odd sizes", USUAL, Shape { sizes: ODD, ..PLAIN }));
    all.push(made("odd sizes, 128x4", &[(128, 4)], Shape { sizes: ODD, ..PLAIN }));
    all.push(made("gangs only", USUAL, Shape { sizes: GANGS, ..PLAIN }));
    all.push(made("single GPUs only", USUAL, Shape { sizes: SINGLE, ..PLAIN }));
    // Users that do much the same again and again, very short medians, tails of days: as in Helios and in PAI.
    let helios = Shape {
        jobs: 60_000,
        runs: Runs::LogNormal { median: 200.0, sigma: 1.8 },
        differ: 1.8,
        growth: 1.3,
        burst: 4.0,
        users: 200,
        load: 0.95,
        ..PLAIN
    };
    all.push(made("as Helios", &[(128, 8)], Shape { sizes: POWERS, ..helios }));
    let pai = Shape { differ: 1.5, users: 1000, burst: 20.0, load: 0.9, ..helios };
    all.push(made("as PAI, pairs", &[(256, 2)], pai));
    all.push(made(
        "as PAI, mixed nodes",
        &[(32, 8), (64, 2)],
        Shape { sizes: &[(1, 0.8), (2, 0.15), (8, 0.05)], ..pai },
    ));
    all
}
