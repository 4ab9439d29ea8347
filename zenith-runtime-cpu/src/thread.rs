//! Threads that belong to somebody: named, kept on a set of processors, joined on drop, their panics handed over.
//!
//! A thread may be pinned to a set of processors (those near its memory), never to a single one: the scheduler knows
//! better which of them is idle.
#![expect(unsafe_code, reason = "sched_setaffinity and sched_getaffinity")]

use std::any::Any;
use std::io;
use std::process;
use std::sync::mpsc;
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};

use crate::numa::CpuSet;

/// What a thread is called and where it may run.
#[derive(Clone, Debug, Default)]
pub struct ThreadConfig {
    /// Its name in debuggers, `top -H` and panics; the system shows the first 15 bytes.
    pub name: String,
    /// The processors it may run on; `None`: those of its creator.
    pub cpus: Option<CpuSet>,
}

impl ThreadConfig {
    /// A thread that may run wherever its creator may.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), cpus: None }
    }
}

/// Why there is no thread.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ThreadError {
    /// The system starts no more threads.
    #[error("cannot start thread {name:?}: {source} (see ulimit -u and the cgroup's pids.max)")]
    Spawn {
        /// Name of the thread.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// The processors do not exist or are not allowed.
    #[error("cannot keep thread {name:?} on processors {cpus}: {source}")]
    Pin {
        /// Name of the thread.
        name: String,
        /// The processors.
        cpus: CpuSet,
        /// The system's error.
        source: io::Error,
    },
}

/// A thread panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("thread {thread:?} panicked: {message}")]
pub struct Panicked {
    /// Name of the thread.
    pub thread: String,
    /// What the panic said.
    pub message: String,
}

/// A running thread that will give a `T`. Dropping it waits for its end.
#[derive(Debug)]
pub struct Thread<T> {
    name: String,
    /// The process it runs in. A forked child inherits this object, but not the thread.
    process: u32,
    /// `None` once joined; it gives `None` only when it could not be pinned, and then it was never handed out.
    handle: Option<JoinHandle<Option<T>>>,
}

impl<T: Send + 'static> Thread<T> {
    /// Starts `f` on a new thread, pinned before `f` begins, so that whatever `f` touches first lies near.
    ///
    /// # Errors
    /// [`ThreadError`] when there can be no thread, or none on these processors; `f` is not run then.
    pub fn spawn(config: ThreadConfig, f: impl FnOnce() -> T + Send + 'static) -> Result<Self, ThreadError> {
        let ThreadConfig { name, cpus } = config;
        // A NUL cannot be part of a thread's name; std panics over it.
        let builder = thread::Builder::new().name(name.replace('\0', ""));
        let (tell, told) = mpsc::sync_channel(1);
        let set = cpus.clone();
        let spawned = builder.spawn(move || {
            if let Some(set) = set {
                let pinned = pin_current(&set);
                let go = pinned.is_ok();
                let heard = tell.send(pinned).is_ok();
                if !(go && heard) {
                    return None;
                }
            }
            Some(f())
        });
        let handle = match spawned {
            Ok(handle) => Some(handle),
            Err(source) => return Err(ThreadError::Spawn { name, source }),
        };
        if let Some(cpus) = cpus {
            let pinned =
                told.recv().unwrap_or_else(|_| Err(io::Error::other("it ended before it was pinned")));
            if let Err(source) = pinned {
                return Err(ThreadError::Pin { name, cpus, source });
            }
        }
        Ok(Self { name, process: process::id(), handle })
    }
}

impl<T> Thread<T> {
    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has ended, so that [`join`](Self::join) will not wait.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Whether it runs in this process. A forked child has the object, but not the thread, and whatever the thread had
    /// locked stays locked there.
    #[must_use]
    pub fn is_of_this_process(&self) -> bool {
        self.process == process::id()
    }

    /// Waits for its end and takes its result.
    ///
    /// # Errors
    /// [`Panicked`] when it panicked, or when this is a forked child, which has no such thread.
    pub fn join(mut self) -> Result<T, Panicked> {
        let handle = self.handle.take().expect("only join and drop take the handle");
        if !self.is_of_this_process() {
            std::mem::forget(handle);
            return Err(Panicked {
                thread: std::mem::take(&mut self.name),
                message: "it did not follow into the forked process".to_owned(),
            });
        }
        match handle.join() {
            Ok(result) => Ok(result.expect("a thread that was handed out ran its function")),
            Err(payload) => {
                Err(Panicked { thread: std::mem::take(&mut self.name), message: panic_message(&*payload) })
            }
        }
    }
}

impl<T> Drop for Thread<T> {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        // The last owner of a thread may be the thread itself, which cannot wait for its own end.
        if handle.thread().id() == thread::current().id() {
            return;
        }
        // Joining (or detaching) a thread that stayed behind in the parent process would wait for ever.
        if !self.is_of_this_process() {
            std::mem::forget(handle);
            return;
        }
        if let Err(payload) = handle.join() {
            tracing::error!(
                thread = self.name,
                panic = panic_message(&*payload),
                "a thread nobody joined had panicked"
            );
        }
    }
}

