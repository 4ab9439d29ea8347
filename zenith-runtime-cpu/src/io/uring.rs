//! Reads through io_uring: opens, reads and closes of many files in few system calls, in any order the disk likes.
//!
//! The ring is used by one thread at a time (`&mut`), any thread. Task memory (path, buffer) that the kernel may
//! still touch is never freed: a reader that is dropped cancels and waits, and what cannot be waited for is leaked.
#![expect(unsafe_code, reason = "submission entries point at memory that this module keeps alive")]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use io_uring::squeue::Entry;
use io_uring::types::{CancelBuilder, Fd, Fixed};
use io_uring::{IoUring, Probe, opcode};

use super::buffer::Registered;
use super::faults::{Fault, Faults, Site};
use super::task::{Next, Task};
use super::{Completion, Full, IoError, OpenFile, ReadBuffer, Reader, Request};

static NEXT_RING: AtomicU64 = AtomicU64::new(0);

/// Marks the answers to closes, which belong to no task.
const CLOSED: u64 = u64::MAX;
/// Marks the answers to cancellations, which are of no interest: the cancelled operation answers too.
const CANCELLED: u64 = u64::MAX - 1;

/// How a ring is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UringOptions {
    /// Requests in flight at most, at least one.
    pub depth: usize,
    /// Open files by path for direct reads, past the page cache. Where a file system has none, its files are read
    /// through the cache and `fallbacks` says so.
    pub direct: bool,
    /// Buffers to register with the kernel, for [`UringReader::take_registered_buffers`]; spares direct reads the
    /// pinning of pages. Counts against `RLIMIT_MEMLOCK`.
    pub registered_buffers: usize,
    /// Size of each of them in bytes.
    pub registered_bytes: usize,
    /// Files that [`UringReader::register_file`] can take.
    pub registered_files: usize,
}

impl Default for UringOptions {
    fn default() -> Self {
        UringOptions {
            depth: 32,
            direct: false,
            registered_buffers: 0,
            registered_bytes: 0,
            registered_files: 0,
        }
    }
}

/// A reader that owns an io_uring.
pub struct UringReader {
    /// Dropped by hand: its own `Drop` unmaps the ring's memory, which a forked child does not have.
    ring: ManuallyDrop<IoUring>,
    id: u64,
    generation: u64,
    direct: bool,
    tasks: Vec<Task>,
    idle: Vec<usize>,
    /// Tasks that wait for a descriptor.
    starved: Vec<usize>,
    /// Ended, not yet handed over.
    ended: Vec<Completion>,
    /// Entries pushed and not yet shown to the kernel.
    unsubmitted: usize,
    /// Operations of tasks in the kernel or on the way to it.
    under_way: usize,
    /// Descriptors opened here and not known to be closed.
    descriptors: usize,
    /// Of these, on their way to be closed.
    closing: usize,
    /// Closes among the unsubmitted entries.
    unsubmitted_closes: usize,
    files: Vec<OpenFile>,
    file_slots: usize,
    buffers: Vec<ReadBuffer>,
    fallbacks: Vec<String>,
    faults: Faults,
}

