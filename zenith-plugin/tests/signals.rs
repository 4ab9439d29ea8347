//! Handlers of faults that others install after a plugin was loaded: guests' traps do not reach them, everything else does.
//! One test, because handlers belong to the process.
#![expect(unsafe_code, reason = "sigaction, raise and contexts")]

#[expect(dead_code, reason = "every test uses some of it")]
mod handwritten;

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use handwritten::{ADD_ONE, bytes_guest, host, load, tight};

const SIGNALS: [c_int; 3] = [libc::SIGSEGV, libc::SIGILL, libc::SIGFPE];

static SHORT: AtomicUsize = AtomicUsize::new(0);
static LONG: AtomicUsize = AtomicUsize::new(0);

extern "C" fn short(_: c_int) {
    SHORT.fetch_add(1, Ordering::Relaxed);
}

extern "C" fn long(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system gives a readable description of the signal to handlers of this kind.
    if !context.is_null() && unsafe { (*info).si_signo } == signal {
        LONG.fetch_add(1, Ordering::Relaxed);
    }
}

/// How often [`jump`] was called, and where it goes on.
static JUMPS: AtomicUsize = AtomicUsize::new(0);
static AWAY: AtomicPtr<libc::ucontext_t> = AtomicPtr::new(std::ptr::null_mut());

/// A handler that does not come back, as those of libraries that turn faults into errors.
extern "C" fn jump(_: c_int) {
    JUMPS.fetch_add(1, Ordering::Relaxed);
    // SAFETY: `jumps_twice` made the context, on a stack that lives as long as the process.
    unsafe { libc::setcontext(AWAY.load(Ordering::Relaxed)) };
}

/// Where the process goes on behind a fault: with another one, and then to its end.
extern "C" fn away() {
    if JUMPS.load(Ordering::Relaxed) < 2 {
        go_away();
    }
    // SAFETY: it ends the process at once.
    unsafe { libc::_exit(42) };
}

/// Makes the place for [`jump`], and a fault.
fn go_away() {
    const STACK: usize = 1 << 20;
    // SAFETY: the context and its stack are leaked, and `getcontext` fills the one before `makecontext` points it at `away`; the thread
    // never comes back from there.
    unsafe {
        let context: *mut libc::ucontext_t = Box::leak(Box::new(std::mem::zeroed()));
        assert_eq!(libc::getcontext(context), 0);
        (*context).uc_stack.ss_sp = Box::leak(vec![0_u8; STACK].into_boxed_slice()).as_mut_ptr().cast();
        (*context).uc_stack.ss_size = STACK;
        libc::makecontext(context, away, 0);
        AWAY.store(context, Ordering::Relaxed);
        libc::raise(libc::SIGSEGV);
    }
    unreachable!("the handler does not come back");
}

static CHAINED: AtomicUsize = AtomicUsize::new(0);

/// What [`chain`] found when it was installed.
static BEFORE: [AtomicUsize; SIGNALS.len()] = [const { AtomicUsize::new(0) }; SIGNALS.len()];

/// A handler that hands everything on, as those of well-behaved libraries do.
extern "C" fn chain(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    CHAINED.fetch_add(1, Ordering::Relaxed);
    let at = SIGNALS.iter().position(|known| *known == signal).unwrap_or(0);
    type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
    // SAFETY: the plugins' handler was found there, which takes these three.
    let before: Handler = unsafe { std::mem::transmute(BEFORE[at].load(Ordering::Relaxed)) };
    before(signal, info, context);
}

fn current(signal: c_int) -> libc::sigaction {
    // SAFETY: all zeros is a value of it, and nothing is changed.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(libc::sigaction(signal, std::ptr::null(), &raw mut action), 0);
        action
    }
}

/// Makes `handler` that of all faults, as somebody does who knows nothing of plugins.
fn install(handler: usize, flags: c_int) {
    for signal in SIGNALS {
        // SAFETY: all zeros is a value of it.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        // SAFETY: both handlers only count, and `flags` says what they take.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }, 0);
    }
}

