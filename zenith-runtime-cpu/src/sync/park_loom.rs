//! The futex's twin for loom: a lock and a condition variable. Time does not pass in a model, so timeouts never end.

use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use super::atomic::{AtomicU32, Ordering};

/// Where threads sleep.
#[derive(Debug)]
pub(super) struct Parking {
    lock: Mutex<()>,
    bell: Condvar,
}

impl Parking {
    pub(super) fn new() -> Self {
        Self { lock: Mutex::new(()), bell: Condvar::new() }
    }

    pub(super) fn sleep(&self, word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
        let guard = self.lock.lock().expect("no thread panics with the lock held");
        // As in the kernel, the comparison and falling asleep are one step for whoever wakes.
        if word.load(Ordering::Relaxed) == expected {
            drop(self.bell.wait(guard).expect("no thread panics with the lock held"));
        }
    }

    pub(super) fn wake(&self, _word: &AtomicU32, count: i32) {
        let _guard = self.lock.lock().expect("no thread panics with the lock held");
        if count == 1 {
            self.bell.notify_one();
        } else {
            self.bell.notify_all();
        }
    }
}