impl UringReader {
    /// Sets up a ring.
    ///
    /// # Errors
    /// [`IoError::Setup`] where the kernel has no io_uring or forbids it (containers often do).
    pub fn new(options: &UringOptions) -> Result<Self, IoError> {
        let depth = options.depth.clamp(1, 4096);
        let entries = (2 * depth).next_power_of_two() as u32;
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp();
        let ring = builder
            .clone()
            .setup_coop_taskrun()
            .build(entries)
            // Kernels before 5.19 do not know the flag.
            .or_else(|_| builder.build(entries))
            .map_err(|source| IoError::Setup { what: "io_uring", source })?;
        let mut probe = Probe::new();
        let needed =
            [opcode::OpenAt::CODE, opcode::Read::CODE, opcode::Close::CODE, opcode::AsyncCancel::CODE];
        let probed = ring.submitter().register_probe(&mut probe);
        if probed.is_err() || !needed.iter().all(|&code| probe.is_supported(code)) {
            let source = io::Error::from(io::ErrorKind::Unsupported);
            return Err(IoError::Setup { what: "io_uring with openat, read and close", source });
        }
        let mut reader = UringReader {
            ring: ManuallyDrop::new(ring),
            id: NEXT_RING.fetch_add(1, Ordering::Relaxed),
            generation: forks::generation(),
            direct: options.direct,
            tasks: (0..depth).map(|_| Task::new()).collect(),
            idle: (0..depth).rev().collect(),
            starved: Vec::with_capacity(depth),
            ended: Vec::with_capacity(depth),
            unsubmitted: 0,
            under_way: 0,
            descriptors: 0,
            closing: 0,
            unsubmitted_closes: 0,
            files: Vec::new(),
            file_slots: 0,
            buffers: Vec::new(),
            fallbacks: Vec::new(),
            faults: Faults::none(),
        };
        reader.register_buffers(options.registered_buffers, options.registered_bytes);
        reader.reserve_files(options.registered_files);
        Ok(reader)
    }

    #[cfg(test)]
    pub(super) fn with_faults(options: &UringOptions, faults: Faults) -> Result<Self, IoError> {
        let mut reader = Self::new(options)?;
        reader.faults = faults;
        Ok(reader)
    }

