//! From decoded blocks to pixel rows: each component keeps the samples of two rows of MCUs, and a pixel row goes out as
//! soon as the samples it leans on are there.

use super::header::ColorModel;
use super::kernels::Kernels;
use super::plan::{ComponentPlan, Plan};
use super::upsample::{self, Upsample};
use crate::pixels::PixelBuf;

/// Spare samples at either end of a band's row: room for edge copies.
const MARGIN: usize = 16;

/// The samples of one component, two rows of MCUs of them.
#[derive(Default)]
pub(super) struct Band {
    samples: Vec<u8>,
    stride: usize,
    /// First sample column that is kept.
    left: usize,
    /// First block column that is kept.
    first_block: usize,
    /// Rows of one row of MCUs.
    height: usize,
}

impl Band {
    fn row_start(&self, row: usize) -> usize {
        ((row / self.height) % 2 * self.height + row % self.height) * self.stride
    }

    /// The samples from `start` on of component row `row`; `start` counts from the first kept column and may be -1.
    fn row(&self, row: usize, start: isize) -> &[u8] {
        let at = self.row_start(row);
        &self.samples[at + MARGIN.wrapping_add_signed(start)..at + self.stride]
    }

    /// The rows that the block in column `bx` and line `dy` of MCU row `row` is to be written to.
    #[inline(always)]
    pub(super) fn block(&mut self, bx: usize, row: usize, dy: usize, block: usize) -> (&mut [u8], usize) {
        let line = row % 2 * self.height + dy * block;
        let at = line * self.stride + MARGIN + (bx - self.first_block) * block;
        (&mut self.samples[at..], self.stride)
    }
}

/// All components' bands, and rows on their way to pixels.
#[derive(Default)]
pub(super) struct Bands {
    bands: [Band; 4],
    rows: [Vec<u8>; 4],
    /// Next pixel row to go out.
    next: usize,
}

impl Bands {
    /// Makes room for `plan`.
    pub(super) fn reset(&mut self, plan: &Plan) {
        self.next = plan.y;
        for ((band, row), c) in self.bands.iter_mut().zip(&mut self.rows).zip(&plan.components[..plan.count])
        {
            band.height = c.band();
            band.first_block = c.bx.0;
            band.left = c.bx.0 * c.block;
            band.stride = (c.bx.1 - c.bx.0) * c.block + 2 * MARGIN;
            let size = band.stride * band.height * 2;
            if band.samples.len() < size {
                band.samples.resize(size, 0);
            }
            let size = plan.width + 2 * c.expand_x;
            if row.len() < size {
                row.resize(size, 0);
            }
        }
    }

    /// The band of one component.
    #[inline(always)]
    pub(super) fn band(&mut self, component: usize) -> &mut Band {
        &mut self.bands[component]
    }

    /// Takes note that all blocks of MCU row `row` are there; writes the pixel rows that this completes.
    pub(super) fn finish_row(
        &mut self,
        plan: &Plan,
        model: ColorModel,
        row: usize,
        kernels: &Kernels,
        out: &mut PixelBuf,
    ) {
        for (band, c) in self.bands.iter_mut().zip(&plan.components[..plan.count]) {
            if c.upsample.reaches_columns() {
                copy_edges(band, c, row);
            }
        }
        let end = plan.y + plan.height;
        let complete = if row + 1 == plan.rows.end {
            end
        } else {
            ((row + 1) * plan.mcu_height - usize::from(plan.reaches_rows)).min(end)
        };
        while self.next < complete {
            self.write_row(plan, model, self.next, kernels, out);
            self.next += 1;
        }
    }

    fn write_row(&mut self, plan: &Plan, model: ColorModel, y: usize, kernels: &Kernels, out: &mut PixelBuf) {
        let bands = &self.bands;
        let mut rows = [&[][..]; 4];
        for (i, (c, temporary)) in plan.components[..plan.count].iter().zip(&mut self.rows).enumerate() {
            rows[i] = component_row(&bands[i], c, plan, y, temporary, kernels);
        }
        let stride = out.stride();
        let at = (y - plan.y) * stride;
        let target = &mut out.pixels_mut()[at..at + stride];
        match model {
            ColorModel::Gray => target.copy_from_slice(rows[0]),
            ColorModel::Ycc => (kernels.ycc)(rows[0], rows[1], rows[2], target),
            ColorModel::Rgb => super::color::interleave(rows[0], rows[1], rows[2], target),
            ColorModel::Cmyk => super::color::cmyk(rows[0], rows[1], rows[2], rows[3], target),
            ColorModel::Ycck => super::color::ycck(rows[0], rows[1], rows[2], rows[3], target),
        }
    }
}

/// Puts copies of the picture's edge samples beside the edges, in the rows of MCU row `row`.
fn copy_edges(band: &mut Band, c: &ComponentPlan, row: usize) {
    let right = (c.across <= c.bx.1 * c.block).then(|| MARGIN + c.across - band.left);
    for line in 0..band.height {
        let at = band.row_start(row * band.height + line);
        if band.left == 0 {
            band.samples[at + MARGIN - 1] = band.samples[at + MARGIN];
        }
        if let Some(right) = right {
            band.samples[at + right] = band.samples[at + right - 1];
        }
    }
}

/// The part of pixel row `y` that the plan wants, of one component, at full width.
fn component_row<'a>(
    band: &'a Band,
    c: &ComponentPlan,
    plan: &Plan,
    y: usize,
    temporary: &'a mut [u8],
    kernels: &Kernels,
) -> &'a [u8] {
    let near = y / c.expand_y;
    let first = plan.x / c.expand_x;
    // Neighbours of the rows and columns asked for lie before `start` only where the kernel looks at them.
    let start = first as isize - band.left as isize;
    let count = (plan.x + plan.width).div_ceil(c.expand_x) - first;
    let skip = plan.x % c.expand_x;
    let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(c.down - 1) };
    let wide = &mut temporary[..count * c.expand_x];
    match c.upsample {
        Upsample::None => return &band.row(near, start)[..plan.width],
        Upsample::Wide => (kernels.wide)(&band.row(near, start - 1)[..count + 2], wide),
        Upsample::Both => (kernels.both)(
            &band.row(near, start - 1)[..count + 2],
            &band.row(far, start - 1)[..count + 2],
            wide,
        ),
        Upsample::Tall => {
            let bias = 1 + (y % 2) as u16;
            (kernels.tall)(&band.row(near, start)[..count], &band.row(far, start)[..count], bias, wide);
        }
        Upsample::Replicate => upsample::replicate(&band.row(near, start)[..count], c.expand_x, wide),
    }
    &wide[skip..skip + plan.width]
}
