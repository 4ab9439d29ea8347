//! The suite every backend runs: what `Reader` promises, on real files, with faults injected below the backend. The laws
//! of io_uring need one: a machine that has none says so by `ZENITH_TEST_NO_IO_URING=1`, and then its fallback runs them.

use std::fs::{File, create_dir, write};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::faults::{Fault, Faults, Plan, Site};
use super::{
    Completion, FileRef, Full, IoError, MemoryReader, OpenFile, PreadReader, ReadBuffer, Reader, Request,
    Span, UringOptions, UringReader, open_reader,
};

const WHOLE: Span = Span::Whole { limit: 1 << 24 };

/// A backend with a view of its faults.
trait Faulty: Reader {
    fn struck(&self) -> usize;
}

impl Faulty for PreadReader {
    fn struck(&self) -> usize {
        self.faults().struck()
    }
}

impl Faulty for UringReader {
    fn struck(&self) -> usize {
        self.faults().struck()
    }
}

type Make = fn(usize, Vec<(Site, Plan)>) -> Box<dyn Faulty>;

fn pread(depth: usize, script: Vec<(Site, Plan)>) -> Box<dyn Faulty> {
    Box::new(PreadReader::with_faults(depth, Faults::new(script)))
}

/// A ring; `None` where the machine has none and its owner has said so.
pub(super) fn uring_or_excused(options: &UringOptions, faults: Faults) -> Option<UringReader> {
    match UringReader::with_faults(options, faults) {
        Ok(reader) => Some(reader),
        Err(error) => {
            assert!(
                std::env::var_os("ZENITH_TEST_NO_IO_URING").is_some(),
                "no io_uring to test with ({error}); a machine that cannot have one sets ZENITH_TEST_NO_IO_URING=1"
            );
            None
        }
    }
}

/// io_uring, or, on a machine without it, what `Auto` then gives, after a look at how it says so.
fn ring(options: &UringOptions, script: Vec<(Site, Plan)>) -> Box<dyn Faulty> {
    match uring_or_excused(options, Faults::new(script.clone())) {
        Some(reader) => Box::new(reader),
        None => {
            let auto = open_reader(super::Backend::Auto, options.depth).unwrap();
            assert_eq!(auto.backend(), "pread");
            assert!(auto.fallbacks()[0].contains("io_uring"));
            pread(options.depth, script)
        }
    }
}

/// Files and buffers known to the ring beforehand.
#[test]
fn registered_files_and_buffers_give_the_same_bytes() {
    let options = UringOptions {
        depth: 4,
        registered_buffers: 2,
        registered_bytes: 100_000,
        registered_files: 1,
        ..UringOptions::default()
    };
    let Some(mut reader) = uring_or_excused(&options, Faults::none()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let contents = bytes(100_000, 11);
    let file = OpenFile::open(file(dir.path(), "f", &contents)).unwrap();
    // A machine may refuse both (RLIMIT_MEMLOCK); it then says so, and the bytes are the same.
    let registered = reader.register_file(&file);
    assert_eq!(reader.register_file(&file), registered);
    assert!(registered || !reader.fallbacks().is_empty());
    let mut buffers = reader.take_registered_buffers();
    assert_eq!((buffers.len(), reader.take_registered_buffers().len()), (2, 0));
    assert!(buffers.iter().all(|buffer| buffer.registered().is_some()) || !reader.fallbacks().is_empty());
    buffers.push(ReadBuffer::new());
    for (tag, buffer) in buffers.into_iter().enumerate() {
        let span = Span::Range { offset: 4096 * tag as u64, len: 60_000 };
        reader.submit(Request { tag: tag as u64, file: FileRef::Open(&file), span, buffer }).unwrap();
    }
    let done = all(&mut reader);
    assert_eq!(done.len(), 3);
    for completion in done {
        let start = 4096 * completion.tag as usize;
        assert_eq!(*completion.into_result().unwrap(), contents[start..start + 60_000]);
    }
}

/// Files of the disk, taken into the memory that a [`MemoryReader`] reads when they are asked for.
struct Mirror(MemoryReader);

impl Reader for Mirror {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }

    fn fallbacks(&self) -> &[String] {
        self.0.fallbacks()
    }

    fn depth(&self) -> usize {
        self.0.depth()
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), Full> {
        let path = match request.file {
            FileRef::Path(path) => path.to_owned(),
            FileRef::Within(directory, path) => directory.path().join(path),
            FileRef::Open(file) => file.path().to_owned(),
        };
        if let Ok(contents) = std::fs::read(&path) {
            self.0.files_mut().insert(path, contents);
        }
        self.0.submit(request)
    }

    fn flush(&mut self) -> Result<(), IoError> {
        self.0.flush()
    }

    fn complete(&mut self, done: &mut Vec<Completion>, at_least: usize) -> Result<(), IoError> {
        self.0.complete(done, at_least)
    }

    fn cancel(&mut self, tag: u64) {
        self.0.cancel(tag);
    }
}

