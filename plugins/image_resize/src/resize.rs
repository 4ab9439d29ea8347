//! Leads a picture through the two passes: pairs of rows are resampled along x into a small ring, of which every output
//! row is resampled along y. A picture with its channels first is one picture of one channel after the other.

use zenith_plugin_guest::{Layout, Picture};

use crate::kernels;
use crate::taps::Taps;

/// Filters and intermediate rows, kept from picture to picture.
#[derive(Default)]
pub(crate) struct Resizer {
    along_x: Taps,
    along_y: Taps,
    ring: Vec<u32>,
    padded: [Vec<u8>; 2],
    places: Vec<usize>,
}

impl Resizer {
    /// Resizes `pixels`, a picture `from`, to `out`, a picture `to`.
    pub(crate) fn resize(&mut self, from: Picture, pixels: &[u8], to: Picture, out: &mut [u8]) {
        // Reading two rows of one channel, the inner loop takes eight taps at once.
        let interleaved = from.layout == Layout::Hwc && from.channels > 1;
        let (channels, multiple) = if interleaved { (from.channels, 4) } else { (1, 8) };
        self.along_x.build(from.width, to.width, multiple, 1);
        self.along_y.build(from.height, to.height, 2, 2);
        let pictures = pixels.chunks_exact(from.height * from.width * channels);
        for (pixels, out) in pictures.zip(out.chunks_exact_mut(to.height * to.width * channels)) {
            self.plane(channels, pixels, from.width * channels, out, to.width * channels);
        }
    }

    /// Resizes one picture of interleaved channels, whose rows have `row` values, to rows of `columns` values.
    fn plane(&mut self, channels: usize, pixels: &[u8], row: usize, out: &mut [u8], columns: usize) {
        let Self { along_x, along_y, ring, padded: [padded_even, padded_odd], places } = self;
        let pairs = along_y.pairs();
        let slot = kernels::slot(columns);
        ring.resize(slot * pairs, 0);
        let rows = pixels.len() / row;
        let reach = kernels::reach(along_x, channels);
        let mut ready = 0;
        let weights = along_y.weights.chunks_exact(pairs);
        for ((out, weights), start) in out.chunks_exact_mut(columns).zip(weights).zip(&along_y.starts) {
            let first = start / 2;
            // Below the last row all weights are 0, and any row will do.
            let end = (first + pairs).min(rows.div_ceil(2));
            ready = ready.max(first);
            while ready < end {
                let even = from_row(pixels, row, 2 * ready, reach, padded_even);
                let odd = from_row(pixels, row, (2 * ready + 1).min(rows - 1), reach, padded_odd);
                kernels::along_x(channels, even, odd, along_x, &mut ring[ready % pairs * slot..][..slot]);
                ready += 1;
            }
            places.clear();
            places.extend((first..first + pairs).map(|pair| pair.min(end - 1) % pairs * slot));
            kernels::along_y(ring, places, weights, along_y.shift, out);
        }
    }
}

/// The pixels from the beginning of row `y`, at least `reach` bytes of them: copied where the picture has fewer.
fn from_row<'a>(pixels: &'a [u8], row: usize, y: usize, reach: usize, padded: &'a mut Vec<u8>) -> &'a [u8] {
    let from = &pixels[y * row..];
    if from.len() >= reach {
        return from;
    }
    padded.clear();
    padded.extend_from_slice(from);
    padded.resize(reach, 0);
    padded
}
