//! Class folders as `torchvision.datasets.ImageFolder` sees them: order, numbers, errors; the kept index; and folders
//! that change. What is in the files does not matter here.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zenith_data::DType;
use zenith_data::source::blobs::Blobs;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::folder::{FolderBlobs, FolderIndex, Tree, expand_glob, list_files};

fn put(root: &Path, name: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, name).unwrap();
}

/// Sets the times of all folders far enough back to be trusted.
fn age(root: &Path, seconds: u64) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            age(&path, seconds);
        }
    }
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::open(root).unwrap().set_modified(time).unwrap();
}

fn scan(root: &Path) -> Tree {
    Tree::scan(root, &CacheDir::none()).unwrap()
}

fn names(index: &FolderIndex) -> Vec<String> {
    (0..index.len())
        .map(|i| {
            let path = index.path(i).unwrap();
            path.strip_prefix(index.root()).unwrap().to_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn order_and_classes_are_those_of_image_folder() {
    let dir = tempfile::tempdir().unwrap();
    // The expectation was written down from what ImageFolder's rule gives: classes sorted, within a class the folders
    // sorted by their whole path, within a folder the names sorted.
    for name in [
        "b/2.png",
        "b/10.PNG",
        "b/x/1.jpg",
        "b/x-y/1.jpg",
        "b/x/z/0.webp",
        "b/notes.txt",
        "a-b/1.jpeg",
        "a/9.jpg",
        "a/sub/1.tif",
        "B/1.bmp",
        ".hidden/1.jpg",
        "loose.jpg",
        "labels.csv",
    ] {
        put(dir.path(), name);
    }
    let tree = scan(dir.path());
    assert_eq!((tree.in_root(), tree.in_folders()), (1, 10));
    assert_eq!(tree.tables(), (1, 0));
    let index = FolderIndex::classes(tree).unwrap();
    assert_eq!(index.class_names(), [".hidden", "B", "a", "a-b", "b"]);
    assert_eq!(
        names(&index),
        [
            ".hidden/1.jpg",
            "B/1.bmp",
            "a/9.jpg",
            "a/sub/1.tif",
            "a-b/1.jpeg",
            "b/10.PNG",
            "b/2.png",
            "b/x/1.jpg",
            "b/x-y/1.jpg",
            "b/x/z/0.webp",
        ]
    );
    let classes: Vec<_> = (0..index.len()).map(|i| index.label(i).unwrap()).collect();
    assert_eq!(classes, [0, 1, 2, 2, 3, 4, 4, 4, 4, 4]);
    assert_eq!(index.label(index.len()), None);
    assert_eq!(index.path(index.len()), None);
}

#[test]
fn a_list_gives_its_own_labels_and_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b/1.jpg", "a/1.jpg", "a/2.jpg"] {
        put(dir.path(), name);
    }
    let paths = ["b/1.jpg", "a/2.jpg", "b/1.jpg"].map(|name| dir.path().join(name));
    let labelled = |paths: &[PathBuf], labels: [i64; 3]| {
        FolderIndex::labelled(paths, labels.to_vec(), vec!["a".into(), "b".into()])
    };
    let index = labelled(&paths, [-5, i64::MAX, 0]).unwrap();
    assert_eq!((0..3).map(|i| index.path(i).unwrap()).collect::<Vec<_>>(), paths);
    assert_eq!((0..4).map(|i| index.label(i)).collect::<Vec<_>>(), [Some(-5), Some(i64::MAX), Some(0), None]);
    assert!(index.has_labels() && index.class_names() == ["a", "b"]);
    assert_ne!(index.fingerprint(), labelled(&paths, [-5, 1, 0]).unwrap().fingerprint());
    let error = labelled(&paths[..2], [1, 2, 3]).unwrap_err().to_string();
    assert!(error.contains("2 paths have 3 labels"), "{error}");
    let blobs = FolderBlobs::new(index).unwrap();
    let mut label = [0; 8];
    blobs.write_label(1, &mut label);
    assert_eq!((blobs.label_dtype(), i64::from_ne_bytes(label)), (Some(DType::Int64), i64::MAX));
}

#[test]
fn empty_classes_and_no_classes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "a/1.jpg");
    put(dir.path(), "empty/readme.txt");
    let error = FolderIndex::classes(scan(dir.path())).unwrap_err();
    assert!(error.to_string().contains("no picture for the class \"empty\""), "{error}");
    assert!(error.to_string().contains(".jpg"), "{error}");

    let flat = tempfile::tempdir().unwrap();
    put(flat.path(), "1.jpg");
    assert!(FolderIndex::classes(scan(flat.path())).is_err());
    let index = FolderIndex::flat(scan(flat.path())).unwrap();
    assert_eq!((index.len(), index.label(0)), (1, None));

    let error = Tree::scan(&flat.path().join("nothing"), &CacheDir::none()).unwrap_err();
    assert!(error.path().unwrap().ends_with("nothing"), "{error}");
}