impl Faulty for Mirror {
    fn struck(&self) -> usize {
        unreachable!("nothing below a memory reader can fail")
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of every backend here")]
fn memory(depth: usize, script: Vec<(Site, Plan)>) -> Box<dyn Faulty> {
    assert!(script.is_empty(), "nothing below a memory reader can fail");
    Box::new(Mirror(MemoryReader::new(std::sync::Arc::default(), depth)))
}

fn uring(depth: usize, script: Vec<(Site, Plan)>) -> Box<dyn Faulty> {
    ring(&UringOptions { depth, ..UringOptions::default() }, script)
}

fn uring_direct(depth: usize, script: Vec<(Site, Plan)>) -> Box<dyn Faulty> {
    ring(&UringOptions { depth, direct: true, ..UringOptions::default() }, script)
}

fn bytes(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 131 + at / 251 + salt * 17) as u8).collect()
}

fn file(dir: &Path, name: &str, contents: &[u8]) -> PathBuf {
    let path = dir.join(name);
    write(&path, contents).unwrap();
    path
}

fn all(reader: &mut dyn Faulty) -> Vec<Completion> {
    let mut done = Vec::new();
    reader.complete(&mut done, usize::MAX).unwrap();
    assert_eq!(reader.in_flight(), 0);
    done
}

fn one(reader: &mut dyn Faulty, file: FileRef<'_>, span: Span) -> Result<ReadBuffer, IoError> {
    reader.submit(Request { tag: 9, file, span, buffer: ReadBuffer::new() }).unwrap();
    let mut done = all(reader);
    assert_eq!((done.len(), done[0].tag), (1, 9));
    done.remove(0).into_result()
}

fn strike(site: Site, fault: Fault) -> (Site, Plan) {
    (site, Plan::Strike(fault))
}

fn errno(site: Site, errno: i32) -> (Site, Plan) {
    strike(site, Fault::Errno(errno))
}

fn files_of_all_sizes_arrive_whole(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 511, 512, 4095, 4096, 4097, 94_000, 100 * 1024, 1_000_003];
    let mut reader = make(sizes.len(), Vec::new());
    for (tag, &size) in sizes.iter().enumerate() {
        let path = file(dir.path(), &format!("{tag}"), &bytes(size, tag));
        let request =
            Request { tag: tag as u64, file: FileRef::Path(&path), span: WHOLE, buffer: ReadBuffer::new() };
        reader.submit(request).unwrap();
    }
    let mut seen = vec![false; sizes.len()];
    for completion in all(&mut *reader) {
        let tag = completion.tag as usize;
        assert!(!std::mem::replace(&mut seen[tag], true), "tag {tag} completed twice");
        assert_eq!(*completion.into_result().unwrap(), *bytes(sizes[tag], tag));
    }
    assert!(seen.iter().all(|&seen| seen));
}

fn ranges_are_exact(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let contents = bytes(100_000, 3);
    let path = file(dir.path(), "f", &contents);
    let mut files = vec![OpenFile::open(&path).unwrap()];
    files.extend(OpenFile::open_direct(&path));
    let mut reader = make(4, Vec::new());
    for (offset, len) in
        [(0, 1), (0, 100_000), (4096, 4096), (5000, 3), (4095, 8194), (99_999, 1), (100_000, 0)]
    {
        let span = Span::Range { offset, len };
        let expected = &contents[offset as usize..][..len];
        assert_eq!(*one(&mut *reader, FileRef::Path(&path), span).unwrap(), *expected);
        for file in &files {
            assert_eq!(*one(&mut *reader, FileRef::Open(file), span).unwrap(), *expected);
        }
    }
    let past = one(&mut *reader, FileRef::Open(&files[0]), Span::Range { offset: 99_990, len: 11 });
    assert!(matches!(past, Err(IoError::Ended { found: 100_000, expected: 100_001, .. })), "{past:?}");
    let far = one(&mut *reader, FileRef::Path(&path), Span::Range { offset: 200_000, len: 8192 });
    assert!(matches!(far, Err(IoError::Ended { found: 100_000, expected: 208_192, .. })), "{far:?}");
}

