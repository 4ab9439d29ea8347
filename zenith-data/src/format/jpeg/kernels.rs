//! Which twin of each kernel this machine runs: chosen once, when a decoder is made.

use super::idct::{self, Idct};
use super::sequential::{self, DecodeRun, SkipRun};
use super::{avx2, color, upsample};

/// Three rows of components to one of pixels.
type ToRgb = fn(&[u8], &[u8], &[u8], &mut [u8]);

/// The kernels a decoder calls.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    pub(super) skip_run: SkipRun,
    pub(super) decode_run: DecodeRun,
    pub(super) idct: Idct,
    pub(super) flat: Idct,
    pub(super) wide: fn(&[u8], &mut [u8]),
    pub(super) tall: fn(&[u8], &[u8], u16, &mut [u8]),
    pub(super) both: fn(&[u8], &[u8], &mut [u8]),
    pub(super) ycc: ToRgb,
}

impl Kernels {
    /// Those that run anywhere.
    pub(super) const PORTABLE: Self = Self {
        skip_run: sequential::skip_run,
        decode_run: sequential::decode_run,
        idct: idct::full,
        flat: idct::flat,
        wide: upsample::wide,
        tall: upsample::tall,
        both: upsample::both,
        ycc: color::ycc,
    };

    /// The best for this machine.
    pub(super) fn detect() -> Self {
        avx2::kernels().unwrap_or(Self::PORTABLE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Kernels;
    use crate::format::jpeg::block::Block;

    fn bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), length)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_are_the_same(values: [[i16; 32]; 2], steps: [[i16; 32]; 2], shift in 0..12_u32, stride in 8..20_usize) {
            let (fast, portable) = (Kernels::detect(), Kernels::PORTABLE);
            let mut block: Block = [0; 256];
            for (place, value) in block.iter_mut().zip(values.as_flattened()) {
                *place = value >> shift;
            }
            let mut steps_flat = [0; 64];
            for (place, step) in steps_flat.iter_mut().zip(steps.as_flattened()) {
                *place = step >> shift;
            }
            let pairs = [
                (fast.idct, portable.idct, 64),
                (fast.flat, portable.flat, 1),
                (fast.flat, portable.idct, 1),
                (fast.idct, portable.flat, 1),
            ];
            for (one, other, used) in pairs {
                block[used..].fill(0);
                let (mut a, mut b) = (block, block);
                let (mut out_a, mut out_b) = (vec![7; 8 * stride], vec![7; 8 * stride]);
                one(&mut a, &steps_flat, &mut out_a, stride);
                other(&mut b, &steps_flat, &mut out_b, stride);
                let rows = |out: &[u8]| out.chunks(stride).flat_map(|row| row[..8].to_vec()).collect::<Vec<_>>();
                prop_assert_eq!(rows(&out_a), rows(&out_b));
                prop_assert!(a[..64].iter().chain(&b[..64]).all(|&value| value == 0));
            }
        }

        #[test]
        fn rows_are_the_same(a in bytes(2..150), b in bytes(150..151), c in bytes(150..151), bias in 1..3_u16) {
            let (fast, portable) = (Kernels::detect(), Kernels::PORTABLE);
            let n = a.len();
            let run = |kernels: &Kernels| {
                let mut out = [vec![0; 2 * (n - 2)], vec![0; 2 * (n - 2)], vec![0; n], vec![0; 3 * n]];
                (kernels.wide)(&a, &mut out[0]);
                (kernels.both)(&a, &b[..n], &mut out[1]);
                (kernels.tall)(&a, &b[..n], bias, &mut out[2]);
                (kernels.ycc)(&a, &b[..n], &c[..n], &mut out[3]);
                out
            };
            prop_assert_eq!(run(&fast), run(&portable));
        }
    }

    #[test]
    fn every_chroma_pair_is_the_same() {
        let (fast, portable) = (Kernels::detect(), Kernels::PORTABLE);
        let all: Vec<u8> = (0..=255).collect();
        for cb in 0..=255 {
            for y in [0, 1, 127, 128, 254, 255] {
                let (mut one, mut other) = ([0; 768], [0; 768]);
                (fast.ycc)(&[y; 256], &[cb; 256], &all, &mut one);
                (portable.ycc)(&[y; 256], &[cb; 256], &all, &mut other);
                assert!(one == other, "cb {cb}, y {y}");
            }
        }
    }
}