/// Starts `f` on a thread of `scope`, which may borrow what outlives the scope; the scope joins it.
///
/// # Errors
/// [`ThreadError::Spawn`] when the system starts no more threads; `f` is not run then.
pub fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    name: impl Into<String>,
    f: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ThreadError> {
    let name = name.into();
    let builder = thread::Builder::new().name(name.replace('\0', ""));
    builder.spawn_scoped(scope, f).map_err(|source| ThreadError::Spawn { name, source })
}

/// What a panic said.
#[must_use]
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}

/// Keeps the calling thread, and the threads it starts from now on, on `cpus`.
///
/// # Errors
/// The system's error: `EINVAL` when none of them is online and allowed.
pub fn pin_current(cpus: &CpuSet) -> io::Result<()> {
    let words = cpus.words();
    // SAFETY: the kernel reads as many bytes as it is told; 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(words), words.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The processors the calling thread may run on: its affinity mask, within its cgroup's cpuset.
///
/// # Errors
/// The system's error.
pub fn allowed_cpus() -> io::Result<CpuSet> {
    let mut words = vec![0_u64; 16];
    loop {
        // SAFETY: `words` is writable and as large as the kernel is told; 0 is the calling thread.
        let result =
            unsafe { libc::sched_getaffinity(0, size_of_val(words.as_slice()), words.as_mut_ptr().cast()) };
        if result == 0 {
            return Ok(CpuSet::from_words(words));
        }
        let error = io::Error::last_os_error();
        // EINVAL: the kernel knows more processors than the mask has room for.
        if error.raw_os_error() != Some(libc::EINVAL) || words.len() > 1 << 14 {
            return Err(error);
        }
        words.resize(words.len() * 2, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_has_its_name_and_gives_its_result() {
        let thread = Thread::spawn(ThreadConfig::named("zenith-reader"), || {
            let name = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            (name.trim().to_owned(), 42)
        })
        .unwrap();
        assert_eq!(thread.name(), "zenith-reader");
        assert_eq!(thread.join().unwrap(), ("zenith-reader".to_owned(), 42));
    }

    #[test]
    fn a_scoped_thread_borrows_and_has_its_name() {
        let words = ["a".to_owned(), "b".to_owned()];
        let (count, name) = thread::scope(|scope| {
            let handle = spawn_scoped(scope, "zenith\0-scan", || {
                (words.len(), thread::current().name().map(str::to_owned))
            });
            handle.unwrap().join().unwrap()
        });
        assert_eq!((count, name.as_deref()), (2, Some("zenith-scan")));
    }

    #[test]
    fn a_panic_is_carried_with_its_message() {
        let thread: Thread<()> = Thread::spawn(ThreadConfig::named("worker 3"), || {
            std::panic::panic_any("sample ".to_owned() + "17 is bad");
        })
        .unwrap();
        let expected = Panicked { thread: "worker 3".into(), message: "sample 17 is bad".into() };
        assert_eq!(thread.join(), Err(expected));
    }

    #[test]
    fn dropping_waits_for_the_end() {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = ended.clone();
        drop(
            Thread::spawn(ThreadConfig::default(), move || {
                thread::sleep(Duration::from_millis(30));
                flag.store(true, Ordering::Release);
            })
            .unwrap(),
        );
        assert!(ended.load(Ordering::Acquire));
    }

    #[test]
    fn a_forked_child_does_not_wait_for_its_parents_threads() {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = Thread::spawn(ThreadConfig::named("parents"), move || {
            while !seen.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(1));
            }
        })
        .unwrap();
        // SAFETY: the child only drops the thread object, which frees nothing it shares, and leaves at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(thread);
            // SAFETY: ends the child without running the test harness's exit handlers.
            unsafe { libc::_exit(0) };
        }
        let mut status = -1;
        let patience = std::time::Instant::now() + Duration::from_secs(20);
        // SAFETY: `child` is our child and `status` is writable.
        while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
            if std::time::Instant::now() > patience {
                // SAFETY: `child` has not been reaped, so the number is still its own.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the child waits for a thread it does not have");
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(status, 0);
        stop.store(true, Ordering::Release);
        thread.join().unwrap();
    }

    #[test]
    fn a_pinned_thread_may_run_where_it_was_told_only() {
        let one: CpuSet = allowed_cpus().unwrap().first().into_iter().collect();
        let config = ThreadConfig { name: "pinned".into(), cpus: Some(one.clone()) };
        let seen = Thread::spawn(config, || allowed_cpus().unwrap()).unwrap().join().unwrap();
        assert_eq!(seen, one);
        assert!(allowed_cpus().unwrap().len() >= one.len(), "the creator keeps its own processors");
    }

    #[test]
    fn processors_that_do_not_exist_are_an_error_and_nothing_runs() {
        let ran = Arc::new(AtomicBool::new(false));
        let flag = ran.clone();
        for cpus in ["60000", ""] {
            let flag = flag.clone();
            let config = ThreadConfig { name: "nowhere".into(), cpus: Some(cpus.parse().unwrap()) };
            let error = Thread::spawn(config, move || flag.store(true, Ordering::Release)).unwrap_err();
            assert!(matches!(&error, ThreadError::Pin { name, .. } if name == "nowhere"), "{error}");
        }
        assert!(!ran.load(Ordering::Acquire));
    }
}
