//! Inflates pages into no more bytes than their headers announce. The `parquet` crate does that for some codecs only.

use std::io::{Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use parquet::basic::Compression;
use zstd::bulk::Decompressor;

/// Bytes of memory taken ahead of inflating a page whose true size shows at its end.
const TAKEN_AHEAD: usize = 4 << 20;
/// Bytes that Brotli reads at a time.
const BROTLI_BYTES: usize = 4096;

/// How a column's pages are compressed.
pub(super) enum Codec {
    None,
    Snappy(snap::raw::Decoder),
    Gzip,
    Brotli,
    Lz4Raw,
    /// The older LZ4: in the frames of Hadoop, in LZ4's own, or in none, as different writers had it.
    Lz4,
    Zstd(Box<Decompressor<'static>>),
}

impl Codec {
    pub(super) fn new(compression: Compression) -> Result<Self, String> {
        Ok(match compression {
            Compression::UNCOMPRESSED => Self::None,
            Compression::SNAPPY => Self::Snappy(snap::raw::Decoder::new()),
            Compression::GZIP(_) => Self::Gzip,
            Compression::BROTLI(_) => Self::Brotli,
            Compression::LZ4_RAW => Self::Lz4Raw,
            Compression::LZ4 => Self::Lz4,
            Compression::ZSTD(_) => {
                Self::Zstd(Box::new(Decompressor::new().map_err(|error| error.to_string())?))
            }
            Compression::LZO => {
                return Err(
                    "LZO cannot be read; write the file with another compression, such as ZSTD".into()
                );
            }
        })
    }

    /// How many times its size a page can be at most. A copy of Snappy takes 3 bytes for up to 64, one of Deflate 2 bits
    /// for up to 258; a literal of LZ4 grows by a byte for each 255 it stands for; a block of Zstandard holds 128 KiB
    /// and takes 4 bytes. Brotli has no bound that would say anything.
    fn most_expansion(&self) -> usize {
        match self {
            Self::None => 1,
            Self::Snappy(_) => 22,
            Self::Lz4Raw | Self::Lz4 => 255,
            Self::Gzip => 1032,
            Self::Zstd(_) => (128 << 10) / 4,
            Self::Brotli => usize::MAX,
        }
    }

    /// Appends to `out` what `packed` inflates to, which must be `len` bytes.
    pub(super) fn inflate(&mut self, packed: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), String> {
        if len > packed.len().saturating_mul(self.most_expansion()) {
            return Err(format!("a page of {} bytes claims to hold {len}", packed.len()));
        }
        let start = out.len();
        let found = match self {
            Self::None => {
                out.extend_from_slice(packed);
                packed.len()
            }
            Self::Gzip => read(MultiGzDecoder::new(packed), len, out)?,
            Self::Brotli => read(brotli::Decompressor::new(packed, BROTLI_BYTES), len, out)?,
            Self::Snappy(decoder) => {
                out.resize(start + len, 0);
                decoder.decompress(packed, &mut out[start..]).map_err(|error| error.to_string())?
            }
            Self::Lz4Raw => {
                out.resize(start + len, 0);
                lz4(packed, &mut out[start..])?
            }
            Self::Lz4 => {
                out.resize(start + len, 0);
                if hadoop(packed, &mut out[start..]).is_some() {
                    return Ok(());
                }
                out.truncate(start);
                match read(lz4_flex::frame::FrameDecoder::new(packed), len, out) {
                    Ok(found) => found,
                    Err(_) => {
                        out.resize(start + len, 0);
                        lz4(packed, &mut out[start..])?
                    }
                }
            }
            Self::Zstd(decoder) => {
                out.reserve_exact(len);
                let mut cursor = Cursor::new(out);
                cursor.set_position(start as u64);
                decoder.decompress_to_buffer(packed, &mut cursor).map_err(|error| error.to_string())?
            }
        };
        if found == len { Ok(()) } else { Err(format!("a page of {found} bytes where {len} were announced")) }
    }
}

/// Reads `len` bytes; an error where there are more.
fn read(mut from: impl Read, len: usize, out: &mut Vec<u8>) -> Result<usize, String> {
    let failed = |error: std::io::Error| error.to_string();
    out.reserve(len.min(TAKEN_AHEAD));
    let found = from.by_ref().take(len as u64).read_to_end(out).map_err(failed)?;
    // Checksums behind the last byte are compared when the end is reached.
    if from.read(&mut [0]).map_err(failed)? > 0 {
        return Err(format!("a page inflates to more than the {len} bytes announced"));
    }
    Ok(found)
}

fn lz4(packed: &[u8], out: &mut [u8]) -> Result<usize, String> {
    lz4_flex::block::decompress_into(packed, out).map_err(|error| error.to_string())
}

/// Fills `out` from Hadoop's frames: inflated size and packed size, in big-endian order, in front of each.
fn hadoop(mut packed: &[u8], mut out: &mut [u8]) -> Option<()> {
    while !packed.is_empty() {
        let (len, rest) = packed.split_first_chunk::<4>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (frame, rest) = rest.split_at_checked(u32::from_be_bytes(*size) as usize)?;
        let (part, behind) =
            std::mem::take(&mut out).split_at_mut_checked(u32::from_be_bytes(*len) as usize)?;
        if lz4(frame, part).ok()? != part.len() {
            return None;
        }
        (packed, out) = (rest, behind);
    }
    out.is_empty().then_some(())
}
