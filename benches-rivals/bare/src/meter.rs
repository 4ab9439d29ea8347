//! CPU time, memory and age of this process, as the Python rivals report theirs.
#![expect(unsafe_code, reason = "clock_gettime and sysconf have no safe form in std")]

use std::fs;
use std::io;

/// CPU seconds of all threads so far.
pub fn cpu_seconds() -> f64 {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// Proportional set size in bytes, 0 where the kernel does not tell.
pub fn pss_bytes() -> u64 {
    fs::read_to_string("/proc/self/smaps_rollup")
        .ok()
        .and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())
        })
        .map_or(0, |kilobytes: u64| kilobytes * 1024)
}

/// Seconds since the process was started.
pub fn since_process_start() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks: f64 = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19)?.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/stat has no start time"))?;
    // SAFETY: takes no pointers.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(clock(libc::CLOCK_BOOTTIME) - ticks / per_second as f64)
}

fn clock(id: libc::clockid_t) -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec that lives on this stack; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
