//! What is chosen, and what is measured for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fakes::{Clock, Fake, Manner, candidates, choose, device, problem};
use crate::kernel::candidate::{Candidates, Failure};
use crate::kernel::key::Name;
use crate::kernel::select::{SelectError, Selector, Settings, Source, Verdict};
use crate::kernel::store::{Pin, Scope, Store};

fn selector(store: Option<Store>) -> Selector {
    Selector::new(device(), store, Settings::default())
}

fn counted(fakes: Vec<Fake>) -> (Candidates, Vec<Arc<AtomicU64>>) {
    let calls = fakes.iter().map(|fake| Arc::clone(&fake.calls)).collect();
    (candidates(fakes), calls)
}

fn total(calls: &[Arc<AtomicU64>]) -> Vec<u64> {
    calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect()
}

/// With 5 % of noise the choice is within 2 % of the fastest, give or take what noise leaves unknown.
#[test]
fn the_choice_is_near_the_fastest_and_the_default_stays_where_it_is_as_fast() {
    let mut defaults = 0;
    for seed in 1..=200_u64 {
        let clock = Clock::new(0.05, seed);
        // From 10 to 13 microseconds, up to seven of them.
        let cost = |place: u64| 1e4 + (seed.wrapping_mul(place * 2 + 7919) % 997) as f64 * 3.0;
        let costs: Vec<f64> = (0..1 + seed % 7).map(cost).collect();
        let fakes = costs
            .iter()
            .enumerate()
            .map(|(place, &ns)| Fake::new(&clock, &format!("c{place}"), ns))
            .collect();
        let (selector, all) = (selector(None), candidates(fakes));
        let chosen = choose(&selector, &clock, 64, &all).unwrap();
        let explained = selector.explain(&problem(64), &all).unwrap();
        let fastest = costs.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(costs[chosen.index] <= fastest * 1.05, "seed {seed}: {costs:?}: {explained}");
        if costs[0] <= fastest * 1.001 {
            defaults += 1;
            assert_eq!(chosen.index, 0, "seed {seed}: {costs:?}: {explained}");
        }
    }
    assert!(defaults > 30, "{defaults}");
}

#[test]
fn equals_are_told_apart_by_their_order_whatever_the_noise() {
    let lost = (1..=300).filter(|&seed| {
        let clock = Clock::new(0.05, seed);
        let fakes = ["z", "a", "m", "b"].map(|name| Fake::new(&clock, name, 1e4)).into();
        choose(&selector(None), &clock, 64, &candidates(fakes)).unwrap().candidate.name.as_str() != "z"
    });
    // Chance is whatever it likes once in some hundred times.
    let lost: Vec<u64> = lost.collect();
    assert!(lost.len() <= 3, "{lost:?}");
}

#[test]
fn a_warm_process_measures_nothing_and_asks_for_no_operands() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.05, 1);
    let fakes = || vec![Fake::new(&clock, "slow", 3e4), Fake::new(&clock, "fast", 1e4)];
    let first = choose(&selector(Some(Store::at(dir.path()))), &clock, 100, &candidates(fakes())).unwrap();
    assert_eq!((first.index, &first.source), (1, &Source::Measured));

    let (warm, calls) = counted(fakes());
    let selector = selector(Some(Store::at(dir.path())));
    let mut nothing = || Err(Failure("a warm process needs no operands".into()));
    // Another length of the same span.
    let timer = &mut super::fakes::FakeTimer(Arc::clone(&clock));
    let second = selector.choose(&problem(110), &warm, &mut nothing, timer).unwrap();
    assert_eq!((second.index, &second.source), (1, &Source::Stored));
    assert_eq!(total(&calls), [0, 0]);
}

#[test]
fn a_new_candidate_is_measured_alone() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.05, 2);
    let store = || Some(Store::at(dir.path()));
    let old = || vec![Fake::new(&clock, "a", 3e4), Fake::new(&clock, "b", 2e4)];
    choose(&selector(store()), &clock, 100, &candidates(old())).unwrap();

    let mut more = old();
    more.push(Fake::new(&clock, "c", 1e4));
    let (all, calls) = counted(more);
    let chosen = choose(&selector(store()), &clock, 100, &all).unwrap();
    assert_eq!((chosen.index, chosen.source), (2, Source::Measured));
    let [0, 0, new] = total(&calls)[..] else { panic!("{:?}", total(&calls)) };
    assert!(new > 3);
}

