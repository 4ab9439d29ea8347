//! The JPEG decoder from outside: golden files whose pixels libjpeg-turbo gave, laws on files made up here, and bytes that
//! are no picture.

mod encoder;

use std::fs;
use std::path::Path;

use encoder::{Spec, encode};
use proptest::prelude::*;
use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, JpegError, Scale, parse, read_header};
use zenith_data::pixels::{PixelBuf, Region};

const SCALES: [Scale; 4] = [Scale::Full, Scale::Half, Scale::Quarter, Scale::Eighth];

type Golden = (&'static str, (u32, u32, u8), [u64; 4]);

/// Files, their size and channels, and FNV-1a of the pixels that libjpeg-turbo 3.2 (by way of Pillow) gives at each scale.
const GOLDEN: &[Golden] = &[
    (
        "ycc_444",
        (37, 29, 3),
        [0x56942c6d7d195944, 0x90182add5a99dbd3, 0x795527cc4a92d81b, 0x98dcf0bf5e595e73],
    ),
    (
        "ycc_422",
        (37, 29, 3),
        [0xe222b9f3825ccfeb, 0x50cf41be8cdeab2e, 0x0469350466ff09a1, 0x9db31a8ccba5127a],
    ),
    (
        "ycc_420",
        (37, 29, 3),
        [0x731fd8fb223bb082, 0x06c87750fbf917d8, 0x1b7739601baab534, 0x16d6e2ffbf725f9c],
    ),
    (
        "ycc_420_restart",
        (37, 29, 3),
        [0x731fd8fb223bb082, 0x06c87750fbf917d8, 0x1b7739601baab534, 0x16d6e2ffbf725f9c],
    ),
    (
        "ycc_444_progressive",
        (37, 29, 3),
        [0x56942c6d7d195944, 0x90182add5a99dbd3, 0x795527cc4a92d81b, 0x98dcf0bf5e595e73],
    ),
    (
        "ycc_420_progressive",
        (37, 29, 3),
        [0x731fd8fb223bb082, 0x06c87750fbf917d8, 0x1b7739601baab534, 0x16d6e2ffbf725f9c],
    ),
    ("gray", (37, 29, 1), [0x3382d4956ffab12d, 0x26afd924f61c5121, 0xd7fbb1348e048838, 0x0177f95dafcde874]),
    (
        "gray_progressive",
        (37, 29, 1),
        [0x3382d4956ffab12d, 0x26afd924f61c5121, 0xd7fbb1348e048838, 0x0177f95dafcde874],
    ),
    ("rgb", (37, 29, 3), [0x77d9b6e9b1e96f06, 0x150567389c07676d, 0xfce509c8e178471b, 0x878450024d53f4bf]),
    ("cmyk", (37, 29, 3), [0x3f3f6ae85912ccb5, 0x223ba0e6da49234d, 0x08c45799fa3217e3, 0x568db72731ae0441]),
    (
        "ycc_440",
        (29, 37, 3),
        [0x0ce5f8b49c5e3b13, 0xaf83ba59ccbde935, 0x269f3600749bdf2e, 0xb21bd0cfc1983e54],
    ),
    (
        "ycc_411",
        (90, 13, 3),
        [0x9ffd1e844a52afea, 0x8cd3094e81e140ab, 0x88f2735e9aaf5422, 0xc972b5ef7638dc63],
    ),
    (
        "ycc_1x4",
        (13, 90, 3),
        [0xd61bab6f67c56b70, 0xc3fe473c84d31d9f, 0x57d6ff53a95287c5, 0x7b8e09091cc0232b],
    ),
];

fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new("tests/data/jpeg");
    fs::read(folder.join(format!("{name}.jpg"))).expect("a golden file")
}

fn decode_by(
    decoder: &mut Decoder,
    bytes: &[u8],
    options: &DecodeOptions<'_>,
) -> Result<PixelBuf, JpegError> {
    let mut out = PixelBuf::new();
    decoder.decode(bytes, options, &mut out).map(|()| out)
}

