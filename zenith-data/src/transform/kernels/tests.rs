//! Every set of inner loops gives the bytes of the portable one, at every width and number of taps.

use proptest::prelude::*;

use super::{Affine, Kernels};
use crate::transform::filter::{Axis, Filter, Layout, Taps};
use crate::transform::ops::Interpolation;

fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut rng = crate::sampler::rng::SampleRng::new(seed, 0, 0);
    // Extremes are over-represented, for the clipping.
    (0..count)
        .map(|_| match rng.below(4) {
            0 => 0,
            1 => 255,
            _ => rng.below(256) as u8,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn sets_agree(
        input in 1u32..300,
        output in 1u32..80,
        shape in prop::sample::select(vec![Interpolation::Bilinear, Interpolation::Bicubic, Interpolation::Lanczos]),
        seed: u64,
        reversed: bool,
    ) {
        let kernels = Kernels::detect();
        let filter = Filter { shape, antialias: true, pillow: true };
        let axis = Axis { from: 0.0, to: f64::from(input), input, output };
        let layout = Layout { first: 0, count: output, origin: 0, reversed, even: false, multiple: Kernels::WIDTH };
        let mut taps = Taps::default();
        taps.build(axis, filter, layout);
        let reach = Kernels::reach(&taps);
        let (even, odd) = (bytes(seed, reach), bytes(!seed, reach));
        let width = taps.starts.len();
        let mut ring = vec![[0u32; 2]; width * 3 * 2].concat();
        let mut check = ring.clone();
        for (slot, (even, odd)) in [(&even, &odd), (&odd, &even)].into_iter().enumerate() {
            let run = slot * width * 3..(slot + 1) * width * 3;
            kernels.horizontal(even, odd, &taps, &mut ring[run.clone()]);
            Kernels::Portable.horizontal(even, odd, &taps, &mut check[run]);
        }
        prop_assert_eq!(&ring, &check);

        let columns = output as usize;
        let weights = [-3000i16, 21_000, 1200, -2816];
        let rows = [width, width * 4];
        let mut out = [vec![1; columns], vec![2; columns]];
        kernels.vertical_u8(&ring, &rows, &weights, 14, &mut out[0]);
        Kernels::Portable.vertical_u8(&ring, &rows, &weights, 14, &mut out[1]);
        prop_assert_eq!(&out[0], &out[1]);
        let affine = Affine::new(1.0 / 58.395, -2.117_903_9);
        let mut out = [vec![1; columns * 4], vec![2; columns * 4]];
        kernels.vertical_f32(&ring, &rows, &weights, 14, &affine, &mut out[0]);
        Kernels::Portable.vertical_f32(&ring, &rows, &weights, 14, &affine, &mut out[1]);
        prop_assert_eq!(&out[0], &out[1]);

        let affine = [affine, Affine::new(0.5, -1.0), Affine::new(1.0 / 255.0, 0.0)];
        let mut planes = [vec![1; columns * 12], vec![2; columns * 12]];
        for (kernels, planes) in [kernels, Kernels::Portable].into_iter().zip(&mut planes) {
            let (r, rest) = planes.split_at_mut(columns * 4);
            let (g, b) = rest.split_at_mut(columns * 4);
            kernels.rgb_to_planes(&bytes(seed, columns * 3), &affine, [r, g, b]);
        }
        prop_assert_eq!(&planes[0], &planes[1]);
    }
}
