//! What is remembered of pictures changes no bit of a batch: over epochs, over runs, when files change, when the kept
//! file is damaged, and when there is no room.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zenith_data::pipeline::slots::{SlotLayout, Slots};
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::image_cache::ImageCache;
use zenith_data::source::table::TableOptions;
use zenith_data::source::{self, OpenOptions, SampleKey, Source, Spent};
use zenith_data::transform::{Mode, Op, Plan};

const JPEGS: [(&str, &[u8]); 6] = [
    ("a/420.jpg", include_bytes!("data/jpeg/ycc_420.jpg")),
    ("a/422.jpg", include_bytes!("data/jpeg/ycc_422.jpg")),
    ("a/444.jpg", include_bytes!("data/jpeg/ycc_444.jpg")),
    ("b/restart.jpg", include_bytes!("data/jpeg/ycc_420_restart.jpg")),
    ("b/turned.jpg", include_bytes!("data/turned.jpg")),
    ("b/440.jpg", include_bytes!("data/jpeg/ycc_440.jpg")),
];
const OTHERS: [(&str, &[u8]); 2] = [
    ("c/progressive.jpg", include_bytes!("data/jpeg/ycc_420_progressive.jpg")),
    ("c/lossy.webp", include_bytes!("data/lossy.webp")),
];

struct Set {
    pictures: tempfile::TempDir,
    kept: tempfile::TempDir,
}

