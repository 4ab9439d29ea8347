//! A file table as bytes, to be kept between runs. The frame around it (magic, version, checksum) and the place are
//! [`CacheDir`]'s; whether it is still true is for the scan to find out.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::index::{Dir, FileIndex, class_order};
use crate::source::cache_dir::CacheDir;

const KIND: &str = "files";
const VERSION: u32 = 1;

/// The table last kept for `root`.
pub(super) fn load(cache: &CacheDir, root: &Path) -> Option<FileIndex> {
    let subject = root.as_os_str().as_bytes();
    let bytes = cache.read(KIND, VERSION, subject)?;
    let index = decode(root, &bytes);
    if index.is_none() {
        tracing::warn!(root = %root.display(), "ignoring a kept file table that contradicts itself");
    }
    index
}

/// Keeps the table for the next run.
pub(super) fn store(cache: &CacheDir, index: &FileIndex) {
    cache.write(KIND, VERSION, index.root.as_os_str().as_bytes(), &encode(index));
}

/// Counts (directories, files, bytes of names), directories, names, starts; little-endian.
fn encode(index: &FileIndex) -> Vec<u8> {
    let paths: usize = index.dirs.iter().map(|dir| dir.path.len()).sum();
    let mut out =
        Vec::with_capacity(24 + index.dirs.len() * 36 + paths + index.names.len() + index.starts.len() * 4);
    for count in [index.dirs.len(), index.starts.len(), index.names.len()] {
        out.extend_from_slice(&(count as u64).to_le_bytes());
    }
    for dir in &index.dirs {
        out.extend_from_slice(&(dir.path.len() as u32).to_le_bytes());
        out.extend_from_slice(&dir.path);
        out.extend_from_slice(&dir.modified.to_le_bytes());
        out.extend_from_slice(&dir.first.to_le_bytes());
        out.extend_from_slice(&dir.names_at.to_le_bytes());
        out.extend_from_slice(&dir.ignored.to_le_bytes());
        out.extend_from_slice(&dir.tables.to_le_bytes());
    }
    out.extend_from_slice(&index.names);
    for start in &index.starts {
        out.extend_from_slice(&start.to_le_bytes());
    }
    out
}

fn decode(root: &Path, bytes: &[u8]) -> Option<FileIndex> {
    let mut bytes = Bytes(bytes);
    let [dirs, files, names] = [bytes.u64()?, bytes.u64()?, bytes.u64()?];
    let mut index = FileIndex::new(root);
    for _ in 0..dirs {
        let length = bytes.u32()?;
        index.dirs.push(Dir {
            path: bytes.take(length.into())?.into(),
            modified: bytes.u64()? as i64,
            first: bytes.u64()?,
            names_at: bytes.u64()?,
            ignored: bytes.u32()?,
            tables: bytes.u32()?,
        });
    }
    index.names = bytes.take(names)?.to_vec();
    let starts = bytes.take(files.checked_mul(4)?)?;
    index.starts = starts.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    (bytes.0.is_empty() && is_consistent(&index)).then_some(index)
}

/// Whether every name can be cut out of the table, and its directories are in the order that classes are numbered by.
fn is_consistent(index: &FileIndex) -> bool {
    let ascending = |key: fn(&Dir) -> u64| index.dirs.is_sorted_by_key(key);
    let Some((first, last)) = index.dirs.first().zip(index.dirs.last()) else {
        return index.starts.is_empty() && index.names.is_empty();
    };
    first.first == 0
        && first.names_at == 0
        && ascending(|dir| dir.first)
        && ascending(|dir| dir.names_at)
        && index.dirs.is_sorted_by(|a, b| class_order(&a.path) <= class_order(&b.path))
        && last.first <= index.len()
        && last.names_at <= index.names.len() as u64
        && (0..index.dirs.len()).all(|dir| {
            let (names, starts) = (index.names_of(dir), index.starts_of(dir));
            starts.first().is_none_or(|&start| start == 0)
                && starts.is_sorted_by(|a, b| a < b)
                && starts.last().is_none_or(|&start| (start as usize) < names.len())
                && starts.is_empty() == names.is_empty()
                && names.last().is_none_or(|&end| end == 0)
        })
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::source::folder::index::Listing;

    fn listing() -> impl Strategy<Value = Listing> {
        let name = prop::collection::vec(1u8..=255, 1..12);
        (prop::collection::btree_set(name, 0..8), "[a-c]{1,2}(/[a-c]{1,2}){0,2}", any::<i64>(), any::<u32>())
            .prop_map(|(files, path, modified, ignored)| {
                let mut listing = Listing {
                    path: path.into_bytes().into(),
                    modified,
                    ignored,
                    tables: ignored / 2,
                    ..Listing::default()
                };
                for file in files {
                    listing.starts.push(listing.names.len() as u32);
                    listing.names.extend_from_slice(&file);
                    listing.names.push(0);
                }
                listing
            })
    }

    #[test]
    fn directories_out_of_order_are_refused() {
        let named = |path: &[u8]| Dir {
            path: path.into(),
            modified: 0,
            first: 0,
            names_at: 0,
            ignored: 0,
            tables: 0,
        };
        let mut index = FileIndex::new(Path::new("/data"));
        index.dirs = vec![named(b""), named(b"a"), named(b"a/b")];
        assert!(decode(Path::new("/data"), &encode(&index)).is_some());
        // The root among the classes would leave later directories without a class.
        index.dirs.rotate_left(1);
        assert_eq!(decode(Path::new("/data"), &encode(&index)), None);
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(listings in prop::collection::vec(listing(), 0..6)) {
            let index = FileIndex::of(Path::new("/data"), listings);
            prop_assert_eq!(decode(Path::new("/data"), &encode(&index)), Some(index));
        }

        #[test]
        fn no_bytes_make_it_panic(
            listings in prop::collection::vec(listing(), 1..4),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = encode(&FileIndex::of(Path::new("/data"), listings));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                if let Some(index) = decode(Path::new("/data"), bytes) {
                    let mut path = Vec::new();
                    for file in 0..index.len() {
                        index.relative(file, &mut path);
                    }
                }
            }
        }
    }
}
