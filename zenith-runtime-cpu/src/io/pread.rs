//! Blocking reads on the calling thread, for kernels and containers without io_uring. Files are opened and hinted
//! (`readahead`) when they are accepted, so that the disk works while the caller does; the reads themselves happen in
//! `complete`.
#![expect(unsafe_code, reason = "openat, readahead and pread on descriptors and buffers the task owns")]

use std::collections::VecDeque;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use super::faults::{Fault, Faults, Site};
use super::task::{Next, Task};
use super::{Completion, Full, IoError, Reader, Request};

/// Reads with `pread`. Never refused by any kernel.
pub struct PreadReader {
    depth: usize,
    queue: VecDeque<Task>,
    idle: Vec<Task>,
    fallbacks: Vec<String>,
    faults: Faults,
}

impl PreadReader {
    /// A reader that accepts `depth` requests (at least one) ahead of reading them.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        let depth = depth.max(1);
        PreadReader {
            depth,
            queue: VecDeque::with_capacity(depth),
            idle: Vec::with_capacity(depth),
            fallbacks: Vec::new(),
            faults: Faults::none(),
        }
    }

    #[cfg(test)]
    pub(super) fn with_faults(depth: usize, faults: Faults) -> Self {
        PreadReader { faults, ..Self::new(depth) }
    }

    #[cfg(test)]
    pub(super) fn faults(&self) -> &Faults {
        &self.faults
    }

    pub(super) fn note_fallback(&mut self, phrase: String) {
        self.fallbacks.push(phrase);
    }

    /// Carries the task on until it is finished, or only until it would wait for the disk.
    fn advance(&mut self, task: &mut Task, hint_only: bool) {
        loop {
            match task.next() {
                Next::Open { dir, path, flags } => {
                    let result = match self.faults.strike(Site::Open) {
                        Some(Fault::Errno(errno)) => Err(errno),
                        // SAFETY: `path` is the task's nul-terminated path; the task is borrowed until we return.
                        _ => owned(unsafe { libc::openat(dir, path, flags) }),
                    };
                    let others_hold = self.queue.iter().any(Task::holds_descriptor);
                    task.on_open(result, others_hold, &mut self.faults);
                }
                Next::Read { fd, offset, len, .. } if hint_only => {
                    // SAFETY: takes no memory. A refused hint costs speed only, and the read itself will tell.
                    unsafe { libc::readahead(fd, offset.cast_signed(), len as usize) };
                    return;
                }
                Next::Read { fd, memory, len, offset } => {
                    let mut len = len as usize;
                    let result = match self.faults.strike(Site::Read) {
                        Some(Fault::Errno(errno)) => -errno,
                        fault => {
                            if let Some(Fault::Short(most)) = fault {
                                len = len.min(most);
                            }
                            // SAFETY: the task named `memory..memory + len` in its own buffer for this read.
                            let read = unsafe { libc::pread(fd, memory.cast(), len, offset.cast_signed()) };
                            if read < 0 { -errno() } else { read as i32 }
                        }
                    };
                    // SAFETY: pread wrote `result` bytes to `memory`.
                    unsafe { task.on_read(result) };
                }
                Next::Descriptor => return,
                Next::Finished => {
                    drop(task.take_descriptor());
                    return;
                }
            }
        }
    }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

fn owned(fd: i32) -> Result<OwnedFd, i32> {
    if fd < 0 {
        return Err(errno());
    }
    // SAFETY: openat just gave this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

impl Reader for PreadReader {
    fn backend(&self) -> &'static str {
        "pread"
    }

    fn fallbacks(&self) -> &[String] {
        &self.fallbacks
    }

    fn depth(&self) -> usize {
        self.depth
    }

    fn in_flight(&self) -> usize {
        self.queue.len()
    }

    fn submit(&mut self, request: Request<'_>) -> Result<(), Full> {
        if self.queue.len() == self.depth {
            return Err(Full(request.buffer));
        }
        let mut task = self.idle.pop().unwrap_or_else(Task::new);
        task.begin(request, false, &mut self.faults);
        self.advance(&mut task, true);
        self.queue.push_back(task);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), IoError> {
        Ok(())
    }

    fn complete(&mut self, done: &mut Vec<Completion>, at_least: usize) -> Result<(), IoError> {
        // Only as many as are needed: each further one would block the caller.
        for _ in 0..at_least {
            let Some(mut task) = self.queue.pop_front() else {
                break;
            };
            task.descriptor_closed();
            self.advance(&mut task, false);
            // Starved for descriptors that later requests hold: those are read first.
            while matches!(task.next(), Next::Descriptor) {
                let Some(mut holder) =
                    self.queue.iter().position(Task::holds_descriptor).and_then(|at| self.queue.remove(at))
                else {
                    break;
                };
                self.advance(&mut holder, false);
                done.push(holder.finish());
                self.idle.push(holder);
                task.descriptor_closed();
                self.advance(&mut task, false);
            }
            done.push(task.finish());
            self.idle.push(task);
        }
        Ok(())
    }

    fn cancel(&mut self, tag: u64) {
        self.queue.iter_mut().filter(|task| task.tag() == tag).for_each(Task::cancel);
    }
}
