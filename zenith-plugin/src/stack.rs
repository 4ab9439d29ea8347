//! How much of a thread's stack is left. A guest may use so much of it from where it is called; a thread that has less would meet its
//! end before the limit, and that is a crash.
#![expect(unsafe_code, reason = "pthread_getattr_np")]

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

/// What the host itself may need below a guest: the runtime's entry, its callbacks, the log.
const RESERVE: usize = 96 << 10;

thread_local! {
    /// The addresses of this thread's stack; an empty range where nobody knows.
    static STACK: Cell<Option<(usize, usize)>> = const { Cell::new(None) };
}

/// Refuses where less than `need` bytes, and something for the host, are left; with what is left for the guest.
#[inline]
pub(crate) fn check(need: usize) -> Result<(), usize> {
    let here = 0_u8;
    let here = ptr::from_ref(&here).addr();
    let (start, end) = STACK.get().unwrap_or_else(look);
    // A stack of its own that this thread runs on, a coroutine's for instance, is not known here.
    if !(start..end).contains(&here) {
        return Ok(());
    }
    let left = (here - start).saturating_sub(RESERVE);
    if left >= need { Ok(()) } else { Err(left) }
}

#[cold]
fn look() -> (usize, usize) {
    let Range { start, end } = stack().unwrap_or_default();
    STACK.set(Some((start, end)));
    (start, end)
}

fn stack() -> Option<Range<usize>> {
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut lowest, mut size, mut guard) = (ptr::null_mut(), 0, 0);
    // SAFETY: the calls write to what is ours; the attributes are read and destroyed only where the first call has made them.
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let got = libc::pthread_attr_getstack(attributes.as_ptr(), &raw mut lowest, &raw mut size)
            | libc::pthread_attr_getguardsize(attributes.as_ptr(), &raw mut guard);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        if got != 0 {
            return None;
        }
    }
    let lowest = lowest.addr();
    Some(lowest.checked_add(guard)?..lowest.checked_add(size)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_a_thread_has_is_known() {
        let left = |size: usize| {
            let thread = thread::Builder::new().stack_size(size).spawn(|| check(usize::MAX).unwrap_err());
            thread.unwrap().join().unwrap()
        };
        let (small, large) = (left(256 << 10), left(2 << 20));
        assert!(small > 0 && small < 256 << 10, "{small}");
        assert!((large - small).abs_diff((2 << 20) - (256 << 10)) < 64 << 10, "{small} {large}");
        assert_eq!(check(1), Ok(()));
    }
}
