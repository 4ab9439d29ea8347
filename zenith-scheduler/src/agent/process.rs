//! The system calls about processes that neither std nor rustix has in a safe form: forking, starting a program, waiting
//! with what was used, waiting for signals, asking whether somebody has a file open.
#![expect(
    unsafe_code,
    reason = "fork, clone, wait4, sigtimedwait, leases and signal dispositions have no safe form"
)]

use std::ffi::{CStr, CString, c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::sync::Once;
use std::time::Duration;

use zenith_proto::v1;

/// Bytes of stack that a new process has until it is another program; it calls nothing but system calls.
const STACK: usize = 32 * 1024;

/// The signal by which a supervisor is told of another one to pass on. A real-time one: several of them queue up.
const PASS_ON: c_int = 40;

/// The signals a supervisor waits for. They are blocked from the start of the nursery on, so that none is lost.
const AWAITED: [c_int; 6] =
    [libc::SIGCHLD, libc::SIGTERM, libc::SIGUSR2, libc::SIGINT, libc::SIGHUP, PASS_ON];

/// What a supervisor is told by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// To ask its ranks to end.
    End,
    /// To kill them.
    Kill,
    /// To send them this signal.
    PassOn(c_int),
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    Child,
    Parent,
}

/// Forks. Refused in a process with more than one thread, whose child could find locks held by nobody.
pub(crate) fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("a process with {threads} threads cannot be forked")));
    }
    // SAFETY: there is one thread, this one, so the child's memory is consistent and it may do what the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        _ => Ok(Fork::Parent),
    }
}

