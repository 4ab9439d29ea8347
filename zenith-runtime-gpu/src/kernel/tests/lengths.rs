//! Ten thousand sequence lengths at random: few are measured, in bounded time, and none when that is forbidden.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fakes::{Clock, Fake, candidates, choose, device, problem};
use crate::kernel::select::{Selector, Settings, Source};
use crate::kernel::store::Store;

const LONGEST: u64 = 1 << 17;

/// Lengths at random, the same every time.
fn lengths(count: u64) -> impl Iterator<Item = u64> {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    (0..count).map(move |_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % LONGEST + 1
    })
}

fn contenders(clock: &Arc<Clock>) -> Vec<Fake> {
    // One is better for short, the other for long ones.
    vec![
        Fake::by(clock, "quadratic", |problem| {
            (problem.dim("length").unwrap_or(0) as f64).powi(2) / 1e3 + 500.0
        }),
        Fake::by(clock, "linear", |problem| problem.dim("length").unwrap_or(0) as f64 + 5_000.0),
    ]
}

#[test]
fn few_of_many_lengths_are_measured_and_none_when_frozen() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.05, 1);
    let settings = Settings::default();
    let selector = Selector::new(device(), Some(Store::at(dir.path())), settings);
    let fakes = contenders(&clock);
    let calls: Vec<_> = fakes.iter().map(|fake| Arc::clone(&fake.calls)).collect();
    let all = candidates(fakes);
    let mut measured = 0;
    for length in lengths(10_000) {
        let before = clock.ns();
        let chosen = choose(&selector, &clock, length, &all).unwrap();
        if chosen.source == Source::Measured && clock.ns() > before {
            measured += 1;
            // Beyond the budget: a check and a pace for each, and a call that began in time.
            let most = settings.budget.as_nanos() as f64 + 4.0 * (LONGEST as f64).powi(2) / 1e3 * 1.05 * 2.0;
            assert!(clock.ns() - before < most, "length {length} took {} ns", clock.ns() - before);
        } else {
            assert_eq!(clock.ns(), before);
        }
    }
    let keys: BTreeSet<_> = lengths(10_000).map(|length| all.key(&problem(length))).collect();
    assert_eq!(measured, keys.len());
    assert!(measured <= 4 * 17, "{measured} measurements of 10,000 lengths up to 2^17");

    selector.freeze();
    let before: Vec<u64> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
    for length in lengths(10_000).map(|length| length * 3) {
        let chosen = choose(&selector, &clock, length, &all).unwrap();
        // Lengths beyond all that was measured map to the longest of them.
        assert!(
            matches!(chosen.source, Source::Neighbour { .. } | Source::Stored | Source::Measured),
            "{chosen:?}"
        );
        // Both are alike at about 2,680; away from it the better one is chosen.
        if !(1_800..3_900).contains(&length) {
            assert_eq!(
                chosen.candidate.name.as_str(),
                if length < 2_680 { "quadratic" } else { "linear" },
                "{length}"
            );
        }
    }
    let after: Vec<u64> = calls.iter().map(|calls| calls.load(Ordering::Relaxed)).collect();
    assert_eq!(before, after);
}

#[test]
fn frozen_and_far_from_everything_it_is_the_default() {
    let clock = Clock::new(0.0, 1);
    let selector = Selector::new(device(), None, Settings::default());
    let all = candidates(contenders(&clock));
    assert_eq!(choose(&selector, &clock, 1 << 16, &all).unwrap().index, 1);
    let generation = selector.generation();
    selector.freeze();
    assert_ne!(selector.generation(), generation);
    let near = choose(&selector, &clock, 1 << 14, &all).unwrap();
    assert!(
        matches!(near.source, Source::Neighbour { doublings, .. } if doublings == 2.0) && near.index == 1
    );
    let far = choose(&selector, &clock, 16, &all).unwrap();
    assert!(matches!(far.source, Source::Default { .. }) && far.index == 0);
    assert_eq!(clock.ns(), {
        selector.recall(&problem(999), &all).unwrap();
        clock.ns()
    });
    selector.thaw();
    assert_eq!(choose(&selector, &clock, 16, &all).unwrap().source, Source::Measured);
}

#[test]
fn near_neighbours_can_do_without_measuring() {
    let clock = Clock::new(0.0, 1);
    let selector = Selector::new(device(), None, Settings { near: 0.6, ..Settings::default() });
    let all = candidates(contenders(&clock));
    choose(&selector, &clock, 1024, &all).unwrap();
    let before = clock.ns();
    assert!(matches!(choose(&selector, &clock, 1400, &all).unwrap().source, Source::Neighbour { .. }));
    assert_eq!(clock.ns(), before);
    assert_eq!(choose(&selector, &clock, 1600, &all).unwrap().source, Source::Measured);
}
