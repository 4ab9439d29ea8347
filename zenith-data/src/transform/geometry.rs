//! One geometric pass over a picture: cut, resample, window, place on a canvas, mirror. Operations are folded into
//! the pass at hand as long as the result stays the same; nothing here touches a pixel.

use super::filter::{Axis, Filter};
use crate::pixels::Region;

/// A rectangle that may reach outside the picture it is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) left: i64,
    pub(super) top: i64,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// What one pass does to its input picture, in this order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pass {
    /// Size of the input picture at full scale.
    pub(super) input: (u32, u32),
    /// The part that is resampled; the filter sees nothing outside it.
    pub(super) crop: Region,
    /// Size to which the part is resampled, and how. `None`: it is not.
    pub(super) resample: Option<(u32, u32, Filter)>,
    /// The part of the resampled picture that is kept. It may be empty.
    pub(super) window: Region,
    /// Width and height of the output.
    pub(super) canvas: (u32, u32),
    /// Where the window's left upper corner lies on the canvas.
    pub(super) at: (u32, u32),
    /// The canvas outside the window.
    pub(super) fill: u8,
    /// The canvas is mirrored left to right.
    pub(super) mirror_x: bool,
    /// The canvas is mirrored top to bottom.
    pub(super) mirror_y: bool,
}

impl Pass {
    /// The pass that changes nothing.
    pub(super) const fn identity(width: u32, height: u32) -> Self {
        Self {
            input: (width, height),
            crop: Region::full(width, height),
            resample: None,
            window: Region::full(width, height),
            canvas: (width, height),
            at: (0, 0),
            fill: 0,
            mirror_x: false,
            mirror_y: false,
        }
    }

    /// Whether part of the canvas lies outside the window.
    pub(super) const fn is_padded(&self) -> bool {
        self.window.width != self.canvas.0 || self.window.height != self.canvas.1
    }

    /// Folds a resize of the whole canvas into this pass; false if it needs a pass of its own.
    pub(super) fn resize(&mut self, width: u32, height: u32, filter: Filter) -> bool {
        if self.canvas == (width, height) {
            return true;
        }
        let mirrored = self.mirror_x || self.mirror_y;
        if self.resample.is_some() || self.is_padded() || (mirrored && !filter.is_symmetric()) {
            return false;
        }
        self.crop = Region {
            x: self.crop.x + self.window.x,
            y: self.crop.y + self.window.y,
            width: self.window.width,
            height: self.window.height,
        };
        self.resample = Some((width, height, filter));
        self.window = Region::full(width, height);
        self.canvas = (width, height);
        true
    }

    /// Folds a cut of the canvas into this pass; what lies outside becomes `fill`. False if it needs a pass of its own.
    pub(super) fn cut(&mut self, cut: Cut, fill: u8) -> bool {
        let inside = cut.left >= 0
            && cut.top >= 0
            && cut.left + i64::from(cut.width) <= i64::from(self.canvas.0)
            && cut.top + i64::from(cut.height) <= i64::from(self.canvas.1);
        if !inside && self.is_padded() && self.fill != fill {
            return false;
        }
        if !inside {
            self.fill = fill;
        }
        let flip = |mirror: bool, start: i64, length: u32, canvas: u32| {
            if mirror { i64::from(canvas) - i64::from(length) - start } else { start }
        };
        let left = flip(self.mirror_x, cut.left, cut.width, self.canvas.0);
        let top = flip(self.mirror_y, cut.top, cut.height, self.canvas.1);
        let window = self.window;
        let (x, width, at_x) = intersect(window.x, window.width, self.at.0, left, cut.width);
        let (y, height, at_y) = intersect(window.y, window.height, self.at.1, top, cut.height);
        self.window = Region { x, y, width, height };
        self.at = (at_x, at_y);
        self.canvas = (cut.width, cut.height);
        true
    }

    /// The axes of the resample at 1/`denom` of the input's size, and the input pixel each counts from.
    pub(super) fn axes(&self, denom: u32) -> Option<[(Axis, u32, Filter); 2]> {
        let (width, height, filter) = self.resample?;
        let axis = |start: u32, length: u32, input: u32, output: u32| {
            let (base, input) = (start / denom, input.div_ceil(denom));
            let end = (start + length).div_ceil(denom).min(input);
            let place = |at: u32| f64::from(at) / f64::from(denom) - f64::from(base);
            let axis = Axis { from: place(start), to: place(start + length), input: end - base, output };
            (axis, base, filter)
        };
        Some([
            axis(self.crop.x, self.crop.width, self.input.0, width),
            axis(self.crop.y, self.crop.height, self.input.1, height),
        ])
    }

    /// The part of the input, at 1/`denom` of its size, that the window depends on.
    pub(super) fn needs(&self, denom: u32) -> Region {
        if self.window.width == 0 || self.window.height == 0 {
            return Region::full(1, 1);
        }
        let Some([x, y]) = self.axes(denom) else {
            return Region { x: self.crop.x + self.window.x, y: self.crop.y + self.window.y, ..self.window };
        };
        let span = |(axis, base, filter): (Axis, u32, Filter), first: u32, count: u32| {
            let (from, to) = (axis.support(filter, first).0, axis.support(filter, first + count - 1).1);
            (base + from, to - from)
        };
        let (left, width) = span(x, self.window.x, self.window.width);
        let (top, height) = span(y, self.window.y, self.window.height);
        Region { x: left, y: top, width, height }
    }

    /// The largest of 1, 2, 4, 8 by which the input may be shrunk beforehand so that it still is shrunk afterwards.
    pub(super) fn denominator(&self) -> u8 {
        let Some((width, height, filter)) = self.resample else {
            return 1;
        };
        if !filter.is_symmetric() || !filter.antialias {
            return 1;
        }
        let fits = |denom: u32| self.crop.width >= denom * width && self.crop.height >= denom * height;
        [8u8, 4, 2].into_iter().find(|&denom| fits(u32::from(denom))).unwrap_or(1)
    }
}

/// Cuts `start..start + length` out of a canvas axis that shows `window..window + shown` from `at` on: the new window's
/// start and length, and its place on the new canvas.
fn intersect(window: u32, shown: u32, at: u32, start: i64, length: u32) -> (u32, u32, u32) {
    let at = i64::from(at);
    let from = at.max(start);
    let to = (at + i64::from(shown)).min(start + i64::from(length));
    if to <= from {
        return (window, 0, 0);
    }
    // All differences are within 0..=u32::MAX: from lies inside both intervals.
    (window + (from - at) as u32, (to - from) as u32, (from - start) as u32)
}
