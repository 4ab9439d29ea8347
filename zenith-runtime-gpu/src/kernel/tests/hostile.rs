//! Candidates that compute wrongly, write where they must not, fail, hang or crash: each is rejected by name, and life goes on.

use super::fakes::{Clock, Fake, Manner, candidates, choose, device, problem};
use crate::kernel::candidate::Rejection;
use crate::kernel::sandbox::Trial;
use crate::kernel::select::{Selector, Settings, Verdict};
use crate::kernel::store::Store;

/// What a candidate of this manner is rejected for, by everybody who shares the store.
fn rejection(manner: Manner) -> Rejection {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(0.01, 1);
    let all = |manner: &Manner| {
        candidates(vec![Fake::new(&clock, "good", 1e5), Fake::new(&clock, "bad", 1e3).with(manner.clone())])
    };
    let selector = || Selector::new(device(), Some(Store::at(dir.path())), Settings::default());
    let chosen = choose(&selector(), &clock, 64, &all(&manner)).unwrap();
    assert_eq!(chosen.candidate.name.as_str(), "good");

    // Another process does not try it again.
    let again = Fake::new(&clock, "bad", 1e3).with(manner);
    let calls = std::sync::Arc::clone(&again.calls);
    let warm = candidates(vec![Fake::new(&clock, "good", 1e5), again]);
    let selector = selector();
    assert_eq!(choose(&selector, &clock, 64, &warm).unwrap().index, 0);
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 0);

    // With another version of its library it gets another chance.
    let repaired =
        candidates(vec![Fake::new(&clock, "good", 1e5), Fake::new(&clock, "bad", 1e3).library("1.1")]);
    assert_eq!(choose(&selector, &clock, 64, &repaired).unwrap().index, 1);

    match &selector.explain(&problem(64), &warm).unwrap().standings[1].verdict {
        Verdict::Rejected(rejection) => rejection.clone(),
        other => panic!("{other:?}"),
    }
}

fn failure(manner: Manner) -> String {
    match rejection(manner) {
        Rejection::Failed { detail } => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn wrong_results_are_found() {
    let Rejection::Wrong { detail } = rejection(Manner::Wrong) else { panic!() };
    assert!(detail.starts_with("element 0 is 2.59"), "{detail}");
    let Rejection::Wrong { detail } = rejection(Manner::Unfinished) else { panic!() };
    assert!(detail.contains("element 15 is NaN (not written"), "{detail}");
}

#[test]
fn writes_out_of_bounds_are_found() {
    for (place, words) in [(-1, "memory 1 elements before"), (-1024, "memory 1024 elements before")] {
        let Rejection::OutOfBounds { detail } = rejection(Manner::Stray(place)) else { panic!() };
        assert!(detail.contains(words), "{detail}");
    }
    for (place, words) in [(16, "memory 1 elements behind"), (16 + 1023, "memory 1024 elements behind")] {
        let Rejection::OutOfBounds { detail } = rejection(Manner::Stray(place)) else { panic!() };
        assert!(detail.contains(words), "{detail}");
    }
}

#[test]
fn failures_and_panics_are_rejections() {
    assert_eq!(failure(Manner::Fails), "no");
    assert_eq!(failure(Manner::Panics), "it panicked: at the disco");
    assert_eq!(failure(Manner::CannotPrepare), "it does not compile");
    assert_eq!(failure(Manner::Tires(3)), "tired", "also one that fails in the middle of the race");
}

#[test]
fn risky_ones_hang_and_crash_elsewhere() {
    let hang = rejection(Manner::Risky("sleep 1000".into()));
    assert_eq!(hang, Rejection::Hung { deadline_ms: 400 });
    let crash = rejection(Manner::Risky("kill -SEGV $$".into()));
    assert_eq!(crash, Rejection::Crashed { signal: "SIGSEGV".into() });
    let wrong = Rejection::Wrong { detail: "element 7".into() };
    assert_eq!(rejection(Manner::Risky(format!("echo '{}'", Trial::Rejected(wrong.clone()).line()))), wrong);
}

#[test]
fn one_that_could_not_be_tried_is_not_chosen_and_not_rejected() {
    let clock = Clock::new(0.01, 1);
    let dir = tempfile::tempdir().unwrap();
    let selector = || Selector::new(device(), Some(Store::at(dir.path())), Settings::default());
    let with = |manner| {
        candidates(vec![Fake::new(&clock, "good", 1e5), Fake::new(&clock, "risky", 1e3).with(manner)])
    };
    let all = with(Manner::Untriable);
    let first = selector();
    assert_eq!(choose(&first, &clock, 64, &all).unwrap().index, 0);
    assert_eq!(first.explain(&problem(64), &all).unwrap().standings[1].verdict, Verdict::Unmeasured);
    assert_eq!(choose(&selector(), &clock, 64, &with(Manner::Right)).unwrap().index, 1, "it can be by now");
}

#[test]
fn a_risky_one_that_passes_is_measured_like_any_other() {
    let clock = Clock::new(0.01, 1);
    let risky = Manner::Risky(format!("echo '{}'", Trial::Passed.line()));
    let all = candidates(vec![Fake::new(&clock, "good", 1e5), Fake::new(&clock, "risky", 1e3).with(risky)]);
    let selector = Selector::new(device(), None, Settings::default());
    let chosen = choose(&selector, &clock, 64, &all).unwrap();
    // A machine too busy to start a shell within its deadline says so.
    let explained = selector.explain(&problem(64), &all).unwrap();
    let late = explained.standings[1].verdict == Verdict::Rejected(Rejection::Hung { deadline_ms: 400 });
    assert_eq!(chosen.index, usize::from(!late), "{explained}");
}
