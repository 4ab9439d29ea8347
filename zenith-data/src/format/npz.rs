//! NumPy's NPZ archives: the members of a zip archive, each an NPY file, stored or deflated. Finds where they lie and reads
//! their headers; values are read, inflated and checked when they are needed. Reads no other kind of archive.

use std::io::{BufReader, Read};
use std::path::Path;

use super::npy::Header;
use crate::table::files::{FileColumn, Lies, Sum};
use crate::table::pread::PreadFile;
use crate::{Error, Result};

/// The end record of a zip archive, without its comment.
const END_LEN: usize = 22;
/// The longest comment behind the end record.
const MOST_COMMENT: usize = 65_535;
/// In front of the end record: where the 64-bit end record is, and that record.
const LOCATOR_LEN: usize = 20;
const WIDE_END_LEN: usize = 56;
/// The fixed part of a member's entry in the directory, and of its header.
const ENTRY_LEN: usize = 46;
const LOCAL_LEN: usize = 30;
/// A directory of more bytes (some 300,000 arrays) is not believable.
const MOST_DIRECTORY: u64 = 32 << 20;
/// Deflate makes of a byte less than so many.
const MOST_EXPANSION: u64 = 1_040;

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
/// An archive that is damaged or cut off, whose members overlap, and arrays that cannot be columns.
pub(crate) fn open(path: &Path) -> Result<Vec<FileColumn>> {
    let file = PreadFile::open(path)?;
    if file.len() == 0 {
        return Err(Error::source(path, "the file is empty"));
    }
    columns(&file).map_err(|reason| Error::source(path, reason))
}

fn columns(file: &PreadFile) -> std::result::Result<Vec<FileColumn>, String> {
    let members = members(file)?;
    let starts = members.iter().map(|member| start(file, member)).collect::<Result<Vec<u64>, _>>()?;
    let mut taken: Vec<(u64, u64, &str)> = members
        .iter()
        .zip(&starts)
        .map(|(member, start)| (member.offset, start + member.packed, member.name.as_str()))
        .collect();
    taken.sort_unstable();
    // An archive whose members share bytes inflates to any size; none is made that way.
    if let Some([a, b]) = taken.array_windows().find(|[a, b]| b.0 < a.1) {
        return Err(format!("the archive is damaged: {:?} and {:?} overlap", a.2, b.2));
    }
    members
        .iter()
        .zip(starts)
        .map(|(member, start)| {
            let name = member.name.strip_suffix(".npy").unwrap_or(&member.name);
            column(file, member, start, name).map_err(|reason| format!("array {name:?}: {reason}"))
        })
        .collect()
}

