//! Entropy indexes from arbitrary bytes as they are kept between runs, packed, and decoding with whatever passes as one.
//! What is fed is the index, and which picture and region to decode with it.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use zenith_data::format::jpeg::{DecodeOptions, Decoder, EntropyIndex, read_header};
use zenith_fuzz::choices;
use zenith_fuzz::jpeg::{check_region, decode_twice, region, scale};

const PICTURES: [&[u8]; 3] = [
    include_bytes!("../pictures/color.jpg"),
    include_bytes!("../pictures/gray.jpg"),
    include_bytes!("../pictures/restarts.jpg"),
];

/// The true indexes of the pictures, packed, and where in them the entries begin.
fn indexes() -> &'static [(Vec<u8>, usize)] {
    static INDEXES: OnceLock<Vec<(Vec<u8>, usize)>> = OnceLock::new();
    INDEXES.get_or_init(|| {
        let index = |picture| {
            let mut packed = Vec::new();
            Decoder::new().index_every(picture, 2).expect("a sound picture").pack(&mut packed);
            // Identity and components, then four numbers of seven bits a byte.
            let mut head = 9;
            for _ in 0..4 {
                head += 1 + packed[head..].iter().take_while(|byte| **byte >= 0x80).count();
            }
            (packed, head)
        };
        PICTURES.iter().map(|picture| index(picture)).collect()
    })
}

fuzz_target!(|input: &[u8]| {
    let Some((entries, [picture, mode, place @ ..])) = choices::<7>(input) else {
        return;
    };
    let picture = usize::from(picture) % PICTURES.len();
    let (bytes, (true_index, head)) = (PICTURES[picture], &indexes()[picture]);
    let stored = match mode % 3 {
        0 => entries.to_vec(),
        // The head of the true index, so that the decoder takes it for one of this picture.
        1 => [&true_index[..*head], entries].concat(),
        // As many entries as the picture has; the input changes some bits of the true ones.
        _ => {
            let mut stored = true_index.clone();
            for (byte, change) in stored[*head..].iter_mut().zip(entries) {
                *byte ^= change;
            }
            stored
        }
    };
    let mut index = EntropyIndex::default();
    if index.unpack(&stored).is_none() {
        return;
    }
    // Numbers may be written longer than they need be; what was read is written in one way.
    let (mut packed, mut back) = (Vec::new(), EntropyIndex::default());
    index.pack(&mut packed);
    assert!(
        back.unpack(&packed).is_some() && back == index,
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
