//! What a file is and how large the picture in it is, from its first bytes; names play no part. Nothing is decoded.

use super::jpeg;
use super::{ImageError, ImageInfo, ImageKind, Orientation};
use crate::format::exif;
use crate::format::jpeg::Parsed;

/// Kind, size and orientation of the picture in `bytes`.
///
/// # Errors
/// When the bytes are no picture of a supported kind, or end or go wrong before they have said its size.
pub fn probe(bytes: &[u8]) -> Result<ImageInfo, ImageError> {
    open(bytes).map(|(info, _)| info)
}

/// As [`probe`], with what was found before the pixels of a JPEG.
pub(super) fn open(bytes: &[u8]) -> Result<(ImageInfo, Option<Parsed<'_>>), ImageError> {
    let kind = sniff(bytes)?;
    let (width, height) = match kind {
        ImageKind::Jpeg => {
            let (info, parsed) = jpeg::open(bytes)?;
            return Ok((info, Some(parsed)));
        }
        ImageKind::Png => png_size(bytes)?,
        ImageKind::WebP => webp_size(bytes)?,
    };
    let info = ImageInfo { kind, width, height, orientation: orientation(kind, bytes) };
    Ok((info, None))
}

/// The kind of picture by its signature.
fn sniff(bytes: &[u8]) -> Result<ImageKind, ImageError> {
    if bytes.is_empty() {
        Err(ImageError::Empty)
    } else if bytes.starts_with(b"\xff\xd8") {
        Ok(ImageKind::Jpeg)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Ok(ImageKind::Png)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Ok(ImageKind::WebP)
    } else {
        Err(ImageError::Unsupported { found: describe(bytes) })
    }
}

/// Whether `bytes`, the beginning of a file, have the signature of a supported picture.
#[must_use]
pub fn is_picture(bytes: &[u8]) -> bool {
    sniff(bytes).is_ok()
}

/// What `bytes`, the beginning of a file that is no supported picture, look like; such as `gzip data`.
#[must_use]
pub fn describe(bytes: &[u8]) -> &'static str {
    const SIGNATURES: [(&[u8], &str); 25] = [
        (b"\x1f\x8b", "gzip data"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"GIF8", "a GIF picture"),
        (b"BM", "a BMP picture"),
        (b"II*\0", "a TIFF picture"),
        (b"MM\0*", "a TIFF picture"),
        (b"%PDF", "a PDF document"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
        (b"\xff\x0a", "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
        (b"8BPS", "a Photoshop file"),
        (b"P2", "a PGM picture"),
        (b"P5", "a PGM picture"),
        (b"P3", "a PPM picture"),
        (b"P6", "a PPM picture"),
        (b"version https://git-lfs", "a Git LFS pointer (fetch the file with git lfs pull)"),
        (b"PAR1", "Parquet data"),
        (b"ARROW1", "Arrow data"),
        (b"\x93NUMPY", "NPY data"),
        (b"\x89HDF", "HDF5 data"),
        (b"BZh", "bzip2 data"),
        (b"\xfd7zXZ", "xz data"),
        (b"\x28\xb5\x2f\xfd", "zstd data"),
        (b"\x7fELF", "a program"),
        (b"\0\0\x01\0", "an icon"),
    ];
    let text = || {
        let start = &bytes[..bytes.len().min(512)];
        let trimmed = start.trim_ascii_start();
        let begins =
            |tag: &[u8]| trimmed.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag));
        if begins(b"<!doctype html") || begins(b"<html") {
            "an HTML page"
        } else if begins(b"<svg") || begins(b"<?xml") {
            "XML or SVG text"
        } else if std::str::from_utf8(start).map_or_else(|e| e.error_len().is_none(), |_| true)
            && !start.iter().any(|&b| b < 32 && !b.is_ascii_whitespace())
        {
            "text"
        } else if start.iter().all(|&b| b == 0) {
            "zeros"
        } else {
            "data of an unknown kind"
        }
    };
    if bytes.get(4..8) == Some(b"ftyp") {
        return match bytes.get(8..12) {
            Some(b"avif" | b"avis") => "an AVIF picture",
            Some(b"heic" | b"heix" | b"mif1" | b"msf1") => "a HEIF picture",
            _ => "an MP4 or QuickTime file",
        };
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return "a tar archive";
    }
    SIGNATURES.iter().find(|(signature, _)| bytes.starts_with(signature)).map_or_else(text, |(_, name)| name)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn le(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |value, &b| value << 8 | u32::from(b)))
}

fn truncated(kind: ImageKind, bytes: &[u8]) -> ImageError {
    ImageError::Truncated { kind, offset: bytes.len() as u64 }
}

fn png_size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let kind = ImageKind::Png;
    if bytes.get(12..16).is_some_and(|name| name != b"IHDR") {
        return Err(ImageError::corrupt(kind, "the first chunk is not IHDR", 12));
    }
    let size = be32(bytes, 16).zip(be32(bytes, 20)).ok_or_else(|| truncated(kind, bytes))?;
    checked(kind, size, 16)
}

