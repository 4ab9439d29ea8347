//! The store: what is damaged, foreign or raced for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use proptest::prelude::*;

use super::fakes::{device, problem};
use crate::kernel::Buckets;
use crate::kernel::candidate::{CandidateId, Rejection};
use crate::kernel::environment::{Environment, Library};
use crate::kernel::key::{Key, Name};
use crate::kernel::store::{
    Difference, Exchange, ExchangeError, MAX_SAMPLES, Outcome, Pin, Row, Scope, Store, StoreError,
};
use crate::kernel::timer::Sample;

fn key(length: u64) -> Key {
    problem(length).key(&Buckets::default())
}

fn row(length: u64, candidate: &str, times: &[f64]) -> Row {
    let candidate = CandidateId::new(candidate, "1", "source").unwrap();
    let environment = Environment::new(&device(), vec![Library::new("blas", "1")]);
    let samples = times.iter().map(|&ns| Sample { ns, quiet: ns < 100.0 }).collect();
    Row::new(key(length), candidate, environment, Outcome::Measured(samples))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn rows_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    assert_eq!(store.rows(&key(64)), []);
    assert_eq!((store.all(), store.keys(key(64).family())), (Vec::new(), Vec::new()));
    let mut rejected = row(64, "b", &[1.0]);
    rejected.outcome = Outcome::Rejected(Rejection::Crashed { signal: "SIGSEGV".into() });
    let rows = [row(64, "a", &[0.1 + 0.2, 1e9, 123.456]), rejected, row(200, "a", &[5.0])];
    for row in &rows {
        assert!(store.put(row).unwrap());
    }
    assert_eq!(store.rows(&key(64)), rows[..2]);
    assert_eq!(store.all(), rows);
    assert_eq!(store.keys(key(64).family()), [key(64), key(200)]);

    assert!(!store.put(&row(64, "a", &[7.0])).unwrap(), "the first measurement stays");
    assert_eq!(store.rows(&key(64))[0], rows[0]);
    store.replace(&row(64, "a", &[7.0])).unwrap();
    assert_eq!(store.rows(&key(64))[0].outcome, row(64, "a", &[7.0]).outcome);
    assert_eq!(store.forget(&key(64), Some(&rows[0].candidate)).unwrap(), 1);
    assert_eq!(store.forget(&key(64), None).unwrap(), 1);
    assert_eq!(store.all(), rows[2..]);
}

#[test]
fn what_cannot_be_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    for times in [&[][..], &[0.0], &[-1.0], &[f64::NAN], &[f64::INFINITY], &[1.0; MAX_SAMPLES + 1]] {
        assert!(matches!(store.put(&row(64, "a", times)), Err(StoreError::Unsound { .. })));
    }
    assert!(store.put(&row(64, "a", &[1.234_567_890_123_4; MAX_SAMPLES])).unwrap());
    assert_eq!(store.all().len(), 1, "the greatest row can be read");
}

#[test]
fn every_flipped_bit_and_every_cut_hides_the_row_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let (damaged, other) = (row(64, "a", &[1.0, 2.0]), row(64, "b", &[3.0]));
    store.put(&damaged).unwrap();
    let path = files(store.root()).remove(0);
    store.put(&other).unwrap();
    let whole = fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        for bytes in [&bytes[..], &whole[..place]] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(store.rows(&key(64)), std::slice::from_ref(&other), "byte {place}");
        }
    }
    // What is damaged is written anew when it is measured again.
    assert!(store.put(&damaged).unwrap());
    assert_eq!(store.rows(&key(64)), [damaged, other]);
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    store.put(&row(64, "a", &[1.0])).unwrap();
    store.put(&row(200, "a", &[2.0])).unwrap();
    let paths = files(store.root());
    let folder = paths[0].parent().unwrap();
    for (place, content) in [(folder, "text"), (folder.parent().unwrap(), ""), (store.root(), "{}")] {
        fs::write(place.join("README.row"), content).unwrap();
        fs::write(place.join("notes.txt"), content).unwrap();
        fs::create_dir(place.join("folder.row")).unwrap();
        std::os::unix::fs::symlink("/nonexistent", place.join("link.row")).unwrap();
    }
    // A row of another key, moved here by somebody.
    fs::copy(&paths[1], folder.join("moved.row")).unwrap();
    assert_eq!(store.all().len(), 2);
    assert_eq!(store.keys(key(64).family()).len(), 2);
    store.sweep();
    assert!(folder.join("notes.txt").exists());
}

#[test]
fn of_writers_that_race_one_is_right_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    const WRITERS: usize = 8;
    for round in 1..=20 {
        let start = Barrier::new(WRITERS);
        let seen: Vec<(bool, Vec<Row>)> = thread::scope(|scope| {
            let writer = |number: usize| {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    let own = row(1 << round, "a", &[number as f64 + 1.0]);
                    start.wait();
                    (store.put(&own).unwrap(), store.rows(&own.key))
                })
            };
            let writers: Vec<_> = (0..WRITERS).map(writer).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(seen.iter().filter(|(first, _)| *first).count(), 1);
        assert!(
            seen.iter().all(|(_, rows)| rows.len() == 1 && *rows == seen[0].1),
            "all see the same row after they wrote"
        );
    }
    assert!(files(dir.path()).iter().all(|path| path.extension().is_some_and(|kind| kind == "row")));
}