/// Decodes with both twins of the kernels, which must agree in every byte and in every error.
fn decode(bytes: &[u8], options: &DecodeOptions<'_>) -> Result<PixelBuf, JpegError> {
    let fast = decode_by(&mut Decoder::new(), bytes, options);
    let portable = decode_by(&mut Decoder::portable(), bytes, options);
    match (&fast, &portable) {
        (Ok(fast), Ok(portable)) => assert!(fast.pixels() == portable.pixels(), "twins differ"),
        (fast, portable) => assert_eq!(fast.as_ref().err(), portable.as_ref().err()),
    }
    fast
}

fn scaled(scale: Scale) -> DecodeOptions<'static> {
    DecodeOptions { scale, ..DecodeOptions::default() }
}

fn crop(whole: &PixelBuf, region: Region) -> Vec<u8> {
    let channels = usize::from(whole.channels());
    let (from, to) = (region.x as usize * channels, (region.x + region.width) as usize * channels);
    (whole.pixels().chunks_exact(whole.stride()).skip(region.y as usize).take(region.height as usize))
        .flat_map(|row| &row[from..to])
        .copied()
        .collect()
}

#[test]
fn golden_pixels() {
    for (name, size, hashes) in GOLDEN {
        let bytes = golden(name);
        for (scale, hash) in SCALES.into_iter().zip(hashes) {
            let out = decode(&bytes, &scaled(scale)).unwrap();
            let (width, height) = scale.size(size.0, size.1);
            assert_eq!(
                (out.width(), out.height(), out.channels()),
                (width, height, size.2),
                "{name} {scale:?}"
            );
            assert_eq!(fnv(out.pixels()), *hash, "{name} {scale:?}");
        }
    }
}

#[test]
fn cut_off_anywhere_is_an_error() {
    for (name, ..) in GOLDEN {
        let bytes = golden(name);
        for length in 0..bytes.len() - 2 {
            let error = decode(&bytes[..length], &DecodeOptions::default()).expect_err(name);
            assert!(
                error.offset().is_some_and(|offset| offset <= length as u64),
                "{name} at {length}: {error}"
            );
        }
        // Only the end-of-image marker is missing: forgiven.
        for length in bytes.len() - 2..bytes.len() {
            decode(&bytes[..length], &DecodeOptions::default()).unwrap();
        }
    }
}

/// The offsets of `bytes`' segments before the scan: marker, start, end.
fn segments(bytes: &[u8]) -> Vec<(u8, usize, usize)> {
    let (mut out, mut at) = (Vec::new(), 2);
    loop {
        let end = at + 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        out.push((bytes[at + 1], at, end));
        if bytes[at + 1] == 0xDA {
            return out;
        }
        at = end;
    }
}

#[test]
fn missing_huffman_tables_are_the_standard_ones() {
    let whole = golden("ycc_420");
    let mut bytes = whole.clone();
    for (marker, start, end) in segments(&whole).into_iter().rev() {
        if marker == 0xC4 {
            bytes.drain(start..end);
        }
    }
    assert!(bytes.len() + 400 < whole.len());
    let expected = decode(&whole, &DecodeOptions::default()).unwrap();
    assert_eq!(decode(&bytes, &DecodeOptions::default()).unwrap().pixels(), expected.pixels());
}

#[test]
fn stray_and_fill_bytes_between_segments_are_forgiven() {
    let whole = golden("ycc_422");
    let expected = decode(&whole, &DecodeOptions::default()).unwrap();
    let mut bytes = whole.clone();
    for (_, start, _) in segments(&whole).into_iter().rev() {
        bytes.splice(start..start, [0, 17, 0xFF, 0, 0xFF, 0xFF]);
    }
    bytes.extend(b"trailing garbage \xFF\xD8\xFF");
    assert_eq!(decode(&bytes, &DecodeOptions::default()).unwrap().pixels(), expected.pixels());
}

