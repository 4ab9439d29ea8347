//! Measures the index of class folders: `scan_folder DIR CACHE_DIR [ROUNDS]`. Prints the time of a scan from nothing, of
//! each start from the kept index, and what a file costs in memory. The folder should be older than two seconds.

#![expect(clippy::print_stdout, reason = "a program that prints its measurements")]

use std::path::PathBuf;
use std::time::Instant;

use zenith_data::Result;
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::folder::{FolderIndex, Tree};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = |default: &str| arguments.next().unwrap_or_else(|| default.into());
    let (root, cache) = (PathBuf::from(next(".")), CacheDir::at(PathBuf::from(next("cache"))));
    let rounds: usize = next("5").to_string_lossy().parse().unwrap_or(5);
    let round = |name: &str, cache: &CacheDir| -> Result<FolderIndex> {
        let started = Instant::now();
        let tree = Tree::scan(&root, cache)?;
        let from_cache = tree.from_cache;
        let index = FolderIndex::classes(tree)?;
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "{name}: {seconds:.4} s, {} files, {} classes, {:.1} bytes a file, kept index used: {from_cache}",
            index.len(),
            index.class_names().len(),
            index.memory() as f64 / index.len() as f64,
        );
        Ok(index)
    };
    let first = round("no kept index", &CacheDir::none())?;
    let mut same = round("keeps the index", &cache)?.fingerprint() == first.fingerprint();
    for _ in 0..rounds {
        same &= round("kept index", &cache)?.fingerprint() == first.fingerprint();
    }
    println!("same fingerprint each time: {same}");
    Ok(())
}
