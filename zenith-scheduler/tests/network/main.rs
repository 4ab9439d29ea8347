//! What is left when a node's network is gone for a while, and when it stays away. The controller is in one network namespace and
//! each node in another; cables between them are pulled out and put back.
//!
//! This needs root, and is run by `cargo run -p xtask -- network`, which says so where it cannot be run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod namespaces;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cluster::{Cluster, Line};
use zenith_proto::v1;

/// How long the cable is out.
const OUTAGE: Duration = Duration::from_secs(30);

/// GPUs of a node.
const GPUS: &str = "5";

fn gpus(count: u32) -> v1::Resources {
    v1::Resources { gpus: Some(count), ..v1::Resources::default() }
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "makes network namespaces, which needs root: cargo run -p xtask -- network"]
async fn thirty_seconds_without_network_harm_nothing() {
    let mut cluster = Cluster::start(2, GPUS, &[]).await;
    // A gang over both nodes, and work that ends while the cable is out and that goes on for longer.
    let both = v1::Resources { gpus: Some(6), gpus_per_node: Some(3), ..v1::Resources::default() };
    let mut work = BTreeMap::from([(cluster.submit(both, 12).await, 6)]);
    work.insert(cluster.submit(gpus(1), 8).await, 1);
    let long = cluster.submit(gpus(1), 45).await;
    work.insert(long, 1);
    cluster.until_journal("all ranks to run", |lines| lines.len() == 8).await;
    let of_long = cluster.journal().into_iter().find(|line| line.job == long).unwrap();
    let cut: usize = of_long.node.trim_start_matches("node").parse().unwrap();
    let told = tell(&cluster, work.keys().copied().collect()).await;

    cluster.network.cut(cut);
    let silent = cluster.until_contact(cut, v1::NodeContact::Silent).await;
    say(&format!("a node without network is noticed after {silent:.2?} (timer 5 s)"));
    let late = cluster.submit(gpus(1), 1).await;
    work.insert(late, 1);
    let began = |lines: &[Line]| lines.iter().any(|line| line.job == late);
    cluster.until_journal("new work to begin on the other node", began).await;
    tokio::time::sleep(OUTAGE - silent).await;
    let jobs = cluster.jobs().await;
    let moved: Vec<&v1::Job> = jobs.values().filter(|job| job.restarts > 0).collect();
    assert!(moved.is_empty(), "nothing is given up because its node says nothing: {moved:?}");
    cluster.network.mend(cut);
    let back = cluster.until_contact(cut, v1::NodeContact::Up).await;
    say(&format!("it is back {back:.2?} after its network"));

    cluster.until_idle().await;
    let (jobs, journal) = (cluster.jobs().await, cluster.journal());
    for (job, ranks) in &work {
        let record = &jobs[job];
        assert_eq!(record.state(), v1::JobState::Completed, "{record:?}");
        assert_eq!((record.attempt, record.restarts), (1, 0), "{record:?}");
        for is_start in [true, false] {
            let of = |line: &&Line| line.job == *job && line.is_start == is_start;
            let seen: Vec<(u32, u32)> =
                journal.iter().filter(of).map(|line| (line.attempt, line.rank)).collect();
            let distinct: BTreeSet<(u32, u32)> = seen.iter().copied().collect();
            let all: BTreeSet<(u32, u32)> = (0..*ranks).map(|rank| (1, rank)).collect();
            assert_eq!(
                (seen.len(), distinct),
                (all.len(), all),
                "job {job}, starts: {is_start}: {journal:?}"
            );
        }
    }
    let placed: Vec<&Line> = journal.iter().filter(|line| line.job == late).collect();
    assert!(placed.iter().all(|line| line.node != of_long.node), "{placed:?}");
    for (job, ends) in told.await.unwrap() {
        assert_eq!(ends, 1, "the end of job {job} is told once");
    }
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "makes network namespaces, which needs root: cargo run -p xtask -- network"]
async fn a_node_that_stays_away_is_given_up_and_its_work_runs_elsewhere() {
    let timers = ["--silent-after", "2", "--lost-after", "6"];
    let mut cluster = Cluster::start(3, GPUS, &timers).await;
    // A gang over two of the three nodes: what is left of it has to go, too.
    let both = v1::Resources { gpus: Some(8), gpus_per_node: Some(4), ..v1::Resources::default() };
    let job = cluster.submit(both, 20).await;
    cluster.until_journal("all ranks to run", |lines| lines.len() == 8).await;
    let first = cluster.journal();
    let nodes: BTreeSet<&String> = first.iter().map(|line| &line.node).collect();
    let gone: usize = nodes.first().unwrap().trim_start_matches("node").parse().unwrap();

    cluster.network.cut(gone);
    let silent = cluster.until_contact(gone, v1::NodeContact::Silent).await;
    let lost = silent + cluster.until_contact(gone, v1::NodeContact::Lost).await;
    let again = |lines: &[Line]| lines.iter().filter(|line| line.is_start && line.attempt == 2).count() == 8;
    let elsewhere = lost + cluster.until_journal("the gang on other nodes", again).await;
    say(&format!(
        "silent after {silent:.2?} (timer 2 s), lost after {lost:.2?} (6 s), again after {elsewhere:.2?}"
    ));
    let away = format!("node{gone}");
    let second: Vec<Line> = cluster.journal().into_iter().filter(|line| line.attempt == 2).collect();
    assert!(second.iter().all(|line| line.node != away), "{second:?}");

    // What it ran is killed as soon as it is back.
    cluster.network.mend(gone);
    cluster.until_contact(gone, v1::NodeContact::Up).await;
    cluster.until_idle().await;
    let record = cluster.jobs().await.remove(&job).unwrap();
    assert_eq!((record.state(), record.attempt), (v1::JobState::Completed, 2), "{record:?}");
    let ends: Vec<Line> = cluster.journal().into_iter().filter(|line| !line.is_start).collect();
    assert!(ends.iter().all(|line| line.attempt == 2) && ends.len() == 8, "{ends:?}");
    let left: Vec<&Line> =
        first.iter().filter(|line| Path::new(&format!("/proc/{}", line.process)).exists()).collect();
    assert!(left.is_empty(), "processes of the first attempt are left: {left:?}");
}

/// Listens to these jobs until all of them have ended; how often each one's end was told.
async fn tell(cluster: &Cluster, jobs: Vec<u64>) -> tokio::task::JoinHandle<BTreeMap<u64, u32>> {
    let mut client = cluster.client();
    let mut changes = client.watch(v1::WatchRequest { jobs }).await.unwrap().into_inner();
    tokio::spawn(async move {
        let mut ends = BTreeMap::new();
        while let Some(change) = changes.message().await.unwrap() {
            for job in change.jobs.iter().filter(|job| job.ended_ms.is_some()) {
                *ends.entry(job.id).or_default() += 1;
            }
        }
        ends
    })
}

#[expect(clippy::print_stderr, reason = "figures for whoever runs it")]
fn say(text: &str) {
    eprintln!("{text}");
}
