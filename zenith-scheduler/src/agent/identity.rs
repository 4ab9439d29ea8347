//! What tells this machine from another of the same name: a random number, made once and kept in the state folder. Who loses
//! the folder is another machine, since nobody could say what still runs there.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

use super::layout::Layout;

const BYTES: usize = 16;

/// The number, which is made where there is none yet. To be called by whoever holds the folder's lock.
pub(crate) fn of(layout: &Layout) -> io::Result<String> {
    let path = layout.identity();
    match fs::read_to_string(&path) {
        Ok(text) if is_one(text.trim()) => return Ok(text.trim().to_owned()),
        Ok(_) => {
            let why =
                "it has no identity within; remove it, and the controller takes this node for another one";
            return Err(io::Error::other(why));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut bytes = [0; BYTES];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    let identity: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    write(&path, &identity)?;
    Ok(identity)
}

fn is_one(text: &str) -> bool {
    text.len() == 2 * BYTES && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whole or not at all, and on the disk before anybody hears of it.
fn write(path: &Path, identity: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    writeln!(file, "{identity}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_for_each_folder() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, other) = (Layout::new(one.path()), Layout::new(other.path()));
        let first = of(&one).unwrap();
        assert!(is_one(&first), "{first}");
        assert_eq!(of(&one).unwrap(), first);
        assert_ne!(of(&other).unwrap(), first);
        fs::write(one.identity(), "").unwrap();
        assert!(of(&one).unwrap_err().to_string().contains("remove it"));
    }
}
