//! Entropy indexes from arbitrary bytes, and decoding with whatever passes as one. What is fed is the index without its
//! checksum, which the target adds, and which picture and region to decode with it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;
use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, read_header};
use zenith_fuzz::choices;
use zenith_fuzz::jpeg::{check_region, decode_twice, region, scale};

/// Bytes in front of the entries, which tell whose index it is.
const HEAD: usize = 31;

const PICTURES: [&[u8]; 3] = [
    include_bytes!("../pictures/color.jpg"),
    include_bytes!("../pictures/gray.jpg"),
    include_bytes!("../pictures/restarts.jpg"),
];

/// The true indexes of the pictures.
fn indexes() -> &'static [Vec<u8>] {
    static INDEXES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    INDEXES.get_or_init(|| {
        let index = |picture| Decoder::new().index_every(picture, 2).expect("a sound picture");
        PICTURES.iter().map(|picture| index(picture).to_bytes()).collect()
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((entries, [picture, mode, place @ ..])) = choices::<7>(input) else {
        return;
    };
    let picture = usize::from(picture) % PICTURES.len();
    let (bytes, true_index) = (PICTURES[picture], &indexes()[picture]);
    let body = &true_index[..true_index.len() - 8];
    let stored = match mode % 3 {
        0 => entries.to_vec(),
        // The head of the true index, so that the decoder takes it for one of this picture.
        1 => summed([&body[..HEAD], entries].concat()),
        // As many entries as the picture has; the input changes some bits of the true ones.
        _ => {
            let mut body = body.to_vec();
            for (byte, change) in body[HEAD..].iter_mut().zip(entries) {
                *byte ^= change;
            }
            summed(body)
        }
    };
    let Ok(index) = EntropyIndex::from_bytes(&stored) else {
        return;
    };
    assert!(
        index.to_bytes() == stored,
        "an index does not survive being stored"
    );
    let header = read_header(bytes).expect("a sound picture");
    if stored == *true_index {
        check_region(bytes, &header, place, Some(&index));
        return;
    }
    let scale = scale(place[0]);
    let [_, place @ ..] = place;
    // The entries are wrong, so the pixels or an error are anyone's guess; both twins have to guess the same.
    let _ = decode_twice(
        bytes,
        &DecodeOptions {
            region: Some(region(scale.size(header.width, header.height), place)),
            scale,
            index: Some(&index),
            ..DecodeOptions::default()
        },
    );
});

fn summed(mut body: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64(&body);
    body.extend(sum.to_le_bytes());
    body
}
