//! One sample's share of a plan: the drawn parameters, folded into passes, and what they need of the source. Drawing
//! is a pure function of the plan, the picture's size and the generator; nothing here touches a pixel.

use super::color::{Arithmetic, Change};
use super::filter::Filter;
use super::geometry::{Cut, Pass};
use super::ops::TransformError;
use crate::pixels::Region;
use crate::sampler::rng::SampleRng;

/// The most stages that one sample may take.
pub(super) const MAX_STAGES: usize = 24;

/// No picture, source, intermediate or output, may have an edge beyond this.
pub(super) const MAX_EDGE: u32 = 1 << 16;
/// No intermediate or output picture may have more pixels than this.
const MAX_PIXELS: u64 = 1 << 28;

/// One step of a sample's way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    Geometry(Pass),
    Color(Arithmetic, Change),
}

/// What one sample needs of its source and what will be done with it: made by [`super::Plan::view`], used by
/// [`super::Plan::render`].
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    stages: [Option<Stage>; MAX_STAGES],
    count: usize,
    source: (u32, u32),
    denom: u8,
}

impl View {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let mut stages = [None; MAX_STAGES];
        stages[0] = Some(Stage::Geometry(Pass::identity(width, height)));
        Self { stages, count: 1, source: (width, height), denom: 1 }
    }

    pub(super) fn stages(&self) -> impl Iterator<Item = Stage> {
        self.stages[..self.count].iter().flatten().copied()
    }

    fn first(&self) -> Pass {
        match self.stages[0] {
            Some(Stage::Geometry(pass)) => pass,
            _ => Pass::identity(self.source.0, self.source.1),
        }
    }

    /// The part of the source that must be decoded, in pixels of the picture at 1/[`View::scale_denom`] of its size
    /// (`width.div_ceil(denom)` by `height.div_ceil(denom)`).
    #[must_use]
    pub fn region(&self) -> Region {
        self.first().needs(u32::from(self.denom))
    }

    /// 1, 2, 4 or 8: the source is to be decoded at this fraction of its size. Always 1 in the exact mode.
    #[must_use]
    pub const fn scale_denom(&self) -> u8 {
        self.denom
    }

    /// The same sample for a decoder that cannot scale: [`View::scale_denom`] is 1 and [`View::region`] accordingly.
    #[must_use]
    pub const fn unscaled(mut self) -> Self {
        self.denom = 1;
        self
    }

    /// Width and height of the source picture at full size.
    #[must_use]
    pub const fn source_size(&self) -> (u32, u32) {
        self.source
    }

    /// Height and width of the result.
    #[must_use]
    pub fn output_size(&self) -> (u32, u32) {
        let (width, height) = self.canvas();
        (height, width)
    }

    /// Width and height as they are after the stages so far.
    pub(super) fn canvas(&self) -> (u32, u32) {
        self.stages()
            .filter_map(|stage| match stage {
                Stage::Geometry(pass) => Some(pass.canvas),
                Stage::Color(..) => None,
            })
            .last()
            .unwrap_or(self.source)
    }

    /// The drawn parameters of the geometry, for people: crop, size, flips.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        for stage in self.stages() {
            match stage {
                Stage::Geometry(pass) => {
                    let Region { x, y, width, height } = pass.crop;
                    let mut part = format!("{width}x{height}+{x}+{y}");
                    if let Some((width, height, filter)) = pass.resample {
                        part += &format!(" -> {width}x{height} {}", filter.shape.name());
                    }
                    let Region { x, y, width, height } = pass.window;
                    part += &format!(" [{width}x{height}+{x}+{y}]");
                    part += if pass.mirror_x { " mirrored" } else { "" };
                    part += if pass.mirror_y { " upside down" } else { "" };
                    parts.push(part);
                }
                Stage::Color(_, change) => parts.push(format!("{change:?}")),
            }
        }
        parts.join(", ")
    }

    pub(super) fn choose_scale(&mut self) {
        self.denom = self.first().denominator();
    }

    fn push(&mut self, stage: Stage) {
        debug_assert!(self.count < MAX_STAGES, "the plan counts its stages");
        self.stages[self.count] = Some(stage);
        self.count += 1;
    }

    /// The pass at hand: the last stage, or a new one after a change of colour.
    fn pass(&mut self) -> &mut Pass {
        let canvas = self.canvas();
        if !matches!(self.stages[self.count - 1], Some(Stage::Geometry(_))) {
            self.push(Stage::Geometry(Pass::identity(canvas.0, canvas.1)));
        }
        match &mut self.stages[self.count - 1] {
            Some(Stage::Geometry(pass)) => pass,
            _ => unreachable!("the last stage is a pass"),
        }
    }

    fn new_pass(&mut self) -> &mut Pass {
        let canvas = self.canvas();
        self.push(Stage::Geometry(Pass::identity(canvas.0, canvas.1)));
        self.pass()
    }

    pub(super) fn color(&mut self, arithmetic: Arithmetic, change: Change) {
        self.push(Stage::Color(arithmetic, change));
    }

    /// The last stage writes the output, so it has to be a pass.
    pub(super) fn finish(&mut self) {
        self.pass();
    }

    pub(super) fn mirror(&mut self, horizontal: bool) {
        let pass = self.pass();
        if horizontal {
            pass.mirror_x = !pass.mirror_x;
        } else {
            pass.mirror_y = !pass.mirror_y;
        }
    }

    pub(super) fn resize(
        &mut self,
        op: &'static str,
        width: u64,
        height: u64,
        filter: Filter,
    ) -> Result<(), TransformError> {
        let [width, height] = self.check(op, width, height)?;
        let (from_width, from_height) = self.canvas();
        // Where the height shrinks far more than the width, Pillow (from 13) works vertically first. Since each pass is
        // clipped to 8 bits, the order shows with filters that overshoot.
        let shrinks_by = |from: u32, to: u32| i64::from(from) - i64::from(to);
        if filter.pillow
            && filter.overshoots()
            && shrinks_by(from_height, height) > (2 * shrinks_by(from_width, width)).max(0)
            && !self.pass().resize(from_width, height, filter)
        {
            self.new_pass().resize(from_width, height, filter);
        }
        if !self.pass().resize(width, height, filter) {
            self.new_pass().resize(width, height, filter);
        }
        Ok(())
    }

    pub(super) fn cut(&mut self, op: &'static str, cut: Cut, fill: u8) -> Result<(), TransformError> {
        self.check(op, u64::from(cut.width), u64::from(cut.height))?;
        if !self.pass().cut(cut, fill) {
            self.new_pass().cut(cut, fill);
        }
        Ok(())
    }

    pub(super) fn error(&self, op: &'static str, reason: String) -> TransformError {
        let (width, height) = self.canvas();
        TransformError::Picture { op, width, height, reason }
    }

    fn check(&self, op: &'static str, width: u64, height: u64) -> Result<[u32; 2], TransformError> {
        let edge = |edge: u64| u32::try_from(edge).ok().filter(|edge| (1..=MAX_EDGE).contains(edge));
        match (edge(width), edge(height)) {
            (Some(w), Some(h)) if width * height <= MAX_PIXELS => Ok([w, h]),
            _ => Err(self.error(
                op,
                format!("the result would be {width}x{height} pixels; edges go from 1 to {MAX_EDGE}"),
            )),
        }
    }
}

