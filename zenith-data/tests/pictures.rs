//! PNG and WebP pictures as PIL sees them, and files that are not what they should be.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use png::{BitDepth, ColorType};
use zenith_data::format::image::{ImageDecoder, ImageError, ImageKind, ImageOptions, probe};
use zenith_data::pixels::{PixelBuf, Region};

fn png(size: (u32, u32), color: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
    png_with(size, color, depth, data, |_| {})
}

fn png_with(
    (width, height): (u32, u32),
    color: ColorType,
    depth: BitDepth,
    data: &[u8],
    more: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>),
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    more(&mut encoder);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    out
}

fn decode(bytes: &[u8], region: Option<Region>) -> Result<(u8, Vec<u8>), ImageError> {
    let mut decoder = ImageDecoder::default();
    let picture = decoder.open(bytes)?;
    let (width, height) = picture.size();
    let mut out = PixelBuf::new();
    decoder.decode(&picture, region.unwrap_or(Region::full(width, height)), 1, &mut out)?;
    Ok((out.channels(), out.pixels().to_vec()))
}

/// The expected values are those of `numpy.array(PIL.Image.open(...).convert("RGB"))` of Pillow 13, one channel of it
/// where the picture is gray.
#[test]
fn every_kind_of_png_is_what_pil_makes_of_it() {
    use BitDepth::{Eight, Four, One, Sixteen, Two};
    let be = |values: &[u16]| values.iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<_>>();
    let palette = |encoder: &mut png::Encoder<'_, &mut Vec<u8>>| {
        encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
        encoder.set_trns(vec![0, 0x80]);
    };
    let sixteen = be(&[0, 1, 255, 256, 0x1234, 65535]);
    let cases: [(&str, Vec<u8>, u8, &[u8]); 12] = [
        (
            "gray 16, clipped",
            png((6, 1), ColorType::Grayscale, Sixteen, &sixteen),
            1,
            &[0, 1, 255, 255, 255, 255],
        ),
        (
            "gray and alpha 16",
            png((3, 1), ColorType::GrayscaleAlpha, Sixteen, &be(&[0x12ff, 1, 255, 256, 0x1234, 65535])),
            1,
            &[18, 0, 18],
        ),
        (
            "RGB 16",
            png((2, 1), ColorType::Rgb, Sixteen, &be(&[0x12ff, 1, 255, 256, 0x1234, 65535])),
            3,
            &[18, 0, 0, 1, 18, 255],
        ),
        ("RGBA 16", png((1, 1), ColorType::Rgba, Sixteen, &be(&[0x12ff, 1, 0xff80, 0])), 3, &[18, 0, 255]),
        ("gray 1", png((8, 1), ColorType::Grayscale, One, &[0xa5]), 1, &[255, 0, 255, 0, 0, 255, 0, 255]),
        ("gray 2", png((4, 1), ColorType::Grayscale, Two, &[0x1b]), 1, &[0, 85, 170, 255]),
        ("gray 4", png((2, 1), ColorType::Grayscale, Four, &[0x1f]), 1, &[17, 255]),
        (
            "palette, transparent, an index beyond its end",
            png_with((4, 1), ColorType::Indexed, Eight, &[0, 1, 2, 200], palette),
            3,
            &[1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0],
        ),
        (
            "palette 4",
            png_with((4, 1), ColorType::Indexed, Four, &[0x01, 0x2f], palette),
            3,
            &[1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 0],
        ),
        ("RGBA, alpha dropped", png((1, 1), ColorType::Rgba, Eight, &[10, 20, 30, 0]), 3, &[10, 20, 30]),
        (
            "RGB with a transparent color",
            png_with((2, 1), ColorType::Rgb, Eight, &[10, 20, 30, 1, 2, 3], |encoder| {
                encoder.set_trns(be(&[10, 20, 30]));
            }),
            3,
            &[10, 20, 30, 1, 2, 3],
        ),
        ("gray and alpha", png((2, 1), ColorType::GrayscaleAlpha, Eight, &[7, 0, 9, 255]), 1, &[7, 9]),
    ];
    for (name, bytes, channels, expected) in cases {
        assert_eq!(decode(&bytes, None).unwrap(), (channels, expected.to_vec()), "{name}");
    }
}

/// 13 x 7 pixels whose values say where they are.
fn ramp(channels: usize) -> Vec<u8> {
    (0..13 * 7 * channels).map(|i| (i * 5 % 251) as u8).collect()
}

