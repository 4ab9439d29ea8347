//! The filter: which pixels an output pixel is made of, and with which weights. The weights are 16-bit fixed-point numbers
//! of as many fraction bits as the largest of them allows, and stand in the order the inner loops read them in.

/// Most fraction bits; a sum of 8-bit pixels then still fits 32 bits.
const MOST_BITS: u32 = 22;

/// The weights of all output pixels along one axis. Kept while the sizes stay the same.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// The first input pixel of each output pixel.
    pub(crate) starts: Vec<usize>,
    /// `taps` weights of each output pixel, two in each number: the earlier one in the low half.
    pub(crate) weights: Vec<u32>,
    /// Weights of each output pixel, a multiple of what [`Taps::build`] was asked for.
    pub(crate) taps: usize,
    /// Fraction bits.
    pub(crate) shift: u32,
    made_for: Option<(usize, usize)>,
    exact: Vec<f32>,
}

impl Taps {
    /// Makes the table for `input` pixels that become `output`. The number of taps is a multiple of `multiple`, and all
    /// of them start at multiples of `step`, which is the same at every call.
    pub(crate) fn build(&mut self, input: usize, output: usize, multiple: usize, step: usize) {
        if self.made_for == Some((input, output)) && self.taps % multiple == 0 {
            return;
        }
        self.made_for = Some((input, output));
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        // The filter is a triangle of this radius; a start moves back by less than a step.
        let most = (2.0 * widening) as usize + 2 + (step - 1);
        self.taps = most.next_multiple_of(multiple);
        self.exact.clear();
        self.exact.resize(output * self.taps, 0.0);
        self.starts.clear();
        let mut largest = 0.0f32;
        for (x, weights) in self.exact.chunks_exact_mut(self.taps).enumerate() {
            let center = (x as f64 + 0.5) * scale;
            let first = ((center - widening + 0.5).max(0.0) as usize).min(input - 1);
            let end = ((center + widening + 0.5) as usize).clamp(first + 1, input);
            let start = first / step * step;
            self.starts.push(start);
            let run = &mut weights[first - start..end - start];
            let mut sum = 0.0f64;
            for (weight, pixel) in run.iter_mut().zip(first..) {
                let distance = (first as f64 + 0.5 - center + (pixel - first) as f64) * (1.0 / widening);
                let exact = (1.0 - distance.abs()).max(0.0);
                sum += exact;
                *weight = exact as f32;
            }
            let normal = if sum == 0.0 { 1.0 } else { (1.0 / sum) as f32 };
            for weight in run {
                *weight *= normal;
                largest = largest.max(*weight);
            }
        }
        self.shorten(multiple);
        let fits = |&bits: &u32| f64::from(largest) * f64::from(1u32 << bits) < 32_767.0;
        self.shift = (1..=MOST_BITS).rev().find(fits).unwrap_or(1);
        let unit = (1u32 << self.shift) as f32;
        let fixed = |weight: f32| u32::from((weight * unit).round_ties_even() as u16);
        self.weights.clear();
        self.weights.extend(self.exact.chunks_exact(2).map(|pair| fixed(pair[0]) | fixed(pair[1]) << 16));
    }

    /// Leaves out columns of the table in which all weights are 0.
    fn shorten(&mut self, multiple: usize) {
        let used = |weights: &[f32]| weights.iter().rposition(|&w| w != 0.0).map_or(0, |last| last + 1);
        let most = self.exact.chunks_exact(self.taps).map(used).max().unwrap_or(0);
        let taps = most.max(1).next_multiple_of(multiple);
        if taps < self.taps {
            for row in 0..self.starts.len() {
                self.exact.copy_within(row * self.taps..row * self.taps + taps, row * taps);
            }
            self.exact.truncate(self.starts.len() * taps);
            self.taps = taps;
        }
    }

    /// Numbers in `weights` for each output pixel.
    pub(crate) fn pairs(&self) -> usize {
        self.taps / 2
    }
}
