//! EXIF data from arbitrary bytes, inside a JPEG, a PNG and a WebP: the orientation must be the same in all of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zenith_data::format::image::probe;

const PICTURE: &[u8] = include_bytes!("../pictures/gray.jpg");

fuzz_target!(|exif: &[u8]| {
    // An application segment of a JPEG holds no more.
    let exif = &exif[..exif.len().min(60_000)];
    let orientation = |file: &[u8]| probe(file).expect("a sound header").orientation;
    let of_jpeg = orientation(&jpeg(exif));
    assert_eq!(of_jpeg, orientation(&png(exif)), "JPEG and PNG");
    assert_eq!(of_jpeg, orientation(&webp(exif)), "JPEG and WebP");
});

fn jpeg(exif: &[u8]) -> Vec<u8> {
    // Elsewhere the signature may stand before the data; here it must.
    let data = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let length = u16::try_from(data.len() + 8).expect("a short segment");
    [
        b"\xff\xd8\xff\xe1",
        &length.to_be_bytes()[..],
        b"Exif\0\0",
        data,
        &PICTURE[2..],
    ]
    .concat()
}

fn png(exif: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\0\0\0\0".to_vec();
    file.extend((exif.len() as u32).to_be_bytes());
    file.extend(b"eXIf");
    file.extend(exif);
    file.extend([0; 4]);
    file
}

fn webp(exif: &[u8]) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\x08\0\0\0\0\0\0\0\0\0EXIF".to_vec();
    file.extend((exif.len() as u32).to_le_bytes());
    file.extend(exif);
    file
}
