//! WebP pictures as PIL converts them to RGB: alpha dropped, of an animation the first frame. The file format itself is
//! the `image-webp` library's part.

use std::io::{self, Cursor};

use image_webp::{DecodingError, WebPDecoder};

use super::{ImageError, ImageKind};
use crate::pixels::{PixelBuf, Region, give_back_giant};

/// Decodes the WebP picture in `bytes` and keeps `region`; the format has no way to decode less. `pixels` is memory kept
/// from picture to picture.
pub(super) fn decode(
    bytes: &[u8],
    region: Region,
    pixels: &mut Vec<u8>,
    out: &mut PixelBuf,
) -> Result<(), ImageError> {
    let decoded = decode_from(bytes, region, pixels, out);
    give_back_giant(pixels);
    decoded.map_err(|error| match error {
        DecodingError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => truncated(bytes),
        // The library names what it misses, not that the data ends before it; the container's own length tells.
        _ if declared(bytes) > bytes.len() as u64 => truncated(bytes),
        error => ImageError::Corrupt { kind: ImageKind::WebP, reason: error.to_string(), offset: None },
    })
}

fn truncated(bytes: &[u8]) -> ImageError {
    ImageError::Truncated { kind: ImageKind::WebP, offset: bytes.len() as u64 }
}

/// Length of the file as its header states it.
fn declared(bytes: &[u8]) -> u64 {
    match bytes.get(4..8).and_then(|b| b.try_into().ok()) {
        Some(length) => u64::from(u32::from_le_bytes(length)) + 8,
        None => 0,
    }
}

fn decode_from(
    bytes: &[u8],
    region: Region,
    pixels: &mut Vec<u8>,
    out: &mut PixelBuf,
) -> Result<(), DecodingError> {
    let mut decoder = WebPDecoder::new(Cursor::new(bytes))?;
    let (width, height) = decoder.dimensions();
    let length = decoder.output_buffer_size().ok_or(DecodingError::ImageTooLarge)?;
    out.reset(region.width, region.height, 3);
    let samples = if decoder.has_alpha() { 4 } else { 3 };
    if samples == 3 && region == Region::full(width, height) {
        return decoder.read_image(out.pixels_mut());
    }
    pixels.resize(length, 0);
    decoder.read_image(pixels)?;
    let stride = out.stride();
    let rows = pixels.chunks_exact(width as usize * samples).skip(region.y as usize);
    for (row, out) in rows.zip(out.pixels_mut().chunks_exact_mut(stride)) {
        let row = &row[region.x as usize * samples..];
        if samples == 3 {
            out.copy_from_slice(&row[..stride]);
        } else {
            for (out, pixel) in out.chunks_exact_mut(3).zip(row.chunks_exact(4)) {
                out.copy_from_slice(&pixel[..3]);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use image_webp::{ColorType, WebPEncoder};

    use super::*;
    use crate::pixels::may_be_kept;

    fn picture(edge: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = vec![100; (edge * edge * 4) as usize];
        WebPEncoder::new(&mut bytes).encode(&pixels, edge, edge, ColorType::Rgba8).unwrap();
        bytes
    }

    #[test]
    fn the_pixels_of_a_giant_are_given_back() {
        let (mut pixels, mut out) = (Vec::new(), PixelBuf::new());
        decode(&picture(100), Region::full(100, 100), &mut pixels, &mut out).unwrap();
        assert!(pixels.capacity() >= 40_000, "an ordinary picture's memory is kept");
        decode(&picture(1000), Region::full(1000, 1000), &mut pixels, &mut out).unwrap();
        assert!(out.pixels().iter().all(|byte| *byte == 100));
        assert!(may_be_kept(&pixels));
    }
}