#[test]
fn a_library_s_new_version_makes_its_rows_stale_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.05, 3);
    let store = || Some(Store::at(dir.path()));
    let with =
        |version: &str, ns| vec![Fake::new(&clock, "a", 3e4), Fake::new(&clock, "b", ns).library(version)];
    assert_eq!(choose(&selector(store()), &clock, 100, &candidates(with("1.0", 2e4))).unwrap().index, 1);

    let (bumped, calls) = counted(with("2.0", 6e4));
    assert_eq!(choose(&selector(store()), &clock, 100, &bumped).unwrap().index, 0);
    assert!(matches!(total(&calls)[..], [0, anew] if anew > 0), "{:?}", total(&calls));

    // Back at the old version nothing is measured again.
    let (back, calls) = counted(with("1.0", 2e4));
    assert_eq!(choose(&selector(store()), &clock, 100, &back).unwrap().index, 1);
    assert_eq!(total(&calls), [0, 0]);
}

#[test]
fn another_device_has_measurements_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.0, 4);
    for model in ["one", "two"] {
        let (all, calls) = counted(vec![Fake::new(&clock, "a", 3e4), Fake::new(&clock, "b", 2e4)]);
        let device = crate::kernel::Device { model: model.into(), ..device() };
        let selector = Selector::new(device, Some(Store::at(dir.path())), Settings::default());
        choose(&selector, &clock, 100, &all).unwrap();
        assert!(total(&calls).iter().all(|&calls| calls > 0));
    }
    assert_eq!(Store::at(dir.path()).all().len(), 4);
}

#[test]
fn who_is_far_slower_is_hardly_measured() {
    let clock = Clock::new(0.05, 5);
    let (all, calls) = counted(vec![
        Fake::new(&clock, "slow", 1e6),
        Fake::new(&clock, "fast", 1e4),
        Fake::new(&clock, "slower", 1.3e4),
        Fake::new(&clock, "as-fast", 1.005e4),
    ]);
    choose(&selector(None), &clock, 64, &all).unwrap();
    let [slow, fast, slower, near] = total(&calls)[..] else { panic!() };
    assert_eq!(slow, 3, "one to be checked, two to be seen to have no hope");
    assert!(slower < fast / 2 && near >= fast - 1, "{slower} {fast} {near}");
}

#[test]
fn the_budget_is_kept_but_for_a_few_calls_of_each() {
    let clock = Clock::new(0.05, 6);
    let (all, calls) = counted((0..5).map(|place| Fake::new(&clock, &format!("c{place}"), 1e8)).collect());
    choose(&selector(None), &clock, 64, &all).unwrap();
    assert!(total(&calls).iter().all(|&calls| (2..=3).contains(&calls)), "{:?}", total(&calls));
}

#[test]
fn pins_win_and_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.0, 7);
    let all = || {
        candidates(vec![
            Fake::new(&clock, "a", 2e4),
            Fake::new(&clock, "b", 1e4),
            Fake::new(&clock, "bad", 1e3).with(Manner::Wrong),
        ])
    };
    let name = |text: &str| Name::new(text).unwrap();
    let pin = |scope, candidate: &str| Pin { scope, candidate: name(candidate), note: "because".into() };
    for store in [None, Some(Store::at(dir.path()))] {
        let selector = selector(store);
        let before = selector.generation();
        assert_eq!(choose(&selector, &clock, 64, &all()).unwrap().index, 1);
        selector.pin(&pin(Scope::Op(name("attention")), "a")).unwrap();
        assert_ne!(selector.generation(), before);
        let chosen = choose(&selector, &clock, 64, &all()).unwrap();
        assert_eq!((chosen.index, chosen.source), (0, Source::Pinned { note: "because".into() }));

        let key = all().key(&problem(64));
        selector.pin(&pin(Scope::Key(key.clone()), "bad")).unwrap();
        let explained = selector.explain(&problem(64), &all()).unwrap();
        assert_eq!(explained.choice.index, 1, "a rejected candidate is not run, whoever wants it");
        assert!(
            explained.notes[0].contains("`bad` is pinned and not taken: wrong result"),
            "{:?}",
            explained.notes
        );
        assert!(
            selector.unpin(&Scope::Key(key.clone())).unwrap() && !selector.unpin(&Scope::Key(key)).unwrap()
        );
        assert_eq!(choose(&selector, &clock, 64, &all()).unwrap().index, 0);
    }
}

