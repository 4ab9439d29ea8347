//! What holds for decoding every JPEG: a region is a cut of the whole, and both twins of the kernels give the same.

use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, Header, JpegError, Scale};
use zenith_data::pixels::{PixelBuf, Region};

/// Most pixels of a picture that is decoded, so that an input takes milliseconds.
pub const MOST_PIXELS: u64 = 1 << 18;

/// The scale that a byte chooses.
#[must_use]
pub fn scale(choice: u8) -> Scale {
    match choice % 4 {
        0 => Scale::Full,
        1 => Scale::Half,
        2 => Scale::Quarter,
        _ => Scale::Eighth,
    }
}

/// The region inside a picture of this size that four bytes choose.
#[must_use]
pub fn region((width, height): (u32, u32), [x, y, right, bottom]: [u8; 4]) -> Region {
    let span = |edge: u32, from: u8, length: u8| {
        let from = u32::from(from) * edge / 256;
        (from, 1 + u32::from(length) * (edge - from - 1) / 255)
    };
    let (x, width) = span(width, x, right);
    let (y, height) = span(height, y, bottom);
    Region { x, y, width, height }
}

/// Decodes with the kernels of this machine and with the portable ones.
///
/// # Panics
/// When they differ.
pub fn decode_twice(bytes: &[u8], options: &DecodeOptions<'_>) -> Result<PixelBuf, JpegError> {
    let [mut fast, mut portable] = [PixelBuf::new(), PixelBuf::new()];
    let result = Decoder::new().decode(bytes, options, &mut fast);
    let twin = Decoder::portable().decode(bytes, options, &mut portable);
    assert_eq!(
        result.as_ref().map_err(ToString::to_string),
        twin.as_ref().map_err(ToString::to_string)
    );
    result.map(|()| {
        assert!(fast.pixels() == portable.pixels(), "the twins differ");
        fast
    })
}

/// Decodes the whole and a region at a scale, without and with an index.
///
/// # Panics
/// When one is no cut of the other.
pub fn check_region(bytes: &[u8], header: &Header, choice: [u8; 5], index: Option<&EntropyIndex>) {
    let scale = scale(choice[0]);
    let [_, place @ ..] = choice;
    let part = region(scale.size(header.width, header.height), place);
    let whole = decode_twice(
        bytes,
        &DecodeOptions {
            scale,
            max_pixels: MOST_PIXELS,
            ..DecodeOptions::default()
        },
    );
    for index in [None, index] {
        let options = DecodeOptions {
            region: Some(part),
            scale,
            max_pixels: MOST_PIXELS,
            index,
        };
        let cut = decode_twice(bytes, &options);
        // Where the whole is damaged, the region may be sound.
        let Ok(whole) = &whole else {
            continue;
        };
        let cut = cut.expect("a region of a sound picture");
        let channels = usize::from(whole.channels());
        for (row, pixels) in cut.pixels().chunks_exact(cut.stride()).enumerate() {
            let from = (part.y as usize + row) * whole.stride() + part.x as usize * channels;
            assert!(
                pixels == &whole.pixels()[from..from + pixels.len()],
                "row {row} of {part:?} at {scale:?} differs, index: {}",
                index.is_some()
            );
        }
    }
}
