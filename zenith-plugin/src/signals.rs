//! The runtime's handlers of faults, kept in front. Guests trap by faults of the processor: to a handler that another part of
//! the program installs after the runtime's, such as Python's faulthandler or a Java machine's, a trap would be a crash.
//! Such a handler is not lost: faults outside of guests are its own. A thread that blocks faults has them unblocked, since the system
//! ends the process where one comes all the same. What a trap means is `live`'s business.
#![expect(unsafe_code, reason = "sigaction, and handing signals on to handlers")]

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use libc::{sigaction, siginfo_t};

/// What the runtime uses for traps: accesses outside of memory, `unreachable`, and divisions. Whoever handles faults handles
/// the first one.
const SIGNALS: [c_int; 3] = [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE];

/// How often a thread that runs guests looks at all of them: a look is a system call for each. At the first it looks every time.
const LOOK_AT_ALL: Duration = Duration::from_millis(1);

type Handler = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
type ShortHandler = unsafe extern "C" fn(c_int);

/// The runtime's handlers; 0 for a signal that it does not use here.
static RUNTIME: [AtomicUsize; SIGNALS.len()] = [const { AtomicUsize::new(0) }; SIGNALS.len()];

/// A handler that was found in the runtime's place, and the one that had been found before it.
struct Foreign {
    /// Which signal's.
    at: usize,
    action: sigaction,
    before: Option<&'static Foreign>,
}

/// The handler that was found last for each signal; null for none. Whatever is published here lives for ever.
static FOREIGN: [AtomicPtr<Foreign>; SIGNALS.len()] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()];

/// Everything that was ever published in [`FOREIGN`], so that nothing is published twice.
static FOUND: Mutex<Vec<&'static Foreign>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread runs a guest.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// How many handlers this thread's fault has been handed to that handed it back.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where on the stack the last of them was called from.
    static FRAME: Cell<usize> = const { Cell::new(usize::MAX) };
    /// When this thread last looked at all signals.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Remembers the handlers that the runtime has just installed: it does so with the first engine of a process.
pub(crate) fn installed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (signal, runtime) in SIGNALS.into_iter().zip(&RUNTIME) {
            let action = current(signal);
            if takes_context(&action) {
                runtime.store(action.sa_sigaction, Ordering::Relaxed);
            }
        }
    });
}

/// This thread is about to run a guest; it is `now`.
#[inline]
pub(crate) fn enter(now: Instant) {
    let all = LOOKED.get().is_none_or(|then| now.saturating_duration_since(then) >= LOOK_AT_ALL);
    let looks = if all { SIGNALS.len() } else { 1 };
    if !(0..looks).all(|at| is_ours(at, &current(SIGNALS[at]))) {
        (0..SIGNALS.len()).for_each(displace);
    }
    if all {
        unblock();
        LOOKED.set(Some(now));
    }
    // A handler that jumped out of a fault has not come back to say so.
    DEPTH.set(0);
    FRAME.set(usize::MAX);
    INSIDE.set(true);
}

/// Lets faults of this thread reach their handlers.
fn unblock() {
    let mut signals = empty().sa_mask;
    // SAFETY: `signals` is a set of our own, and unblocking only this thread's faults breaks nobody's assumptions: a blocked fault is
    // the end of the process.
    unsafe {
        for signal in SIGNALS {
            libc::sigaddset(&raw mut signals, signal);
        }
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const signals, ptr::null_mut());
    }
}

/// The guest has ended.
#[inline]
pub(crate) fn leave() {
    INSIDE.set(false);
}

/// Whether a trap finds its way to the runtime through `action`.
fn is_ours(at: usize, action: &sigaction) -> bool {
    let runtime = RUNTIME[at].load(Ordering::Relaxed);
    runtime == 0 || action.sa_sigaction == runtime || action.sa_sigaction == front_address()
}