fn cut(pixels: &[u8], channels: usize, region: Region) -> Vec<u8> {
    let mut out = Vec::new();
    for y in region.y..region.y + region.height {
        let start = (y * 13 + region.x) as usize * channels;
        out.extend_from_slice(&pixels[start..start + region.width as usize * channels]);
    }
    out
}

fn webp(color: image_webp::ColorType, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    image_webp::WebPEncoder::new(&mut out).encode(data, 13, 7, color).unwrap();
    out
}

#[test]
fn regions_are_cut_out_of_the_whole() {
    let regions = [
        Region::full(13, 7),
        Region { x: 0, y: 2, width: 13, height: 3 },
        Region { x: 4, y: 0, width: 5, height: 7 },
        Region { x: 12, y: 6, width: 1, height: 1 },
    ];
    let (gray, rgb) = (ramp(1), ramp(3));
    let rgba: Vec<u8> = rgb.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 9]).collect();
    let cases = [
        ("gray", png((13, 7), ColorType::Grayscale, BitDepth::Eight, &gray), 1, &gray),
        ("RGB", png((13, 7), ColorType::Rgb, BitDepth::Eight, &rgb), 3, &rgb),
        ("RGBA", png((13, 7), ColorType::Rgba, BitDepth::Eight, &rgba), 3, &rgb),
        ("WebP", webp(image_webp::ColorType::Rgb8, &rgb), 3, &rgb),
        ("WebP with alpha", webp(image_webp::ColorType::Rgba8, &rgba), 3, &rgb),
        // The library that writes the others does not interlace.
        ("interlaced", include_bytes!("data/interlaced.png").to_vec(), 3, &rgb),
    ];
    for (name, bytes, channels, pixels) in cases {
        for region in regions {
            let expected = (channels as u8, cut(pixels, channels, region));
            assert_eq!(decode(&bytes, Some(region)).unwrap(), expected, "{name} {region:?}");
        }
        for region in [
            Region { x: 13, y: 0, width: 1, height: 1 },
            Region { x: 0, y: 0, width: 0, height: 1 },
            Region { x: 1, y: 0, width: u32::MAX, height: 1 },
            Region { x: 0, y: 5, width: 1, height: 3 },
        ] {
            let error = decode(&bytes, Some(region)).unwrap_err();
            assert!(matches!(error, ImageError::Region { .. }), "{name} {error}");
        }
    }
}

/// `lossy.rgb` holds the pixels that Pillow (libwebp) decodes from the same file.
#[test]
fn lossy_webp_is_close_to_libwebp() {
    let (channels, pixels) = decode(include_bytes!("data/lossy.webp"), None).unwrap();
    assert_eq!((channels, pixels.len()), (3, 16 * 8 * 3));
    let expected = include_bytes!("data/lossy.rgb");
    let worst = pixels.iter().zip(expected).map(|(&a, &b)| a.abs_diff(b)).max();
    assert!(worst <= Some(2), "{worst:?}");
}

/// 35 x 21 pixels, to be turned by a quarter; `turned.rgb` holds what Pillow decodes.
const JPEG: &[u8] = include_bytes!("data/turned.jpg");

#[test]
fn jpeg_is_what_pil_makes_of_it() {
    let expected = include_bytes!("data/turned.rgb");
    let info = probe(JPEG).unwrap();
    assert_eq!((info.kind, info.width, info.height), (ImageKind::Jpeg, 35, 21));
    assert_eq!(info.orientation.exif(), 6);
    assert_eq!(decode(JPEG, None).unwrap(), (3, expected.to_vec()));

    let mut decoder = ImageDecoder::new(ImageOptions { apply_orientation: true, ..ImageOptions::default() });
    let picture = decoder.open(JPEG).unwrap();
    assert_eq!((picture.size(), picture.scales()), ((21, 35), true));
    let mut out = PixelBuf::new();
    for (denom, width, height) in [(1, 21, 35), (2, 11, 18), (4, 6, 9), (8, 3, 5)] {
        decoder.decode(&picture, Region::full(width, height), denom, &mut out).unwrap();
        assert_eq!((out.width(), out.height()), (width, height));
        let beyond = decoder.decode(&picture, Region::full(width + 1, height), denom, &mut out);
        assert!(matches!(beyond, Err(ImageError::Region { .. })));
    }
    decoder.decode(&picture, Region { x: 20, y: 0, width: 1, height: 3 }, 1, &mut out).unwrap();
    assert_eq!(out.pixels(), &expected[..9], "the right edge was the top");
    let refused = decoder.decode(&picture, Region::full(1, 1), 3, &mut out);
    assert!(matches!(refused, Err(ImageError::Scale { denom: 3, .. })));
}