/// Parameters of a random resized crop, by torchvision's rule: ten tries, then the middle.
pub(super) fn random_part(
    width: u32,
    height: u32,
    scale: (f64, f64),
    ratio: (f64, f64),
    rng: &mut SampleRng,
) -> Region {
    let area = f64::from(width) * f64::from(height);
    let log_ratio = (ratio.0.ln(), ratio.1.ln());
    for _ in 0..10 {
        let target = area * rng.uniform(scale.0, scale.1);
        let aspect = rng.uniform(log_ratio.0, log_ratio.1).exp();
        let w = (target * aspect).sqrt().round_ties_even();
        let h = (target / aspect).sqrt().round_ties_even();
        if w >= 1.0 && w <= f64::from(width) && h >= 1.0 && h <= f64::from(height) {
            let (w, h) = (w as u32, h as u32);
            let y = rng.below(u64::from(height - h) + 1) as u32;
            let x = rng.below(u64::from(width - w) + 1) as u32;
            return Region { x, y, width: w, height: h };
        }
    }
    let (low, high) = (ratio.0.min(ratio.1), ratio.0.max(ratio.1));
    let aspect = f64::from(width) / f64::from(height);
    let (w, h) = if aspect < low {
        (width, (f64::from(width) / low).round_ties_even() as u32)
    } else if aspect > high {
        ((f64::from(height) * high).round_ties_even() as u32, height)
    } else {
        (width, height)
    };
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    Region { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h }
}

/// Size of a resize whose shorter edge becomes `edge`: torchvision truncates the longer one.
pub(super) fn shorter_edge(width: u32, height: u32, edge: u32, max_size: Option<u32>) -> (u64, u64) {
    let (short, long) = (width.min(height), width.max(height));
    let scaled = |edge: u64, long: u64, short: u64| (edge as f64 * long as f64 / short as f64) as u64;
    let (mut new_short, mut new_long) =
        (u64::from(edge), scaled(u64::from(edge), u64::from(long), u64::from(short)));
    if let Some(most) = max_size.map(u64::from)
        && new_long > most
    {
        (new_short, new_long) = (scaled(most, new_short, new_long), most);
    }
    if width <= height { (new_short, new_long) } else { (new_long, new_short) }
}

/// Start of the middle `length` of `whole`: rounded, ties to even, as Python does; with padding where `whole` is smaller.
pub(super) fn center(whole: u32, length: u32) -> i64 {
    if length > whole {
        -i64::from((length - whole) / 2)
    } else {
        (f64::from(whole - length) / 2.0).round_ties_even() as i64
    }
}
