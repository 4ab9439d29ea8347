//! Sleeping on a word that several processes map, until one of them changes it.
#![expect(unsafe_code, reason = "the futex system call")]

use std::ptr;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while `word` holds `expected`, at most `limit`. May return early for no reason.
pub(super) fn sleep(word: &AtomicU32, expected: u32, limit: Duration) {
    let limit = libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos().cast_signed()),
    };
    // SAFETY: `word` is a live, aligned 32-bit atomic and `limit` outlives the call. Every error (EAGAIN, EINTR, ETIMEDOUT)
    // means "look again", which the caller does.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, ptr::from_ref(&limit));
    }
}

/// Wakes all threads of all processes that sleep on `word`.
pub(super) fn wake_all(word: &AtomicU32) {
    // SAFETY: `word` is a live, aligned 32-bit atomic; FUTEX_WAKE only uses its address.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}