#[test]
fn links_are_followed_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    put(other.path(), "far.jpg");
    put(dir.path(), "a/1.jpg");
    std::os::unix::fs::symlink(other.path(), dir.path().join("linked")).unwrap();
    std::os::unix::fs::symlink("..", dir.path().join("a/up")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("a/dangling.jpg")).unwrap();
    let index = FolderIndex::classes(scan(dir.path())).unwrap();
    assert_eq!(names(&index), ["a/1.jpg", "a/dangling.jpg", "linked/far.jpg"]);
}

#[test]
fn the_kept_index_is_used_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let kept = tempfile::tempdir().unwrap();
    let cache = CacheDir::at(kept.path());
    for class in 0..5 {
        for file in 0..7 {
            put(dir.path(), &format!("c{class}/f{file}.jpg"));
        }
    }
    let fresh = Tree::scan(dir.path(), &cache).unwrap();
    assert!(!fresh.from_cache);
    let again = Tree::scan(dir.path(), &cache).unwrap();
    assert!(!again.from_cache, "folders changed a moment ago are not trusted");
    age(dir.path(), 100);
    assert!(!Tree::scan(dir.path(), &cache).unwrap().from_cache);
    let warm = Tree::scan(dir.path(), &cache).unwrap();
    assert!(warm.from_cache);
    let [fresh, warm] = [fresh, warm].map(|tree| FolderIndex::classes(tree).unwrap());
    assert_eq!(names(&fresh), names(&warm));
    assert_eq!(fresh.fingerprint(), warm.fingerprint());

    put(dir.path(), "c3/g.jpg");
    let changed = Tree::scan(dir.path(), &cache).unwrap();
    assert!(!changed.from_cache);
    let changed = FolderIndex::classes(changed).unwrap();
    assert_eq!(changed.len(), 36);
    assert_eq!(changed.label(28), Some(3));
    assert_ne!(changed.fingerprint(), warm.fingerprint());
    let clean = FolderIndex::classes(scan(dir.path())).unwrap();
    assert_eq!(names(&changed), names(&clean));
    assert_eq!(changed.fingerprint(), clean.fingerprint());

    age(dir.path(), 50);
    Tree::scan(dir.path(), &cache).unwrap();
    fs::remove_dir_all(dir.path().join("c1")).unwrap();
    put(dir.path(), "c9/deep/1.png");
    let moved = FolderIndex::classes(Tree::scan(dir.path(), &cache).unwrap()).unwrap();
    assert_eq!(moved.class_names(), ["c0", "c2", "c3", "c4", "c9"]);
    assert_eq!(names(&moved), names(&FolderIndex::classes(scan(dir.path())).unwrap()));

    for entry in fs::read_dir(kept.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    age(dir.path(), 40);
    let damaged = Tree::scan(dir.path(), &cache).unwrap();
    assert!(!damaged.from_cache);
    assert_eq!(names(&FolderIndex::classes(damaged).unwrap()), names(&moved));
    assert!(Tree::scan(dir.path(), &cache).unwrap().from_cache);
}

#[test]
fn the_fingerprint_is_the_same_in_another_place() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let index = |dir: &tempfile::TempDir| FolderIndex::classes(scan(dir.path())).unwrap();
    for name in ["a/1.jpg", "b/2.jpg"] {
        put(places[0].path(), name);
    }
    for name in ["b/2.jpg", "a/1.jpg"] {
        put(places[1].path(), name);
    }
    assert_eq!(index(&places[0]).fingerprint(), index(&places[1]).fingerprint());
    fs::rename(places[1].path().join("b"), places[1].path().join("c")).unwrap();
    assert_ne!(index(&places[0]).fingerprint(), index(&places[1]).fingerprint());
}

