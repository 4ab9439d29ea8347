//! NumPy's NPZ archives: the members of a zip archive, each an NPY file. Members that are stored as they are stay in the
//! file's bytes; deflated ones are inflated into memory. Reads no other kind of archive.

use std::io::Read;
use std::path::Path;

use crate::source::table::columns::MemoryColumn;
use crate::source::table::memory::{Bytes, read_file};
use crate::{Error, Result};

/// The end record of a zip archive, without its comment.
const END_LEN: usize = 22;

#[derive(Debug)]
struct Member {
    name: String,
    deflated: bool,
    packed: u64,
    len: u64,
    /// Where the local header starts.
    offset: u64,
    crc: u32,
}

/// The arrays of the archive at `path` as columns, in the archive's order.
///
/// # Errors
/// An archive that is damaged or cut off, and arrays that cannot be columns.
pub(crate) fn open(path: &Path) -> Result<Vec<MemoryColumn>> {
    let bytes = read_file(path)?;
    columns(&bytes).map_err(|reason| Error::source(path, reason))
}

fn columns(bytes: &Bytes) -> std::result::Result<Vec<MemoryColumn>, String> {
    members(bytes.as_slice())?
        .iter()
        .map(|member| {
            let name = member.name.strip_suffix(".npy").unwrap_or(&member.name);
            contents(bytes, member)
                .and_then(|array| super::npy::column(&array, name))
                .map_err(|reason| format!("array {name:?}: {reason}"))
        })
        .collect()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(N)?)?;
    Some(part.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

fn members(bytes: &[u8]) -> std::result::Result<Vec<Member>, String> {
    let damaged = || "the archive is damaged or cut off: its directory is not where it should be".to_owned();
    // The record stands at the end, in front of a comment of up to 64 KiB.
    let last = bytes.len().checked_sub(END_LEN).ok_or_else(damaged)?;
    let end = (last.saturating_sub(65_535)..=last)
        .rev()
        .find(|at| bytes[*at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(damaged)?;
    let mut count = number::<2>(bytes, end + 10).ok_or_else(damaged)?;
    let mut at = number::<4>(bytes, end + 16).ok_or_else(damaged)?;
    if count == 0xFFFF || at == 0xFFFF_FFFF {
        let locator =
            end.checked_sub(20).filter(|l| bytes[*l..].starts_with(b"PK\x06\x07")).ok_or_else(damaged)?;
        let wide = number::<8>(bytes, locator + 8).ok_or_else(damaged)? as usize;
        if bytes.get(wide..).is_none_or(|b| !b.starts_with(b"PK\x06\x06")) {
            return Err(damaged());
        }
        count = number::<8>(bytes, wide + 32).ok_or_else(damaged)?;
        at = number::<8>(bytes, wide + 48).ok_or_else(damaged)?;
    }
    let mut at = at as usize;
    let mut found = Vec::new();
    for _ in 0..count {
        if bytes.get(at..).is_none_or(|b| !b.starts_with(b"PK\x01\x02")) {
            return Err(damaged());
        }
        let field = |offset: usize| number::<2>(bytes, at + offset).ok_or_else(damaged);
        let wide = |offset: usize| number::<4>(bytes, at + offset).ok_or_else(damaged);
        let (flags, method) = (field(8)?, field(10)?);
        let (names, extras, comments) = (field(28)? as usize, field(30)? as usize, field(32)? as usize);
        let name = bytes.get(at + 46..at + 46 + names).ok_or_else(damaged)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let (mut packed, mut len, mut offset) = (wide(20)?, wide(24)?, wide(42)?);
        let extra = bytes.get(at + 46 + names..at + 46 + names + extras).ok_or_else(damaged)?;
        widen(extra, [&mut len, &mut packed, &mut offset]);
        if flags & 1 != 0 {
            return Err(format!("{name:?} is encrypted"));
        }
        if method != 0 && method != 8 {
            return Err(format!(
                "{name:?} is compressed by method {method}; only stored and deflated can be read"
            ));
        }
        found.push(Member { name, deflated: method == 8, packed, len, offset, crc: wide(16)? as u32 });
        at += 46 + names + extras + comments;
    }
    Ok(found)
}

/// Takes the 64-bit values of the extra field for those that are full in the 32-bit record.
fn widen(mut extra: &[u8], values: [&mut u64; 3]) {
    while let (Some(id), Some(len)) = (number::<2>(extra, 0), number::<2>(extra, 2)) {
        let end = 4 + len as usize;
        if id == 1 {
            let mut at = 4;
            for value in values {
                if *value == 0xFFFF_FFFF
                    && let Some(wide) = number::<8>(extra, at)
                {
                    *value = wide;
                    at += 8;
                }
            }
            return;
        }
        extra = extra.get(end..).unwrap_or(&[]);
    }
}

fn contents(bytes: &Bytes, member: &Member) -> std::result::Result<Bytes, String> {
    let damaged = || "the archive is damaged or cut off: the array is not where it should be".to_owned();
    let all = bytes.as_slice();
    let at = usize::try_from(member.offset).map_err(|_| damaged())?;
    if all.get(at..).is_none_or(|b| !b.starts_with(b"PK\x03\x04")) {
        return Err(damaged());
    }
    let names = number::<2>(all, at + 26).ok_or_else(damaged)? as usize;
    let extras = number::<2>(all, at + 28).ok_or_else(damaged)? as usize;
    let start = at + 30 + names + extras;
    let packed = member.packed as usize;
    if start.checked_add(packed).is_none_or(|end| end > all.len()) {
        return Err(damaged());
    }
    if !member.deflated {
        return Ok(bytes.slice(start, packed));
    }
    let packed = &all[start..start + packed];
    // A directory may lie about the length: deflate cannot expand more than about 1,032 times.
    if member.len / 1_040 > packed.len() as u64 {
        return Err(format!("{} bytes cannot inflate to {}", packed.len(), member.len));
    }
    let mut array = Vec::with_capacity(member.len as usize);
    let mut inflate = flate2::CrcReader::new(flate2::read::DeflateDecoder::new(packed)).take(member.len + 1);
    inflate.read_to_end(&mut array).map_err(|error| format!("cannot be inflated: {error}"))?;
    if array.len() as u64 != member.len {
        return Err(format!("inflates to another length than the {} bytes announced", member.len));
    }
    if inflate.into_inner().crc().sum() != member.crc {
        return Err("the checksum does not fit; the archive is damaged".into());
    }
    Ok(Bytes::of(array))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::npy::tests::npy;
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    /// A zip archive of one member per (name, bytes, deflate).
    pub(crate) fn archive(members: &[(&str, Vec<u8>, bool)]) -> Vec<u8> {
        let (mut file, mut directory) = (Vec::new(), Vec::new());
        for (name, bytes, deflate) in members {
            let mut packed = bytes.clone();
            if *deflate {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).unwrap();
                packed = encoder.finish().unwrap();
            }
            let mut crc = flate2::Crc::new();
            crc.update(bytes);
            let mut middle = Vec::new();
            middle.extend([20, 0, 0, 0, if *deflate { 8 } else { 0 }, 0, 0, 0, 0, 0]);
            middle.extend(crc.sum().to_le_bytes());
            middle.extend((packed.len() as u32).to_le_bytes());
            middle.extend((bytes.len() as u32).to_le_bytes());
            middle.extend((name.len() as u16).to_le_bytes());
            middle.extend([0, 0]);
            directory.extend(b"PK\x01\x02\x14\0");
            directory.extend(&middle);
            directory.extend([0; 10]);
            directory.extend((file.len() as u32).to_le_bytes());
            directory.extend(name.as_bytes());
            file.extend(b"PK\x03\x04");
            file.extend(&middle);
            file.extend(name.as_bytes());
            file.extend(packed);
        }
        let start = file.len() as u32;
        file.extend(&directory);
        file.extend(b"PK\x05\x06\0\0\0\0");
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((members.len() as u16).to_le_bytes());
        file.extend((directory.len() as u32).to_le_bytes());
        file.extend(start.to_le_bytes());
        file.extend([0, 0]);
        file
    }

    fn sample() -> Vec<u8> {
        let x = npy("<i2", false, "(2, 2)", &[1, 0, 2, 0, 3, 0, 4, 0]);
        let y = npy("|u1", false, "(2,)", &[7, 9]);
        archive(&[("x.npy", x, true), ("y.npy", y, false)])
    }

    #[test]
    fn stored_and_deflated_members_are_columns() {
        let columns = columns(&Bytes::of(sample())).unwrap();
        assert_eq!(columns[0].name, "x");
        assert_eq!(columns[0].bytes.as_slice(), [1, 0, 2, 0, 3, 0, 4, 0]);
        assert_eq!((columns[1].name.as_str(), columns[1].bytes.as_slice()), ("y", &[7u8, 9][..]));
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let mut file = sample();
        file.truncate(file.len() - 30);
        assert!(columns(&Bytes::of(file)).unwrap_err().contains("cut off"));
    }

    proptest! {
        #[test]
        fn damage_never_panics(hits in proptest::collection::vec((0usize..700, any::<u8>()), 1..8), keep in 0usize..700) {
            let mut file = sample();
            for (at, byte) in hits {
                if let Some(place) = file.get_mut(at) { *place = byte; }
            }
            file.truncate(keep.max(1));
            let _ = columns(&Bytes::of(file));
        }
    }
}
