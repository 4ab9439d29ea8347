//! What reading costs and how fast it goes.
//!
//! - no arguments: processor time for each warm file of 94 KB, plain system calls against the readers;
//! - `random FILE SECONDS DEPTH BYTES direct|buffered [registered]`: random reads of a large file, printed as one line
//!   of JSON, for comparison with fio (`benches-rivals/io/compare.py`);
//! - `folder DIR DEPTH uring|pread|plain`: every file of a folder once, in random order.
//!
//! `cargo bench -p zenith-runtime-cpu --bench reader -- ...`

#![expect(unsafe_code, reason = "getrusage and posix_fadvise")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a program that prints figures")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zenith_runtime_cpu::io::{
    Backend, FileReader, FileReaderOptions, FileRef, OpenFile, ReadBuffer, Reader, Request, Span,
    UringOptions, UringReader, open_reader,
};

/// Processor time of the calling thread. The io_uring reads measured here complete in it, too.
fn processor_time() -> Duration {
    // SAFETY: getrusage fills the plain struct it is given.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, &raw mut usage), 0);
        usage
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned()) + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// A small random generator; the same numbers each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What every way of reading must find: a sum that depends on each file's length and ends.
fn mark(bytes: &[u8]) -> u64 {
    bytes.len() as u64 * 31 + u64::from(bytes[0]) * 7 + u64::from(bytes[bytes.len() - 1])
}

fn plain(paths: &[PathBuf]) -> u64 {
    let mut buffer = Vec::new();
    let mut sum = 0;
    for path in paths {
        let mut file = File::open(path).unwrap();
        let size = file.metadata().unwrap().len() as usize;
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        file.read_exact(&mut buffer[..size]).unwrap();
        sum += mark(black_box(&buffer[..size]));
    }
    sum
}

fn ahead(files: &mut FileReader, paths: &[PathBuf], ahead: usize) -> u64 {
    let mut sum = 0;
    let mut requested = 0;
    for tag in 0..paths.len() {
        while requested < paths.len().min(tag + ahead)
            && files.request(requested as u64, FileRef::Path(&paths[requested]))
        {
            requested += 1;
        }
        let buffer = files.wait(tag as u64).unwrap();
        sum += mark(black_box(&buffer));
        files.recycle(buffer);
    }
    sum
}

fn reader(backend: Backend, depth: usize) -> FileReader {
    FileReader::new(open_reader(backend, depth).unwrap(), FileReaderOptions::default())
}

fn warm() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = (0..1000)
        .map(|n| {
            let path = folder.path().join(format!("{n:05}.jpg"));
            fs::write(&path, vec![n as u8 | 1; 94_000 + n % 999]).unwrap();
            path
        })
        .collect();
    let expected = plain(&paths);
    let mut uring = reader(Backend::Uring, 16);
    let mut pread = reader(Backend::Pread, 16);
    type Way<'a> = (&'a str, Box<dyn FnMut() -> u64 + 'a>);
    let mut ways: Vec<Way> = vec![
        ("open, fstat, read, close", Box::new(|| plain(&paths))),
        ("io_uring, 16 ahead", Box::new(|| ahead(&mut uring, &paths, 16))),
        ("pread, 16 ahead", Box::new(|| ahead(&mut pread, &paths, 16))),
    ];
    let mut costs = vec![Vec::new(); ways.len()];
    for _ in 0..15 {
        for ((_, way), costs) in ways.iter_mut().zip(&mut costs) {
            let before = processor_time();
            assert_eq!(way(), expected, "wrong bytes");
            costs.push((processor_time() - before).as_secs_f64() * 1e6 / paths.len() as f64);
        }
    }
    for ((name, _), costs) in ways.iter().zip(&mut costs) {
        costs.sort_by(f64::total_cmp);
        println!(
            "{name:<26} {:6.2} us of processor time a file (best {:.2})",
            costs[costs.len() / 2],
            costs[0]
        );
    }
}

fn forget_cached(file: &File) {
    // SAFETY: posix_fadvise takes no memory.
    unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
}

fn random(path: &Path, seconds: u64, depth: usize, bytes: usize, direct: bool, registered: bool) {
    let plain = File::open(path).unwrap();
    let blocks = plain.metadata().unwrap().len() / bytes as u64;
    forget_cached(&plain);
    let options = UringOptions {
        depth,
        registered_buffers: if registered { depth } else { 0 },
        registered_bytes: bytes,
        registered_files: usize::from(registered),
        ..UringOptions::default()
    };
    let mut reader = UringReader::new(&options).unwrap();
    let file = if direct { OpenFile::open_direct(path) } else { OpenFile::open(path) }.unwrap();
    reader.register_file(&file);
    let mut spare = reader.take_registered_buffers();
    spare.resize_with(depth, || ReadBuffer::with_capacity(bytes));
    let mut random = Random(0x2545_f491_4f6c_dd1d ^ u64::from(std::process::id()));
    let (mut done, mut reads, mut sum) = (Vec::new(), 0_u64, 0);
    let clock = Instant::now();
    let end = clock + Duration::from_secs(seconds);
    let before = processor_time();
    loop {
        while let Some(buffer) = spare.pop() {
            let span = Span::Range { offset: random.below(blocks) * bytes as u64, len: bytes };
            reader.submit(Request { tag: 0, file: FileRef::Open(&file), span, buffer }).unwrap();
        }
        reader.complete(&mut done, 1).unwrap();
        for completion in done.drain(..) {
            let buffer = completion.into_result().unwrap();
            sum += mark(&buffer);
            spare.push(buffer);
            reads += 1;
        }
        if Instant::now() >= end {
            break;
        }
    }
    let (wall, busy) = (clock.elapsed().as_secs_f64(), (processor_time() - before).as_secs_f64());
    assert!(sum > reads, "empty reads");
    let bandwidth = reads as f64 * bytes as f64 / wall;
    let fallbacks = reader.fallbacks().join("; ");
    println!(
        "{{\"bytes_per_second\": {bandwidth:.0}, \"reads_per_second\": {:.1}, \"cpu_us_per_read\": {:.2}, \"fallbacks\": {fallbacks:?}}}",
        reads as f64 / wall,
        busy * 1e6 / reads as f64
    );
}

fn folder(path: &Path, depth: usize, way: &str) {
    let mut paths: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut random = Random(99);
    for at in (1..paths.len()).rev() {
        paths.swap(at, random.below(at as u64 + 1) as usize);
    }
    for path in &paths {
        forget_cached(&File::open(path).unwrap());
    }
    let (clock, before) = (Instant::now(), processor_time());
    let sum = match way {
        "uring" => ahead(&mut reader(Backend::Uring, depth), &paths, depth),
        "pread" => ahead(&mut reader(Backend::Pread, depth), &paths, depth),
        _ => plain(&paths),
    };
    let (wall, busy) = (clock.elapsed().as_secs_f64(), (processor_time() - before).as_secs_f64());
    println!(
        "{{\"way\": {way:?}, \"files\": {}, \"files_per_second\": {:.0}, \"cpu_us_per_file\": {:.2}, \"mark\": {sum}}}",
        paths.len(),
        paths.len() as f64 / wall,
        busy * 1e6 / paths.len() as f64
    );
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["random", path, seconds, depth, bytes, mode, ref rest @ ..] => random(
            Path::new(path),
            seconds.parse().unwrap(),
            depth.parse().unwrap(),
            bytes.parse().unwrap(),
            mode == "direct",
            rest == ["registered"],
        ),
        ["folder", path, depth, way] => folder(Path::new(path), depth.parse().unwrap(), way),
        _ => warm(),
    }
}
