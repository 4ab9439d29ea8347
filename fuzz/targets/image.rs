//! Pictures of every kind through the one decoder that loaders use: probing, orientation, and regions as cuts of the
//! whole. The decoders of PNG and WebP are libraries; what is looked for here is what surrounds them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zenith_data::format::image::{ImageDecoder, ImageOptions, describe, is_picture, probe};
use zenith_data::pixels::{PixelBuf, Region};
use zenith_fuzz::jpeg::{MOST_PIXELS, region};
use zenith_fuzz::{choices, count_own_panics};

fuzz_target!(init: count_own_panics(), |input: &[u8]| {
    let Some((bytes, [turn, denom, place @ ..])) = choices::<6>(input) else {
        return;
    };
    let _ = describe(bytes);
    let mut decoder = ImageDecoder::new(ImageOptions {
        max_pixels: MOST_PIXELS,
        apply_orientation: turn & 1 == 1,
    });
    let Ok(picture) = decoder.open(bytes) else {
        return;
    };
    assert!(is_picture(bytes) && probe(bytes).as_ref() == Ok(picture.info()));
    let denom = if picture.scales() { 1 << (denom % 4) } else { 1 };
    let (width, height) = picture.size();
    let (width, height) = (width.div_ceil(denom), height.div_ceil(denom));
    let denom = denom as u8;
    let [mut whole, mut part] = [PixelBuf::new(), PixelBuf::new()];
    let all = decoder.decode(&picture, Region::full(width, height), denom, &mut whole);
    let place = region((width, height), place);
    let cut = decoder.decode(&picture, place, denom, &mut part);
    if all.is_err() {
        return;
    }
    cut.expect("a region of a sound picture");
    assert_eq!((whole.width(), whole.height()), (width, height));
    assert_eq!((part.width(), part.height()), (place.width, place.height));
    assert_eq!(part.channels(), whole.channels());
    for (row, pixels) in part.pixels().chunks_exact(part.stride()).enumerate() {
        let from = (place.y as usize + row) * whole.stride()
            + place.x as usize * usize::from(whole.channels());
        assert!(
            pixels == &whole.pixels()[from..from + pixels.len()],
            "row {row} of {place:?} at 1/{denom} differs"
        );
    }
});
