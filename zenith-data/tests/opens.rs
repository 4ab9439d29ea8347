//! How often a loader opens its files: once each, however many workers read ahead.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]
#![expect(unsafe_code, reason = "inotify has no safe wrapper in the standard library")]

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use zenith_data::pipeline::{OnError, Pipeline, PipelineConfig, Place, StreamSpec};
use zenith_data::sampler::{Cut, OrderSpec};
use zenith_data::source::{self, OpenOptions};
use zenith_runtime_cpu::allocator::PagesWanted;

const PICTURE: &[u8] = include_bytes!("data/jpeg/gray.jpg");

/// Notes every opening of a file in a folder.
struct Watch(File);

impl Watch {
    fn new(folder: &Path) -> Self {
        // SAFETY: no arguments that point anywhere.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        assert!(fd >= 0, "no inotify: {}", std::io::Error::last_os_error());
        // SAFETY: just obtained, and nobody else has it.
        let file = unsafe { File::from_raw_fd(fd) };
        let path = CString::new(folder.as_os_str().as_bytes()).unwrap();
        // Closings stand between two openings of one file, which the kernel would else tell of as one.
        let events = libc::IN_OPEN | libc::IN_CLOSE;
        // SAFETY: the path ends with a nul byte and lives through the call.
        let watch = unsafe { libc::inotify_add_watch(file.as_raw_fd(), path.as_ptr(), events) };
        assert!(watch >= 0, "cannot watch: {}", std::io::Error::last_os_error());
        Self(file)
    }

    /// Openings by name, of ordinary files.
    fn openings(mut self) -> HashMap<String, u32> {
        let mut bytes = Vec::new();
        // Ends with an error when there is nothing more to tell.
        let _ = self.0.read_to_end(&mut bytes);
        let mut found = HashMap::new();
        let mut rest = &bytes[..];
        while let Some((head, behind)) = rest.split_first_chunk::<16>() {
            let number = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
            let (name, behind) = behind.split_at(number(12) as usize);
            assert_eq!(number(4) & libc::IN_Q_OVERFLOW, 0, "too many events");
            let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
            if number(4) & libc::IN_OPEN != 0 && number(4) & libc::IN_ISDIR == 0 {
                *found.entry(name).or_default() += 1;
            }
            rest = behind;
        }
        found
    }
}

#[test]
fn every_file_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let count = 300u64;
    for file in 0..count {
        fs::write(folder.path().join(format!("{file}.jpg")), PICTURE).unwrap();
    }
    for workers in [1, 2] {
        let source = source::open(&folder.path().into(), &OpenOptions::default()).unwrap();
        let watch = Watch::new(folder.path());
        // An order of one epoch: nothing is read ahead of its end.
        let order = OrderSpec::Listed((0..count).map(|at| at * 7 % count).collect::<Vec<_>>().into());
        let cut = Cut::Even { batch_size: 16, rank: 0, world: 1, drop_last: false };
        let config = PipelineConfig {
            batch_size: 16,
            workers,
            uncapped: true,
            prefetch: 2,
            on_error: OnError::Raise,
            pages: PagesWanted::Auto,
            node: None,
            cpus: None,
        };
        let spec = StreamSpec { order, cut, samples: count, seed: 0 };
        let mut pipeline = Pipeline::new(Arc::clone(&source), spec, config).unwrap();
        pipeline.begin(Place::default()).unwrap();
        let mut taken = 0;
        while let Some(batch) = pipeline.next().unwrap() {
            taken += batch.len() as u64;
        }
        drop(pipeline);
        assert_eq!(taken, count);
        let openings = watch.openings();
        let twice: Vec<_> = openings.iter().filter(|(_, times)| **times != 1).collect();
        assert_eq!((openings.len() as u64, twice.len()), (count, 0), "{workers} workers: {twice:?}");
    }
}