#[test]
fn unsupported_kinds_are_named() {
    let whole = golden("ycc_444");
    let (_, frame, _) = segments(&whole).into_iter().find(|segment| segment.0 == 0xC0).unwrap();
    for (at, value, name) in [
        (1, 0xC9, "arithmetic"),
        (1, 0xC3, "lossless"),
        (1, 0xC5, "hierarchical"),
        (4, 12, "12-bit"),
        (9, 2, "number of components"),
    ] {
        let mut bytes = whole.clone();
        bytes[frame + at] = value;
        let error = read_header(&bytes).unwrap_err();
        assert!(matches!(error, JpegError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(read_header(b"\x89PNG"), Err(JpegError::NotJpeg));
}

#[test]
fn the_pixel_limit_comes_before_any_work() {
    let mut bytes = golden("ycc_420_progressive");
    let (_, frame, _) = segments(&bytes).into_iter().find(|segment| segment.0 == 0xC2).unwrap();
    bytes[frame + 5..frame + 9].fill(0xFF);
    let error = decode(&bytes, &DecodeOptions::default()).unwrap_err();
    assert_eq!(error, JpegError::TooLarge { width: 65535, height: 65535, limit: 1 << 28 });
}

#[test]
fn regions_outside_are_refused() {
    let bytes = golden("gray");
    for (x, y, width, height) in
        [(0, 0, 0, 1), (0, 0, 38, 1), (37, 0, 1, 1), (0, 28, 1, 2), (1, 1, u32::MAX, 1)]
    {
        let region = Some(Region { x, y, width, height });
        let error = decode(&bytes, &DecodeOptions { region, ..DecodeOptions::default() }).unwrap_err();
        assert_eq!(error, JpegError::Region { x, y, width, height });
    }
}

#[test]
fn an_index_of_other_bytes_is_refused() {
    let bytes = golden("ycc_420");
    let index = Decoder::new().index(&bytes).unwrap();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    let options = DecodeOptions { index: Some(&index), ..DecodeOptions::default() };
    decode(&bytes, &options).unwrap();
    assert!(matches!(decode(&other, &options), Err(JpegError::Index(_))));
    assert!(matches!(decode(&golden("gray"), &options), Err(JpegError::Index(_))));
    assert!(matches!(Decoder::new().index(&golden("gray_progressive")), Err(JpegError::Unsupported { .. })));
}

/// The index as it comes back from where it was kept.
fn restored(index: &EntropyIndex) -> EntropyIndex {
    let (mut bytes, mut back) = (Vec::new(), EntropyIndex::default());
    index.pack(&mut bytes);
    back.unpack(&bytes).expect("what was packed");
    back
}

fn sampling() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop_oneof![
        Just(vec![(1, 1)]),
        Just(vec![(1, 1), (1, 1), (1, 1)]),
        Just(vec![(2, 1), (1, 1), (1, 1)]),
        Just(vec![(2, 2), (1, 1), (1, 1)]),
        Just(vec![(1, 2), (1, 1), (1, 1)]),
        Just(vec![(4, 1), (1, 1), (1, 1)]),
        Just(vec![(2, 2), (2, 1), (1, 2)]),
        Just(vec![(1, 1), (2, 2), (1, 1)]),
        Just(vec![(2, 2), (1, 1), (1, 1), (2, 2)]),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let size = prop_oneof![1..20_u16, 1..120_u16];
    (size.clone(), size, sampling(), prop_oneof![Just(0), 1..9_u16], any::<u64>(), any::<u8>()).prop_map(
        |(width, height, sampling, restart, seed, density)| Spec {
            width,
            height,
            sampling,
            restart,
            progressive: false,
            seed,
            density,
        },
    )
}

/// A rectangle inside `width` x `height`, out of four numbers.
fn region_of((width, height): (u32, u32), [a, b, c, d]: [u32; 4]) -> Region {
    let (x, y) = (a % width, b % height);
    Region { x, y, width: 1 + c % (width - x), height: 1 + d % (height - y) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_region_is_a_crop_of_the_whole(spec in spec(), progressive: bool, at: [u32; 4], scale in 0..4_usize) {
        let bytes = encode(&Spec { progressive, ..spec });
        let whole = decode(&bytes, &scaled(SCALES[scale])).unwrap();
        let region = region_of((whole.width(), whole.height()), at);
        let part = decode(&bytes, &DecodeOptions { region: Some(region), ..scaled(SCALES[scale]) }).unwrap();
        prop_assert_eq!((part.width(), part.height()), (region.width, region.height));
        prop_assert_eq!(part.pixels(), crop(&whole, region));
    }

    #[test]
    fn progressive_and_sequential_give_the_same(spec in spec()) {
        let one = decode(&encode(&spec), &DecodeOptions::default()).unwrap();
        let many = decode(&encode(&Spec { progressive: true, ..spec }), &DecodeOptions::default()).unwrap();
        prop_assert_eq!(one.pixels(), many.pixels());
    }

    #[test]
    fn an_index_changes_no_pixel(spec in spec(), at: [u32; 4], spacing in 1..12_u16) {
        let bytes = encode(&spec);
        let index = Decoder::new().index_every(&bytes, spacing).unwrap();
        let index = restored(&index);
        let region = Some(region_of((u32::from(spec.width), u32::from(spec.height)), at));
        let plain = decode(&bytes, &DecodeOptions { region, ..DecodeOptions::default() }).unwrap();
        let options = DecodeOptions { region, index: Some(&index), ..DecodeOptions::default() };
        let indexed = decode(&bytes, &options).unwrap();
        prop_assert_eq!(indexed.pixels(), plain.pixels());
    }

    #[test]
    fn an_index_made_on_the_way_is_the_same(spec in spec(), at: [u32; 4], spacing in 1..12_u16, scale in 0..4_usize) {
        let bytes = encode(&spec);
        let expected = Decoder::new().index_every(&bytes, spacing).unwrap();
        let scale = SCALES[scale];
        let size = scale.size(u32::from(spec.width), u32::from(spec.height));
        let options = DecodeOptions { region: Some(region_of(size, at)), scale, ..DecodeOptions::default() };
        let plain = decode(&bytes, &options).unwrap();
        let (mut index, mut out) = (EntropyIndex::default(), PixelBuf::new());
        let parsed = parse(&bytes).unwrap();
        prop_assert!(Decoder::new().decode_indexing(&parsed, &options, spacing, &mut index, &mut out).unwrap());
        prop_assert_eq!(out.pixels(), plain.pixels());
        prop_assert_eq!(&index, &expected);
    }

    #[test]
    fn damage_is_the_same_with_an_index_in_the_making(
        spec in spec(), at: [u32; 4], place: prop::sample::Index, byte: u8,
    ) {
        let mut bytes = encode(&spec);
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let Ok(parsed) = parse(&bytes) else { return Ok(()) };
        let (width, height) = (parsed.header().width, parsed.header().height);
        if u64::from(width) * u64::from(height) > 1 << 20 {
            return Ok(());
        }
        let options = DecodeOptions { region: Some(region_of((width, height), at)), ..DecodeOptions::default() };
        let plain = decode(&bytes, &options);
        let (mut index, mut out) = (EntropyIndex::default(), PixelBuf::new());
        let made = Decoder::new().decode_indexing(&parsed, &options, 3, &mut index, &mut out);
        prop_assert_eq!(made.as_ref().err(), plain.as_ref().err());
        if let Ok(plain) = plain {
            prop_assert_eq!(out.pixels(), plain.pixels());
        }
    }

    #[test]
    fn a_decoder_keeps_nothing_of_the_last_picture(specs in prop::collection::vec((spec(), any::<bool>()), 2..5)) {
        let mut reused = Decoder::new();
        let mut out = PixelBuf::new();
        for (spec, progressive) in specs {
            let bytes = encode(&Spec { progressive, ..spec });
            reused.decode(&bytes, &DecodeOptions::default(), &mut out).unwrap();
            let fresh = decode(&bytes, &DecodeOptions::default()).unwrap();
            prop_assert_eq!(out.pixels(), fresh.pixels());
        }
    }

    #[test]
    fn damaged_bytes_give_pixels_or_an_error(
        spec in spec(),
        progressive: bool,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        at: [u32; 4],
    ) {
        let mut bytes = encode(&Spec { progressive, ..spec });
        let index = Decoder::new().index(&bytes).ok();
        for (place, flip) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
        }
        let limited = DecodeOptions { max_pixels: 1 << 18, ..DecodeOptions::default() };
        let _ = decode(&bytes, &limited);
        if let Ok(parsed) = parse(&bytes) {
            let region = Some(region_of((parsed.header().width, parsed.header().height), at));
            let _ = decode(&bytes, &DecodeOptions { region, ..limited });
            let _ = decode(&bytes, &DecodeOptions { region, index: index.as_ref(), ..limited });
        }
    }

    #[test]
    fn any_bytes_behind_a_start_of_image_are_survived(tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![0xFF, 0xD8];
        bytes.extend(tail);
        let _ = decode(&bytes, &DecodeOptions { max_pixels: 1 << 18, ..DecodeOptions::default() });
    }
}
