//! Between [`crate::format::jpeg`] and the other kinds of pictures: its header and its errors in their terms.

use super::{Entropy, ImageError, ImageInfo, ImageKind, Indexed, Orientation};
use crate::format::jpeg::{DecodeOptions, Decoder, JpegError, Parsed, Scale, parse};
use crate::pixels::{PixelBuf, Region};

/// Reads everything before the pixels.
pub(super) fn open(bytes: &[u8]) -> Result<(ImageInfo, Parsed<'_>), ImageError> {
    let parsed = parse(bytes).map_err(translate)?;
    let header = parsed.header();
    let info = ImageInfo {
        kind: ImageKind::Jpeg,
        width: header.width,
        height: header.height,
        orientation: Orientation::from_exif(header.orientation).unwrap_or_default(),
    };
    Ok((info, parsed))
}

/// Decodes a region of the picture at a fraction of its size.
pub(super) fn decode(
    decoder: &mut Decoder,
    parsed: &Parsed<'_>,
    (region, denom): (Region, u8),
    entropy: Entropy<'_>,
    out: &mut PixelBuf,
) -> Result<Indexed, ImageError> {
    let scale = match denom {
        2 => Scale::Half,
        4 => Scale::Quarter,
        8 => Scale::Eighth,
        _ => Scale::Full,
    };
    let plain = DecodeOptions {
        index: None,
        region: Some(region),
        scale,
        // Checked when the picture was opened.
        max_pixels: u64::MAX,
    };
    let indexed = match entropy {
        Entropy::Plain => decoder.decode_parsed(parsed, &plain, out).map(|()| Indexed::No),
        Entropy::Make(index, spacing) => decoder
            .decode_indexing(parsed, &plain, spacing, index, out)
            .map(|whole| if whole { Indexed::Made } else { Indexed::No }),
        Entropy::Use(index) => {
            let options = DecodeOptions { index: Some(index), ..plain };
            match decoder.decode_parsed(parsed, &options, out) {
                Ok(()) => Ok(Indexed::Used),
                // Of another picture, or of one that was damaged since: either way its own data decides.
                Err(_) => decoder.decode_parsed(parsed, &plain, out).map(|()| Indexed::Stale),
            }
        }
    };
    indexed.map_err(translate)
}

fn translate(error: JpegError) -> ImageError {
    let kind = ImageKind::Jpeg;
    match error {
        JpegError::Truncated { offset, .. } => ImageError::Truncated { kind, offset },
        JpegError::Corrupt { offset, reason } => ImageError::corrupt(kind, reason, offset),
        JpegError::Unsupported { offset, what } => ImageError::Variant { kind, what, offset },
        error => ImageError::Corrupt { kind, reason: error.to_string(), offset: error.offset() },
    }
}
