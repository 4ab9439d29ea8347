//! Where the buffers of a column lie in the body of a record batch, told from the batch's description alone, so that a
//! column is read without the others. Decodes nothing.

use std::ops::Range;

use arrow_buffer::Buffer;
use arrow_ipc::{CompressionType, Message, RecordBatch};
use arrow_schema::{DataType, Schema};

use crate::table::memory::{Bytes, zeroed};
use crate::table::pread::PreadFile;

/// Buffers nearer to each other than so many bytes are read together.
const NEAR: usize = 64 << 10;

/// Nodes and buffers that a column of this type has in a batch, its children's included; `None` where that cannot be
/// told from the type.
fn counts(kind: &DataType) -> Option<(usize, usize)> {
    let with =
        |own: usize, child: &DataType| counts(child).map(|(nodes, buffers)| (1 + nodes, own + buffers));
    match kind {
        DataType::Null => Some((1, 0)),
        DataType::Boolean | DataType::FixedSizeBinary(_) | DataType::Dictionary(..) => Some((1, 2)),
        kind if kind.is_primitive() => Some((1, 2)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => Some((1, 3)),
        DataType::List(child) | DataType::LargeList(child) | DataType::Map(child, _) => {
            with(2, child.data_type())
        }
        DataType::FixedSizeList(child, _) => with(1, child.data_type()),
        DataType::Struct(fields) => fields.iter().try_fold((1, 1), |(nodes, buffers), field| {
            counts(field.data_type()).map(|(n, b)| (nodes + n, buffers + b))
        }),
        _ => None,
    }
}

/// The first node and the first buffer of a column.
fn first(schema: &Schema, column: usize) -> Option<(usize, usize)> {
    schema.fields().iter().take(column).try_fold((0, 0), |(nodes, buffers), field| {
        counts(field.data_type()).map(|(n, b)| (nodes + n, buffers + b))
    })
}

/// The stretches of the body that the columns `projection` need, in order and apart; `None` for all of it.
pub(super) fn ranges(
    message: &Message<'_>,
    schema: &Schema,
    projection: &[usize],
) -> Option<Vec<Range<usize>>> {
    let buffers = message.header_as_record_batch()?.buffers()?;
    let mut needed = Vec::new();
    for column in projection {
        let (_, start) = first(schema, *column)?;
        let (_, count) = counts(schema.fields().get(*column)?.data_type())?;
        for nth in start..start.checked_add(count).filter(|end| *end <= buffers.len())? {
            let buffer = buffers.get(nth);
            let offset = usize::try_from(buffer.offset()).ok()?;
            needed.push(offset..offset.checked_add(usize::try_from(buffer.length()).ok()?)?);
        }
    }
    needed.sort_unstable_by_key(|range| range.start);
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in needed {
        match apart.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(NEAR) => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    Some(apart)
}

/// A body of `len` bytes from `start` of the file on, of which only `ranges` are read (all of it for `None`). What is
/// not read is zero and takes no memory.
pub(super) fn read_parts(
    file: &PreadFile,
    start: u64,
    len: usize,
    ranges: Option<Vec<Range<usize>>>,
) -> Result<Buffer, String> {
    // A damaged message may claim any length; do not reserve for bytes that are not there.
    if start.checked_add(len as u64).is_none_or(|end| end > file.len()) {
        return Err(format!("the file is cut off: {len} bytes from offset {start} on are not there"));
    }
    let mut body = zeroed(len).map_err(|error| error.to_string())?;
    let all = Range { start: 0, end: len };
    for range in ranges.unwrap_or_else(|| vec![all]) {
        let Some(part) = body.as_mut_slice().get_mut(range.clone()).filter(|_| range.end <= len) else {
            return Err("the batch names a buffer outside of its message".into());
        };
        file.fill(part, start + range.start as u64).map_err(|error| error.to_string())?;
    }
    Ok(Buffer::from(bytes::Bytes::from_owner(Bytes::of(body))).slice_with_length(0, len))
}

/// How many times its size a compressed buffer can be at most: a literal of LZ4 grows by a byte for each 255 it stands
/// for, a block of Zstandard holds 128 KiB and takes 4 bytes.
fn most_expansion(codec: CompressionType) -> u64 {
    if codec == CompressionType::LZ4_FRAME { 255 } else { (128 << 10) / 4 }
}

/// Refuses a batch with a compressed buffer that claims to hold more than it can. The claim decides how much memory is
/// taken for it.
pub(super) fn claims_fit(batch: RecordBatch<'_>, body: &[u8]) -> Result<(), String> {
    let (Some(compression), Some(buffers)) = (batch.compression(), batch.buffers()) else {
        return Ok(());
    };
    let expansion = most_expansion(compression.codec());
    for buffer in buffers {
        // What lies outside of the body is refused when it is decoded.
        let Some(claim) = usize::try_from(buffer.offset())
            .ok()
            .and_then(|offset| body.get(offset..)?.first_chunk::<8>())
            .map(|claim| i64::from_le_bytes(*claim))
        else {
            continue;
        };
        let packed = u64::try_from(buffer.length()).unwrap_or(0).saturating_sub(8);
        // Negative is "not compressed"; an empty buffer has no claim.
        if buffer.length() >= 8
            && u64::try_from(claim).is_ok_and(|claim| claim > packed.saturating_mul(expansion))
        {
            return Err(format!("a compressed buffer of {packed} bytes claims to hold {claim}"));
        }
    }
    Ok(())
}

/// Where the numbers of a column of `rows` rows lie in the body, as (offset, length): only where they are as they are
/// in memory, row behind row, without a null.
pub(super) fn plain(
    message: &Message<'_>,
    schema: &Schema,
    column: usize,
    rows: u64,
) -> Option<(usize, usize)> {
    let batch = message.header_as_record_batch()?;
    let (nodes, buffers) = (batch.nodes()?, batch.buffers()?);
    let (mut node, mut buffer) = first(schema, column)?;
    let mut kind = schema.fields().get(column)?.data_type();
    let mut expected = i64::try_from(rows).ok()?;
    loop {
        let own = (node < nodes.len()).then(|| nodes.get(node))?;
        if own.null_count() != 0 || own.length() != expected {
            return None;
        }
        match kind {
            DataType::FixedSizeList(child, len) => {
                expected = expected.checked_mul(i64::from(*len))?;
                kind = child.data_type();
                node += 1;
                buffer += 1;
            }
            DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) => return None,
            kind if kind.is_primitive() => {
                let values = (buffer + 1 < buffers.len()).then(|| buffers.get(buffer + 1))?;
                let bytes = usize::try_from(expected).ok()?.checked_mul(kind.primitive_width()?)?;
                let length = usize::try_from(values.length()).ok()?;
                // Writers pad a buffer, and a writer may leave what follows the last value in it.
                return (length >= bytes).then_some((usize::try_from(values.offset()).ok()?, bytes));
            }
            _ => return None,
        }
    }
}
