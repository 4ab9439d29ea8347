//! Whole files that are in the page cache, into memory: what a loader pays for each file beside its disk.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

use zenith_runtime_cpu::io::{Backend, FileReader, FileReaderOptions, FileRef, open_reader};

use super::{Bench, Scenario};
use crate::Failure;
use crate::harness::{Absent, Agreement, Contender, Done, Group, Quantity, Race};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "readers",
    title: "Readers",
    about: "Files of about 94 KB, all in the page cache, one after the other on one thread: Zenith's file reader with 16 \
            files on their way, over io_uring and over blocking reads, beside plain open, read and close into a buffer \
            that is kept.",
    run,
};

const AHEAD: usize = 16;
const BYTES: usize = 94_000;

/// What every way of reading must find: depends on each file's length, ends and middle.
fn mark(bytes: &[u8]) -> u64 {
    let at = |index: usize| bytes.get(index).copied().map_or(0, u64::from);
    bytes.len() as u64 * 31 + at(0) * 7 + at(bytes.len() / 2) * 5 + at(bytes.len().saturating_sub(1))
}

fn plain(paths: &[PathBuf], buffer: &mut Vec<u8>) -> Result<u64, Failure> {
    let mut sum = 0;
    for path in paths {
        let mut file = File::open(path)?;
        let size = usize::try_from(file.metadata()?.len())?;
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        file.read_exact(&mut buffer[..size])?;
        sum += mark(&buffer[..size]);
    }
    Ok(sum)
}

fn ahead(files: &mut FileReader, paths: &[PathBuf]) -> Result<u64, Failure> {
    let (mut sum, mut requested) = (0, 0);
    for tag in 0..paths.len() {
        while requested < paths.len().min(tag + AHEAD)
            && files.request(requested as u64, FileRef::Path(&paths[requested]))
        {
            requested += 1;
        }
        let buffer = files.wait(tag as u64)?;
        sum += mark(&buffer);
        files.recycle(buffer);
    }
    Ok(sum)
}

fn run(bench: &mut Bench) -> Result<Vec<Group>, Failure> {
    let folder = tempfile::tempdir()?;
    let paths: Vec<PathBuf> =
        (0..bench.sizes.files).map(|n| folder.path().join(format!("{n:05}.jpg"))).collect();
    for (n, path) in paths.iter().enumerate() {
        fs::write(path, vec![n as u8 | 1; BYTES + n % 999])?;
    }
    let paths = &paths[..];
    let done = move |passes, sum| Done { units: passes * paths.len() as u64, sum, took: None };
    let (mut contenders, mut absent) = (Vec::new(), Vec::new());
    for (name, backend) in [("zenith, io_uring", Backend::Uring), ("zenith, pread", Backend::Pread)] {
        match open_reader(backend, AHEAD) {
            Ok(reader) => {
                let mut files = FileReader::new(reader, FileReaderOptions::default());
                contenders.push(Contender::ours(name, move |passes| {
                    let sums: Result<Vec<u64>, Failure> =
                        (0..passes).map(|_| ahead(&mut files, paths)).collect();
                    Ok(done(passes, sums?.iter().sum()))
                }));
            }
            Err(error) => absent.push(Absent { name: name.to_owned(), reason: error.to_string() }),
        }
    }
    let mut buffer = Vec::new();
    contenders.push(Contender::rival("std::fs, one by one", move |passes| {
        let sums: Result<Vec<u64>, Failure> = (0..passes).map(|_| plain(paths, &mut buffer)).collect();
        Ok(done(passes, sums?.iter().sum()))
    }));
    let group = bench.race(Race {
        title: "files in the page cache".to_owned(),
        unit: "files",
        quantity: Quantity::Throughput,
        agreement: Agreement::Exact,
        contenders,
        absent,
    })?;
    Ok(vec![group])
}
