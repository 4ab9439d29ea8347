//! Keys and their text.

use proptest::prelude::*;

use crate::kernel::bucket::{Buckets, Rule};
use crate::kernel::key::{Alignment, Determinism, Family, Key, KeyError, Layout, Mode, Name, Op, Problem};

fn name() -> impl Strategy<Value = Name> {
    "[A-Za-z0-9_.+:/-]{1,12}".prop_map(|text| Name::new(&text).unwrap())
}

fn layout() -> impl Strategy<Value = Layout> {
    use Layout::{Broadcast, Columns, PaddedColumns, PaddedRows, Rows, Strided};
    prop::sample::select(vec![Rows, PaddedRows, Columns, PaddedColumns, Broadcast, Strided])
}

prop_compose! {
    fn problem()(
        op in name(), schema: u32, dtypes in prop::collection::vec(name(), 0..4), math in name(), epilogue in name(),
        layouts in prop::collection::vec(layout(), 0..4), place: u64, required: bool, graph: bool,
        dims in prop::collection::btree_map(name(), any::<u64>(), 0..5),
    ) -> Problem {
        let family = Family {
            op: Op { name: op, schema }, dtypes, math, layouts, alignment: Alignment::of([place]), epilogue,
            determinism: if required { Determinism::Required } else { Determinism::Any },
            mode: if graph { Mode::Graph } else { Mode::Eager },
        };
        Problem::new(family, dims.into_iter().collect()).unwrap()
    }
}

proptest! {
    #[test]
    fn text_and_back(problem in problem(), steps in 1_u32..64) {
        prop_assert_eq!(&problem.to_string().parse::<Problem>().unwrap(), &problem);
        for rule in [Rule::Exact, Rule::Octave(steps)] {
            let key = problem.key(&Buckets::all(rule));
            prop_assert_eq!(key.to_string().parse::<Key>().unwrap(), key.clone());
            let json = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key);
        }
    }

    #[test]
    fn different_keys_have_different_text(a in problem(), b in problem()) {
        let (a, b) = (a.key(&Buckets::default()), b.key(&Buckets::default()));
        prop_assert_eq!(a == b, a.to_string() == b.to_string());
        prop_assert_eq!(a == b, a.digest() == b.digest());
    }

    /// Whatever is read is written the same: there is one text for each key.
    #[test]
    fn text_is_canonical(problem in problem(), place: prop::sample::Index, byte in 32_u8..127) {
        let mut text = problem.key(&Buckets::default()).to_string().into_bytes();
        let place = place.index(text.len());
        text[place] = byte;
        let text = String::from_utf8(text).unwrap();
        if let Ok(key) = text.parse::<Key>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}") {
        let _ = text.parse::<Key>();
    }

    #[test]
    fn distance_is_one(sizes in prop::collection::vec(1_u64..1 << 40, 3)) {
        let family = Family::plain("op", 1, &["float32"]).unwrap();
        let key = |size| Problem::new(family.clone(), vec![(Name::new("n").unwrap(), size)]).unwrap().key(&Buckets::default());
        let [a, b, c] = [key(sizes[0]), key(sizes[1]), key(sizes[2])];
        prop_assert_eq!(a.distance(&a), Some(0.0));
        prop_assert_eq!(a.distance(&b), b.distance(&a));
        prop_assert!(a.distance(&c).unwrap() <= a.distance(&b).unwrap() + b.distance(&c).unwrap() + 1e-9);
    }
}

#[test]
fn a_key_reads_like_what_it_is() {
    let family = Family::plain("matmul", 1, &["float32"; 3]).unwrap();
    let dims =
        [("m", 1300), ("n", 1024), ("k", 3)].map(|(dim, size)| (Name::new(dim).unwrap(), size)).to_vec();
    let key = Problem::new(family, dims).unwrap().key(&Buckets::default());
    assert_eq!(
        key.to_string(),
        "matmul@1(m=1281-1536,n=897-1024,k=3);float32,float32,float32;math=ieee;layout=rows,rows,rows;align=64;\
         epilogue=none;deterministic=any;mode=eager"
    );
    assert_eq!(key.digest(), "f5b8e2e072dedee5bdc05065e7032a3b");
}