fn names_within_a_directory_need_no_full_path(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    file(dir.path(), "inside", b"here");
    let directory = OpenFile::open(dir.path()).unwrap();
    let mut reader = make(2, Vec::new());
    assert_eq!(
        *one(&mut *reader, FileRef::Within(&directory, Path::new("inside")), WHOLE).unwrap(),
        *b"here"
    );
    let missing = one(&mut *reader, FileRef::Within(&directory, Path::new("outside")), WHOLE).unwrap_err();
    assert_eq!(missing.path().unwrap(), dir.path().join("outside"));
}

fn a_full_reader_gives_the_buffer_back(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"abc");
    let mut reader = make(2, Vec::new());
    for tag in 0..2 {
        let buffer = ReadBuffer::new();
        reader.submit(Request { tag, file: FileRef::Path(&path), span: WHOLE, buffer }).unwrap();
    }
    let buffer = ReadBuffer::with_capacity(77_777);
    let capacity = buffer.capacity();
    let refused = reader.submit(Request { tag: 2, file: FileRef::Path(&path), span: WHOLE, buffer });
    assert_eq!(refused.unwrap_err().0.capacity(), capacity);
    assert_eq!(all(&mut *reader).len(), 2);
}

fn short_reads_are_continued(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let contents = bytes(90_001, 5);
    let path = file(dir.path(), "f", &contents);
    let mut reader = make(1, (0..8).map(|n| strike(Site::Read, Fault::Short(4096 * (1 + n % 3)))).collect());
    assert_eq!(*one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap(), *contents);
    assert_eq!(reader.struck(), 8);
}

fn interruptions_are_repeated(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let contents = bytes(50_000, 6);
    let path = file(dir.path(), "f", &contents);
    let script = vec![
        errno(Site::Open, libc::EINTR),
        errno(Site::Open, libc::EAGAIN),
        errno(Site::Read, libc::EINTR),
        strike(Site::Read, Fault::Short(8192)),
        errno(Site::Read, libc::EAGAIN),
        errno(Site::Read, libc::ECANCELED),
    ];
    let mut reader = make(1, script);
    assert_eq!(*one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap(), *contents);
    assert_eq!(reader.struck(), 6);
}

fn endless_interruption_is_an_error_and_no_hang(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"abc");
    for site in [Site::Open, Site::Read] {
        let mut reader = make(1, vec![(site, Plan::Always(Fault::Errno(libc::EINTR)))]);
        let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
        assert_eq!(error.system().unwrap().raw_os_error(), Some(libc::EINTR));
    }
}

fn a_failing_disk_names_file_and_offset(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", &bytes(50_000, 7));
    let script = vec![strike(Site::Read, Fault::Short(8192)), errno(Site::Read, libc::EIO)];
    let mut reader = make(1, script);
    let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
    assert!(matches!(error, IoError::Read { offset: 8192, .. }), "{error}");
    assert_eq!(error.path(), Some(&*path));
    assert_eq!(error.system().unwrap().raw_os_error(), Some(libc::EIO));
    // The next request is none the worse.
    assert_eq!(*one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap(), *bytes(50_000, 7));
}

fn a_failing_stat_is_its_own_error(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"abc");
    let mut reader = make(1, vec![errno(Site::Stat, libc::EIO)]);
    let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
    assert!(matches!(error, IoError::Stat { .. }), "{error}");
}

fn refused_memory_fails_the_request_only(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"abc");
    for refusal in [libc::ENOMEM, libc::ENOSPC, libc::EACCES] {
        let mut reader = make(2, vec![errno(Site::Open, refusal), errno(Site::Read, refusal)]);
        let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
        assert!(matches!(&error, IoError::Open { source, .. } if source.raw_os_error() == Some(refusal)));
        let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
        assert!(matches!(&error, IoError::Read { source, .. } if source.raw_os_error() == Some(refusal)));
        assert_eq!(*one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap(), *b"abc");
    }
}

