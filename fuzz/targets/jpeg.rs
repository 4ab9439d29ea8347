//! JPEG from arbitrary bytes: header, the whole, a region, scaled, with the index made of it, with both kernel twins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zenith_data::format::jpeg::{Decoder, EntropyIndex, read_header};
use zenith_fuzz::choices;
use zenith_fuzz::jpeg::{MOST_PIXELS, check_region};

fuzz_target!(|input: &[u8]| {
    let Some((bytes, choice)) = choices::<6>(input) else {
        return;
    };
    let Ok(header) = read_header(bytes) else {
        return;
    };
    // Without the limit of a decode: an index takes memory for data that is there, not for pixels that are promised.
    let index = Decoder::new().index_every(bytes, u16::from(choice[0])).ok();
    if u64::from(header.width) * u64::from(header.height) > MOST_PIXELS {
        return;
    }
    if let Some(index) = &index {
        let (mut packed, mut back) = (Vec::new(), EntropyIndex::default());
        index.pack(&mut packed);
        assert_eq!(back.unpack(&packed), Some(()));
        assert_eq!(&back, index);
    }
    let [_, region @ ..] = choice;
    check_region(bytes, &header, region, index.as_ref());
});
