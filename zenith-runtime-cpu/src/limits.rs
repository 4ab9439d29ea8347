//! How much of the machine this process may have: processors' time and memory, whichever of the machine and the control
//! groups allows less. Defaults are made of these; where files are is [`cgroup`]'s matter.

use std::io;
use std::path::Path;

use crate::cgroup;
use crate::numa::files::Root;
use crate::thread::allowed_cpus;

/// Threads that can run at once: the processors of the affinity mask and the cpuset, or the time the control groups grant,
/// in whole processors rounded up, where that is less.
///
/// # Errors
/// When the system does not tell the affinity mask.
pub fn processors() -> io::Result<usize> {
    Ok(within_quota(allowed_cpus()?.len(), cpu_quota(Root(Path::new("/")))))
}

/// Bytes that can still be had without pushing others out: what the machine has, or what the control groups leave, where
/// that is less. `None` where the system does not say.
#[must_use]
pub fn memory_available() -> Option<u64> {
    available(Root(Path::new("/")))
}

fn within_quota(allowed: usize, quota: Option<f64>) -> usize {
    let granted = quota.map_or(usize::MAX, |quota| quota.ceil() as usize);
    allowed.min(granted).max(1)
}

/// Processors' time the control groups grant, in processors; `None` without a bound.
pub(crate) fn cpu_quota(root: Root<'_>) -> Option<f64> {
    // Version 2 writes "<quota> <period>", version 1 the quota and the period in files of their own.
    let periods = cgroup::settings(root, "cpu", "cpu.max", "cpu.cfs_period_us");
    let quotas = cgroup::settings(root, "cpu", "cpu.max", "cpu.cfs_quota_us");
    quotas
        .iter()
        .zip(&periods)
        .filter_map(|(quota, period)| {
            let quota: f64 = quota.text.split_whitespace().next()?.parse().ok()?;
            let period: f64 = period.text.split_whitespace().next_back()?.parse().ok()?;
            (quota > 0.0 && period > 0.0).then(|| quota / period)
        })
        .reduce(f64::min)
}

/// Bytes the control groups allow altogether; `None` without a bound.
pub(crate) fn memory_limit(root: Root<'_>) -> Option<u64> {
    limits(root).map(|(_, bytes)| bytes).min()
}

/// The bounds of the groups, with the files they stand in.
fn limits(root: Root<'_>) -> impl Iterator<Item = (String, u64)> {
    cgroup::settings(root, "memory", "memory.max", "memory.limit_in_bytes")
        .into_iter()
        .filter_map(|setting| Some((setting.path, setting.text.parse().ok()?)))
}

fn available(root: Root<'_>) -> Option<u64> {
    let left = |(path, limit): (String, u64)| {
        let (group, file) = path.rsplit_once('/')?;
        let (usage, cached) = match file {
            "memory.max" => ("memory.current", "inactive_file "),
            _ => ("memory.usage_in_bytes", "total_inactive_file "),
        };
        let used: u64 = root.text(&format!("{group}/{usage}"))?.parse().ok()?;
        let stat = root.text(&format!("{group}/memory.stat")).unwrap_or_default();
        // Pages of files that nobody looked at lately are given back when memory is asked for.
        let cached = stat.lines().find_map(|line| line.strip_prefix(cached)?.parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    };
    limits(root).filter_map(left).chain(meminfo(root, "MemAvailable")).min()
}

/// A number of `/proc/meminfo`, in bytes.
pub(crate) fn meminfo(root: Root<'_>, name: &str) -> Option<u64> {
    let text = root.text("proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const VERSION_2: [(&str, &str); 3] = [
        ("proc/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"),
        ("proc/self/cgroup", "0::/pod/me\n"),
        ("proc/meminfo", "MemTotal: 1000 kB\nMemAvailable:  800 kB\n"),
    ];

    #[test]
    fn the_tightest_group_bounds_memory() {
        let of = |files: &[(&str, &str)]| {
            let root = machine(&[&VERSION_2[..], files].concat());
            available(Root(root.path()))
        };
        assert_eq!(of(&[]), Some(800 << 10));
        let group = [
            ("sys/fs/cgroup/pod/me/memory.max", "500000"),
            ("sys/fs/cgroup/pod/me/memory.current", "300000"),
            ("sys/fs/cgroup/pod/me/memory.stat", "anon 5\ninactive_file 100000\n"),
        ];
        assert_eq!(of(&group), Some(300_000));
        let unbounded = [("sys/fs/cgroup/pod/me/memory.max", "max"), group[1]];
        assert_eq!(of(&unbounded), Some(800 << 10));
        let above =
            [("sys/fs/cgroup/pod/memory.max", "400000"), ("sys/fs/cgroup/pod/memory.current", "350000")];
        assert_eq!(of(&[&group[..], &above].concat()), Some(50_000));
    }

    #[test]
    fn version_1_is_read_too() {
        let root = machine(&[
            ("proc/mounts", "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"),
            ("proc/self/cgroup", "3:memory:/job\n"),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9000"),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "5000"),
            ("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
        ]);
        assert_eq!(available(Root(root.path())), Some(4500));
        assert_eq!(memory_limit(Root(root.path())), Some(9000));
    }

    #[test]
    fn a_quota_bounds_the_processors() {
        let quota = |text: &str| {
            let root = machine(&[&VERSION_2[..], &[("sys/fs/cgroup/pod/me/cpu.max", text)]].concat());
            cpu_quota(Root(root.path()))
        };
        assert_eq!(quota("max 100000"), None);
        assert_eq!(quota("150000 100000"), Some(1.5));
        assert_eq!(within_quota(64, quota("150000 100000")), 2);
        assert_eq!(within_quota(64, quota("10000 100000")), 1);
        assert_eq!(within_quota(4, quota("6400000 100000")), 4);
        assert_eq!(within_quota(4, None), 4);
    }

    #[test]
    fn this_machine_says_something() {
        assert!(processors().unwrap() >= 1);
        assert!(memory_available().is_some_and(|bytes| bytes > 0));
    }
}
