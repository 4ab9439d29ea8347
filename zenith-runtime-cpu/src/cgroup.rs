//! What the control groups of this process say: version 2, version 1, and the cpuset file system before both.
//!
//! It finds the files and gives their texts; what a text means is its reader's business.

use crate::numa::files::Root;

/// A file of a control group and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The file, below the root.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// What `controller` says to the process that `proc/self` below the root describes, its own group first, then the groups
/// above it: `version_2` and `version_1` name the file.
///
/// A container often sees its own group mounted as the top, while the membership names the path outside; so groups whose
/// files are missing are passed over.
pub(crate) fn settings(root: Root<'_>, controller: &str, version_2: &str, version_1: &str) -> Vec<Setting> {
    let mounts = root.text("proc/mounts").unwrap_or_default();
    let memberships = root.text("proc/self/cgroup").unwrap_or_default();
    let mut settings = Vec::new();
    for line in mounts.lines() {
        let Some(mount) = Mount::parse(line, controller) else {
            continue;
        };
        let file = match mount.version {
            Version::Two => version_2,
            Version::One => version_1,
            Version::WithoutPrefix => version_1.split_once('.').map_or(version_1, |(_, file)| file),
        };
        let group = match mount.version {
            Version::Two => member_of(&memberships, str::is_empty),
            _ => member_of(&memberships, |list| list.split(',').any(|name| name == controller))
                .or_else(|| (controller == "cpuset").then(|| root.text("proc/self/cpuset")).flatten()),
        };
        let Some(group) = group else { continue };
        upwards(&group, |group| {
            let path = format!("{}{group}/{file}", mount.at.trim_end_matches('/'));
            if let Some(text) = root.text(&path) {
                settings.push(Setting { path, text });
            }
        });
    }
    settings
}

enum Version {
    Two,
    One,
    /// Version 1 mounted with `noprefix`, or the cpuset file system: `cpus` instead of `cpuset.cpus`.
    WithoutPrefix,
}

struct Mount {
    at: String,
    version: Version,
}

impl Mount {
    /// The hierarchy of `controller` that this line of `proc/mounts` mounts.
    fn parse(line: &str, controller: &str) -> Option<Self> {
        let mut fields = line.split(' ').skip(1);
        let (at, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let has = |option| options.split(',').any(|name| name == option);
        let version = match kind {
            "cgroup2" => Version::Two,
            "cpuset" if controller == "cpuset" => Version::WithoutPrefix,
            "cgroup" if has(controller) && has("noprefix") => Version::WithoutPrefix,
            "cgroup" if has(controller) => Version::One,
            _ => return None,
        };
        // The kernel writes spaces in mount points as \040.
        let at = at.replace("\\040", " ");
        Some(Self { at, version })
    }
}

/// The group of the first membership whose list of controllers is meant.
fn member_of(memberships: &str, meant: impl Fn(&str) -> bool) -> Option<String> {
    memberships.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        meant(controllers).then(|| group.to_owned())
    })
}

/// Visits the group and those above it, down to the empty path; never one outside the mount.
fn upwards(group: &str, mut visit: impl FnMut(&str)) {
    let mut group = group.trim_end_matches('/');
    loop {
        if !group.split('/').any(|part| part == "..") {
            visit(group);
        }
        match group.rfind('/') {
            Some(end) => group = &group[..end],
            None => return,
        }
    }
}