/// Makes this process fit for forking supervisors: every signal has its default meaning (programs that are started would
/// inherit ignored ones), children vanish without being waited for, and the awaited signals are kept until they are asked for.
pub(crate) fn become_nursery() -> io::Result<()> {
    for signal in 1..=64 {
        if signal != libc::SIGKILL && signal != libc::SIGSTOP {
            // SAFETY: the default action is a valid disposition; the two numbers that glibc keeps are refused, which is harmless.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // SAFETY: ignoring is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    mask(libc::SIG_SETMASK)
}

/// Lets this process wait for children of its own.
pub(crate) fn become_supervisor() {
    // SAFETY: the default action is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

fn awaited() -> libc::sigset_t {
    // SAFETY: a signal set is plain data, for which zeros are valid; the calls get a valid set and known signals.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in AWAITED {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

fn mask(how: c_int) -> io::Result<()> {
    let set = awaited();
    // SAFETY: the set is valid, and the old one is not asked for.
    match unsafe { libc::sigprocmask(how, &raw const set, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Waits for one of the awaited signals; none where none came in time, where it was meant for another attempt than the one of this
/// tag, or where it has nothing to say but that there is something to look after.
pub(crate) fn next_signal(timeout: Duration, tag: u32) -> Option<Told> {
    let (signal, value) = await_signal(timeout)?;
    let meant = (value >> 32) as u32;
    // Who has no tag means whatever there is: a system that is shut down, an agent that knows of none.
    if meant != 0 && meant != tag {
        return None;
    }
    match signal {
        libc::SIGTERM => Some(Told::End),
        libc::SIGUSR2 => Some(Told::Kill),
        PASS_ON => Some(Told::PassOn(value as c_int)),
        _ => None,
    }
}

/// Takes every awaited signal that has come.
pub(crate) fn forget_signals() {
    while await_signal(Duration::ZERO).is_some() {}
}

/// The next signal, and the number that it carries, 0 where it carries none.
fn await_signal(timeout: Duration) -> Option<(c_int, u64)> {
    let set = awaited();
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().min(1 << 30) as libc::time_t,
        tv_nsec: c_long::from(timeout.subsec_nanos()),
    };
    let mut queued = Queued::default();
    // SAFETY: set and time are valid for the call; `Queued` has the size and the alignment of what the kernel writes.
    let signal = unsafe { libc::sigtimedwait(&raw const set, (&raw mut queued).cast(), &raw const timeout) };
    let value = if queued.code == libc::SI_QUEUE { queued.value } else { 0 };
    (signal > 0).then_some((signal, value))
}

/// A signal with a number on it, as 64-bit kernels lay out `siginfo_t` for those that were queued.
#[repr(C)]
#[derive(Default)]
struct Queued {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    pid: libc::pid_t,
    uid: libc::uid_t,
    value: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());
const _: () = assert!(align_of::<Queued>() >= align_of::<libc::siginfo_t>());

/// Tells a supervisor something about the attempt of this tag. It may have another one by then, and takes it for nothing.
pub(crate) fn tell(supervisor: BorrowedFd<'_>, what: Told, tag: u32) -> io::Result<()> {
    let (signal, number) = match what {
        Told::End => (libc::SIGTERM, 0),
        Told::Kill => (libc::SIGUSR2, 0),
        Told::PassOn(number) => (PASS_ON, number as u64),
    };
    let value = u64::from(tag) << 32 | number;
    // SAFETY: the calls have no conditions.
    let (pid, uid) = unsafe { (libc::getpid(), libc::getuid()) };
    let queued = Queued { signal, code: libc::SI_QUEUE, pid, uid, value, ..Queued::default() };
    // SAFETY: the descriptor is open, and the kernel reads as many bytes as `Queued` has.
    let outcome = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, supervisor.as_raw_fd(), signal, &raw const queued, 0)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends a signal to a process group of ours. One that is no more has nobody to get it.
pub(crate) fn signal_group(group: i32, signal: c_int) {
    // 0 and 1 would mean our own group, and everything.
    if group > 1 {
        // SAFETY: the call has no conditions.
        unsafe { libc::kill(-group, signal) };
    }
}

/// What waiting for a child brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Waited {
    /// It ended: its number, its status and what it used.
    Ended { pid: i32, status: Ended, usage: v1::Usage },
    /// There are children, and none has ended.
    Nobody,
    /// There are no children.
    Childless,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Code(i32),
    Signal(i32),
}

/// Takes a child that has ended, if there is one.
pub(crate) fn wait() -> Waited {
    let mut status = 0;
    // SAFETY: usage is plain data, for which zeros are valid; both places are valid for the call.
    let (pid, usage) = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        (libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
    };
    match pid {
        0 => Waited::Nobody,
        // The only other error, an interruption, cannot be: nothing is waited for.
        -1 => Waited::Childless,
        pid => {
            let ended = if libc::WIFSIGNALED(status) {
                Ended::Signal(libc::WTERMSIG(status))
            } else {
                Ended::Code(libc::WEXITSTATUS(status))
            };
            let ms = |time: libc::timeval| (time.tv_sec * 1000 + time.tv_usec / 1000) as u64;
            let usage = v1::Usage {
                user_ms: ms(usage.ru_utime),
                system_ms: ms(usage.ru_stime),
                max_rss_kib: usage.ru_maxrss as u64,
            };
            Waited::Ended { pid, status: ended, usage }
        }
    }
}

/// A program to be started, with everything that the new process does before it.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    pub(crate) directory: Option<CString>,
    pub(crate) stdin: BorrowedFd<'a>,
    pub(crate) stdout: BorrowedFd<'a>,
    pub(crate) stderr: BorrowedFd<'a>,
    /// Processors it may use; all where empty.
    pub(crate) cpus: &'a [u32],
    /// NUMA nodes its memory comes from by preference; anywhere where empty.
    pub(crate) memory_nodes: &'a [u32],
    /// The `cgroup.procs` of the groups it joins.
    pub(crate) groups: Vec<BorrowedFd<'a>>,
}

/// What a new process could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Prepare,
    JoinGroup,
    ChangeDirectory,
    Execute,
}

/// A process that runs a program, and what could not be done for it.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    pub(crate) unbound_cpus: Option<io::Error>,
    pub(crate) unbound_memory: Option<io::Error>,
}

/// What the new process reads and what it says, in memory it shares with us.
struct Errand {
    path: *const libc::c_char,
    arguments: *const *const libc::c_char,
    environment: *const *const libc::c_char,
    directory: *const libc::c_char,
    stdio: [c_int; 3],
    groups: *const c_int,
    group_count: usize,
    cpus: Option<libc::cpu_set_t>,
    memory: Option<[u64; 16]>,
    awaited: libc::sigset_t,
    parent: libc::pid_t,
    cpus_errno: c_int,
    memory_errno: c_int,
    failed: Option<(Step, c_int)>,
}

/// Starts a program in a process group of its own, which dies with us.
///
/// The new process borrows our memory and we wait until it is the other program: nothing is copied, whatever our size.
pub(crate) fn spawn(program: &Program<'_>) -> Result<Running, (Step, io::Error)> {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(&program.arguments), pointers(&program.environment));
    let groups: Vec<c_int> = program.groups.iter().map(|group| group.as_raw_fd()).collect();
    let stdio = [&program.stdin, &program.stdout, &program.stderr].map(|fd| fd.as_raw_fd());
    let mut errand = Errand {
        path: program.path.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: program.directory.as_deref().map_or(ptr::null(), CStr::as_ptr),
        stdio,
        groups: groups.as_ptr(),
        group_count: groups.len(),
        cpus: (!program.cpus.is_empty()).then(|| cpu_set(program.cpus)),
        memory: (!program.memory_nodes.is_empty()).then(|| node_mask(program.memory_nodes)),
        awaited: awaited(),
        // SAFETY: the call has no conditions.
        parent: unsafe { libc::getpid() },
        cpus_errno: 0,
        memory_errno: 0,
        failed: None,
    };
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is ours, aligned, and grows down from its end. With CLONE_VFORK we stand still until the child has
    // executed a program or ended, so everything that the errand points to outlives its use, and nobody else touches it.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        libc::clone(run, top, flags, (&raw mut errand).cast::<c_void>())
    };
    if pid == -1 {
        return Err((Step::Prepare, io::Error::last_os_error()));
    }
    let error = |errno: c_int| (errno != 0).then(|| io::Error::from_raw_os_error(errno));
    match errand.failed {
        None => Ok(Running {
            pid,
            unbound_cpus: error(errand.cpus_errno),
            unbound_memory: error(errand.memory_errno),
        }),
        Some((step, errno)) => {
            // SAFETY: the child is ours and has ended; its status is of no interest.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
            Err((step, io::Error::from_raw_os_error(errno)))
        }
    }
}

fn cpu_set(cpus: &[u32]) -> libc::cpu_set_t {
    // SAFETY: a processor set is plain data, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as u32) {
        // SAFETY: the number is within the set.
        unsafe { libc::CPU_SET(*cpu as usize, &mut set) };
    }
    set
}