#[test]
fn every_candidate_is_explained() {
    let clock = Clock::new(0.01, 8);
    let all = candidates(vec![
        Fake::new(&clock, "unable", 1e3).with(Manner::Unable),
        Fake::new(&clock, "fast", 1e4),
        Fake::new(&clock, "as-fast", 1e4),
        Fake::new(&clock, "slow", 3e4),
        Fake::new(&clock, "wrong", 1e3).with(Manner::Wrong),
    ]);
    let selector = selector(None);
    let before = selector.explain(&problem(64), &all).unwrap();
    assert!(matches!(before.choice.source, Source::Default { .. }) && before.choice.index == 1);
    assert_eq!(before.standings[3].verdict, Verdict::Unmeasured);
    choose(&selector, &clock, 64, &all).unwrap();
    let explained = selector.explain(&problem(64), &all).unwrap();
    let verdicts: Vec<String> =
        explained.standings.iter().map(|standing| standing.verdict.to_string()).collect();
    assert_eq!(verdicts[..4], ["cannot: it is unable", "chosen", "as fast, within noise", "slower"]);
    assert!(verdicts[4].starts_with("wrong result: element 0 is 2.599"), "{}", verdicts[4]);
    assert!(
        explained.standings[3].ratio.unwrap() > 2.5 && explained.standings[1].estimate.unwrap().samples > 2
    );
    let text = explained.to_string();
    for word in ["unable (default)", "measured now", "3.0", "samples"] {
        assert!(
            text.contains(word) || word.contains("default") && text.contains("(default)"),
            "{word} in {text}"
        );
    }
    serde_json::to_string(&explained).unwrap();
}

#[test]
fn where_nobody_can_each_says_why() {
    let clock = Clock::new(0.0, 9);
    let all = candidates(vec![
        Fake::new(&clock, "a", 1.0).with(Manner::Unable),
        Fake::new(&clock, "b", 1.0).with(Manner::Fails),
    ]);
    let error = choose(&selector(None), &clock, 64, &all).unwrap_err();
    assert!(matches!(error, SelectError::Nobody { .. }));
    assert!(error.to_string().ends_with("a: it is unable; b: failed: no"), "{error}");
}

#[test]
fn without_operands_nothing_is_chosen_and_nothing_kept() {
    let clock = Clock::new(0.0, 10);
    let selector = selector(None);
    let all = candidates(vec![Fake::new(&clock, "a", 1.0), Fake::new(&clock, "b", 1.0)]);
    let timer = &mut super::fakes::FakeTimer(Arc::clone(&clock));
    let error =
        selector.choose(&problem(64), &all, &mut || Err(Failure("out of memory".into())), timer).unwrap_err();
    assert!(matches!(error, SelectError::Workload { .. }) && error.to_string().contains("out of memory"));
    assert_eq!(choose(&selector, &clock, 64, &all).unwrap().source, Source::Measured);
}

#[test]
fn what_the_store_cannot_take_is_remembered_by_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "no folder").unwrap();
    let clock = Clock::new(0.0, 11);
    let selector = selector(Some(Store::at(&file)));
    let (all, calls) = counted(vec![Fake::new(&clock, "a", 3e4), Fake::new(&clock, "b", 1e4)]);
    assert_eq!(choose(&selector, &clock, 64, &all).unwrap().index, 1);
    let before = total(&calls);
    selector.refresh();
    assert_eq!(choose(&selector, &clock, 64, &all).unwrap().index, 1);
    assert_eq!(total(&calls), before);
}
