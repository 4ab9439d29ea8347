//! Carries out one pass: rows of the source are resampled horizontally two at a time into a small ring, from which
//! each output row is resampled vertically, straight into the output's type and order.

use super::emit::Canvas;
use super::filter::{Layout, Taps};
use super::geometry::Pass;
use super::kernels::Kernels;
use crate::DType;
use crate::pixels::Region;

/// Interleaved 8-bit pixels of which `region` says where in the whole picture they lie.
#[derive(Clone, Copy)]
pub(super) struct Picture<'a> {
    pub(super) pixels: &'a [u8],
    pub(super) channels: usize,
    pub(super) region: Region,
}

impl<'a> Picture<'a> {
    /// The bytes from pixel (`x`, `y`) of the whole picture to the end of the buffer.
    fn from(self, x: u32, y: u32) -> &'a [u8] {
        let (x, y) = ((x - self.region.x) as usize, (y - self.region.y) as usize);
        &self.pixels[(y * self.region.width as usize + x) * self.channels..]
    }
}

/// The memory of the passes, reused from sample to sample.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) kernels: Kernels,
    taps: [Taps; 2],
    ring: Vec<u32>,
    rows: [Vec<u8>; 2],
    places: Vec<usize>,
    planes: Vec<u8>,
}

impl Workspace {
    pub(super) fn new(kernels: Kernels) -> Self {
        Self {
            kernels,
            taps: Default::default(),
            ring: Vec::new(),
            rows: Default::default(),
            places: Vec::new(),
            planes: Vec::new(),
        }
    }

    /// Writes the result of `pass` over `source` (at 1/`denom` of its full size) to `canvas`.
    pub(super) fn run(&mut self, pass: &Pass, denom: u32, source: Picture<'_>, canvas: &mut Canvas<'_>) {
        if pass.is_padded() {
            canvas.fill(pass.fill);
        }
        if pass.window.width == 0 || pass.window.height == 0 {
            return;
        }
        let place = |mirror: bool, at: u32, length: u32, canvas: u32| {
            (if mirror { canvas - at - length } else { at }) as usize
        };
        let left = place(pass.mirror_x, pass.at.0, pass.window.width, pass.canvas.0);
        let top = place(pass.mirror_y, pass.at.1, pass.window.height, pass.canvas.1);
        if pass.resample.is_some() {
            self.resample(pass, denom, source, canvas, (left, top));
        } else {
            self.copy(pass, source, canvas, (left, top));
        }
    }

    fn copy(
        &mut self,
        pass: &Pass,
        source: Picture<'_>,
        canvas: &mut Canvas<'_>,
        (left, top): (usize, usize),
    ) {
        let needs = pass.needs(1);
        let width = needs.width as usize;
        for y in 0..needs.height {
            let from = &source.from(needs.x, needs.y + y)[..width * source.channels];
            let to = if pass.mirror_y { needs.height - 1 - y } else { y } as usize;
            let row = if source.channels == 3 && !pass.mirror_x {
                from
            } else {
                let row = &mut self.rows[0];
                row.clear();
                match (source.channels, pass.mirror_x) {
                    (1, false) => row.extend(from.iter().flat_map(|&v| [v; 3])),
                    (1, true) => row.extend(from.iter().rev().flat_map(|&v| [v; 3])),
                    _ => row.extend(from.chunks_exact(3).rev().flatten()),
                }
                &row[..]
            };
            canvas.rgb(self.kernels, left, top + to, row);
        }
    }

    fn resample(
        &mut self,
        pass: &Pass,
        denom: u32,
        source: Picture<'_>,
        canvas: &mut Canvas<'_>,
        (left, top): (usize, usize),
    ) {
        let Some([(axis_x, base_x, filter), (axis_y, base_y, _)]) = pass.axes(denom) else {
            return;
        };
        let needs = pass.needs(denom);
        let Self { kernels, taps: [horizontal, vertical], ring, rows: [row_even, row_odd], places, planes } =
            self;
        let layout_x = Layout {
            first: pass.window.x,
            count: pass.window.width,
            origin: needs.x - base_x,
            reversed: pass.mirror_x,
            even: false,
            multiple: Kernels::WIDTH,
        };
        let layout_y = Layout {
            first: pass.window.y,
            count: pass.window.height,
            origin: needs.y - base_y,
            reversed: false,
            even: true,
            multiple: 1,
        };
        horizontal.build(axis_x, filter, layout_x);
        vertical.build(axis_y, filter, layout_y);
        let width = pass.window.width as usize;
        let padded = horizontal.starts.len();
        let slot = padded * 3;
        let pairs = vertical.pairs;
        ring.clear();
        ring.resize(slot * pairs, 0);
        let reach = Kernels::reach(horizontal);
        let mut ready = 0;
        for (y, weights) in vertical.weights.chunks_exact(pairs * 2).enumerate() {
            let first = vertical.starts[y] as usize / 2;
            // Rows below the last one needed do not exist: their weights are 0, and any row stands for them.
            let end = (first + pairs).min((needs.height as usize).div_ceil(2));
            ready = ready.max(first);
            while ready < end {
                let even = needs.y + 2 * ready as u32;
                let odd = (even + 1).min(needs.y + needs.height - 1);
                let even = padded_row(source, needs, even, reach, row_even);
                let odd = padded_row(source, needs, odd, reach, row_odd);
                kernels.horizontal(even, odd, horizontal, &mut ring[ready % pairs * slot..][..slot]);
                ready += 1;
            }
            places.clear();
            places.extend((first..first + pairs).map(|k| k.min(end - 1) % pairs * slot));
            let to = top + if pass.mirror_y { pass.window.height as usize - 1 - y } else { y };
            if canvas.format.is_fused() {
                for channel in 0..canvas.format.channels {
                    let affine = &canvas.format.affine[channel];
                    let float = canvas.format.dtype == DType::Float32;
                    let out = canvas.plane_row(channel, left, to, width);
                    if float {
                        kernels.vertical_f32(ring, places, weights, vertical.shift, affine, out);
                    } else {
                        kernels.vertical_u8(ring, places, weights, vertical.shift, out);
                    }
                    places.iter_mut().for_each(|place| *place += padded);
                }
            } else {
                planes.resize(slot, 0);
                kernels.vertical_u8(ring, places, weights, vertical.shift, planes);
                canvas.planes(left, to, planes, padded, width);
            }
        }
    }
}

/// Row `y` of the part `needs` of the source as interleaved RGB with at least `reach` bytes; copied to `row` where the
/// source itself does not have them.
fn padded_row<'a>(
    source: Picture<'a>,
    needs: Region,
    y: u32,
    reach: usize,
    row: &'a mut Vec<u8>,
) -> &'a [u8] {
    let from = source.from(needs.x, y);
    if source.channels == 3 && from.len() >= reach {
        return from;
    }
    let from = &from[..needs.width as usize * source.channels];
    row.clear();
    if source.channels == 3 {
        row.extend_from_slice(from);
    } else {
        row.extend(from.iter().flat_map(|&value| [value; 3]));
    }
    row.resize(reach.max(row.len()), 0);
    row
}
