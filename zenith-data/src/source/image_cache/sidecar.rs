//! The arena of indexes as a file of the cache directory. The frame around it (magic, version, checksum, whole or not at
//! all) is [`CacheDir`]'s; that an index belongs to its picture is found out when it is used.

use super::index::Arena;
use crate::source::cache_dir::CacheDir;

/// Suffix of the file's name.
pub(super) const KIND: &str = "entropy";
const VERSION: u32 = 1;
/// Bytes in front of each index: number of the picture, length.
const HEAD: usize = 8 + 4;

/// Fills `arena` with what was kept for it, as far as there is room.
pub(super) fn load(dir: &CacheDir, arena: &Arena) {
    let Some(payload) = dir.read(KIND, VERSION, &arena.subject) else {
        return;
    };
    let mut rest = &payload[..];
    while let Some((id, packed, behind)) = next(rest) {
        rest = behind;
        if id >= arena.pictures {
            break;
        }
        if !arena.put(id, packed) {
            tracing::warn!("not all kept entropy indexes fit into the cache's limit");
            return;
        }
    }
    if !rest.is_empty() {
        tracing::warn!("ignoring the end of a file of entropy indexes that contradicts itself");
    }
}

fn next(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (packed, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    Some((u64::from_le_bytes(*id), packed, rest))
}

/// Keeps what `arena` holds for the next run.
pub(super) fn store(dir: &CacheDir, arena: &Arena) {
    if *dir == CacheDir::none() {
        return;
    }
    let mut payload = Vec::with_capacity(arena.count() as usize * (HEAD + 200));
    for id in 0..arena.pictures {
        let _ = arena.with(id, |packed| {
            payload.extend_from_slice(&id.to_le_bytes());
            payload.extend_from_slice(&(packed.len() as u32).to_le_bytes());
            payload.extend_from_slice(packed);
        });
    }
    dir.write(KIND, VERSION, &arena.subject, &payload);
}