impl Set {
    fn new() -> Self {
        let set = Self { pictures: tempfile::tempdir().unwrap(), kept: tempfile::tempdir().unwrap() };
        for (name, bytes) in JPEGS.into_iter().chain(OTHERS) {
            let path = set.pictures.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        set
    }

    fn open(&self, cache: ImageCache, budget: Option<u64>) -> Arc<dyn Source> {
        let ops: Vec<Op> =
            serde_json::from_str(r#"[{"op": "random_resized_crop", "size": [16], "scale": [0.1, 0.5]}]"#)
                .unwrap();
        let options = OpenOptions {
            transform: Some(Plan::compile(&ops, Mode::Exact).unwrap()),
            pictures: cache,
            table: TableOptions { memory_budget: budget, ..TableOptions::default() },
            cache: CacheDir::at(self.kept.path()),
            ..OpenOptions::default()
        };
        source::open(&self.pictures.path().into(), &options).unwrap()
    }

    /// The file with the indexes, where one was written.
    fn sidecar(&self) -> Option<PathBuf> {
        fs::read_dir(self.kept.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|ending| ending == "entropy"))
    }
}

/// All samples of an epoch, several times over with other crops; two fillers take turns. Bad ones give their reason.
fn epoch(source: &dyn Source, epoch: u64) -> Vec<Result<Vec<u8>, String>> {
    let layout = SlotLayout::new(source.schema(), 1).unwrap();
    let mut fillers = [source.filler().unwrap(), source.filler().unwrap()];
    (0..source.len())
        .map(|sample| {
            let key = SampleKey { sample, seed: 3, epoch };
            let mut slab = vec![0xee; layout.bytes()];
            let mut slots = Slots::of(&mut slab, &layout, 1);
            let filler = &mut fillers[sample as usize % 2];
            filler.read_ahead(&[key]);
            match filler.fill(&[key], &mut slots, &mut Spent::default()) {
                Ok(()) => Ok(slab),
                Err((_, error)) => Err(error.to_string()),
            }
        })
        .collect()
}

fn facts(source: &dyn Source) -> HashMap<String, String> {
    source.facts().into_iter().collect()
}

fn count(source: &dyn Source, fact: &str) -> u64 {
    facts(source)[fact].parse().unwrap()
}

#[test]
fn an_index_changes_nothing_over_epochs_and_runs() {
    let set = Set::new();
    let plain = set.open(ImageCache::None, None);
    let expected: Vec<_> = (0..4).map(|at| epoch(&*plain, at)).collect();
    assert!(expected[0].iter().all(Result::is_ok));
    assert_ne!(expected[0], expected[1], "crops differ");

    let indexed = set.open(ImageCache::Index, None);
    assert_eq!(epoch(&*indexed, 0), expected[0]);
    let jpegs = JPEGS.len() as u64;
    assert_eq!((count(&*indexed, "cache hits"), count(&*indexed, "cache misses")), (0, jpegs + 1));
    assert_eq!(count(&*indexed, "cache files"), jpegs, "not the progressive one");
    assert_eq!(epoch(&*indexed, 1), expected[1]);
    assert_eq!((count(&*indexed, "cache hits"), count(&*indexed, "cache misses")), (jpegs, jpegs + 2));
    assert_eq!(facts(&*indexed)["cache"], "index");
    drop(indexed);
    let kept = set.sidecar().unwrap();

    let again = set.open(ImageCache::Index, None);
    assert_eq!(count(&*again, "cache files from an earlier run"), jpegs);
    assert_eq!(facts(&*again)["cache kept in"], kept.display().to_string());
    for (at, expected) in expected.iter().enumerate() {
        assert_eq!(&epoch(&*again, at as u64), expected);
    }
    assert_eq!(
        (count(&*again, "cache hits"), count(&*again, "cache misses")),
        (4 * jpegs, 4),
        "hits from the first sample on"
    );
}

#[test]
fn a_changed_file_is_noticed() {
    let set = Set::new();
    drop(epoch(&*set.open(ImageCache::Index, None), 0));
    let path = set.pictures.path().join(JPEGS[0].0);
    // Another picture, one of the same length with another byte in its data, and half of one.
    let mut touched = JPEGS[0].1.to_vec();
    let at = touched.len() - 100;
    touched[at] ^= 1;
    for bytes in [JPEGS[2].1, &touched, &JPEGS[0].1[..JPEGS[0].1.len() / 2]] {
        fs::write(&path, bytes).unwrap();
        let expected = epoch(&*set.open(ImageCache::None, None), 1);
        let indexed = set.open(ImageCache::Index, None);
        assert_eq!(epoch(&*indexed, 1), expected);
        assert_eq!(count(&*indexed, "cache files from an earlier run"), JPEGS.len() as u64);
        fs::write(&path, JPEGS[0].1).unwrap();
        let expected = epoch(&*set.open(ImageCache::None, None), 1);
        assert_eq!(epoch(&*indexed, 1), expected, "and when it changes back");
        // The next open finds it whole again.
        drop(epoch(&*indexed, 1));
    }
    fs::write(&path, JPEGS[2].1).unwrap();
    let indexed = set.open(ImageCache::Index, None);
    drop(epoch(&*indexed, 0));
    assert_eq!(count(&*indexed, "cache files that changed since"), 1);
    drop(epoch(&*indexed, 0));
    drop(epoch(&*indexed, 0));
    assert_eq!(count(&*indexed, "cache files that changed since"), 1, "it is rebuilt");
    assert_eq!(count(&*indexed, "cache files"), JPEGS.len() as u64);
}

#[test]
fn a_damaged_sidecar_is_ignored_and_replaced() {
    let set = Set::new();
    let first = set.open(ImageCache::Index, None);
    let expected = epoch(&*first, 0);
    drop(first);
    let kept = set.sidecar().unwrap();
    let good = fs::read(&kept).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    for bad in [&flipped, &good[..good.len() - 1], b""] {
        fs::write(&kept, bad).unwrap();
        let source = set.open(ImageCache::Index, None);
        assert_eq!(count(&*source, "cache files from an earlier run"), 0);
        assert_eq!(epoch(&*source, 0), expected);
        drop(source);
        assert_eq!(fs::read(&kept).unwrap(), good, "written again");
    }
}

#[test]
fn memory_serves_the_second_epoch_without_the_files() {
    let set = Set::new();
    let plain = set.open(ImageCache::None, None);
    let expected: Vec<_> = (0..2).map(|at| epoch(&*plain, at)).collect();
    let source = set.open(ImageCache::Memory, None);
    assert_eq!(epoch(&*source, 0), expected[0]);
    let all = (JPEGS.len() + OTHERS.len()) as u64;
    let size: usize = JPEGS.iter().chain(&OTHERS).map(|(_, bytes)| bytes.len()).sum();
    assert!(count(&*source, "cache bytes") >= size as u64);
    assert!(facts(&*source)["cache limit in bytes"].contains("half of the available memory"));
    for (name, _) in JPEGS.into_iter().chain(OTHERS) {
        fs::remove_file(set.pictures.path().join(name)).unwrap();
    }
    assert_eq!(epoch(&*source, 1), expected[1]);
    assert_eq!((count(&*source, "cache hits"), count(&*source, "cache misses")), (all, all));
}

#[test]
fn bounds_hold() {
    let set = Set::new();
    let plain = set.open(ImageCache::None, None);
    let expected: Vec<_> = (0..2).map(|at| epoch(&*plain, at)).collect();
    let largest = JPEGS.iter().chain(&OTHERS).map(|(_, bytes)| bytes.len()).max();
    let some = largest.unwrap() as u64 + 64 * 16 + 32;
    for (cache, budget, kept) in [
        (ImageCache::Memory, 0, 0..=0),
        (ImageCache::Memory, some, 1..=JPEGS.len() as u64),
        (ImageCache::Index, 0, 0..=0),
        (ImageCache::Index, 64 * 4, 0..=0),
        (ImageCache::Index, 64 * 4 + 3 * (16 << 10), 3..=3),
    ] {
        let source = set.open(cache, Some(budget));
        for (at, expected) in expected.iter().enumerate() {
            assert_eq!(&epoch(&*source, at as u64), expected, "{cache:?} {budget}");
        }
        assert!(count(&*source, "cache bytes") <= budget, "{cache:?} {budget}");
        let files = count(&*source, "cache files");
        assert!(kept.contains(&files), "{cache:?} {budget}: {files}");
        assert!(facts(&*source)["cache limit in bytes"].contains("memory_budget"));
        let full = source.notes().iter().any(|note| note.contains("is full"));
        assert_eq!(full, cache == ImageCache::Index, "{cache:?} {budget}: {:?}", source.notes());
        drop(source);
        fs::remove_dir_all(set.kept.path()).unwrap();
        fs::create_dir(set.kept.path()).unwrap();
    }
}

#[test]
fn without_a_directory_it_lasts_as_long_as_the_run() {
    let set = Set::new();
    let options = OpenOptions { transform: None, pictures: ImageCache::Index, ..OpenOptions::default() };
    let source = source::open(&set.pictures.path().join("a").as_path().into(), &options).unwrap();
    drop(epoch(&*source, 0));
    assert!(facts(&*source)["cache kept in"].contains("nowhere"));
    drop(source);
    assert_eq!(set.sidecar(), None);
}

#[test]
fn a_table_of_numbers_has_no_pictures_to_remember() {
    let dir = tempfile::tempdir().unwrap();
    let path: &Path = &dir.path().join("rows.csv");
    fs::write(path, "x,label\n1,0\n").unwrap();
    for (cache, name) in [(ImageCache::Index, "index"), (ImageCache::Memory, "memory")] {
        let options = OpenOptions { pictures: cache, ..OpenOptions::default() };
        let error = source::open(&path.into(), &options).err().unwrap().to_string();
        assert!(error.contains(name) && error.contains("works for pictures"), "{error}");
    }
}

#[test]
fn the_report_names_how_files_are_read() {
    let set = Set::new();
    let source = set.open(ImageCache::None, None);
    drop(epoch(&*source, 0));
    let by = &facts(&*source)["files read by"];
    assert!(by.contains("io_uring") || by.contains("pread"), "{by}");
}
