//! What a forked child inherits of a loader it can let go of: at once, without the parent's threads, and without harm to
//! the parent's files and to memory of its own.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(unsafe_code, reason = "fork")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zenith_data::pipeline::{OnError, Pipeline, PipelineConfig, Place, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::source::cache_dir::CacheDir;
use zenith_data::source::image_cache::ImageCache;
use zenith_data::source::table::TableOptions;
use zenith_data::source::{self, OpenOptions, Source};
use zenith_runtime_cpu::allocator::PagesWanted;

const PICTURE: &[u8] = include_bytes!("data/jpeg/ycc_420.jpg");

/// Drops `inherited` in a forked child that has memory of its own in `holes` of the address space, and looks whether that is
/// still there; how the child ends, as `waitpid` says it.
fn dropped_in_child<T>(inherited: &T, holes: &[(usize, usize)]) -> i32 {
    // SAFETY: the child lets go of one object, makes system calls, and leaves at once.
    let child = unsafe { libc::fork() };
    if child == 0 {
        holes.iter().for_each(|hole| take(*hole));
        // SAFETY: the child leaves without using or dropping the original.
        drop(unsafe { std::ptr::read(inherited) });
        for &(start, bytes) in holes {
            // SAFETY: taken above; if the drop has given it away, this ends the child by a signal, which is the test.
            let memory = unsafe { std::slice::from_raw_parts(start as *const u8, bytes) };
            assert!(memory.iter().all(|byte| *byte == 0xa5));
        }
        // SAFETY: ends the child without running the test harness's exit handlers.
        unsafe { libc::_exit(0) };
    }
    let (mut status, patience) = (-1, Instant::now() + Duration::from_secs(20));
    // SAFETY: `child` is our child and `status` is writable.
    while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
        if Instant::now() > patience {
            // SAFETY: `child` has not been reaped, so the number is still its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            panic!("the child waits for what it does not have");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    status
}

fn running(source: Arc<dyn Source>, workers: usize) -> Pipeline {
    let samples = source.len();
    let cut = Cut::Even { batch_size: 4, rank: 0, world: 1, drop_last: false };
    let config = PipelineConfig {
        batch_size: 4,
        workers,
        uncapped: true,
        prefetch: 2,
        on_error: OnError::Raise,
        pages: PagesWanted::Auto,
        node: None,
        cpus: None,
    };
    let spec = StreamSpec { order: OrderSpec::Sequential, cut, samples, seed: 0 };
    let mut pipeline = Pipeline::new(source, spec, config).unwrap();
    pipeline.begin(Place::default()).unwrap();
    pipeline.next().unwrap().unwrap();
    pipeline
}

fn pictures(folder: &Path) {
    for file in 0..12 {
        fs::write(folder.join(format!("{file}.jpg")), PICTURE).unwrap();
    }
}

#[test]
fn a_window_of_a_table_is_let_go_without_its_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    let rows: String = (0..200_000).map(|row| format!("{row},{}\n", row % 7)).collect();
    fs::write(&path, format!("x,label\n{rows}")).unwrap();
    let table = TableOptions { memory_budget: Some(1_800_000), ..TableOptions::default() };
    let source =
        source::open(&path.as_path().into(), &OpenOptions { table, ..OpenOptions::default() }).unwrap();
    assert!(source.blocks().is_some(), "the table is not read in blocks");
    // Without the pipeline, which the child would keep: the window is the source's.
    source.filler().unwrap();
    assert_eq!(dropped_in_child(&source, &[]), 0);
    let mut pipeline = running(source, 1);
    assert_eq!(dropped_in_child(&pipeline, &[]), 0);
    assert!(pipeline.next().unwrap().is_some());
}

#[test]
fn kept_indexes_are_the_parents_to_write() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    pictures(folder.path());
    let options = OpenOptions {
        pictures: ImageCache::Index,
        cache: CacheDir::at(kept.path()),
        ..OpenOptions::default()
    };
    let source = source::open(&folder.path().into(), &options).unwrap();
    // Some indexes, but not all of them: those are written when the cache goes.
    let mut pipeline = running(Arc::clone(&source), 0);
    pipeline.next().unwrap().unwrap();
    drop(pipeline);
    let written = || {
        let entries = fs::read_dir(kept.path()).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "entropy"))
            .count()
    };
    assert_eq!(dropped_in_child(&source, &[]), 0);
    assert_eq!(written(), 0, "the child has written the parent's file");
    drop(source);
    assert_eq!(written(), 1);
}

/// Where the rings of this process lie, which a child does not inherit: (address, bytes).
fn rings() -> Vec<(usize, usize)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let range = |line: &str| {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (from, to) = (usize::from_str_radix(from, 16).unwrap(), usize::from_str_radix(to, 16).unwrap());
        (from, to - from)
    };
    maps.lines().filter(|line| line.contains("[io_uring]")).map(range).collect()
}

/// Puts memory into a hole of the address space.
fn take((start, bytes): (usize, usize)) {
    // SAFETY: refuses to replace what is mapped, so it only takes addresses that nothing lies at.
    let got = unsafe {
        libc::mmap(
            start as *mut libc::c_void,
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    assert_eq!(got.addr(), start, "no hole");
    // SAFETY: just mapped, writable, and ours.
    unsafe { std::ptr::write_bytes(start as *mut u8, 0xa5, bytes) };
}

#[test]
fn a_loader_of_files_is_let_go_without_touching_the_childs_own_memory() {
    let folder = tempfile::tempdir().unwrap();
    pictures(folder.path());
    let source = source::open(&folder.path().into(), &OpenOptions::default()).unwrap();
    let filler = source.filler().unwrap();
    let excused = std::env::var_os("ZENITH_TEST_NO_IO_URING").is_some();
    let rings_of_filler = rings();
    assert!(!rings_of_filler.is_empty() || excused, "files are not read by io_uring here");
    assert_eq!(dropped_in_child(&filler, &rings_of_filler), 0);
    let mut pipeline = running(source, 2);
    assert_eq!(dropped_in_child(&pipeline, &rings()), 0);
    assert!(pipeline.next().unwrap().is_some());
}