#[test]
fn orientation_is_applied_when_asked_for() {
    let exif = |value: u8| {
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[value, 0, 0, 0, 0, 0, 0]].concat()
    };
    let rgb = ramp(3);
    for value in 1..=8u8 {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 13, 7);
        encoder.set_color(ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::eXIf, &exif(value)).unwrap();
        writer.write_image_data(&rgb).unwrap();
        drop(writer);
        assert_eq!(probe(&bytes).unwrap().orientation.exif(), value);
        assert_eq!(decode(&bytes, None).unwrap().1, rgb, "not applied unless asked for");
        let mut decoder =
            ImageDecoder::new(ImageOptions { apply_orientation: true, ..ImageOptions::default() });
        let picture = decoder.open(&bytes).unwrap();
        let (width, height) = picture.size();
        assert_eq!((width, height), if value < 5 { (13, 7) } else { (7, 13) });
        let (mut whole, mut part) = (PixelBuf::new(), PixelBuf::new());
        decoder.decode(&picture, Region::full(width, height), 1, &mut whole).unwrap();
        let region = Region { x: 2, y: 1, width: 3, height: 5 };
        decoder.decode(&picture, region, 1, &mut part).unwrap();
        for y in 0..5 {
            let at = ((y + 1) * width as usize + 2) * 3;
            assert_eq!(part.pixels()[y * 9..][..9], whole.pixels()[at..at + 9], "{value}");
        }
        let corner = probe(&bytes).unwrap().orientation.stored(0, 0, 13, 7);
        let at = (corner.1 * 13 + corner.0) as usize * 3;
        assert_eq!(whole.pixels()[..3], rgb[at..at + 3], "{value}");
    }
}

#[test]
fn whatever_is_cut_off_is_named() {
    let rgb = ramp(3);
    for (kind, bytes) in [
        (ImageKind::Png, png((13, 7), ColorType::Rgb, BitDepth::Eight, &rgb)),
        (ImageKind::WebP, webp(image_webp::ColorType::Rgb8, &rgb)),
        (ImageKind::WebP, include_bytes!("data/lossy.webp").to_vec()),
        (ImageKind::Jpeg, JPEG.to_vec()),
    ] {
        assert_eq!(probe(&bytes).unwrap().kind, kind);
        let mut named = 0;
        for end in 13..bytes.len() {
            match decode(&bytes[..end], None) {
                Err(ImageError::Truncated { kind: found, offset }) => {
                    assert_eq!((found, offset), (kind, end as u64));
                    named += 1;
                }
                Err(error) => panic!("{kind} cut at {end}: {error:?}"),
                // The last chunk of a PNG, and the padding of others, hold no pixels.
                Ok((_, pixels)) if end + 24 > bytes.len() => assert_eq!(pixels.len() % 3, 0),
                Ok(_) => panic!("{kind} cut at {end} was taken for whole"),
            }
        }
        assert!(named > bytes.len() / 2);
    }
    assert_eq!(decode(b"", None), Err(ImageError::Empty));
}

#[test]
fn flipped_bytes_are_survived() {
    let rgb = ramp(3);
    for bytes in [
        png((13, 7), ColorType::Rgb, BitDepth::Eight, &rgb),
        include_bytes!("data/interlaced.png").to_vec(),
        webp(image_webp::ColorType::Rgb8, &rgb),
        include_bytes!("data/lossy.webp").to_vec(),
        JPEG.to_vec(),
    ] {
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = bytes.clone();
                bad[at] ^= flip;
                let mut decoder =
                    ImageDecoder::new(ImageOptions { max_pixels: 1 << 20, ..ImageOptions::default() });
                let Ok(picture) = decoder.open(&bad) else { continue };
                let (width, height) = picture.size();
                let mut out = PixelBuf::new();
                if let Err(error) = decoder.decode(&picture, Region::full(width, height), 1, &mut out) {
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}

#[test]
fn bombs_are_refused_before_memory_is_taken() {
    let mut bytes = png((1, 1), ColorType::Grayscale, BitDepth::Eight, &[0]);
    bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let error = decode(&bytes, None).unwrap_err();
    assert_eq!(error, ImageError::TooLarge { width: 65536, height: 65536, limit: 178_956_970 });
    let small = ImageOptions { max_pixels: 90, ..ImageOptions::default() };
    let picture = png((13, 7), ColorType::Grayscale, BitDepth::Eight, &ramp(1));
    assert!(matches!(ImageDecoder::new(small).open(&picture), Err(ImageError::TooLarge { limit: 90, .. })));
    let enough = ImageOptions { max_pixels: 91, ..small };
    assert!(ImageDecoder::new(enough).open(&picture).is_ok());
}
