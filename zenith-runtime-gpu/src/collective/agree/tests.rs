//! The rule as laws, and agreement between ranks as threads: with noise, different caches, and ranks that fail or fall silent.

use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::collective::shared::Shared;
use crate::collective::{Call, ReduceOp, Solo};

const LONG: Duration = Duration::from_secs(120);

fn row(key: &str, default: &str, candidates: &[(&str, Option<(u64, u64)>)]) -> Row {
    let candidate = |(id, evidence): &(&str, Option<(u64, u64)>)| Candidate {
        id: (*id).to_owned(),
        evidence: evidence.map(|(samples, median_ns)| Evidence { samples, median_ns }),
    };
    Row {
        key: key.to_owned(),
        default: default.to_owned(),
        candidates: candidates.iter().map(candidate).collect(),
    }
}

fn chosen(ranks: &[Vec<Row>]) -> Option<String> {
    choose(ranks).remove("k").map(|choice| choice.candidate)
}

#[test]
fn the_fastest_of_all_ranks_wins_unless_the_default_is_as_good() {
    let one = vec![row("k", "a", &[("a", Some((10, 1000))), ("b", Some((10, 900)))])];
    assert_eq!(chosen(&[one.clone(), one]).as_deref(), Some("b"));
    let near = vec![row("k", "a", &[("a", Some((10, 1000))), ("b", Some((10, 981)))])];
    assert_eq!(chosen(&[near.clone(), near]).as_deref(), Some("a"), "within two percent");
}

#[test]
fn more_samples_weigh_more() {
    let few = vec![row("k", "a", &[("a", Some((100, 1000))), ("b", Some((1, 10)))])];
    let many = vec![row("k", "a", &[("a", None), ("b", Some((99, 2000)))])];
    assert_eq!(chosen(&[few, many]).as_deref(), Some("a"));
}

#[test]
fn what_a_rank_lacks_is_not_chosen() {
    let rich = vec![row("k", "a", &[("a", Some((9, 1000))), ("b", Some((9, 1)))])];
    let poor = vec![row("k", "a", &[("a", None)])];
    assert_eq!(chosen(&[rich.clone(), poor]).as_deref(), Some("a"));
    assert_eq!(chosen(&[rich.clone(), vec![]]), None, "a rank without the key lacks all");
    assert_eq!(chosen(&[rich, vec![row("k", "c", &[("c", Some((9, 1)))])]]), None);
}

#[test]
fn without_evidence_the_default_is_taken() {
    let blank = vec![row("k", "b", &[("a", None), ("b", None)])];
    assert_eq!(chosen(&[blank.clone(), blank]).as_deref(), Some("b"));
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    let candidate = ("[a-d]", proptest::option::of((0u64..50, 1u64..2000))).prop_map(|(id, evidence)| {
        Candidate { id, evidence: evidence.map(|(samples, median_ns)| Evidence { samples, median_ns }) }
    });
    let row = ("[x-z]", "[a-d]", proptest::collection::vec(candidate, 0..5))
        .prop_map(|(key, default, candidates)| Row { key, default, candidates });
    proptest::collection::vec(row, 0..6)
}

proptest! {
    #[test]
    fn the_order_of_rows_is_irrelevant(ranks in proptest::collection::vec(any_rows(), 1..5)) {
        let turned: Vec<Vec<Row>> = ranks.iter().map(|rows| rows.iter().rev().cloned().collect()).collect();
        prop_assert_eq!(choose(&ranks), choose(&turned));
    }

    #[test]
    fn every_choice_is_a_candidate_of_every_rank(ranks in proptest::collection::vec(any_rows(), 1..5)) {
        for (key, choice) in choose(&ranks) {
            for rows in &ranks {
                let has = |row: &Row| row.key == key && row.candidates.iter().any(|c| c.id == choice.candidate);
                prop_assert!(rows.iter().any(has), "{key}: {choice:?}");
            }
        }
    }
}

