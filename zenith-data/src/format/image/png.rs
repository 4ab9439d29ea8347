//! Rows of PNG pictures as PIL converts them to RGB: sixteen-bit colors keep their high byte, sixteen-bit gray is
//! clipped at 255, alpha and transparent colors are ignored. The file format itself is the `png` library's part.

use std::cell::Cell;
use std::io::{self, BufRead, Read, Seek, SeekFrom};

use png::{BitDepth, ColorType, DecodingError, Limits, Reader};

use super::{ImageError, ImageKind};
use crate::pixels::{PixelBuf, Region, give_back_giant};

/// Memory kept from picture to picture.
#[derive(Debug, Default)]
pub(super) struct PngScratch {
    rows: Vec<u8>,
}

/// Decodes `region` of the PNG picture in `bytes`. Rows below the region are not decoded.
pub(super) fn decode(
    bytes: &[u8],
    region: Region,
    scratch: &mut PngScratch,
    out: &mut PixelBuf,
) -> Result<(), ImageError> {
    let position = Cell::new(0);
    let decoded = decode_from(Input { bytes, position: &position }, region, scratch, out);
    give_back_giant(&mut scratch.rows);
    decoded.map_err(|error| match error {
        DecodingError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            ImageError::Truncated { kind: ImageKind::Png, offset: bytes.len() as u64 }
        }
        error => ImageError::corrupt(ImageKind::Png, error.to_string(), position.get() as u64),
    })
}

fn decode_from(
    input: Input<'_>,
    region: Region,
    scratch: &mut PngScratch,
    out: &mut PixelBuf,
) -> Result<(), DecodingError> {
    // The pixels are limited elsewhere; this bounds what a single chunk can make the library allocate.
    let mut decoder = png::Decoder::new_with_limits(input, Limits { bytes: 256 << 20 });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let mut reader = decoder.read_info()?;
    let info = reader.info();
    let convert = Convert::new(info.color_type, info.bit_depth, info.palette.as_deref());
    let line = reader.output_line_size(info.width).ok_or(DecodingError::LimitsExceeded)?;
    let interlaced = info.interlaced;
    out.reset(region.width, region.height, convert.channels());
    let direct = convert.is_copy() && region.x == 0 && line == out.stride();
    let stride = out.stride();
    let (first, last) = (region.y as usize, (region.y + region.height) as usize);

    if interlaced {
        let length = reader.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?;
        scratch.rows.resize(length, 0);
        reader.next_frame(&mut scratch.rows)?;
        let rows = scratch.rows.chunks_exact(line).skip(first);
        for (row, out) in rows.zip(out.pixels_mut().chunks_exact_mut(stride)) {
            convert.row(row, region.x as usize, out);
        }
        return Ok(());
    }
    scratch.rows.resize(line, 0);
    for _ in 0..first {
        row(&mut reader, &mut scratch.rows)?;
    }
    for out in out.pixels_mut().chunks_exact_mut(stride).take(last - first) {
        if direct {
            row(&mut reader, out)?;
        } else {
            row(&mut reader, &mut scratch.rows)?;
            convert.row(&scratch.rows, region.x as usize, out);
        }
    }
    Ok(())
}