/// Puts [`front`] before a handler that is not the runtime's, if there is one.
#[cold]
fn displace(at: usize) {
    let signal = SIGNALS[at];
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    let action = current(signal);
    if is_ours(at, &action) {
        return;
    }
    let same = |known: &&&'static Foreign| {
        known.at == at
            && known.action.sa_sigaction == action.sa_sigaction
            && known.action.sa_flags == action.sa_flags
    };
    let foreign = match found.iter().find(same) {
        Some(known) => known,
        None => {
            let new: &'static Foreign = Box::leak(Box::new(Foreign { at, action, before: last(at) }));
            found.push(new);
            new
        }
    };
    FOREIGN[at].store(ptr::from_ref(foreign).cast_mut(), Ordering::Release);
    let mut front = empty();
    front.sa_sigaction = front_address();
    // As the runtime's own: on the stack that a thread has for signals, and again for a fault within.
    front.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER | libc::SA_ONSTACK;
    // SAFETY: `front` is a handler of the kind that the flags say, and all that it reads is in place.
    let set = unsafe { sigaction(signal, &raw const front, ptr::null_mut()) };
    debug_assert_eq!(set, 0, "only signals that cannot be handled are refused");
    tracing::debug!(signal, "another handler of faults is called after the plugins' from now on");
}

fn last(at: usize) -> Option<&'static Foreign> {
    // SAFETY: what `displace` publishes was leaked and is not changed any more.
    unsafe { FOREIGN[at].load(Ordering::Acquire).as_ref() }
}

fn front_address() -> usize {
    front as Handler as usize
}

fn empty() -> sigaction {
    // SAFETY: numbers, an empty set and no function: all zeros is a value of it.
    unsafe { mem::zeroed() }
}

fn current(signal: c_int) -> sigaction {
    let mut action = empty();
    // SAFETY: nothing is changed, and `action` can be written.
    let got = unsafe { sigaction(signal, ptr::null(), &raw mut action) };
    debug_assert_eq!(got, 0, "every signal has an action");
    action
}

fn is_default(action: &sigaction) -> bool {
    matches!(action.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN)
}

fn takes_context(action: &sigaction) -> bool {
    !is_default(action) && action.sa_flags & libc::SA_SIGINFO != 0
}

/// Hands a fault to the runtime where this thread runs a guest, and else to the handler that was displaced. Only reads
/// atomics and calls functions that handlers may call.
unsafe extern "C" fn front(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(at) = SIGNALS.iter().position(|known| *known == signal) else {
        return;
    };
    if INSIDE.try_with(Cell::get).unwrap_or(false) {
        let runtime = RUNTIME[at].load(Ordering::Relaxed);
        // SAFETY: `installed` stored a handler that takes these three, and `front` is only in place where it did.
        let runtime = unsafe { mem::transmute::<usize, Handler>(runtime) };
        // SAFETY: it is called as the system would call it.
        return unsafe { runtime(signal, info, context) };
    }
    // A handler that was installed over this function may hand on to it what is not its own: then it is the turn of the one before.
    // One that jumped out of an earlier fault does not say so, but then this call is not below its own on the stack.
    let frame = ptr::from_ref(&at).addr();
    let outer = FRAME.try_with(Cell::get).unwrap_or(usize::MAX);
    let depth = if frame < outer { DEPTH.try_with(Cell::get).unwrap_or(0) } else { 0 };
    let foreign = std::iter::successors(last(at), |foreign| foreign.before).nth(depth);
    let default = empty();
    let action = foreign.map_or(&default, |foreign| &foreign.action);
    let _ = DEPTH.try_with(|cell| cell.set(depth + 1));
    let _ = FRAME.try_with(|cell| cell.set(frame));
    // SAFETY: it is called as the system calls this function.
    unsafe { hand_to(action, signal, info, context) };
    let _ = DEPTH.try_with(|cell| cell.set(depth));
    let _ = FRAME.try_with(|cell| cell.set(outer));
}

/// Does with a fault what `action` says.
///
/// # Safety
/// To be called as the system calls a handler.
unsafe fn hand_to(action: &sigaction, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    if is_default(action) {
        // SAFETY: the action was in force before. A fault comes again when this returns; what somebody sent is sent again.
        unsafe {
            sigaction(signal, ptr::from_ref(action), ptr::null_mut());
            if (*info).si_code <= 0 {
                libc::raise(signal);
            }
        }
    } else if takes_context(action) {
        // SAFETY: its flags say that it takes these three.
        unsafe { mem::transmute::<usize, Handler>(action.sa_sigaction)(signal, info, context) }
    } else {
        // SAFETY: its flags say that it takes the number alone.
        unsafe { mem::transmute::<usize, ShortHandler>(action.sa_sigaction)(signal) }
    }
}
