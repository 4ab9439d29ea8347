//! The entries of one directory with their types, many per system call and without a `stat` per file. It interprets
//! no name.
#![expect(unsafe_code, reason = "getdents64 has no safe wrapper in the standard library")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What an entry is, as far as the directory itself says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// A directory.
    Dir,
    /// A symbolic link, or a file system that does not say: only `stat` can tell.
    Ask,
    /// Anything else.
    File,
}

/// Bytes asked for per system call.
const BUFFER: usize = 256 << 10;

const NAME_AT: usize = 19;

/// Reads directories; keeps its buffer.
pub(super) struct DirReader {
    buffer: Vec<u8>,
}

impl DirReader {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; BUFFER] }
    }

    /// Calls `each` with the name and kind of every entry but `.` and `..`, in the file system's order.
    pub(super) fn read(
        &mut self,
        dir: BorrowedFd<'_>,
        mut each: impl FnMut(&[u8], EntryKind) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            // SAFETY: the kernel writes at most `buffer.len()` bytes into the buffer, which is exclusively ours.
            let got = unsafe {
                libc::syscall(
                    libc::SYS_getdents64,
                    dir.as_raw_fd(),
                    self.buffer.as_mut_ptr(),
                    self.buffer.len(),
                )
            };
            let got = match usize::try_from(got) {
                Ok(0) => return Ok(()),
                Ok(got) => got,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.kind() == io::ErrorKind::Interrupted {
                        continue;
                    }
                    return Err(error);
                }
            };
            let mut rest = &self.buffer[..got];
            while let Some((name, kind, next)) = entry(rest) {
                if name != b"." && name != b".." {
                    each(name, kind)?;
                }
                rest = next;
            }
        }
    }
}

/// The first record (`d_ino` 8, `d_off` 8, `d_reclen` 2, `d_type` 1, name) and what follows it.
fn entry(records: &[u8]) -> Option<(&[u8], EntryKind, &[u8])> {
    let length = usize::from(u16::from_ne_bytes([*records.get(16)?, *records.get(17)?]));
    let record = records.get(..length)?;
    let name = record.get(NAME_AT..)?.split(|&b| b == 0).next()?;
    let kind = match record[18] {
        libc::DT_DIR => EntryKind::Dir,
        libc::DT_LNK | libc::DT_UNKNOWN => EntryKind::Ask,
        _ => EntryKind::File,
    };
    Some((name, kind, &records[length..]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn sees_what_std_sees() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..3_000 {
            fs::write(dir.path().join(format!("file with a longish name {i}")), []).unwrap();
        }
        fs::create_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
        let open = File::open(dir.path()).unwrap();
        let mut seen = BTreeMap::new();
        DirReader::new()
            .read(open.as_fd(), |name, kind| {
                assert_eq!(seen.insert(String::from_utf8(name.to_vec()).unwrap(), kind), None);
                Ok(())
            })
            .unwrap();
        let expected: BTreeMap<String, EntryKind> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                let kind = e.file_type().unwrap();
                let kind = match (kind.is_dir(), kind.is_symlink()) {
                    (true, _) => EntryKind::Dir,
                    (_, true) => EntryKind::Ask,
                    _ => EntryKind::File,
                };
                (e.file_name().into_string().unwrap(), kind)
            })
            .collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn errors_are_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, []).unwrap();
        let open = File::open(&file).unwrap();
        let error = DirReader::new().read(open.as_fd(), |_, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
