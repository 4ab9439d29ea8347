//! Which processors and memory nodes the cgroup of a process allows: version 2, version 1, and the file system that
//! came before both.

use super::files::Root;
use super::{CpuSet, TopologyError};

/// The limits of a cpuset; `None` where there is no limit or none can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CpusetLimits {
    pub(super) cpus: Option<CpuSet>,
    pub(super) nodes: Option<CpuSet>,
}

/// Where a hierarchy is mounted and what its files are called.
#[derive(Debug)]
struct Mount {
    at: String,
    cpus: &'static [&'static str],
    nodes: &'static [&'static str],
}

/// The limits of the process that `proc/self` below the root describes.
pub(super) fn cpuset_limits(root: Root<'_>) -> Result<CpusetLimits, TopologyError> {
    let mounts = root.text("proc/mounts").unwrap_or_default();
    let memberships = root.text("proc/self/cgroup").unwrap_or_default();
    let legacy = root.text("proc/self/cpuset");
    let mut limits = CpusetLimits::default();
    for line in mounts.lines() {
        let Some((mount, version_2)) = cpuset_mount(line) else {
            continue;
        };
        let group = if version_2 {
            member_of(&memberships, |controllers| controllers.is_empty())
        } else {
            member_of(&memberships, |controllers| {
                controllers.split(',').any(|name| name == "cpuset")
            })
            .or_else(|| legacy.clone())
        };
        let Some(group) = group else { continue };
        narrow(&mut limits.cpus, nearest(root, &mount.at, &group, mount.cpus)?);
        narrow(&mut limits.nodes, nearest(root, &mount.at, &group, mount.nodes)?);
    }
    Ok(limits)
}

/// The cpuset hierarchy that this line of `proc/mounts` mounts, and whether it is cgroup version 2.
fn cpuset_mount(line: &str) -> Option<(Mount, bool)> {
    let mut fields = line.split(' ').skip(1);
    let (at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
    let has = |option| options.split(',').any(|name| name == option);
    let (cpus, nodes): (&[&str], &[&str]) = match kind {
        "cgroup2" => (&["cpuset.cpus.effective"], &["cpuset.mems.effective"]),
        "cpuset" => (&["cpus"], &["mems"]),
        "cgroup" if has("cpuset") && has("noprefix") => (&["cpus"], &["mems"]),
        "cgroup" if has("cpuset") => (
            &["cpuset.effective_cpus", "cpuset.cpus"],
            &["cpuset.effective_mems", "cpuset.mems"],
        ),
        _ => return None,
    };
    // The kernel writes spaces in mount points as \040.
    let at = at.replace("\\040", " ");
    Some((Mount { at, cpus, nodes }, kind == "cgroup2"))
}

/// The group of the first membership whose list of controllers is meant.
fn member_of(memberships: &str, meant: impl Fn(&str) -> bool) -> Option<String> {
    memberships.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        meant(controllers).then(|| group.to_owned())
    })
}

/// The set of the group or, where its files are missing or empty, of the nearest group above that has them.
///
/// A container often sees its own group mounted as the top, while the membership names the path outside.
fn nearest(
    root: Root<'_>,
    mount: &str,
    group: &str,
    files: &[&str],
) -> Result<Option<CpuSet>, TopologyError> {
    let mut group = group.trim_end_matches('/');
    loop {
        if !group.split('/').any(|part| part == "..") {
            for file in files {
                let set = root.list(&format!("{}{group}/{file}", mount.trim_end_matches('/')))?;
                if let Some(set) = set.filter(|set| !set.is_empty()) {
                    return Ok(Some(set));
                }
            }
        }
        match group.rfind('/') {
            Some(end) => group = &group[..end],
            None => return Ok(None),
        }
    }
}

fn narrow(limit: &mut Option<CpuSet>, set: Option<CpuSet>) {
    if let Some(set) = set {
        *limit = Some(match limit.take() {
            Some(limit) => limit.intersection(&set),
            None => set,
        });
    }
}