fn row(reader: &mut Reader<Input<'_>>, out: &mut [u8]) -> Result<(), DecodingError> {
    match reader.read_row(out)? {
        Some(_) => Ok(()),
        None => Err(DecodingError::IoError(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// From a row as it is stored to interleaved gray or RGB.
struct Convert {
    color: ColorType,
    bits: usize,
    palette: Box<[[u8; 3]]>,
}

impl Convert {
    fn new(color: ColorType, depth: BitDepth, palette: Option<&[u8]>) -> Self {
        let colors = match color {
            ColorType::Indexed => {
                // An index beyond the palette is black.
                let mut colors = vec![[0; 3]; 256];
                for (color, bytes) in colors.iter_mut().zip(palette.unwrap_or_default().chunks_exact(3)) {
                    color.copy_from_slice(bytes);
                }
                colors
            }
            _ => Vec::new(),
        };
        Self { color, bits: depth as usize, palette: colors.into() }
    }

    const fn channels(&self) -> u8 {
        match self.color {
            ColorType::Grayscale | ColorType::GrayscaleAlpha => 1,
            ColorType::Rgb | ColorType::Indexed | ColorType::Rgba => 3,
        }
    }

    /// Whether rows are stored as they are wanted.
    const fn is_copy(&self) -> bool {
        self.bits == 8 && matches!(self.color, ColorType::Grayscale | ColorType::Rgb)
    }

    /// The pixels of `row` from column `x` on, as many as `out` holds.
    fn row(&self, row: &[u8], x: usize, out: &mut [u8]) {
        let bytes = self.bits / 8;
        match (self.color, self.bits) {
            (ColorType::Grayscale, 8) => out.copy_from_slice(&row[x..x + out.len()]),
            (ColorType::Grayscale, 16) => {
                for (out, gray) in out.iter_mut().zip(row[2 * x..].chunks_exact(2)) {
                    *out = if gray[0] == 0 { gray[1] } else { 255 };
                }
            }
            (ColorType::Grayscale, bits) => {
                let scale = 255 / ((1u8 << bits) - 1);
                for (at, out) in out.iter_mut().enumerate() {
                    *out = packed(row, x + at, bits) * scale;
                }
            }
            (ColorType::Indexed, bits) => {
                for (at, out) in out.chunks_exact_mut(3).enumerate() {
                    let index = if bits == 8 { row[x + at] } else { packed(row, x + at, bits) };
                    out.copy_from_slice(&self.palette[usize::from(index)]);
                }
            }
            (ColorType::GrayscaleAlpha, _) => {
                for (out, pixel) in out.iter_mut().zip(row.chunks_exact(2 * bytes).skip(x)) {
                    *out = pixel[0];
                }
            }
            (ColorType::Rgb, 8) => out.copy_from_slice(&row[3 * x..3 * x + out.len()]),
            (ColorType::Rgb | ColorType::Rgba, _) => {
                let step = bytes * self.color.samples();
                for (out, pixel) in out.chunks_exact_mut(3).zip(row.chunks_exact(step).skip(x)) {
                    out.copy_from_slice(&[pixel[0], pixel[bytes], pixel[2 * bytes]]);
                }
            }
        }
    }
}

/// Sample `at` of a row of samples of 1, 2 or 4 bits.
fn packed(row: &[u8], at: usize, bits: usize) -> u8 {
    let bit = at * bits;
    row[bit / 8] >> (8 - bits - bit % 8) & ((1 << bits) - 1)
}

/// The bytes of a file, with the position where others can see it.
struct Input<'a> {
    bytes: &'a [u8],
    position: &'a Cell<usize>,
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(into.len());
        into[..length].copy_from_slice(&available[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(&self.bytes[self.position.get().min(self.bytes.len())..])
    }

    fn consume(&mut self, length: usize) {
        self.position.set(self.position.get() + length);
    }
}

impl Seek for Input<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => i64::try_from(at).ok(),
            SeekFrom::End(by) => by.checked_add(self.bytes.len() as i64),
            SeekFrom::Current(by) => by.checked_add(self.position.get() as i64),
        };
        let target = target.and_then(|at| usize::try_from(at).ok());
        let target = target.ok_or(io::ErrorKind::InvalidInput)?;
        self.position.set(target);
        Ok(target as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::pixels::may_be_kept;

    fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &crc.sum().to_be_bytes()].concat()
    }

    /// A black interlaced RGBA picture.
    fn interlaced(edge: u32) -> Vec<u8> {
        let passes = [
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        ];
        let bytes: u32 = passes
            .iter()
            .map(|(x, y, across, down)| (edge - y).div_ceil(*down) * (1 + 4 * (edge - x).div_ceil(*across)))
            .sum();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&vec![0; bytes as usize]).unwrap();
        let header = [&edge.to_be_bytes()[..], &edge.to_be_bytes(), &[8, 6, 0, 0, 1]].concat();
        [
            b"\x89PNG\r\n\x1A\n".to_vec(),
            chunk(b"IHDR", &header),
            chunk(b"IDAT", &zlib.finish().unwrap()),
            chunk(b"IEND", &[]),
        ]
        .concat()
    }

    #[test]
    fn the_rows_of_a_giant_are_given_back() {
        let (mut scratch, mut out) = (PngScratch::default(), PixelBuf::new());
        decode(&interlaced(100), Region::full(100, 100), &mut scratch, &mut out).unwrap();
        assert!(scratch.rows.capacity() >= 40_000, "an ordinary picture's memory is kept");
        decode(&interlaced(1000), Region::full(1000, 1000), &mut scratch, &mut out).unwrap();
        assert!(out.pixels().iter().all(|byte| *byte == 0));
        assert!(may_be_kept(&scratch.rows));
    }
}
