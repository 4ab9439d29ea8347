//! What is left when controllers, agents, nurseries, supervisors and ranks are killed at random while work goes on. The laws:
//! every acknowledged job completes, once, unless a process of its own was killed; no GPU is held twice, or for ever; nothing is
//! taken in twice.
//!
//! A few rounds by default; `cargo run -p xtask -- crash` runs 200. `ZENITH_CRASH_ROUNDS` and `ZENITH_CRASH_SEED` set both.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cluster;
mod ledger;
mod work;

use std::env;
use std::time::Duration;

use cluster::{Cluster, Target};
use work::Work;

/// Pauses between kills, in milliseconds.
const PAUSE: (u64, u64) = (50, 450);

/// Numbers that a seed determines.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        // Steele, Lea and Flood's SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_is_lost_repeated_or_leaked_whatever_is_killed() {
    let (rounds, seed) = (number("ZENITH_CRASH_ROUNDS", 15), number("ZENITH_CRASH_SEED", 7));
    let mut dice = Dice(seed);
    let mut cluster = Cluster::start();
    let mut work = Work::new(cluster.folder());
    for _ in 0..rounds {
        while work.open() < 12 {
            work.submit(&mut cluster, dice.below(u64::MAX)).await;
        }
        tokio::time::sleep(Duration::from_millis(PAUSE.0 + dice.below(PAUSE.1 - PAUSE.0))).await;
        let target = match dice.below(8) {
            0 | 1 => Target::Controller,
            2 | 3 => Target::Agent(dice.below(2) as usize),
            4 => Target::Nursery(dice.below(2) as usize),
            5 => Target::Supervisor,
            _ => Target::Rank,
        };
        cluster.kill(target, &mut work, dice.below(u64::MAX));
        // What was killed is away for a while, sometimes so shortly that nobody notices.
        tokio::time::sleep(Duration::from_millis(dice.below(300))).await;
        cluster.start_what_is_missing();
    }
    work.settle(&mut cluster).await;
    let faults = ledger::faults(&work, &cluster.jobs().await, &cluster.nodes().await);
    assert!(faults.is_empty(), "seed {seed}, {rounds} rounds, {}:\n{}", cluster.keep(), faults.join("\n"));
}