fn without_descriptors_requests_wait_for_our_own(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..8).map(|n| file(dir.path(), &format!("{n}"), &bytes(9000 + n, n))).collect();
    let mut script = vec![(Site::Open, Plan::Pass(2))];
    script.extend([libc::EMFILE, libc::ENFILE, libc::EMFILE].map(|limit| errno(Site::Open, limit)));
    let mut reader = make(8, script);
    for (tag, path) in paths.iter().enumerate() {
        let buffer = ReadBuffer::new();
        reader.submit(Request { tag: tag as u64, file: FileRef::Path(path), span: WHOLE, buffer }).unwrap();
    }
    for completion in all(&mut *reader) {
        let tag = completion.tag as usize;
        match completion.into_result() {
            Ok(buffer) => assert_eq!(*buffer, *bytes(9000 + tag, tag)),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(reader.struck(), 3);
}

fn without_descriptors_of_our_own_the_limit_is_the_error(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", b"abc");
    let mut reader = make(4, vec![(Site::Open, Plan::Always(Fault::Errno(libc::EMFILE)))]);
    for tag in 0..4 {
        let buffer = ReadBuffer::new();
        reader.submit(Request { tag, file: FileRef::Path(&path), span: WHOLE, buffer }).unwrap();
    }
    let done = all(&mut *reader);
    assert_eq!(done.len(), 4);
    for completion in done {
        let error = completion.into_result().unwrap_err();
        assert_eq!(error.system().unwrap().raw_os_error(), Some(libc::EMFILE), "{error}");
    }
}

fn a_file_that_shrinks_is_an_error_that_says_where(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    for (name, left) in [("a", 0), ("b", 1000), ("c", 4096), ("d", 49_999)] {
        let path = file(dir.path(), name, &bytes(50_000, 8));
        let mut reader = make(1, vec![(Site::Read, Plan::Truncate(path.clone(), left))]);
        let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
        let IoError::Ended { found, expected, .. } = error else {
            panic!("{error}");
        };
        assert_eq!((found, expected), (left, 50_000));
    }
}

fn a_file_that_shrinks_in_the_middle_of_reading_too(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", &bytes(50_000, 8));
    let script =
        vec![strike(Site::Read, Fault::Short(16_384)), (Site::Read, Plan::Truncate(path.clone(), 20_000))];
    let mut reader = make(1, script);
    let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
    assert!(matches!(error, IoError::Ended { found: 20_000, expected: 50_000, .. }), "{error}");
}

fn a_file_that_grows_gives_what_it_had_when_opened(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", &bytes(5000, 9));
    let mut reader = make(1, vec![(Site::Read, Plan::Truncate(path.clone(), 60_000))]);
    assert_eq!(*one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap(), *bytes(5000, 9));
}

fn what_is_not_a_file_is_named_and_never_blocks(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    create_dir(&folder).unwrap();
    let fifo = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut reader = make(1, Vec::new());
    for (path, expected) in
        [(&*folder, "a directory"), (&*fifo, "a FIFO"), (Path::new("/dev/zero"), "a device")]
    {
        let error = one(&mut *reader, FileRef::Path(path), WHOLE).unwrap_err();
        let IoError::NotAFile { found, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(found, expected);
    }
}

fn impossible_paths_are_open_errors(make: Make) {
    use std::os::unix::ffi::OsStrExt;
    let mut reader = make(1, Vec::new());
    let missing = one(&mut *reader, FileRef::Path(Path::new("/no/such/file")), WHOLE).unwrap_err();
    assert_eq!(missing.system().unwrap().kind(), ErrorKind::NotFound);
    let nul = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/a\0b"));
    let error = one(&mut *reader, FileRef::Path(nul), WHOLE).unwrap_err();
    assert_eq!(error.system().unwrap().kind(), ErrorKind::InvalidInput);
    let long = PathBuf::from(format!("/{}", "x".repeat(300)));
    let error = one(&mut *reader, FileRef::Path(&long), WHOLE).unwrap_err();
    assert!(matches!(error, IoError::Open { .. }), "{error}");
}

fn a_file_over_the_limit_is_refused_before_it_is_read(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge");
    File::create(&path).unwrap().set_len(1 << 40).unwrap();
    let mut reader = make(1, Vec::new());
    let error = one(&mut *reader, FileRef::Path(&path), WHOLE).unwrap_err();
    assert!(matches!(error, IoError::TooLarge { size, limit, .. } if (size, limit) == (1 << 40, 1 << 24)));
}

fn buffers_come_back_and_are_used_again(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", &bytes(30_000, 1));
    let mut reader = make(1, Vec::new());
    let mut buffer = ReadBuffer::with_capacity(64_000);
    let memory = buffer.pointer(0);
    for round in 0..4 {
        let target = if round == 1 { Path::new("/no/such/file") } else { &path };
        reader.submit(Request { tag: 0, file: FileRef::Path(target), span: WHOLE, buffer }).unwrap();
        let completion = all(&mut *reader).remove(0);
        assert_eq!(completion.error.is_some(), round == 1);
        assert_eq!(completion.buffer.is_empty(), round == 1);
        buffer = completion.buffer;
        assert_eq!(buffer.pointer(0), memory);
    }
}

fn cancelled_requests_complete(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", &bytes(200_000, 2));
    let mut reader = make(8, Vec::new());
    for tag in 0..8 {
        let buffer = ReadBuffer::new();
        reader.submit(Request { tag, file: FileRef::Path(&path), span: WHOLE, buffer }).unwrap();
    }
    (0..8).step_by(2).for_each(|tag| reader.cancel(tag));
    let done = all(&mut *reader);
    assert_eq!(done.len(), 8);
    for completion in done {
        let tag = completion.tag;
        match completion.into_result() {
            Ok(buffer) => assert_eq!(*buffer, *bytes(200_000, 2)),
            Err(error) => assert!(tag % 2 == 0 && matches!(error, IoError::Cancelled { .. }), "{error}"),
        }
    }
}

fn dropping_a_busy_reader_waits_for_its_memory(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..16).map(|n| file(dir.path(), &format!("{n}"), &bytes(100_000, n))).collect();
    for round in 0..50 {
        let mut reader = make(16, Vec::new());
        for (tag, path) in paths.iter().enumerate() {
            let buffer = ReadBuffer::new();
            reader
                .submit(Request { tag: tag as u64, file: FileRef::Path(path), span: WHOLE, buffer })
                .unwrap();
        }
        if round % 2 == 0 {
            reader.flush().unwrap();
        }
        if round % 3 == 0 {
            reader.complete(&mut Vec::new(), round % 16).unwrap();
        }
    }
}

fn another_thread_can_take_over(make: Make) {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f", &bytes(100_000, 4));
    let mut reader = std::thread::spawn(move || {
        let mut reader = make(8, Vec::new());
        for tag in 0..8 {
            let buffer = ReadBuffer::new();
            reader.submit(Request { tag, file: FileRef::Path(&path), span: WHOLE, buffer }).unwrap();
        }
        reader.flush().unwrap();
        reader
    })
    .join()
    .unwrap();
    let done = all(&mut *reader);
    assert_eq!(done.len(), 8);
    for completion in done {
        assert_eq!(*completion.into_result().unwrap(), *bytes(100_000, 4));
    }
}

macro_rules! contract {
    ($($law:ident)*) => {
        contract!(@backend pread $($law)*);
        contract!(@backend uring $($law)*);
        contract!(@backend uring_direct $($law)*);
    };
    (@backend $backend:ident $($law:ident)*) => {
        mod $backend {
            $(#[test] fn $law() { super::$law(super::$backend); })*
        }
    };
}

contract! {
    files_of_all_sizes_arrive_whole
    ranges_are_exact
    names_within_a_directory_need_no_full_path
    a_full_reader_gives_the_buffer_back
    short_reads_are_continued
    interruptions_are_repeated
    endless_interruption_is_an_error_and_no_hang
    a_failing_disk_names_file_and_offset
    a_failing_stat_is_its_own_error
    refused_memory_fails_the_request_only
    without_descriptors_requests_wait_for_our_own
    without_descriptors_of_our_own_the_limit_is_the_error
    a_file_that_shrinks_is_an_error_that_says_where
    a_file_that_shrinks_in_the_middle_of_reading_too
    a_file_that_grows_gives_what_it_had_when_opened
    what_is_not_a_file_is_named_and_never_blocks
    impossible_paths_are_open_errors
    a_file_over_the_limit_is_refused_before_it_is_read
    buffers_come_back_and_are_used_again
    cancelled_requests_complete
    dropping_a_busy_reader_waits_for_its_memory
    another_thread_can_take_over
}

// The laws of files that nobody changes; memory has no descriptors, no directories, and no failing disk.
contract! {
    @backend memory
    files_of_all_sizes_arrive_whole
    ranges_are_exact
    names_within_a_directory_need_no_full_path
    a_full_reader_gives_the_buffer_back
    buffers_come_back_and_are_used_again
    cancelled_requests_complete
    dropping_a_busy_reader_waits_for_its_memory
    another_thread_can_take_over
}
