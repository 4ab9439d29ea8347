//! Geometry: which blocks of which component a region of the (scaled) picture needs. Pure arithmetic.

use std::ops::Range;

use super::error::JpegError;
use super::header::Frame;
use super::upsample::Upsample;
use crate::pixels::Region;

/// Size of the result relative to the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scale {
    /// As it is.
    #[default]
    Full,
    /// Half the width and height, rounded up.
    Half,
    /// A quarter of the width and height, rounded up.
    Quarter,
    /// An eighth of the width and height, rounded up.
    Eighth,
}

impl Scale {
    /// Samples along one side of what becomes of a block.
    const fn block(self) -> usize {
        match self {
            Self::Full => 8,
            Self::Half => 4,
            Self::Quarter => 2,
            Self::Eighth => 1,
        }
    }

    /// The size in pixels that a picture of `width` x `height` is decoded to.
    #[must_use]
    pub const fn size(self, width: u32, height: u32) -> (u32, u32) {
        let divisor = 8 / self.block() as u32;
        (width.div_ceil(divisor), height.div_ceil(divisor))
    }
}

/// One component's part of the plan. Samples are those of the (scaled) component.
#[derive(Clone, Copy, Debug)]
pub(super) struct ComponentPlan {
    /// Blocks of an MCU, horizontally and vertically.
    pub(super) h: usize,
    pub(super) v: usize,
    /// Samples along one side of what becomes of a block.
    pub(super) block: usize,
    /// Real samples of the component.
    pub(super) across: usize,
    pub(super) down: usize,
    /// Blocks that hold real samples: the extent of a scan of this component alone.
    pub(super) blocks_across: usize,
    pub(super) blocks_down: usize,
    pub(super) upsample: Upsample,
    /// Pixels per sample.
    pub(super) expand_x: usize,
    pub(super) expand_y: usize,
    /// Blocks the region needs.
    pub(super) bx: (usize, usize),
    pub(super) by: (usize, usize),
}

impl ComponentPlan {
    /// Rows of samples that one row of MCUs gives.
    pub(super) const fn band(&self) -> usize {
        self.v * self.block
    }
}

/// What to decode.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// In scaled pixels.
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) mcus_x: usize,
    pub(super) mcus_y: usize,
    /// Rows of MCUs of which some block is needed.
    pub(super) rows: Range<usize>,
    /// Columns of MCUs of which some block is needed.
    pub(super) columns: Range<usize>,
    /// Pixel rows of an MCU.
    pub(super) mcu_height: usize,
    pub(super) count: usize,
    pub(super) components: [ComponentPlan; 4],
    /// Whether a pixel row needs samples from below its own MCU row.
    pub(super) reaches_rows: bool,
}

impl Plan {
    /// Plans `region` (the whole picture where none is given) at `scale`.
    pub(super) fn new(frame: &Frame, region: Option<Region>, scale: Scale) -> Result<Self, JpegError> {
        let (full_width, full_height) = scale.size(u32::from(frame.width), u32::from(frame.height));
        let region = region.unwrap_or(Region::full(full_width, full_height));
        let inside = |start: u32, length: u32, whole: u32| {
            length > 0 && start.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !inside(region.x, region.width, full_width) || !inside(region.y, region.height, full_height) {
            return Err(JpegError::Region {
                x: region.x,
                y: region.y,
                width: region.width,
                height: region.height,
            });
        }
        let (x, y) = (region.x as usize, region.y as usize);
        let (width, height) = (region.width as usize, region.height as usize);
        let unit = scale.block();
        let (max_h, max_v) = (usize::from(frame.max_h), usize::from(frame.max_v));
        let components =
            [0, 1, 2, 3].map(|i| component(frame, i.min(frame.count - 1), unit, (x, width), (y, height)));
        let used = &components[..frame.count];
        let span = |range: fn(&ComponentPlan) -> (usize, usize), per: fn(&ComponentPlan) -> usize| {
            let start = used.iter().map(|c| range(c).0 / per(c)).min().unwrap_or(0);
            let end = used.iter().map(|c| range(c).1.div_ceil(per(c))).max().unwrap_or(0);
            start..end
        };
        Ok(Self {
            x,
            y,
            width,
            height,
            mcus_x: usize::from(frame.width).div_ceil(max_h * 8),
            mcus_y: usize::from(frame.height).div_ceil(max_v * 8),
            rows: span(|c| c.by, |c| c.v),
            columns: span(|c| c.bx, |c| c.h),
            mcu_height: max_v * unit,
            count: frame.count,
            components,
            reaches_rows: used.iter().any(|c| c.upsample.reaches_rows()),
        })
    }

    /// Whether every coefficient of every block is needed.
    pub(super) fn is_whole(&self) -> bool {
        self.components[..self.count]
            .iter()
            .all(|c| c.block > 1 && c.bx == (0, self.mcus_x * c.h) && c.by == (0, self.mcus_y * c.v))
    }

    /// Blocks that the coefficients of the rows above the plan's end take, of all components.
    pub(super) fn stored_blocks(&self) -> usize {
        self.components[..self.count].iter().map(|c| self.mcus_x * c.h * self.rows.end * c.v).sum()
    }
}

fn component(
    frame: &Frame,
    index: usize,
    unit: usize,
    (x, width): (usize, usize),
    (y, height): (usize, usize),
) -> ComponentPlan {
    let given = &frame.components[index];
    let (max_h, max_v) = (usize::from(frame.max_h), usize::from(frame.max_v));
    let (h, v) = (usize::from(given.h), usize::from(given.v));
    // A subsampled component takes a larger inverse transform instead of upsampling where that is enough.
    let mut block = unit;
    while block < 8
        && (max_h * unit).is_multiple_of(h * block * 2)
        && (max_v * unit).is_multiple_of(v * block * 2)
    {
        block *= 2;
    }
    let across = (usize::from(frame.width) * h * block).div_ceil(max_h * 8);
    let down = (usize::from(frame.height) * v * block).div_ceil(max_v * 8);
    let (expand_x, expand_y) = (max_h * unit / (h * block), max_v * unit / (v * block));
    // The reference gives up smoothness for blocks of one sample and for components of one or two columns.
    let smooth = unit > 1;
    let upsample = match (expand_x, expand_y) {
        (1, 1) => Upsample::None,
        (2, 1) if smooth && across > 2 => Upsample::Wide,
        (1, 2) if smooth => Upsample::Tall,
        (2, 2) if smooth && across > 2 => Upsample::Both,
        _ => Upsample::Replicate,
    };
    let blocks = |start: usize, length: usize, expand: usize, reach: bool, whole: usize| {
        let (mut first, mut end) = (start / expand, (start + length).div_ceil(expand));
        if reach {
            // The first of a pair leans on the sample before, the second on the one behind.
            first = first.saturating_sub(1 - start % 2);
            end += 1 - (start + length) % 2;
        }
        (first / block, end.min(whole).div_ceil(block))
    };
    ComponentPlan {
        h,
        v,
        block,
        across,
        down,
        blocks_across: (usize::from(frame.width) * h).div_ceil(max_h * 8),
        blocks_down: (usize::from(frame.height) * v).div_ceil(max_v * 8),
        upsample,
        expand_x,
        expand_y,
        bx: blocks(x, width, expand_x, upsample.reaches_columns(), across),
        by: blocks(y, height, expand_y, upsample.reaches_rows(), down),
    }
}