    #[cfg(test)]
    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    fn register_buffers(&mut self, count: usize, bytes: usize) {
        let count = count.min(1 << 14);
        if count == 0 || bytes == 0 {
            return;
        }
        let mut buffers: Vec<ReadBuffer> = (0..count).map(|_| ReadBuffer::with_capacity(bytes)).collect();
        let table: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|buffer| libc::iovec { iov_base: buffer.pointer(0).cast(), iov_len: buffer.capacity() })
            .collect();
        // SAFETY: the kernel pins the pages themselves, so a buffer that is freed later leaves no dangling address;
        // and a read names an entry only together with the buffer that it was made for.
        match unsafe { self.ring.submitter().register_buffers(&table) } {
            Ok(()) => {
                for (index, buffer) in buffers.iter_mut().enumerate() {
                    buffer.set_registered(Registered { ring: self.id, index: index as u16 });
                }
            }
            Err(error) => self.fallbacks.push(format!(
                "ordinary buffers instead of {count} registered ones of {bytes} bytes ({error}; see RLIMIT_MEMLOCK)"
            )),
        }
        self.buffers = buffers;
    }

    fn reserve_files(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        match self.ring.submitter().register_files_sparse(count as u32) {
            Ok(()) => self.file_slots = count,
            Err(error) => {
                self.fallbacks.push(format!("ordinary descriptors instead of registered files ({error})"));
            }
        }
    }

    /// The buffers asked for by [`UringOptions::registered_buffers`], once. They are fastest in requests to this very
    /// reader and ordinary buffers anywhere else. If the kernel refused them, they are ordinary here too.
    pub fn take_registered_buffers(&mut self) -> Vec<ReadBuffer> {
        std::mem::take(&mut self.buffers)
    }

    /// Registers a file that many requests will name, which spares each of them the look-up of its descriptor.
    /// Returns whether it could be; requests work either way.
    pub fn register_file(&mut self, file: &OpenFile) -> bool {
        if self.files.len() >= self.file_slots || self.files.iter().any(|known| known.id() == file.id()) {
            return self.files.iter().any(|known| known.id() == file.id());
        }
        let slot = self.files.len() as u32;
        let registered = self.ring.submitter().register_files_update(slot, &[file.fd()]).is_ok();
        if registered {
            self.files.push(file.clone());
        }
        registered
    }

    fn push(&mut self, entry: &Entry) -> Result<(), IoError> {
        // SAFETY: what the entry points at belongs to a task that is neither changed nor freed until its answer.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.enter(0)?;
        }
        self.unsubmitted += 1;
        Ok(())
    }

    /// Shows pending entries to the kernel and waits for `want` answers.
    fn enter(&mut self, want: usize) -> Result<(), IoError> {
        loop {
            match self.ring.submit_and_wait(want) {
                Ok(submitted) => {
                    self.unsubmitted = self.unsubmitted.saturating_sub(submitted);
                    self.unsubmitted_closes = self.unsubmitted_closes.min(self.unsubmitted);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel wants answers taken, or is short of memory for a moment; what there is gets taken next.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    std::thread::yield_now();
                    return Ok(());
                }
                Err(source) => {
                    return Err(IoError::Setup { what: "io_uring_enter", source });
                }
            }
        }
    }

    /// Carries a task on until it has an operation under way, is starved or has ended.
    fn advance(&mut self, at: usize) -> Result<(), IoError> {
        loop {
            let entry = match self.tasks[at].next() {
                Next::Open { dir, path, flags } => {
                    if let Some(Fault::Errno(errno)) = self.faults.strike(Site::Open) {
                        self.opened(at, Err(errno));
                        continue;
                    }
                    opcode::OpenAt::new(Fd(dir), path).flags(flags).build()
                }
                Next::Read { fd, memory, len, offset } => match self.faults.strike(Site::Read) {
                    Some(Fault::Errno(errno)) => {
                        // SAFETY: an error claims no bytes.
                        unsafe { self.tasks[at].on_read(-errno) };
                        continue;
                    }
                    Some(Fault::Short(most)) => self.read(at, fd, memory, len.min(most as u32), offset),
                    None => self.read(at, fd, memory, len, offset),
                },
                Next::Descriptor => {
                    self.starved.push(at);
                    return Ok(());
                }
                Next::Finished => return self.finish(at),
            };
            self.push(&entry.user_data(at as u64))?;
            self.under_way += 1;
            return Ok(());
        }
    }

    fn read(&self, at: usize, fd: i32, memory: *mut u8, len: u32, offset: u64) -> Entry {
        let task = &self.tasks[at];
        let slot = task
            .shared_file()
            .and_then(|file| self.files.iter().position(|known| known.id() == file.id()))
            .map(|slot| Fixed(slot as u32));
        match (task.buffer().registered().filter(|registered| registered.ring == self.id), slot) {
            (Some(Registered { index, .. }), Some(slot)) => {
                opcode::ReadFixed::new(slot, memory, len, index).offset(offset).build()
            }
            (Some(Registered { index, .. }), None) => {
                opcode::ReadFixed::new(Fd(fd), memory, len, index).offset(offset).build()
            }
            (None, Some(slot)) => opcode::Read::new(slot, memory, len).offset(offset).build(),
            (None, None) => opcode::Read::new(Fd(fd), memory, len).offset(offset).build(),
        }
    }

    fn opened(&mut self, at: usize, result: Result<OwnedFd, i32>) {
        // Whatever is under way may open, hold or end, and an end wakes the starved.
        let others_hold = self.descriptors + self.under_way > 0;
        self.descriptors += usize::from(result.is_ok());
        self.tasks[at].on_open(result, others_hold, &mut self.faults);
    }

    /// Takes the end of a task and closes what it had opened.
    fn finish(&mut self, at: usize) -> Result<(), IoError> {
        let descriptor = self.tasks[at].take_descriptor();
        if self.tasks[at].direct_refused() && self.direct {
            self.direct = false;
            self.fallbacks.push("reads through the page cache: the file system refused O_DIRECT".to_owned());
        }
        self.ended.push(self.tasks[at].finish());
        self.idle.push(at);
        if let Some(descriptor) = descriptor {
            let close = opcode::Close::new(Fd(descriptor.into_raw_fd())).build();
            self.push(&close.user_data(CLOSED))?;
            self.closing += 1;
            self.unsubmitted_closes += 1;
            return Ok(());
        }
        self.wake_starved()
    }

    fn wake_starved(&mut self) -> Result<(), IoError> {
        for starved in std::mem::take(&mut self.starved) {
            self.tasks[starved].descriptor_closed();
            self.advance(starved)?;
        }
        Ok(())
    }

    /// Takes the answers that are there and carries their tasks on.
    fn reap(&mut self) -> Result<(), IoError> {
        loop {
            let answer = self.ring.completion().next();
            let Some(answer) = answer else {
                return Ok(());
            };
            match answer.user_data() {
                CLOSED => {
                    self.closing -= 1;
                    self.descriptors -= 1;
                    self.wake_starved()?;
                    continue;
                }
                CANCELLED => continue,
                _ => {}
            }
            let at = answer.user_data() as usize;
            self.under_way -= 1;
            let result = answer.result();
            if self.tasks[at].is_opening() {
                let opened = if result < 0 {
                    Err(-result)
                } else {
                    // SAFETY: the ring opened this descriptor for this task and nobody else has its number.
                    Ok(unsafe { OwnedFd::from_raw_fd(result) })
                };
                self.opened(at, opened);
            } else {
                // SAFETY: the ring answers the task's read, so `result` bytes are in the memory it named.
                unsafe { self.tasks[at].on_read(result) };
            }
            self.advance(at)?;
        }
    }

    fn has_forked(&self) -> bool {
        self.generation != forks::generation()
    }

    /// Cancels everything and waits until the kernel has let go of all memory.
    fn drain(&mut self) -> Result<(), IoError> {
        self.tasks.iter_mut().for_each(Task::cancel);
        if self.under_way > 0 {
            // Kernels before 5.19 cannot cancel everything at once; there the reads are simply waited for.
            self.push(&opcode::AsyncCancel2::new(CancelBuilder::any()).build().user_data(CANCELLED))?;
        }
        while self.under_way + self.closing > 0 {
            self.enter(1)?;
            self.reap()?;
        }
        Ok(())
    }
}

