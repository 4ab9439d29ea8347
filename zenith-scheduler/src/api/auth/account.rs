//! What the system calls a user.

use std::{env, fs};

/// The name of a user id: from the system's list, from the environment where it is this process's user, or the number.
pub(super) fn name(uid: u32) -> String {
    let listed = fs::read_to_string("/etc/passwd").ok().and_then(|list| listed(&list, uid));
    let own = || {
        let is_own = rustix::process::getuid().as_raw() == uid;
        is_own.then(|| env::var("USER").ok().filter(|name| !name.is_empty())).flatten()
    };
    listed.or_else(own).unwrap_or_else(|| uid.to_string())
}

fn listed(list: &str, uid: u32) -> Option<String> {
    let wanted = uid.to_string();
    list.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id == wanted && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let list = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(listed(list, 0).as_deref(), Some("root"));
        assert_eq!(listed(list, 1000).as_deref(), Some("ann"));
        assert_eq!(listed(list, 100), None);
    }
}