/// Offset of the first chunk of a WebP file.
const WEBP_CHUNKS: usize = 12;

fn webp_size(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
    let kind = ImageKind::WebP;
    let at = WEBP_CHUNKS + 8;
    let name = bytes.get(WEBP_CHUNKS..at - 4).ok_or_else(|| truncated(kind, bytes))?;
    let size = match name {
        b"VP8X" => le(bytes, at + 4, 3).zip(le(bytes, at + 7, 3)).map(|(w, h)| (w + 1, h + 1)),
        b"VP8L" => match bytes.get(at) {
            Some(0x2f) => le(bytes, at + 1, 4).map(|bits| ((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1)),
            Some(_) => return Err(ImageError::corrupt(kind, "no lossless signature", at as u64)),
            None => None,
        },
        b"VP8 " => match bytes.get(at + 3..at + 6) {
            Some(b"\x9d\x01\x2a") => {
                le(bytes, at + 6, 2).zip(le(bytes, at + 8, 2)).map(|(w, h)| (w & 0x3fff, h & 0x3fff))
            }
            Some(_) => return Err(ImageError::corrupt(kind, "no key frame", at as u64 + 3)),
            None => None,
        },
        _ => {
            return Err(ImageError::corrupt(kind, "the first chunk is no picture", WEBP_CHUNKS as u64));
        }
    };
    checked(kind, size.ok_or_else(|| truncated(kind, bytes))?, at as u64)
}

fn checked(kind: ImageKind, size: (u32, u32), offset: u64) -> Result<(u32, u32), ImageError> {
    match size {
        (0, _) | (_, 0) => Err(ImageError::corrupt(kind, "a picture without pixels", offset)),
        _ => Ok(size),
    }
}

/// The orientation that the picture's EXIF data asks for; upright where there is none or it is malformed.
fn orientation(kind: ImageKind, bytes: &[u8]) -> Orientation {
    let exif = match kind {
        ImageKind::Png => png_chunk(bytes, b"eXIf"),
        ImageKind::WebP if bytes.get(WEBP_CHUNKS..16) == Some(b"VP8X") => webp_chunk(bytes, b"EXIF"),
        ImageKind::WebP | ImageKind::Jpeg => None,
    };
    exif.and_then(exif::orientation).and_then(Orientation::from_exif).unwrap_or_default()
}

fn png_chunk<'a>(bytes: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    let mut at = 8usize;
    loop {
        let length = be32(bytes, at)? as usize;
        if bytes.get(at + 4..at + 8)? == wanted {
            return bytes.get(at + 8..at + 8 + length);
        }
        at = at.checked_add(length)?.checked_add(12)?;
    }
}

fn webp_chunk<'a>(bytes: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    let mut at = WEBP_CHUNKS;
    loop {
        let length = le(bytes, at + 4, 4)? as usize;
        if bytes.get(at..at + 4)? == wanted {
            return bytes.get(at + 8..at + 8 + length);
        }
        at = at.checked_add(8)?.checked_add(length.next_multiple_of(2))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_picture_is_named() {
        let found = |bytes: &[u8]| match probe(bytes) {
            Err(ImageError::Unsupported { found }) => found,
            other => panic!("{other:?}"),
        };
        assert_eq!(found(b"\x1f\x8b\x08\0\0\0"), "gzip data");
        assert_eq!(found(b"  <!DOCTYPE HTML><html>404"), "an HTML page");
        assert_eq!(found("name,größe\n".as_bytes()), "text");
        assert_eq!(found(&[0; 100]), "zeros");
        assert_eq!(found(b"\x01\x02\x03"), "data of an unknown kind");
        assert_eq!(found(b"\0\0\0\x20ftypavif"), "an AVIF picture");
        assert_eq!(found(b"RIFF\0\0\0\0WAVE"), "data of an unknown kind");
        assert_eq!(found(b"\x89PNG\n"), "data of an unknown kind");
        assert_eq!(probe(b""), Err(ImageError::Empty));
        let mut tar = [0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(found(&tar), "a tar archive");
        let error = probe(b"GIF89a").unwrap_err();
        assert_eq!(error.to_string(), "found a GIF picture; supported are JPEG, PNG, WebP");
    }

    #[test]
    fn short_headers_are_truncated() {
        for bytes in [
            &b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0"[..],
            b"\x89PNG\r\n\x1a\n",
            b"RIFF\x10\0\0\0WEBPVP8 \x05\0\0\0\0\0\0\x9d\x01",
            b"RIFF\x10\0\0\0WEBPVP8L\x05\0\0\0\x2f\0\0",
            b"RIFF\x10\0\0\0WEBPVP8X\x0a\0\0\0\0\0",
            b"RIFF\x10\0\0\0WEBP",
        ] {
            let error = probe(bytes).unwrap_err();
            assert!(
                matches!(error, ImageError::Truncated { offset, .. } if offset == bytes.len() as u64),
                "{error:?}"
            );
        }
        let error = probe(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\0\0\0\0\x01").unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error:?}");
    }
}
