//! Sleeping on a word until somebody changes it: the futex system call and nothing else.
#![expect(unsafe_code, reason = "the futex system call")]

use std::ptr;
use std::time::Duration;

use super::atomic::AtomicU32;

/// Where threads sleep. The word slept on lies outside, so that a fast path can read it without this type.
#[derive(Debug, Default)]
pub(super) struct Parking;

impl Parking {
    pub(super) const fn new() -> Self {
        Self
    }

    /// Sleeps while `word` holds `expected`, at most `timeout`. May return early for no reason.
    pub(super) fn sleep(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        let limit = timeout.map(|time| libc::timespec {
            tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: libc::c_long::from(time.subsec_nanos().cast_signed()),
        });
        let limit: *const libc::timespec = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: `word` is a live, aligned 32-bit atomic and `limit` is null or points to a timespec that outlives
        // the call. Every error (EAGAIN, EINTR, ETIMEDOUT) means "look again", which the caller does.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                expected,
                limit,
            );
        }
    }

    /// Wakes up to `count` threads that sleep on `word`.
    pub(super) fn wake(&self, word: &AtomicU32, count: i32) {
        // SAFETY: `word` is a live, aligned 32-bit atomic; FUTEX_WAKE only uses its address.
        unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, count);
        }
    }
}