impl Reader for UringReader {
    fn backend(&self) -> &'static str {
        "io_uring"
    }

    fn fallbacks(&self) -> &[String] {
        &self.fallbacks
    }

    fn depth(&self) -> usize {
        self.tasks.len()
    }

    fn in_flight(&self) -> usize {
        self.tasks.len() - self.idle.len() + self.ended.len()
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), Full> {
        if self.in_flight() >= self.tasks.len() {
            return Err(Full(request.buffer));
        }
        let Some(at) = self.idle.pop() else {
            return Err(Full(request.buffer));
        };
        let tag = request.tag;
        if self.has_forked() {
            self.idle.push(at);
            self.ended.push(Completion { tag, buffer: request.buffer, error: Some(IoError::Forked) });
            return Ok(());
        }
        self.tasks[at].begin(request, self.direct, &mut self.faults);
        if let Err(error) = self.advance(at) {
            // The entry could not be pushed, so the kernel knows nothing of the task.
            let mut completion = self.tasks[at].abandon();
            completion.error = Some(error);
            self.ended.push(completion);
            self.idle.push(at);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        if self.has_forked() {
            return Err(IoError::Forked);
        }
        if self.unsubmitted > 0 { self.enter(0) } else { Ok(()) }
    }

    fn complete(&mut self, done: &mut Vec<Completion>, at_least: usize) -> Result<(), IoError> {
        if self.has_forked() {
            return Err(IoError::Forked);
        }
        let target = at_least.min(self.in_flight());
        loop {
            self.reap()?;
            if self.ended.len() >= target {
                break;
            }
            if self.under_way + self.closing == 0 {
                let source = io::Error::other("requests were lost by an earlier failure of the ring");
                return Err(IoError::Setup { what: "io_uring", source });
            }
            // Closes answer at once; what is waited for is an answer beside them, where one is to come.
            self.enter(usize::from(self.under_way > 0) + self.unsubmitted_closes)?;
        }
        self.flush()?;
        done.append(&mut self.ended);
        Ok(())
    }

    fn cancel(&mut self, tag: u64) {
        if self.has_forked() {
            return;
        }
        for at in 0..self.tasks.len() {
            if self.tasks[at].tag() == tag && self.tasks[at].is_active() {
                self.tasks[at].cancel();
                let cancel = opcode::AsyncCancel::new(at as u64).build().user_data(CANCELLED);
                // If it cannot be pushed the request ends a little later.
                let _ = self.push(&cancel);
            }
        }
    }
}

