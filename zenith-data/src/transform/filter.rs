//! Resampling filters as tables of fixed-point weights, by Pillow's rules of support, phase and clipping at the
//! border. Where the weights are applied is [`super::kernels`]' matter.

use super::ops::Interpolation;

/// A filter as it is applied: the shape, and whether it widens when the picture shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) shape: Interpolation,
    pub(super) antialias: bool,
    /// Pillow's rules for pictures, rather than torch's for tensors, where the two differ.
    pub(super) pillow: bool,
}

impl Filter {
    /// Radius in pixels of the finer of the two grids.
    const fn radius(self) -> f64 {
        match self.shape {
            Interpolation::Nearest | Interpolation::NearestExact => 0.0,
            Interpolation::Box => 0.5,
            Interpolation::Bilinear | Interpolation::Hamming => 1.0,
            Interpolation::Bicubic => 2.0,
            Interpolation::Lanczos => 3.0,
        }
    }

    /// Whether results may lie outside the range of the pixels they come from.
    pub(super) const fn overshoots(self) -> bool {
        matches!(self.shape, Interpolation::Bicubic | Interpolation::Lanczos)
    }

    /// Whether mirroring the input mirrors the output.
    pub(super) const fn is_symmetric(self) -> bool {
        !matches!(self.shape, Interpolation::Nearest | Interpolation::NearestExact)
    }
}

/// One axis of a resize: the interval `from..to` of an input of `input` pixels becomes `output` pixels. Pixels
/// outside `0..input` do not exist for the filter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) input: u32,
    pub(super) output: u32,
}

impl Axis {
    fn scale(&self) -> f64 {
        (self.to - self.from) / f64::from(self.output)
    }

    fn widening(&self, filter: Filter) -> f64 {
        if filter.antialias { self.scale().max(1.0) } else { 1.0 }
    }

    /// The input pixels `first..end` that output pixel `x` may draw from; never empty.
    pub(super) fn support(&self, filter: Filter, x: u32) -> (u32, u32) {
        let scale = self.scale();
        let last = self.input - 1;
        match filter.shape {
            Interpolation::Nearest | Interpolation::NearestExact => {
                let at = if filter.pillow {
                    // Pillow adds the step up, and the sum's rounding decides where a centre lies between two pixels.
                    (0..x).fold(self.from + 0.5 * scale, |at, _| at + scale) as u32
                } else {
                    let phase = if filter.shape == Interpolation::Nearest { 0.0 } else { 0.5 };
                    ((x as f32 + phase) * scale as f32 + self.from as f32) as u32
                };
                (at.min(last), at.min(last) + 1)
            }
            _ => {
                let center = self.from + (f64::from(x) + 0.5) * scale;
                let reach = filter.radius() * self.widening(filter);
                let first = ((center - reach + 0.5).max(0.0) as u32).min(last);
                let end = ((center + reach + 0.5).max(0.0) as u32).clamp(first + 1, self.input);
                (first, end)
            }
        }
    }
}

/// The weights of a run of output pixels along one axis, 16-bit fixed point, as pairs of neighbouring taps.
#[derive(Debug, Default)]
pub(super) struct Taps {
    /// First input pixel of each output pixel, relative to the origin.
    pub(super) starts: Vec<u32>,
    /// `pairs * 2` weights of each output pixel.
    pub(super) weights: Vec<i16>,
    /// Pairs of taps, the same for every output pixel.
    pub(super) pairs: usize,
    /// Fraction bits of the weights.
    pub(super) shift: u32,
    /// The largest of `starts`.
    pub(super) last_start: u32,
    exact: Vec<f32>,
    runs: Vec<Run>,
}

/// Which output pixels of an axis are wanted, and how their table is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// First output pixel.
    pub(super) first: u32,
    /// Number of output pixels.
    pub(super) count: u32,
    /// Input pixel that `starts` count from.
    pub(super) origin: u32,
    /// Last output pixel first.
    pub(super) reversed: bool,
    /// Whether pairs start at even inputs only.
    pub(super) even: bool,
    /// The table is filled up with weightless pixels to a multiple of this.
    pub(super) multiple: usize,
}

impl Taps {
    /// Computes the table of `layout` for `axis`.
    pub(super) fn build(&mut self, axis: Axis, filter: Filter, layout: Layout) {
        // The precision is the whole axis's, so that a window is exactly a part of the whole.
        let whole = Layout { first: 0, count: axis.output, ..layout };
        let largest = self.evaluate(axis, filter, whole);
        if layout.count != axis.output {
            self.evaluate(axis, filter, layout);
        }
        // 22 bits is what an i32 sum of 8-bit pixels can hold; an i16 weight holds fewer unless all are small.
        self.shift =
            (1..=22).rev().find(|&bits| f64::from(largest) * f64::from(1u32 << bits) < 32_767.0).unwrap_or(1);
        self.quantise(layout);
    }