#[test]
fn globs_and_lists_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a/1.jpg", "a/2.png", "b/1.jpg", "b/c/3.jpg", "b/.h.jpg", "x.jpg"] {
        put(dir.path(), name);
    }
    let glob = |pattern: &str| -> Vec<String> {
        expand_glob(&dir.path().join(pattern))
            .unwrap()
            .iter()
            .map(|p| p.strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(glob("*/*.jpg"), ["a/1.jpg", "b/1.jpg"]);
    assert_eq!(glob("**/*.jpg"), ["a/1.jpg", "b/1.jpg", "b/c/3.jpg", "x.jpg"]);
    assert_eq!(glob("[ab]/?.*"), ["a/1.jpg", "a/2.png", "b/1.jpg"]);
    assert_eq!(glob("b/.*.jpg"), ["b/.h.jpg"]);
    assert!(glob("q/*.jpg").is_empty());
    assert!(expand_glob(&dir.path().join("[")).is_err());
    assert_eq!(list_files(dir.path()).unwrap().len(), 5);

    let paths: Vec<PathBuf> =
        ["b/c/3.jpg", "a/2.png", "a/1.jpg", "b/c/3.jpg"].iter().map(|name| dir.path().join(name)).collect();
    let index = FolderIndex::of_paths(&paths).unwrap();
    let seen: Vec<_> = (0..4).map(|i| index.path(i).unwrap()).collect();
    assert_eq!(seen, paths);
    assert_eq!(index.label(0), None);
    assert!(FolderIndex::of_paths(&[]).is_err());
}

#[test]
fn many_files_take_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    for class in 0..20 {
        let folder = dir.path().join(format!("n{class:08}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(format!("n{class:08}_{file:05}.JPEG")), []).unwrap();
        }
    }
    let index = FolderIndex::classes(scan(dir.path())).unwrap();
    assert_eq!(index.len(), 2_000);
    let per_file = index.memory() as f64 / 2_000.0;
    assert!(per_file < 32.0, "{per_file} bytes a file");
}

#[test]
fn files_are_read_and_odd_ones_named() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a/0.jpg", "a/gone.jpg", "a/z.jpg"] {
        put(dir.path(), name);
    }
    std::os::unix::fs::symlink("nowhere", dir.path().join("a/dangling.jpg")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(dir.path().join("a/fifo.jpg")).status();
    assert!(fifo.unwrap().success());
    let blobs = FolderBlobs::new(FolderIndex::classes(scan(dir.path())).unwrap()).unwrap();
    assert_eq!(blobs.len(), 5);
    fs::remove_file(dir.path().join("a/gone.jpg")).unwrap();
    fs::create_dir(dir.path().join("a/gone.jpg")).unwrap();
    let (mut reader, mut scratch) = (blobs.reader().unwrap(), Vec::new());
    for ahead in [false, true] {
        if ahead {
            reader.read_ahead(&[0, 1, 2, 3, 4]);
        }
        assert_eq!(reader.read(0, &mut scratch).unwrap(), b"a/0.jpg");
        let mut fails = |id, kind, text: &str| {
            let error = reader.read(id, &mut scratch).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        };
        fails(1, ErrorKind::NotFound, "gone");
        fails(2, ErrorKind::InvalidInput, "a FIFO");
        fails(3, ErrorKind::InvalidInput, "a directory");
        assert_eq!(reader.read(4, &mut scratch).unwrap(), b"a/z.jpg");
    }

    // What was read ahead and is not wanted any more makes room.
    reader.read_ahead(&[0, 1, 2, 3]);
    reader.read_ahead(&[4]);
    fs::write(dir.path().join("a/0.jpg"), b"new").unwrap();
    assert_eq!(reader.read(0, &mut scratch).unwrap(), b"new");
    assert_eq!(reader.read(4, &mut scratch).unwrap(), b"a/z.jpg");
}

#[test]
fn reading_ahead_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..200 {
        put(dir.path(), &format!("{file:03}.jpg"));
    }
    let blobs = FolderBlobs::new(FolderIndex::flat(scan(dir.path())).unwrap()).unwrap();
    let mut reader = blobs.reader().unwrap();
    let here = dir.path().canonicalize().unwrap();
    let open_here = || -> BTreeSet<PathBuf> {
        let links = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let paths = links.filter_map(|fd| fs::read_link(fd.path()).ok());
        paths.filter(|path| path.starts_with(&here) && *path != here).collect()
    };
    for start in 0..200 {
        reader.read_ahead(&(start..200).collect::<Vec<_>>());
        assert!(open_here().len() <= 8);
        let expected = format!("{start:03}.jpg");
        assert_eq!(reader.read(start, &mut Vec::new()).unwrap(), expected.as_bytes());
    }
    drop(reader);
    assert!(open_here().is_empty());
}
