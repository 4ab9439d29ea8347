//! The frame around everything that is kept between runs: arbitrary bytes in the place of a kept file. Only what was
//! written may be read.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zenith_data::source::cache_dir::CacheDir;

const SUBJECT: &[u8] = b"/data/set";

fn cache() -> &'static (tempfile::TempDir, CacheDir) {
    static CACHE: OnceLock<(tempfile::TempDir, CacheDir)> = OnceLock::new();
    CACHE.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let cache = CacheDir::at(dir.path());
        (dir, cache)
    })
}

fuzz_target!(|input: &[u8]| {
    let (dir, cache) = cache();
    assert!(dir.path().exists());
    let path = cache.file("t", SUBJECT).expect("a place");
    std::fs::write(&path, input).expect("a file");
    if let Some(payload) = cache.read("t", 1, SUBJECT) {
        cache.write("t", 1, SUBJECT, &payload);
        assert!(
            std::fs::read(&path).expect("a file") == input,
            "read what was not written"
        );
    }
    // The input as a payload must come back whatever it holds.
    cache.write("t", 1, SUBJECT, input);
    assert_eq!(cache.read("t", 1, SUBJECT).as_deref(), Some(input));
});
