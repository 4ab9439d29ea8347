//! Sampling with replacement in proportion to weights: Walker's alias method, so that any position costs O(1).

use super::rng::SampleRng;
use crate::{Error, Result};

/// An alias table over the samples.
#[derive(Clone, Debug)]
pub struct Weights {
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Weights {
    /// The table of `weights` (finite, not negative, not all zero).
    ///
    /// # Errors
    /// [`Error::Config`] that names the first bad weight.
    pub fn new(weights: &[f64]) -> Result<Self> {
        if let Some((i, w)) = weights.iter().enumerate().find(|(_, w)| !w.is_finite() || **w < 0.0) {
            return Err(Error::Config(format!("weight {i} is {w}; weights must be finite and not negative")));
        }
        let total: f64 = weights.iter().sum();
        if total <= 0.0 || !total.is_finite() {
            return Err(Error::Config("weights must have a positive, finite sum".into()));
        }
        let len = u32::try_from(weights.len()).map_err(|_| Error::Config("more than 2^32 weights".into()))?;
        let mut scaled: Vec<f64> = weights.iter().map(|w| w * f64::from(len) / total).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..len).partition(|&i| scaled[i as usize] < 1.0);
        let mut keep = vec![1.0; weights.len()];
        let mut alias: Vec<u32> = (0..len).collect();
        while let (Some(s), Some(&l)) = (small.pop(), large.last()) {
            keep[s as usize] = scaled[s as usize];
            alias[s as usize] = l;
            scaled[l as usize] -= 1.0 - scaled[s as usize];
            if scaled[l as usize] < 1.0 {
                large.pop();
                small.push(l);
            }
        }
        // What rounding left over is a full column, except where the weight is zero: that one must never be drawn.
        for s in small {
            if weights[s as usize] == 0.0
                && let Some(heaviest) = (0..weights.len()).max_by(|a, b| weights[*a].total_cmp(&weights[*b]))
            {
                keep[s as usize] = 0.0;
                alias[s as usize] = heaviest as u32;
            }
        }
        Ok(Self { keep, alias })
    }

    /// Number of weights.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keep.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keep.is_empty()
    }

    /// The sample drawn at `position` of an epoch.
    #[must_use]
    pub fn at(&self, seed: u64, epoch: u64, position: u64) -> u64 {
        let mut rng = SampleRng::new(seed ^ 0x7765_6967_6874, epoch, position);
        let column = rng.below(self.keep.len() as u64) as usize;
        if rng.unit() < self.keep[column] { column as u64 } else { u64::from(self.alias[column]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_weights() {
        let weights = [0.0, 1.0, 2.0, 0.0, 5.0, 0.5];
        let table = Weights::new(&weights).unwrap();
        let draws = 200_000u64;
        let mut counts = [0f64; 6];
        for p in 0..draws {
            counts[table.at(1, 2, p) as usize] += 1.0;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let expected = weight / 8.5;
            assert!((count / draws as f64 - expected).abs() < 0.005, "{counts:?}");
            assert_eq!(*count == 0.0, weight == 0.0);
        }
    }

    #[test]
    fn bad_weights_are_named() {
        assert!(Weights::new(&[1.0, -2.0]).unwrap_err().to_string().contains("weight 1 is -2"));
        assert!(Weights::new(&[0.0, 0.0]).is_err());
        assert!(Weights::new(&[f64::NAN]).is_err());
        assert!(Weights::new(&[]).is_err());
    }
}