/// Ranks as threads, each with its rows or its failure.
fn agree(proposals: Vec<std::result::Result<Vec<Row>, String>>) -> Vec<Outcome> {
    let place = format!("agree-{}-{:?}", std::process::id(), thread::current().id());
    let world = proposals.len();
    thread::scope(|scope| {
        let place = &place;
        let run = |(rank, rows): (usize, std::result::Result<Vec<Row>, String>)| {
            scope.spawn(move || {
                let mut shared = Shared::meet(place, rank, world, LONG).unwrap();
                let outcome = choices(&mut shared, rows, LONG);
                // Whatever came of it, all have made the same calls.
                shared.barrier(LONG).unwrap();
                outcome
            })
        };
        let threads: Vec<_> = proposals.into_iter().enumerate().map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn ranks_with_different_caches_come_to_the_same(
        ranks in proptest::collection::vec(proptest::option::weighted(0.9, any_rows()), 2..5),
    ) {
        let proposals: Vec<_> = ranks.iter().cloned().map(|rows| rows.ok_or("no cache".to_owned())).collect();
        let rows: Option<Vec<Vec<Row>>> = ranks.into_iter().collect();
        for outcome in agree(proposals) {
            match (&rows, outcome) {
                (Some(rows), Outcome::Agreed(choices)) => prop_assert_eq!(choices, choose(rows)),
                (None, Outcome::Defaults(Cause::Failed(ranks))) => {
                    prop_assert!(ranks.values().all(|reason| reason == "no cache"));
                }
                (_, other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

/// Counts calls; what it does itself is [`Solo`]'s.
struct Counting(Solo, usize);

impl Communicator for Counting {
    fn rank(&self) -> usize {
        0
    }
    fn world(&self) -> usize {
        1
    }
    fn backend(&self) -> &'static str {
        "counting"
    }
    fn carry_out(&mut self, call: Call, data: &mut [u8], limit: Duration) -> Result<()> {
        self.1 += 1;
        self.0.carry_out(call, data, limit)
    }
    fn decide(&mut self, yes: bool, limit: Duration) -> Result<bool> {
        self.1 += 1;
        self.0.decide(yes, limit)
    }
}

#[test]
fn the_number_of_collectives_is_always_the_same() {
    let many: Vec<Row> = (0..500).map(|i| row(&i.to_string(), "a", &[("a", Some((1, 1)))])).collect();
    for rows in [Ok(vec![]), Ok(many), Err("broken".to_owned())] {
        let mut counting = Counting(Solo, 0);
        choices(&mut counting, rows, LONG);
        assert_eq!(counting.1, 3);
    }
    for ready in [false, true] {
        let mut counting = Counting(Solo, 0);
        commit(&mut counting, 7, ready, LONG).unwrap();
        assert_eq!(counting.1, 2);
    }
}

#[test]
fn a_commit_is_for_all_or_nobody() {
    let place = format!("commit-{}", std::process::id());
    thread::scope(|scope| {
        for rank in 0..3usize {
            let place = &place;
            scope.spawn(move || {
                let mut ranks = Shared::meet(place, rank, 3, LONG).unwrap();
                assert_eq!(commit(&mut ranks, 10, true, LONG).unwrap(), Commit::Done);
                let outcome = commit(&mut ranks, 20, rank != 1, LONG).unwrap();
                assert_eq!(outcome, Commit::Nobody { ranks: vec![1] });
                let outcome = commit(&mut ranks, if rank == 2 { 31 } else { 30 }, true, LONG).unwrap();
                assert_eq!(outcome, Commit::Nobody { ranks: vec![2] });
                let mut sum = 1i64.to_ne_bytes();
                ranks.all_reduce(&mut sum, Dtype::I64, ReduceOp::Sum, LONG).unwrap();
                assert_eq!(i64::from_ne_bytes(sum), 3, "the group lives on");
                let map = if rank == 0 { &b"shards"[..] } else { b"" };
                assert_eq!(adopt(&mut ranks, map, LONG).unwrap(), b"shards");
            });
        }
    });
}