impl Drop for UringReader {
    fn drop(&mut self) {
        if self.has_forked() {
            // The ring's operations are the parent's, and its memory was not inherited: by now something else may lie
            // at these addresses. What was inherited is the descriptor.
            // SAFETY: this copy of the descriptor is the child's own; the ring is neither used nor dropped after this.
            unsafe { libc::close(self.ring.as_raw_fd()) };
            return;
        }
        if let Err(error) = self.drain() {
            tracing::error!(%error, "leaking the buffers of reads that could not be waited for");
            std::mem::forget(std::mem::take(&mut self.tasks));
        }
        // SAFETY: dropped once, here, and not used after this.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
    }
}

/// Notices `fork`, without a system call for each question.
mod forks {
    use std::sync::Once;
    use std::sync::atomic::{AtomicU64, Ordering};

    static GENERATION: AtomicU64 = AtomicU64::new(0);
    static HOOK: Once = Once::new();

    extern "C" fn in_child() {
        GENERATION.fetch_add(1, Ordering::Relaxed);
    }

    /// A number that differs between a process and its forked children.
    pub(super) fn generation() -> u64 {
        HOOK.call_once(|| {
            // SAFETY: the handler only adds to an atomic, which is allowed between fork and exec.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
        GENERATION.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::super::contract::uring_or_excused;
    use super::*;

    /// Where the rings of this process are mapped: (address, bytes).
    fn mapped() -> Vec<(usize, usize)> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let of_ring = |line: &&str| line.contains("[io_uring]");
        let range = |line: &str| {
            let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
            let (from, to) =
                (usize::from_str_radix(from, 16).unwrap(), usize::from_str_radix(to, 16).unwrap());
            (from, to - from)
        };
        maps.lines().filter(of_ring).map(range).collect()
    }

    /// What the child does: 0 when memory that it maps where the ring was survives the reader, and the descriptor does
    /// not. Only system calls and the drop.
    fn drop_among_foreign_memory(reader: UringReader, places: &[(usize, usize)], fd: i32) -> i32 {
        for &(start, bytes) in places {
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
            if got.addr() != start {
                return 2;
            }
            // SAFETY: just mapped, writable, and ours.
            unsafe { std::ptr::write_bytes(start as *mut u8, 0xa5, bytes) };
        }
        drop(reader);
        // SAFETY: asks about a number; whether it is a descriptor is the question.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1 {
            return 3;
        }
        for &(start, bytes) in places {
            // SAFETY: mapped above; if the drop has unmapped it, this ends the child, which is what is tested.
            let memory = unsafe { std::slice::from_raw_parts(start as *const u8, bytes) };
            if memory.iter().any(|&byte| byte != 0xa5) {
                return 4;
            }
        }
        0
    }

    #[test]
    fn a_forked_child_drops_a_reader_without_touching_other_memory() {
        let Some(reader) = uring_or_excused(&UringOptions::default(), Faults::none()) else { return };
        let fd = reader.ring.as_raw_fd();
        let places = mapped();
        assert!(!places.is_empty(), "the ring is not mapped");
        // SAFETY: the child makes system calls, drops the reader, and leaves at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = drop_among_foreign_memory(reader, &places, fd);
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(code) };
        }
        let (mut status, patience) = (-1, Instant::now() + Duration::from_secs(20));
        // SAFETY: `child` is our child and `status` is writable.
        while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
            if Instant::now() > patience {
                // SAFETY: `child` has not been reaped, so the number is still its own.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the child hangs");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(status, 0, "the child ended with {status:#x}");
    }
}