fn node_mask(nodes: &[u32]) -> [u64; 16] {
    let mut mask = [0; 16];
    for node in nodes {
        if let Some(word) = mask.get_mut(*node as usize / 64) {
            *word |= 1 << (node % 64);
        }
    }
    mask
}

/// What the new process does: system calls only, in memory that it shares with its parent.
extern "C" fn run(errand: *mut c_void) -> c_int {
    // SAFETY: the parent gave a valid errand and stands still; nobody else uses it.
    let errand = unsafe { &mut *errand.cast::<Errand>() };
    // SAFETY: see `prepare`: the errand's pointers are those of `spawn`.
    let (step, errno) = unsafe { prepare(errand) };
    errand.failed = Some((step, errno));
    // SAFETY: ends this process alone, without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

/// Returns only where it fails.
///
/// # Safety
/// The errand's pointers are valid: texts end in zero, lists in null, `groups` has `group_count` elements.
unsafe fn prepare(errand: &mut Errand) -> (Step, c_int) {
    let errno = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    // SAFETY: all of these are system calls that change this process alone; it has its own descriptors, directory, signal
    // mask and dispositions, and only shares memory. What they read is valid by the condition above.
    unsafe {
        libc::setpgid(0, 0);
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) != 0 {
            return (Step::Prepare, errno());
        }
        // A parent that died before would never send it.
        if libc::getppid() != errand.parent {
            return (Step::Prepare, libc::ESRCH);
        }
        for index in 0..errand.group_count {
            if libc::write(*errand.groups.add(index), c"0".as_ptr().cast(), 1) != 1 {
                return (Step::JoinGroup, errno());
            }
        }
        if let Some(cpus) = &errand.cpus
            && libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cpus) != 0
        {
            errand.cpus_errno = errno();
        }
        if let Some(mask) = &errand.memory {
            // PREFERRED takes one node; several need PREFERRED_MANY.
            let one = mask.iter().map(|word| word.count_ones()).sum::<u32>() == 1;
            let mode: c_int = if one { libc::MPOL_PREFERRED } else { 5 };
            let bits = (64 * mask.len()) as libc::c_ulong;
            if libc::syscall(libc::SYS_set_mempolicy, c_long::from(mode), mask.as_ptr(), bits) != 0 {
                errand.memory_errno = errno();
            }
        }
        for (target, fd) in errand.stdio.iter().enumerate() {
            // Descriptors above 2 only, so that none is overwritten before it is copied.
            if libc::dup2(*fd, target as c_int) == -1 {
                return (Step::Prepare, errno());
            }
        }
        if !errand.directory.is_null() && libc::chdir(errand.directory) != 0 {
            return (Step::ChangeDirectory, errno());
        }
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const errand.awaited, ptr::null_mut());
        libc::execve(errand.path, errand.arguments, errand.environment);
        (Step::Execute, errno())
    }
}

/// Whether nobody but us has a file open, and only by this descriptor.
pub(crate) fn is_alone(file: &File) -> io::Result<bool> {
    static DEAF: Once = Once::new();
    // Whoever opens the file between the two calls below has the system tell us, by a signal that ends those who do not expect it.
    // SAFETY: ignoring is a valid disposition.
    DEAF.call_once(|| unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
    });
    // SAFETY: the descriptor is open, and the call takes a number.
    let lease = |kind: c_int| unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    if lease(libc::F_WRLCK) == 0 {
        lease(libc::F_UNLCK);
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(false) } else { Err(error) }
}

/// Closes every descriptor but the first three: what whoever started us had open is none of our programs' business.
pub(crate) fn close_inherited() {
    // SAFETY: called before this process has opened anything, so nobody owns what is closed.
    unsafe { libc::syscall(libc::SYS_close_range, 3 as c_long, c_long::from(u32::MAX), 0 as c_long) };
}
