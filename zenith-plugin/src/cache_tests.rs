//! What the code cache must survive: damage, other owners' rights, and writers at the same time.

use std::cell::Cell;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::codegen;

struct Place {
    _root: tempfile::TempDir,
    cache: CodeCache,
    engine: Engine,
    module: Vec<u8>,
    compiled: Cell<usize>,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&Cache::Dir(root.path().join("new/plugins"))).unwrap();
        let engine = codegen::engine(512 << 10, false).unwrap();
        let module = wat::parse_str("(module (func (export \"f\")))").unwrap();
        Self { _root: root, cache, engine, module, compiled: Cell::new(0) }
    }

    /// Loads the module; whether it was compiled.
    fn compiles(&self) -> bool {
        let before = self.compiled.get();
        let module = self.cache.get(&self.engine, &self.module, || {
            self.compiled.set(before + 1);
            codegen::compile(&self.engine, &self.module)
        });
        assert!(module.unwrap().get_export("f").is_some());
        self.compiled.get() > before
    }

    fn file(&self) -> PathBuf {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.cache.dir).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn a_module_is_compiled_once() {
    let place = Place::new();
    assert!(place.compiles());
    assert!(!place.compiles());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&place.cache.dir), 0o700);
    assert_eq!(mode(&place.file()), 0o600);
}

#[test]
fn other_modules_and_other_engines_have_other_code() {
    let place = Place::new();
    assert!(place.compiles());
    let fuel = Place { engine: codegen::engine(512 << 10, true).unwrap(), ..Place::new() };
    let other = Place { cache: CodeCache { dir: place.cache.dir.clone() }, ..fuel };
    assert!(other.compiles());
    assert_eq!(place.files().len(), 2);
}

#[test]
fn damage_is_noticed_and_mended() {
    let place = Place::new();
    place.compiles();
    let good = fs::read(place.file()).unwrap();
    let step = good.len() / 97 + 1;
    for at in (0..HEAD).chain((HEAD..good.len()).step_by(step)) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(place.file(), &bad).unwrap();
        assert!(place.compiles(), "byte {at} flipped");
        fs::write(place.file(), &good[..at]).unwrap();
        assert!(place.compiles(), "cut at {at}");
        assert!(!place.compiles(), "not mended");
    }
}

#[test]
fn a_file_under_another_name_is_foreign() {
    let place = Place::new();
    place.compiles();
    let code = fs::read(place.file()).unwrap();
    let other =
        Place { module: wat::parse_str("(module (func (export \"f\") nop))").unwrap(), ..Place::new() };
    other.compiles();
    fs::write(other.file(), code).unwrap();
    assert!(other.compiles());
    assert!(!other.compiles());
}

#[test]
fn what_others_may_write_is_not_trusted() {
    let place = Place::new();
    place.compiles();
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(&place.file(), 0o666);
    assert!(place.compiles(), "a file that others may write");
    assert!(!place.compiles(), "it was replaced by one of ours");
    set(&place.cache.dir, 0o777);
    assert!(place.compiles() && place.compiles(), "a directory that others may write");
    assert!(matches!(private_dir(&place.cache.dir), Err(CacheError::Writable { mode: 0o777, .. })));
    set(&place.cache.dir, 0o700);
    assert!(!place.compiles());
}

#[test]
fn links_and_pipes_are_not_followed() {
    let place = Place::new();
    place.compiles();
    let (file, aside) = (place.file(), place.cache.dir.join("aside"));
    fs::rename(&file, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &file).unwrap();
    assert!(place.compiles(), "a link");
    assert!(fs::symlink_metadata(&file).unwrap().is_file(), "it was replaced");
}

#[test]
fn without_a_directory_everything_still_loads() {
    let root = tempfile::tempdir().unwrap();
    let blocked = root.path().join("file");
    fs::write(&blocked, b"").unwrap();
    for dir in [blocked.clone(), blocked.join("below")] {
        let place = Place { cache: CodeCache { dir }, ..Place::new() };
        assert!(place.compiles() && place.compiles());
    }
    assert!(CodeCache::open(&Cache::Off).is_none());
}

#[test]
fn the_oldest_goes_first() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let make = |name: &str, age: u64| {
        let path = dir.path().join(name);
        fs::write(&path, [0; 100]).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(now - Duration::from_secs(age)).unwrap();
    };
    make("old.code", 300);
    make("middle.code", 200);
    make("young.code", 100);
    make("fresh.1-1.tmp", 10);
    make("dead.1-2.tmp", 10_000);
    make("other.txt", 100_000);
    trim(dir.path(), 250);
    let mut left: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["fresh.1-1.tmp", "middle.code", "other.txt", "young.code"]);
}

#[test]
fn writers_do_not_mix() {
    let place = Place::new();
    let (engine, module, dir) = (&place.engine, &place.module, &place.cache.dir);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                let cache = CodeCache { dir: dir.clone() };
                for round in 0..20 {
                    let loaded = cache.get(engine, module, || codegen::compile(engine, module)).unwrap();
                    assert!(loaded.get_export("f").is_some());
                    if round % 5 == 0 {
                        for path in fs::read_dir(dir).unwrap().flatten() {
                            if path.path().extension().is_some_and(|e| e == ENDING) {
                                let _ = fs::remove_file(path.path());
                            }
                        }
                    }
                }
            });
        }
    });
    place.compiles();
    assert!(!place.compiles());
    assert_eq!(place.files().len(), 1, "temporary files stay behind");
}