fn raise_all() {
    for signal in SIGNALS {
        // SAFETY: a handler that counts is in place.
        assert_eq!(unsafe { libc::raise(signal) }, 0);
    }
}

#[test]
fn handlers_that_come_later_see_no_traps_and_lose_nothing() {
    let traps = [
        ("(unreachable)", "trap"),
        ("(drop (i32.div_u (local.get $at) (i32.const 0)))", "trap"),
        ("(drop (i32.load (i32.const -4)))", "trap"),
        ("(drop (v128.load offset=4294967295 (i32.const -1)))", "trap"),
        ("(drop (call_indirect (param i32) (result i32) (i32.const 0) (i32.const 0)))", "trap"),
        ("(drop (call $process (local.get $at) (local.get $length)))", "stack"),
        ("(loop $ever (br $ever))", "deadline"),
    ];
    let host = host();
    let mut instances = traps.map(|(harm, _)| {
        load(&host, &bytes_guest(&format!("{harm} (i32.const 0)")), &tight()).unwrap().instance().unwrap()
    });
    let mut good = load(&host, ADD_ONE, &tight()).unwrap().instance().unwrap();
    let short = short as extern "C" fn(c_int) as usize;
    let long = long as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    for round in 1..=3 {
        for (handler, flags, calls) in [(short, 0, &SHORT), (long, libc::SA_SIGINFO, &LONG)] {
            install(handler, flags);
            let before = calls.load(Ordering::Relaxed);
            for (instance, (harm, kind)) in instances.iter_mut().zip(traps) {
                assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), kind, "{harm}");
                good.apply_in_place(&mut [1]).unwrap();
            }
            assert_eq!(calls.load(Ordering::Relaxed), before, "a trap reached another's handler");
            raise_all();
            assert_eq!(calls.load(Ordering::Relaxed), before + SIGNALS.len(), "round {round}");
        }
    }
    // A call on another thread finds the handlers in order, too.
    std::thread::scope(|scope| {
        install(short, 0);
        scope.spawn(|| instances[0].apply_in_place(&mut [1]).unwrap_err());
    });
    // One that hands on what is not its own hands it to the plugins' handler, and that to the one before.
    instances[0].apply_in_place(&mut [1]).unwrap_err();
    let chain = chain as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
    for (at, signal) in SIGNALS.into_iter().enumerate() {
        BEFORE[at].store(current(signal).sa_sigaction, Ordering::Relaxed);
    }
    install(chain, libc::SA_SIGINFO | libc::SA_NODEFER);
    for _ in 0..3 {
        instances[0].apply_in_place(&mut [1]).unwrap_err();
        let (before, chained) = (SHORT.load(Ordering::Relaxed), CHAINED.load(Ordering::Relaxed));
        raise_all();
        assert_eq!(SHORT.load(Ordering::Relaxed), before + SIGNALS.len());
        assert_eq!(CHAINED.load(Ordering::Relaxed), chained + SIGNALS.len());
    }
    // One that jumps out of each fault is called for the next one, too. In a process of its own: it leaves its stack behind.
    install(jump as extern "C" fn(c_int) as usize, libc::SA_NODEFER | libc::SA_ONSTACK);
    good.apply_in_place(&mut [1]).unwrap();
    // SAFETY: the child asks at most the allocator, which is made for it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        go_away();
    }
    let mut status = 0;
    // SAFETY: `status` can be written.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 42), "status {status:#x}");
    // A thread that blocks every signal would die of the first trap.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: the set is filled before it is read, and the mask is this thread's alone.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
            }
            for (instance, (harm, kind)) in instances.iter_mut().zip(traps) {
                assert_eq!(instance.apply_in_place(&mut [1]).unwrap_err().kind(), kind, "{harm}");
            }
        });
    });
}
