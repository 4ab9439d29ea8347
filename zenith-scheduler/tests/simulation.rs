//! The simulation on small traces whose outcome can be reckoned by hand, and what holds for every policy on a made-up one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use zenith_scheduler::core::{Span, Time};
use zenith_scheduler::simulate::{
    ClusterShape, Named, Outcome, POLICIES, Trace, TraceJob, plot, run, run_each, table,
};

const ONE_NODE: ClusterShape = ClusterShape { nodes: 1, gpus_per_node: 8 };

fn job(hour: u64, hours: u64, gpus: u32) -> TraceJob {
    let (submitted, runtime) = (Time(hour * 3_600_000), Span::from_secs(hours * 3600));
    TraceJob { submitted, runtime, gpus, queue: format!("q{}", gpus % 3), user: String::new() }
}

fn outcome(jobs: Vec<TraceJob>, cluster: ClusterShape, policy: &str) -> Outcome {
    run(&Trace::from_jobs(jobs), cluster, &Named::find(policy).unwrap()).unwrap()
}

/// Waits: 4 h run on half of the node, then a gang, then short work that fits beside the first and is over in time.
fn three() -> Vec<TraceJob> {
    vec![job(0, 4, 4), job(1, 2, 8), job(2, 1, 4)]
}

#[test]
fn fifo_lets_nobody_pass_and_easy_whoever_is_in_nobodys_way() {
    let fifo = outcome(three(), ONE_NODE, "fifo");
    assert_eq!((fifo.wait.mean, fifo.makespan), ((0.0 + 3.0 + 4.0) / 3.0, 7.0));
    let easy = outcome(three(), ONE_NODE, "easy");
    assert_eq!((easy.wait.mean, easy.makespan), (1.0, 6.0));
    assert_eq!(fifo.utilisation, (16.0 + 16.0 + 4.0) / 56.0);
}

#[test]
fn policies_beside_each_other_come_to_what_each_comes_to_alone() {
    let trace = Trace::from_jobs(three());
    let policies: Vec<Named> = POLICIES.iter().map(|name| Named::find(name).unwrap()).collect();
    let alone: Vec<Outcome> = policies.iter().map(|policy| run(&trace, ONE_NODE, policy).unwrap()).collect();
    assert_eq!(run_each(&trace, ONE_NODE, &policies).unwrap(), alone);
    assert_eq!(run_each(&trace, ONE_NODE, &[]).unwrap(), []);
    let none = ClusterShape { nodes: 0, gpus_per_node: 8 };
    assert!(run_each(&trace, none, &policies).is_err());
}

#[test]
fn the_oracle_takes_the_shortest_first() {
    let jobs = vec![job(0, 1, 8), job(0, 9, 8), job(0, 5, 8), job(0, 3, 8)];
    assert_eq!(outcome(jobs, ONE_NODE, "sjf-oracle").wait.mean, (0.0 + 1.0 + 4.0 + 9.0) / 4.0);
}

#[test]
fn idle_gpus_that_are_not_together_are_counted() {
    // 5 and 3 GPUs share a node, 4 are on the other. From the 1st hour to the 6th 5 + 4 are free, and a gang of 8 waits.
    let cluster = ClusterShape { nodes: 2, gpus_per_node: 8 };
    let jobs = vec![job(0, 1, 5), job(0, 6, 4), job(0, 6, 3), job(1, 4, 8)];
    let seen = outcome(jobs, cluster, "fifo");
    assert_eq!((seen.makespan, seen.wait.max), (10.0, 5.0));
    assert_eq!(seen.fragmentation, 9.0 * 5.0 / (16.0 * 10.0));
}

#[test]
fn what_is_larger_than_the_cluster_is_left_out_and_said() {
    let outcome = outcome(vec![job(0, 1, 9), job(0, 1, 8)], ONE_NODE, "default");
    assert_eq!((outcome.jobs, outcome.too_large), (1, 1));
    assert!(
        run(&Trace::default(), ClusterShape { nodes: 0, gpus_per_node: 8 }, &Named::find("fifo").unwrap())
            .is_err()
    );
    assert!(Named::find("lottery").is_err());
}

/// Work of all sizes, more than the cluster can do at once.
fn mixed() -> Vec<TraceJob> {
    let sizes = [1, 1, 1, 2, 4, 8, 1, 16, 1, 3];
    let mut state = 7_u64;
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..1500).map(|at| job(at / 12, 1 + draw(12), sizes[draw(10) as usize])).collect()
}

#[test]
fn every_policy_ends_every_job_and_the_same_way_each_time() {
    let cluster = ClusterShape { nodes: 6, gpus_per_node: 8 };
    let work: f64 = mixed().iter().map(|job| job.runtime.as_secs_f64() / 3600.0 * f64::from(job.gpus)).sum();
    let outcomes: Vec<Outcome> = POLICIES.iter().map(|name| outcome(mixed(), cluster, name)).collect();
    for (name, seen) in POLICIES.iter().zip(&outcomes) {
        assert_eq!((seen.jobs, seen.too_large), (1500, 0), "{name}");
        let used = seen.utilisation * seen.makespan * cluster.gpus() as f64;
        assert!((used / work - 1.0).abs() < 1e-9, "{name}: {used} GPU-hours of {work}");
        assert_eq!(*seen, outcome(mixed(), cluster, name), "{name}");
    }
    let mean = |at: usize| outcomes[at].completion.mean;
    assert!(mean(1) < mean(0) && mean(2) < mean(1) && mean(3) < mean(0), "{:?}", [0, 1, 2, 3].map(mean));

    let text = table::table(&outcomes);
    assert!(POLICIES.iter().all(|name| text.contains(name)), "{text}");
    let svg = plot::plot(&outcomes);
    assert_eq!(svg.matches("<polyline").count(), 12);
    let again: Vec<Outcome> = serde_json::from_str(&serde_json::to_string(&outcomes).unwrap()).unwrap();
    assert_eq!(again, outcomes);
}