fn column(
    file: &PreadFile,
    member: &Member,
    start: u64,
    name: &str,
) -> std::result::Result<FileColumn, String> {
    let Member { deflated, packed, len, crc, .. } = *member;
    let mut bytes = BufReader::new(file.cursor(start).take(packed));
    if !deflated {
        let header = Header::read(&mut bytes)?;
        let lies = Lies::Plain { offset: start + header.data, sum: Some(Sum { start, len: packed, crc }) };
        return header.column(name, packed, file.clone(), lies);
    }
    // A directory may lie about the length.
    if len / MOST_EXPANSION > packed {
        return Err(format!("{packed} bytes cannot inflate to {len}"));
    }
    let header = Header::read(&mut flate2::bufread::DeflateDecoder::new(bytes))?;
    let lies = Lies::Deflated { offset: start, packed, head: header.data, len, crc };
    header.column(name, len, file.clone(), lies)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(N)?)?;
    Some(part.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

/// Some bytes of the file.
fn bytes(file: &PreadFile, start: u64, len: usize) -> std::result::Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    file.fill(&mut bytes, start).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn damaged() -> String {
    "the archive is damaged or cut off: its directory is not where it should be".to_owned()
}

/// Where the directory starts, how many bytes it has, and how many members it names.
fn directory(file: &PreadFile) -> std::result::Result<(u64, u64, u64), String> {
    // The record stands at the end, in front of a comment.
    let tail = (file.len() as usize).min(MOST_COMMENT + END_LEN + LOCATOR_LEN);
    let tail = bytes(file, file.len() - tail as u64, tail)?;
    let last = tail.len().checked_sub(END_LEN).ok_or_else(damaged)?;
    let end = (last.saturating_sub(MOST_COMMENT)..=last)
        .rev()
        .find(|at| tail[*at..].starts_with(b"PK\x05\x06"))
        .ok_or_else(damaged)?;
    let field = |at: usize| number::<4>(&tail, end + at).ok_or_else(damaged);
    let count = number::<2>(&tail, end + 10).ok_or_else(damaged)?;
    let (len, start) = (field(12)?, field(16)?);
    if count != 0xFFFF && len != 0xFFFF_FFFF && start != 0xFFFF_FFFF {
        return Ok((start, len, count));
    }
    let locator = end.checked_sub(LOCATOR_LEN).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
    let wide = locator.and_then(|at| number::<8>(&tail, at + 8)).ok_or_else(damaged)?;
    let wide = bytes(file, wide, WIDE_END_LEN).map_err(|_| damaged())?;
    let field = |at: usize| number::<8>(&wide, at).ok_or_else(damaged);
    if !wide.starts_with(b"PK\x06\x06") {
        return Err(damaged());
    }
    Ok((field(48)?, field(40)?, field(32)?))
}

fn members(file: &PreadFile) -> std::result::Result<Vec<Member>, String> {
    let (start, len, count) = directory(file)?;
    if start.checked_add(len).is_none_or(|end| end > file.len()) {
        return Err(damaged());
    }
    if len > MOST_DIRECTORY {
        return Err(format!("a directory of {len} bytes is not believable"));
    }
    let entries = bytes(file, start, len as usize)?;
    let mut at = 0;
    let mut found = Vec::new();
    for _ in 0..count {
        let entry = entries.get(at..).filter(|b| b.starts_with(b"PK\x01\x02")).ok_or_else(damaged)?;
        let field = |offset: usize| number::<2>(entry, offset).ok_or_else(damaged);
        let wide = |offset: usize| number::<4>(entry, offset).ok_or_else(damaged);
        let (flags, method) = (field(8)?, field(10)?);
        let (names, extras, comments) = (field(28)? as usize, field(30)? as usize, field(32)? as usize);
        let name = entry.get(ENTRY_LEN..ENTRY_LEN + names).ok_or_else(damaged)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let (mut packed, mut len, mut offset) = (wide(20)?, wide(24)?, wide(42)?);
        let extra = entry.get(ENTRY_LEN + names..ENTRY_LEN + names + extras).ok_or_else(damaged)?;
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
        at += ENTRY_LEN + names + extras + comments;
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

/// Where the bytes of a member start: behind a header of its own.
fn start(file: &PreadFile, member: &Member) -> std::result::Result<u64, String> {
    let damaged = || {
        format!("the archive is damaged or cut off: the array {:?} is not where it should be", member.name)
    };
    if member.offset.checked_add(LOCAL_LEN as u64).is_none_or(|end| end > file.len()) {
        return Err(damaged());
    }
    let header = bytes(file, member.offset, LOCAL_LEN)?;
    let (names, extras) = (number::<2>(&header, 26), number::<2>(&header, 28));
    let start = match (names, extras) {
        (Some(names), Some(extras)) if header.starts_with(b"PK\x03\x04") => {
            member.offset + LOCAL_LEN as u64 + names + extras
        }
        _ => return Err(damaged()),
    };
    match start.checked_add(member.packed) {
        Some(end) if end <= file.len() => Ok(start),
        _ => Err(damaged()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::npy::tests::npy;
    use super::*;
    use crate::source::table::{Kind, Opened, TableOptions, open_files};
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

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn table(bytes: &[u8], options: &TableOptions) -> Result<Opened> {
        open_files(&[written(bytes).path().to_owned()], Kind::Npz, options)
    }

    #[test]
    fn stored_and_deflated_members_are_columns() {
        let file = written(&sample());
        let columns = open(file.path()).unwrap();
        assert_eq!(
            (columns[0].name.as_str(), columns[0].shape.as_slice(), columns[0].rows()),
            ("x", &[2][..], 2)
        );
        assert_eq!((columns[1].name.as_str(), columns[1].rows()), ("y", 2));
        let mut values = [0; 2];
        columns[1].read(0, 0, &mut values, false).unwrap();
        assert_eq!(values, [7, 9]);
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let mut file = sample();
        file.truncate(file.len() - 30);
        assert!(table(&file, &TableOptions::default()).unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn a_checksum_that_does_not_fit_is_named_for_stored_and_deflated_members() {
        for deflate in [false, true] {
            let x = npy("<i2", false, "(200, 100)", &[3; 40_000]);
            let file =
                archive(&[("x.npy", x, deflate), ("y.npy", npy("|u1", false, "(200,)", &[1; 200]), false)]);
            assert!(table(&file, &TableOptions::default()).is_ok());
            let mut damaged = file.clone();
            // The checksum of the first entry of the directory.
            let entry = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
            damaged[entry + 16] ^= 1;
            let error = table(&damaged, &TableOptions::default()).unwrap_err().to_string();
            assert!(error.contains("\"x\": the checksum does not fit"), "{error}");
            if !deflate {
                let mut damaged = file.clone();
                damaged[30_000] ^= 1;
                let error = table(&damaged, &TableOptions::default()).unwrap_err().to_string();
                assert!(error.contains("\"x\": the checksum does not fit"), "{error}");
            }
        }
    }

    #[test]
    fn members_that_share_bytes_are_refused() {
        let mut file = archive(&[("x.npy", npy("|u1", false, "(9,)", &[1; 9]), true)]);
        let entry = file.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        let (end, twin) = (file.len() - END_LEN, file[entry..file.len() - END_LEN].to_vec());
        let mut tail = file.split_off(end);
        tail[8] = 2;
        tail[10] = 2;
        tail[12..16].copy_from_slice(&(2 * twin.len() as u32).to_le_bytes());
        file.extend(twin);
        file.extend(tail);
        let error = table(&file, &TableOptions::default()).unwrap_err().to_string();
        assert!(error.contains("overlap"), "{error}");
    }

    #[test]
    fn only_chosen_arrays_are_inflated_and_what_is_inflated_has_a_bound() {
        let y = npy("|u1", false, "(100,)", &[1; 100]);
        let large = npy("<f4", false, "(100, 25000)", &vec![0; 10_000_000]);
        let mut file =
            archive(&[("x.npy", y.clone(), false), ("large.npy", large, true), ("y.npy", y, false)]);
        let small = TableOptions {
            columns: Some(vec!["x".into()]),
            memory_budget: Some(10_000),
            ..TableOptions::default()
        };
        assert!(table(&file, &small).is_ok(), "the large one is not chosen");
        let error = table(&file, &TableOptions { memory_budget: Some(1 << 20), ..TableOptions::default() });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("memory_budget=1048576") && error.contains("np.savez"), "{error}");
        // Damage in an array that is not chosen does no harm.
        let entry = file.windows(9).rposition(|w| w == b"large.npy").unwrap() - ENTRY_LEN;
        file[entry + 16] ^= 1;
        assert!(table(&file, &small).is_ok());
        assert!(table(&file, &TableOptions::default()).is_err());
    }

    proptest! {
        #[test]
        fn damage_never_panics(hits in proptest::collection::vec((0usize..700, any::<u8>()), 1..8), keep in 0usize..700) {
            let mut file = sample();
            for (at, byte) in hits {
                if let Some(place) = file.get_mut(at) { *place = byte; }
            }
            file.truncate(keep.max(1));
            let _ = table(&file, &TableOptions::default());
        }
    }
}