#[test]
fn pins_are_kept_replaced_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    let name = |text| Name::new(text).unwrap();
    let pin = |scope: &Scope, candidate| Pin {
        scope: scope.clone(),
        candidate: name(candidate),
        note: "mine".into(),
    };
    let (op, one) = (Scope::Op(name("attention")), Scope::Key(key(64)));
    store.pin(&pin(&op, "a")).unwrap();
    assert_eq!(store.pinned(&key(64)), Some(pin(&op, "a")));
    store.pin(&pin(&one, "b")).unwrap();
    store.pin(&pin(&one, "c")).unwrap();
    assert_eq!(store.pinned(&key(64)), Some(pin(&one, "c")));
    assert_eq!(store.pinned(&key(2000)), Some(pin(&op, "a")));
    assert_eq!(store.pins(), [pin(&one, "c"), pin(&op, "a")]);
    assert_eq!(store.all(), [], "pins are no rows");
    assert!(store.unpin(&one).unwrap() && !store.unpin(&one).unwrap());
    assert_eq!(store.pins(), [pin(&op, "a")]);
    let path = files(store.root()).remove(0);
    fs::write(path, "zenith-kernel-pin 9 x\n{}").unwrap();
    assert_eq!((store.pinned(&key(64)), store.pins()), (None, Vec::new()));
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let parts = (1_u64..4000, "[a-d]", prop::collection::vec(1e-3..1e12_f64, 1..6));
    prop::collection::vec(parts, 0..6)
        .prop_map(|rows| rows.iter().map(|(length, name, times)| row(*length, name, times)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn an_export_is_the_store(rows in rows()) {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (store, copy) = (Store::at(dir.path()), Store::at(other.path()));
        for row in &rows {
            store.put(row).unwrap();
        }
        store.pin(&Pin { scope: Scope::Op(Name::new("op").unwrap()), candidate: Name::new("a").unwrap(), note: "\"\n".into() }).unwrap();
        let exported = Exchange::parse(&store.export().to_json()).unwrap();
        prop_assert_eq!(&exported, &store.export());
        let imported = copy.import(&exported).unwrap();
        prop_assert_eq!((imported.rows, imported.known, imported.pins), (exported.rows.len(), 0, 1));
        prop_assert_eq!(&copy.export(), &exported);
        prop_assert_eq!(copy.import(&exported).unwrap().known, exported.rows.len());
        prop_assert_eq!(exported.diff(&copy.export(), 0.02), []);
    }

    #[test]
    fn any_text_is_taken_or_refused(text in ".{0,100}") {
        prop_assert!(Exchange::parse(&text).is_err());
    }
}

#[test]
fn documents_of_others_are_refused_with_a_reason() {
    let parse = |text: &str| Exchange::parse(text).unwrap_err();
    assert!(matches!(
        parse(r#"{"format":"zenith-kernels","version":2,"more":[]}"#),
        ExchangeError::Version(2)
    ));
    assert!(parse(r#"{"format":"other","version":1}"#).to_string().contains("not `zenith-kernels`"));
    let unsound = r#"{"format":"zenith-kernels","version":1,"rows":[],"pins":[],"more":1}"#;
    assert!(matches!(parse(unsound), ExchangeError::Foreign(_)));
}

#[test]
fn rows_that_cannot_be_are_not_imported() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::at(dir.path());
    store.put(&row(64, "a", &[5.0])).unwrap();
    let text = store.export().to_json().replace("5.0", "-5.0");
    let other = tempfile::tempdir().unwrap();
    let imported = Store::at(other.path()).import(&Exchange::parse(&text).unwrap()).unwrap();
    assert_eq!((imported.rows, imported.unsound), (0, 1));
}

#[test]
fn differences_are_named() {
    let store = |rows: &[Row]| {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        rows.iter().for_each(|row| assert!(store.put(row).unwrap()));
        store.export()
    };
    let mut rejected = row(64, "c", &[1.0]);
    rejected.outcome = Outcome::Rejected(Rejection::Failed { detail: "no".into() });
    let first = store(&[
        row(64, "a", &[10.0; 9]),
        row(64, "b", &[10.0; 9]),
        row(64, "c", &[10.0; 9]),
        row(64, "d", &[1.0]),
    ]);
    let second = store(&[row(64, "a", &[10.1; 9]), row(64, "b", &[11.0; 9]), rejected, row(64, "e", &[1.0])]);
    let differences = first.diff(&second, 0.02);
    let [speed, verdict, only_first, only_second] = &differences[..] else { panic!("{differences:?}") };
    assert!(matches!(speed, Difference::Speed { place, first_ns, second_ns }
        if place.candidate.name.as_str() == "b" && *first_ns == 10.0 && *second_ns == 11.0));
    assert!(matches!(verdict, Difference::Verdict { second, .. } if second == "failed: no"));
    assert!(matches!(only_first, Difference::OnlyFirst(place) if place.candidate.name.as_str() == "d"));
    assert!(matches!(only_second, Difference::OnlySecond(place) if place.candidate.name.as_str() == "e"));
    assert!(serde_json::to_string(&differences).unwrap().contains(r#""difference":"speed""#));
}
