//! Whether a page can hold as many values as it claims, where the `parquet` crate takes memory for the claim: those of a
//! dictionary, and the lengths of texts that are encoded as differences. Pages of indices and of runs hold any number of
//! values in few bytes; those are decoded as far as rows are asked for, and claim nothing.

use parquet::basic::{Encoding, Type as Physical};
use parquet::column::page::Page;
use parquet::schema::types::ColumnDescriptor;

use super::thrift::Walk;

/// Differences in a block at most. Writers have 128 to some thousands; a block of equal ones takes next to no bytes.
const MOST_BLOCK: u64 = 1 << 16;

/// Refuses a page that claims to have more values than it can hold.
pub(super) fn check(page: &Page, column: &ColumnDescriptor) -> Result<(), String> {
    let values = page.num_values() as usize;
    if let Page::DictionaryPage { buf, .. } = page {
        let most = most_plain(column, buf.len());
        return if values <= most {
            Ok(())
        } else {
            Err(format!("a dictionary of {} bytes claims to have {values} values", buf.len()))
        };
    }
    // Lengths of what is shared with the value before, then those of the rest; or the latter alone.
    let streams = match page.encoding() {
        Encoding::DELTA_BYTE_ARRAY => 2,
        Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        _ => return Ok(()),
    };
    let Some(mut bytes) = behind_levels(page, column) else {
        return Ok(());
    };
    for _ in 0..streams {
        match behind_differences(bytes, values)? {
            Some(rest) => bytes = rest,
            None => return Ok(()),
        }
    }
    Ok(())
}

/// Values that `len` bytes hold at most, one behind the other.
fn most_plain(column: &ColumnDescriptor, len: usize) -> usize {
    let width = match column.physical_type() {
        Physical::BOOLEAN => return len.saturating_mul(8),
        Physical::INT32 | Physical::FLOAT | Physical::BYTE_ARRAY => 4,
        Physical::INT64 | Physical::DOUBLE => 8,
        Physical::INT96 => 12,
        Physical::FIXED_LEN_BYTE_ARRAY => usize::try_from(column.type_length()).unwrap_or(0),
    };
    // Values of no bytes are all the same.
    len.checked_div(width).unwrap_or(1)
}

/// The values of a page, behind its levels; `None` where they cannot be told from each other, which the crate refuses.
fn behind_levels<'a>(page: &'a Page, column: &ColumnDescriptor) -> Option<&'a [u8]> {
    match page {
        Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
            let mut bytes = buf.as_ref();
            let levels = [
                (column.max_rep_level(), *rep_level_encoding),
                (column.max_def_level(), *def_level_encoding),
            ];
            for (most, encoding) in levels.into_iter().filter(|(most, _)| *most > 0) {
                let len = if encoding == Encoding::RLE {
                    let (len, rest) = bytes.split_first_chunk::<4>()?;
                    bytes = rest;
                    u32::from_le_bytes(*len) as usize
                } else {
                    (*num_values as usize * (16 - most.leading_zeros() as usize)).div_ceil(8)
                };
                bytes = bytes.get(len..)?;
            }
            Some(bytes)
        }
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            buf.get(*def_levels_byte_len as usize + *rep_levels_byte_len as usize..)
        }
        Page::DictionaryPage { .. } => None,
    }
}

/// What follows the differences that `bytes` start with, which may be no more than `values`; `None` where they are
/// damaged, which the crate refuses.
fn behind_differences(bytes: &[u8], values: usize) -> Result<Option<&[u8]>, String> {
    let mut walk = Walk::new(bytes);
    let mut head =
        || Some((walk.number().ok()?, walk.number().ok()?, walk.number().ok()?, walk.number().ok()?));
    let Some((block, parts, count, _)) = head() else {
        return Ok(None);
    };
    if parts == 0 || !block.is_multiple_of(parts) {
        return Ok(None);
    }
    if block.max(parts) > MOST_BLOCK {
        return Err(format!("a block of {block} differences in {parts} parts is not believable"));
    }
    // The first value stands in front of the blocks. A block takes a byte, and one for each of its parts.
    let mut left = count.saturating_sub(1);
    let most = walk.rest().len() as u64 / (1 + parts) * block;
    if count > values as u64 || left > most {
        return Err(format!(
            "{} bytes claim to have {count} differences in a page of {values} values",
            bytes.len()
        ));
    }
    let mut over = || {
        while left > 0 {
            walk.number().ok()?;
            for width in walk.take(parts).ok()? {
                if left == 0 {
                    break;
                }
                walk.take(u64::from(*width) * (block / parts) / 8).ok()?;
                left = left.saturating_sub(block / parts);
            }
        }
        Some(())
    };
    Ok(over().map(|()| walk.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_walked_over_to_what_follows() {
        // Blocks of 128 in four parts; one value and no block, then a block whose first part has 2 bits a value.
        assert_eq!(behind_differences(&[128, 1, 4, 1, 0, 9, 9], 1), Ok(Some(&[9, 9][..])));
        let head = [128, 1, 4, 20, 0, 0, 2, 0, 0, 0];
        let bytes = [&head[..], &[7; 8], &[9, 9]].concat();
        assert_eq!(behind_differences(&bytes, 20), Ok(Some(&[9, 9][..])));
        assert!(behind_differences(&bytes, 19).unwrap_err().contains("20 differences in a page of 19"));
        // Cut off: the crate says so.
        assert_eq!(behind_differences(&bytes[..12], 20), Ok(None));
        assert_eq!(behind_differences(&[], 20), Ok(None));
        assert_eq!(behind_differences(&[128, 1, 0, 9, 0], 20), Ok(None));
    }

    #[test]
    fn more_differences_than_blocks_could_hold_are_refused() {
        let equal = |count: &[u8]| [&[128, 1, 4], count, &[0], &[0; 5][..]].concat();
        // 129 values: one, and a block.
        assert_eq!(behind_differences(&equal(&[0x81, 1]), usize::MAX), Ok(Some(&[][..])));
        assert!(behind_differences(&equal(&[0x82, 1]), usize::MAX).is_err());
        let huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
        assert!(behind_differences(&equal(&huge), usize::MAX).is_err());
        // Blocks that hold so many, and blocks of nothing.
        let blocks = [&huge[..], &[1], &huge, &[0; 9]].concat();
        assert!(behind_differences(&blocks, usize::MAX).unwrap_err().contains("not believable"));
        assert!(behind_differences(&[&[0, 1][..], &huge, &[0; 9]].concat(), usize::MAX).is_err());
        let parts = [&[0][..], &[0xff; 9], &[1, 1, 0]].concat();
        assert!(behind_differences(&parts, usize::MAX).unwrap_err().contains("not believable"));
    }
}
