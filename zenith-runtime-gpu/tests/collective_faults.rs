//! Ranks as real processes: killed, stopped, and killed in the middle of agreeing. The processes are this test program
//! itself, told by the environment which rank to play.
#![expect(clippy::unwrap_used, reason = "a test may stop anywhere")]
#![expect(clippy::print_stdout, reason = "what the processes say to the test")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use zenith_runtime_gpu::collective::agree::{Candidate, Cause, Evidence, Outcome, Row, choices};
use zenith_runtime_gpu::collective::shared::Shared;
use zenith_runtime_gpu::collective::tcp::{Tcp, Token};
use zenith_runtime_gpu::collective::{Communicator, Dtype, ReduceOp};

/// Longer than any machine is stopped while tests run.
const LONG: Duration = Duration::from_secs(100);
const SHORT: Duration = Duration::from_millis(1500);
const PLAY: &str = "ZENITH_TEST_PLAY";

/// A rank of the play.
struct Actor {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Actor {
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the rank ended without a word");
            // The test harness of the actor speaks, too.
            if let Some((_, said)) = line.split_once("SAYS ") {
                return said.trim().to_owned();
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn end(mut self) {
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Whatever failed, no process stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn actors(play: &str, backend: &str, world: usize, place: &str) -> Vec<Actor> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let actor = |rank: usize| {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["actor", "--exact", "--ignored", "--nocapture"])
            .env(PLAY, format!("{play} {backend} {rank} {world} {place}-{} {port}", std::process::id()))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Actor { child, lines }
    };
    (0..world).map(actor).collect()
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
#[ignore = "a part of the other tests"]
fn actor() {
    let Ok(play) = std::env::var(PLAY) else { return };
    let words: Vec<&str> = play.split(' ').collect();
    let [play, backend, rank, world, place, port] = words[..] else { panic!("{words:?}") };
    let (rank, world) = (rank.parse().unwrap(), world.parse().unwrap());
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    let mut ranks: Box<dyn Communicator> = match (backend, rank) {
        ("shared", _) => Box::new(Shared::meet(place, rank, world, LONG).unwrap()),
        (_, 0) => {
            let listener = TcpListener::bind(address).unwrap();
            Box::new(Tcp::host(listener, world, &Token::new(place), LONG).unwrap())
        }
        _ => Box::new(Tcp::join(address, rank, world, &Token::new(place), LONG).unwrap()),
    };
    println!("SAYS ready");
    match play {
        "reduce" => reduce(ranks.as_mut(), LONG),
        "stall" => reduce(ranks.as_mut(), SHORT),
        _ => agree(ranks.as_mut()),
    }
    drop(ranks);
    let after = (count("/proc/self/fd"), count("/proc/self/task"));
    assert_eq!(before, after, "descriptors and threads");
}

/// Sums until it fails.
fn reduce(ranks: &mut dyn Communicator, limit: Duration) {
    let mut data = vec![0u8; 1 << 20];
    let error = loop {
        if let Err(error) = ranks.all_reduce(&mut data, Dtype::F32, ReduceOp::Sum, limit) {
            break error;
        }
    };
    println!("SAYS {} {:?} {error}", error.code(), error.ranks());
}

/// Comes to choices from new measurements again and again, until a rank is lost.
fn agree(ranks: &mut dyn Communicator) {
    let me = ranks.rank() as u64;
    let mut state = me * 7919 + 1;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for generation in 0u64.. {
        let mut rows = Vec::new();
        for key in 0..30u64 {
            // Times that are near each other, measured with five percent of noise, and forgotten by some ranks.
            let mut measure = |candidate: u64| {
                let time = 1_000_000 + (key * 37 + candidate * 11 + generation) % 40 * 1000;
                let noisy = time * (950 + random(101)) / 1000;
                Candidate {
                    id: format!("c{candidate}"),
                    evidence: (random(3) > 0)
                        .then_some(Evidence { samples: 1 + random(20), median_ns: noisy }),
                }
            };
            let candidates: Vec<Candidate> = (0..4).map(&mut measure).collect();
            rows.push(Row { key: format!("k{key}"), default: "c0".to_owned(), candidates });
        }
        match choices(ranks, Ok(rows), LONG) {
            Outcome::Agreed(choices) => {
                let chosen: Vec<_> = choices.values().map(|choice| choice.candidate.as_str()).collect();
                println!("SAYS {generation} {}", chosen.join(""));
            }
            Outcome::Defaults(Cause::Collective(error)) => {
                println!("SAYS default {} {:?}", error.code(), error.ranks());
                return;
            }
            Outcome::Defaults(cause) => {
                println!("SAYS default {cause:?}");
                return;
            }
        }
    }
}

fn a_killed_rank_is_named(backend: &str, victim: usize) {
    let mut actors = actors("reduce", backend, 4, &format!("killed{victim}"));
    for actor in &mut actors {
        assert_eq!(actor.line(), "ready");
    }
    actors[victim].signal(Signal::KILL);
    drop(actors.remove(victim));
    for mut actor in actors {
        let said = actor.line();
        assert!(said.starts_with(&format!("died [{victim}] ")), "{said}");
        actor.end();
    }
}

fn a_stopped_rank_is_named(backend: &str, victim: usize) {
    let mut actors = actors("stall", backend, 4, &format!("stopped{victim}"));
    for actor in &mut actors {
        assert_eq!(actor.line(), "ready");
    }
    actors[victim].signal(Signal::STOP);
    let mut stopped = actors.remove(victim);
    for mut actor in actors {
        let said = actor.line();
        assert!(said.starts_with(&format!("deadline [{victim}] ")), "{said}");
        actor.end();
    }
    // Awake again it learns that it was given up, or that those who gave it up are gone, and ends as well.
    stopped.signal(Signal::CONT);
    let said = stopped.line();
    assert!(!said.is_empty());
    stopped.end();
}

fn agreement_outlives_a_death(backend: &str, rounds: usize) {
    const WORLD: usize = 8;
    for round in 0..rounds {
        let mut actors = actors("agree", backend, WORLD, &format!("agree{round}"));
        for actor in &mut actors {
            assert_eq!(actor.line(), "ready");
        }
        // Rank 0 hosts the ring's coordinator; with it dead, a vote that it was counting has no known outcome.
        let victim = if backend == "shared" { round % WORLD } else { 1 + round % (WORLD - 1) };
        // Anywhere in a generation, and after some of them.
        thread::sleep(Duration::from_millis(round as u64 * 7 % 40));
        actors[victim].signal(Signal::KILL);
        drop(actors.remove(victim));
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for mut actor in actors {
            let mut story = Vec::new();
            while !story.last().is_some_and(|said: &String| said.starts_with("default")) {
                story.push(actor.line());
            }
            assert_eq!(story.last().unwrap(), &format!("default died [{victim}]"), "round {round}");
            *told.entry(story.join("\n")).or_default() += 1;
            actor.end();
        }
        assert_eq!(told.len(), 1, "round {round}: all that live tell the same story: {told:#?}");
    }
}

#[test]
fn by_memory_a_killed_rank_is_named() {
    a_killed_rank_is_named("shared", 0);
    a_killed_rank_is_named("shared", 2);
}

#[test]
fn by_ring_a_killed_rank_is_named() {
    a_killed_rank_is_named("tcp", 0);
    a_killed_rank_is_named("tcp", 2);
}

#[test]
fn by_memory_a_stopped_rank_is_named() {
    a_stopped_rank_is_named("shared", 0);
    a_stopped_rank_is_named("shared", 3);
}

#[test]
fn by_ring_a_stopped_rank_is_named() {
    a_stopped_rank_is_named("tcp", 0);
    a_stopped_rank_is_named("tcp", 3);
}

#[test]
fn by_memory_agreement_outlives_a_death() {
    agreement_outlives_a_death("shared", 3);
}

#[test]
fn by_ring_agreement_outlives_a_death() {
    agreement_outlives_a_death("tcp", 3);
}

#[test]
#[ignore = "fifty rounds each; run by hand"]
fn fifty_deaths() {
    agreement_outlives_a_death("shared", 50);
    agreement_outlives_a_death("tcp", 50);
}