    /// Fills `runs` and `exact` with the normalised weights; returns the largest magnitude.
    fn evaluate(&mut self, axis: Axis, filter: Filter, layout: Layout) -> f32 {
        self.exact.clear();
        self.runs.clear();
        let mut largest = 0.0f32;
        let scale = axis.scale();
        let inverse = 1.0 / axis.widening(filter);
        for i in 0..layout.count {
            let x = layout.first + if layout.reversed { layout.count - 1 - i } else { i };
            let (first, end) = axis.support(filter, x);
            let begin = self.exact.len();
            self.runs.push(Run { first, count: (end - first) as usize, at: begin, skip: 0 });
            let at = f64::from(first) + 0.5 - (axis.from + (f64::from(x) + 0.5) * scale);
            let taps = end - first;
            let sum = match filter.shape {
                Interpolation::Nearest | Interpolation::NearestExact => {
                    self.exact.push(1.0);
                    1.0
                }
                Interpolation::Box => self.sample(at, inverse, taps, box_filter),
                Interpolation::Bilinear => self.sample(at, inverse, taps, triangle),
                Interpolation::Hamming => self.sample(at, inverse, taps, hamming),
                Interpolation::Bicubic => self.sample(at, inverse, taps, cubic),
                Interpolation::Lanczos => self.sample(at, inverse, taps, lanczos),
            };
            let normal = if sum == 0.0 { 1.0 } else { (1.0 / sum) as f32 };
            for weight in &mut self.exact[begin..] {
                *weight *= normal;
                largest = largest.max(weight.abs());
            }
        }
        largest
    }

    #[inline]
    fn sample(&mut self, at: f64, inverse: f64, taps: u32, shape: impl Fn(f64) -> f64) -> f64 {
        let mut sum = 0.0;
        self.exact.extend((0..taps).map(|t| {
            let weight = shape((at + f64::from(t)) * inverse);
            sum += weight;
            weight as f32
        }));
        sum
    }

    /// Turns `exact` into `starts` and `weights`, without the taps that round to nothing at either end.
    fn quantise(&mut self, layout: Layout) {
        let unit = (1u32 << self.shift) as f32;
        let round = |weight: f32| (weight * unit).round_ties_even() as i16;
        self.pairs = 1;
        for run in &mut self.runs {
            let exact = &self.exact[run.at..run.at + run.count];
            // With the light taps gone the starts might step back, which the vertical loop's ring cannot.
            let lead = exact.iter().position(|&w| layout.even || round(w) != 0).unwrap_or(0);
            let last = exact.iter().rposition(|&w| round(w) != 0).unwrap_or(lead);
            run.at += lead;
            run.first += lead as u32;
            run.count = last + 1 - lead;
            run.skip = if layout.even { (run.first - layout.origin) as usize % 2 } else { 0 };
            self.pairs = self.pairs.max((run.skip + run.count).div_ceil(2));
        }
        let rows = self.runs.len().next_multiple_of(layout.multiple);
        self.weights.clear();
        self.weights.resize(rows * self.pairs * 2, 0);
        self.starts.clear();
        for (run, weights) in self.runs.iter().zip(self.weights.chunks_exact_mut(self.pairs * 2)) {
            self.starts.push(run.first - layout.origin - run.skip as u32);
            let exact = &self.exact[run.at..run.at + run.count];
            for (to, &weight) in weights[run.skip..].iter_mut().zip(exact) {
                *to = round(weight);
            }
        }
        self.starts.resize(rows, 0);
        self.last_start = self.starts.iter().copied().max().unwrap_or(0);
    }
}

/// The taps of one output pixel: `count` weights from `exact[at]` for the inputs from `first`, after `skip` empty ones.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    count: usize,
    at: usize,
    skip: usize,
}

fn box_filter(x: f64) -> f64 {
    if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 }
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn hamming(x: f64) -> f64 {
    let x = x.abs();
    if x == 0.0 {
        return 1.0;
    }
    if x >= 1.0 {
        return 0.0;
    }
    let angle = x * std::f64::consts::PI;
    angle.sin() / angle * (0.54 + 0.46 * angle.cos())
}

fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| {
        if x == 0.0 {
            1.0
        } else {
            let angle = x * std::f64::consts::PI;
            angle.sin() / angle
        }
    };
    if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
}