#[test]
fn the_nearest_is_the_same_for_everybody() {
    let family = Family::plain("op", 1, &["float32"]).unwrap();
    let key = |size| {
        Problem::new(family.clone(), vec![(Name::new("n").unwrap(), size)]).unwrap().key(&Buckets::default())
    };
    let mut keys = vec![key(16), key(64), key(1024)];
    let nearest = |keys: &[Key], size| key(size).nearest(keys).map(|(key, distance)| (key.clone(), distance));
    assert_eq!(nearest(&keys, 32), Some((key(16), 1.0)));
    keys.reverse();
    assert_eq!(nearest(&keys, 32), Some((key(16), 1.0)), "of two as near, whatever their order");
    assert_eq!(nearest(&keys, 1 << 20), Some((key(1024), 10.0)));
    let other = Family { mode: Mode::Graph, ..family.clone() };
    let other = Problem::new(other, vec![(Name::new("n").unwrap(), 16)]).unwrap().key(&Buckets::default());
    assert_eq!(other.nearest(&keys), None);
}

#[test]
fn layouts_are_recognised() {
    let of = Layout::of;
    assert_eq!(of(&[4, 5], &[5, 1]), Layout::Rows);
    assert_eq!(of(&[4, 5], &[8, 1]), Layout::PaddedRows);
    assert_eq!(of(&[4, 5], &[1, 4]), Layout::Columns);
    assert_eq!(of(&[4, 5], &[1, 9]), Layout::PaddedColumns);
    assert_eq!(of(&[4, 5], &[0, 1]), Layout::Broadcast);
    assert_eq!(of(&[4, 5], &[10, 2]), Layout::Strided);
    assert_eq!(of(&[4, 5], &[3, 1]), Layout::Strided, "rows that overlap");
    assert_eq!(of(&[4, 5], &[-5, 1]), Layout::Strided);
    assert_eq!(of(&[7, 4, 5], &[20, 5, 1]), Layout::Rows);
    assert_eq!(of(&[7, 4, 5], &[40, 5, 1]), Layout::Strided);
    assert_eq!(of(&[7, 4, 5], &[20, 1, 4]), Layout::Columns);
    assert_eq!(of(&[], &[]), Layout::Rows);
    assert_eq!(of(&[1, 5], &[77, 1]), Layout::Rows, "the distance between rows of one row means nothing");
    assert_eq!(of(&[9], &[2]), Layout::Strided);
}

#[test]
fn alignment_is_that_of_the_worst() {
    let of = |places: &[u64]| Alignment::of(places.iter().copied()).bytes();
    assert_eq!(of(&[]), 64);
    assert_eq!(of(&[4096, 128]), 64);
    assert_eq!(of(&[4096, 48]), 16);
    assert_eq!(of(&[4096, 64, 12, 2]), 2);
    assert_eq!(of(&[1]), 1);
}

#[test]
fn what_is_no_key_is_refused_with_what_would_work() {
    assert_eq!(Name::new("").unwrap_err(), KeyError::Name(String::new()));
    assert!(Name::new("a b").is_err() && Name::new("a;b").is_err() && Name::new(&"a".repeat(129)).is_err());
    let family = Family::plain("op", 1, &["float32"]).unwrap();
    let dim = || (Name::new("n").unwrap(), 1);
    assert_eq!(
        Problem::new(family.clone(), vec![dim(), dim()]).unwrap_err(),
        KeyError::Twice(Name::new("n").unwrap())
    );
    let text = Problem::new(family, vec![dim()]).unwrap().to_string();
    for (wrong, words) in [
        (text.replace("n=1", "n=01"), "m=64"),
        (text.replace("n=1", "n=5-5"), "m=64"),
        (text.replace("n=1", "n=+1"), "m=64"),
        (text.replace("rows", "sideways"), "broadcast"),
        (text.replace("align=64", "align=48"), "align=64"),
        (text.replace("@1", "@"), "matmul@1"),
        (format!("{text};more=1"), "matmul@1"),
    ] {
        let error = wrong.parse::<Key>().unwrap_err().to_string();
        assert!(error.contains(words), "{wrong}: {error}");
    }
    assert!(text.replace("n=1", "n=5-8").parse::<Problem>().is_err());
    assert!("x".repeat(1 << 20).parse::<Key>().is_err());
}
