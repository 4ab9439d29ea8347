//! Lists of operations as JSON: what can be read is compiled, drawn for a small picture and rendered, with the kernels
//! of this machine and with the portable ones.
#![no_main]

use libfuzzer_sys::fuzz_target;
use zenith_data::pixels::PixelBuf;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::{Mode, Op, Plan, Scratch};
use zenith_fuzz::choices;

/// Larger results are legal, but take long.
const MOST_BYTES: usize = 4 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((json, [width, height, seed, mode])) = choices::<4>(input) else {
        return;
    };
    let Ok(ops) = serde_json::from_slice::<Vec<Op>>(json) else {
        return;
    };
    // NaN and infinities are no JSON, so what was read can be written and read again.
    let written = serde_json::to_vec(&ops).expect("operations are JSON");
    let again: Vec<Op> = serde_json::from_slice(&written).expect("written operations can be read");
    assert_eq!(again, ops);
    let fast = mode & 1 == 1;
    let Ok(plan) = Plan::compile(&ops, if fast { Mode::Fast } else { Mode::Exact }) else {
        return;
    };
    let (width, height) = (u32::from(width) + 1, u32::from(height) + 1);
    let mut rng = SampleRng::new(u64::from(seed), 0, 0);
    let Ok(view) = plan.view(width, height, &mut rng) else {
        return;
    };
    assert!(!view.describe().is_empty() && !plan.describe().is_empty());
    let (out_height, out_width) = view.output_size();
    assert!(
        plan.output()
            .size
            .is_none_or(|size| size == (out_height, out_width))
    );
    let bytes = plan.output().bytes(out_height, out_width);
    let region = view.region();
    let denom = u32::from(view.scale_denom());
    let (scaled_width, scaled_height) = (width.div_ceil(denom), height.div_ceil(denom));
    assert!(region.width > 0 && region.height > 0);
    assert!(region.x + region.width <= scaled_width && region.y + region.height <= scaled_height);
    if bytes > MOST_BYTES {
        return;
    }
    let mut picture = PixelBuf::new();
    picture.reset(region.width, region.height, if mode & 2 == 0 { 3 } else { 1 });
    for (at, pixel) in picture.pixels_mut().iter_mut().enumerate() {
        *pixel = (at as u32).wrapping_mul(2_654_435_761) as u8 ^ seed;
    }
    let [mut fast, mut portable] = [vec![0x55; bytes], vec![0xAA; bytes]];
    plan.render(&view, &picture, &mut Scratch::new(), &mut fast)
        .expect("a view of this picture");
    plan.render(&view, &picture, &mut Scratch::portable(), &mut portable)
        .expect("a view of this picture");
    assert!(fast == portable, "the twins differ, or a byte was not written");
});
