//! How many attempts an agent starts in a second and what that costs: `true`, one rank each, from the controller's start to
//! the acknowledged end. Beside it, what starting `true` costs without any of this, and how long a start takes on its own.
//!
//! `cargo bench -p zenith-scheduler --bench launch -- [LAUNCHES]`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports, and stops where it cannot go on"
)]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/agent/controller.rs"]
mod controller;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use controller::{Agent, Controller, Node, shell};
use zenith_proto::v1;
use zenith_proto::v1::report::What;

/// Starts that are under way at the same time.
const WINDOW: u64 = 128;

fn main() {
    let launches = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(5_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure(launches));
}

async fn measure(launches: u64) {
    let state = tempfile::tempdir().unwrap();
    let controller = Controller::new().await;
    let agent = Agent::new(&controller, state.path(), &[]);
    let mut node = controller.node().await;

    let mut single = Vec::new();
    for job in 1..=300 {
        let begun = Instant::now();
        node.start(program(job)).await;
        node.started(job).await;
        single.push(begun.elapsed());
        node.life(job).await;
    }
    single.sort_unstable();
    let at = |part: f64| single[((single.len() - 1) as f64 * part) as usize];
    println!("start to started, one at a time: p50 {:?}, p99 {:?}", at(0.5), at(0.99));

    let (begun, busy, own) = (Instant::now(), busy(), used(agent.pid()));
    let ended = flood(&mut node, 1_000, launches).await;
    let (wall, busy, own) = (begun.elapsed(), self::busy() - busy, used(agent.pid()) - own);
    assert_eq!(ended, launches);
    let each = |time: Duration| time.as_secs_f64() * 1e3 / launches as f64;
    println!("{launches} launches in {wall:.2?}: {:.0} a second", launches as f64 / wall.as_secs_f64());
    println!(
        "processor time of the machine: {:.3} ms a launch, of the agent {:.3} ms",
        each(busy),
        each(own)
    );

    let (begun, before) = (Instant::now(), self::busy());
    for _ in 0..launches {
        assert!(Command::new("/bin/true").status().unwrap().success());
    }
    let (wall, bare) = (begun.elapsed(), self::busy() - before);
    println!(
        "true on its own: {:.0} a second, {:.3} ms each",
        launches as f64 / wall.as_secs_f64(),
        each(bare)
    );

    node.start(v1::Start { command: vec!["sleep".to_owned(), "60".to_owned()], ..shell(1_000_000, "") })
        .await;
    node.started(1_000_000).await;
    let nursery = fs::read_to_string(format!("/proc/{0}/task/{0}/children", agent.pid())).unwrap();
    let nursery: i32 = nursery.trim().parse().unwrap();
    let supervisor = agent.supervisor(1_000_000);
    for (name, pid) in [("agent", agent.pid()), ("nursery", nursery), ("supervisor", supervisor)] {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let kib = |field: &str| -> u64 {
            let line = smaps.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        let private = kib("Private_Clean:") + kib("Private_Dirty:");
        println!("{name}: {} KiB resident, {private} KiB of its own", kib("Rss:"));
    }
    node.signal(1_000_000, true).await;
    node.life(1_000_000).await;
}

/// Starts jobs and acknowledges everything, with a bound on how many are under way.
async fn flood(node: &mut Node, first: u64, launches: u64) -> u64 {
    let (mut next, mut ended) = (0, 0);
    while ended < launches {
        while next < launches && next - ended < WINDOW {
            node.start(program(first + next)).await;
            next += 1;
        }
        let report = node.report().await;
        node.ack(report.number).await;
        match report.what {
            Some(What::Gone(_)) => ended += 1,
            Some(What::Exited(exited)) => assert_eq!(exited.how, Some(v1::rank_exited::How::Code(0))),
            _ => {}
        }
    }
    ended
}

fn program(job: u64) -> v1::Start {
    v1::Start { command: vec!["/bin/true".to_owned()], ..shell(job, "") }
}

/// Clock ticks of /proc are hundredths of a second on every Linux.
fn ticks(count: u64) -> Duration {
    Duration::from_millis(10 * count)
}

/// Processor time that everything on the machine has used.
fn busy() -> Duration {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).flat_map(str::parse).collect();
    // All but idle time, waiting for disks, and what guests have used, which is counted already.
    ticks(fields[0] + fields[1] + fields[2] + fields[5] + fields[6])
}

/// Processor time that a process has used.
fn used(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    ticks(fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
}
