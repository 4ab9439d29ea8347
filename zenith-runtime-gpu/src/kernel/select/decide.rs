//! From samples to a choice. Pure: the same samples give the same choice, whoever computes it.

use serde::Serialize;

use crate::kernel::timer::Sample;

/// What samples say of a candidate's speed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The median, in nanoseconds of a call.
    pub ns: f64,
    /// How far the true median may be from it, in nanoseconds: two standard errors.
    pub error_ns: f64,
    /// The distance between the quartiles, as a part of the median.
    pub spread: f64,
    /// Samples it was computed from.
    pub used: usize,
    /// All samples.
    pub samples: usize,
}

/// Undisturbed samples that are needed to leave the disturbed ones aside.
const ENOUGH: usize = 3;
/// Differences of up to so many errors, of two standard errors each, come by chance, however often one looks.
const CHANCE: f64 = 2.0;
/// As many times `delta`, a difference counts even where it could be chance: who was hardly measured because it was far slower is
/// not as fast as anybody for that.
const MOST: f64 = 3.0;
/// How far one sample alone may be from the truth, as a part of it; more samples, less.
const ALONE: f64 = 0.1;

/// What `samples` say; `None` of none. Disturbed samples count only where there are too few others.
#[must_use]
pub fn estimate(samples: &[Sample]) -> Option<Estimate> {
    let quiet = || samples.iter().filter(|sample| sample.quiet).map(|sample| sample.ns);
    let mut times: Vec<f64> = if quiet().count() >= ENOUGH {
        quiet().collect()
    } else {
        samples.iter().map(|sample| sample.ns).collect()
    };
    times.sort_by(f64::total_cmp);
    let used = times.len();
    let ns = quantile(&times, 0.5)?;
    let spread = (quantile(&times, 0.75)? - quantile(&times, 0.25)?) / ns;
    // Few samples may agree by chance.
    let error_ns = error(ns, spread, used).max(ns * ALONE / (used * used) as f64);
    Some(Estimate { ns, error_ns, spread, used, samples: samples.len() })
}

/// Two standard errors of a median of so many samples whose quartiles are `spread` apart.
fn error(ns: f64, spread: f64, used: usize) -> f64 {
    // Of a normal distribution: the deviation is quartiles/1.349, and a median's error 1.253 of a mean's. Few samples do not tell
    // the deviation well, which about follows Student's distribution.
    let few = 1.0 + 2.5 / (used.max(2) - 1) as f64;
    2.0 * 1.253 * (ns * spread / 1.349) / (used as f64).sqrt() * few
}

/// The same estimates, none with an error less than it would have if its samples were spread as those of the median candidate:
/// what disturbs the machine disturbs all, and samples of one that are closer together are so by chance.
#[must_use]
pub fn pooled(estimates: &[Option<Estimate>]) -> Vec<Option<Estimate>> {
    let mut spreads: Vec<f64> = estimates.iter().flatten().map(|estimate| estimate.spread).collect();
    spreads.sort_by(f64::total_cmp);
    let noise = quantile(&spreads, 0.5).unwrap_or(0.0);
    let pool = |estimate: Estimate| {
        let error_ns = error(estimate.ns, noise, estimate.used).max(estimate.error_ns);
        Estimate { error_ns, ..estimate }
    };
    estimates.iter().map(|estimate| estimate.map(pool)).collect()
}

/// The value below which the part `q` of sorted `values` lies.
fn quantile(values: &[f64], q: f64) -> Option<f64> {
    let place = q * (values.len().checked_sub(1)?) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    Some(below + (above - below) * place.fract())
}

/// Whether two candidates are equally fast as far as is known: they differ by no more than `delta`, a part of the faster one's
/// time, or by no more than chance does and not by far.
#[must_use]
pub fn tied(a: &Estimate, b: &Estimate, delta: f64) -> bool {
    let apart = (a.ns - b.ns).abs();
    let least = delta * a.ns.min(b.ns);
    apart <= least || (apart <= MOST * least && could_be_chance(a, b))
}

/// Whether they may differ by chance alone.
pub(super) fn could_be_chance(a: &Estimate, b: &Estimate) -> bool {
    (a.ns - b.ns).abs() <= CHANCE * a.error_ns.hypot(b.error_ns)
}

/// The place of the chosen one among candidates in the order of their priority: the first that is tied with the fastest, by
/// [pooled](pooled) errors. `None` where there is none with an estimate.
#[must_use]
pub fn decide(estimates: &[Option<Estimate>], delta: f64) -> Option<usize> {
    let estimates = pooled(estimates);
    let fastest = estimates.iter().flatten().min_by(|a, b| a.ns.total_cmp(&b.ns))?;
    estimates
        .iter()
        .position(|estimate| estimate.as_ref().is_some_and(|estimate| tied(estimate, fastest, delta)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(times: &[f64]) -> Vec<Sample> {
        times.iter().map(|&ns| Sample { ns, quiet: true }).collect()
    }

    #[test]
    fn the_estimate_is_the_median_of_undisturbed_samples() {
        assert_eq!(estimate(&[]), None);
        let mut all = samples(&[10.0, 11.0, 12.0]);
        all.extend([90.0, 91.0, 92.0, 93.0].map(|ns| Sample { ns, quiet: false }));
        let estimate = estimate(&all).unwrap();
        assert_eq!((estimate.ns, estimate.used, estimate.samples), (11.0, 3, 7));
        let disturbed = super::estimate(&all[1..]).unwrap();
        assert_eq!(disturbed.used, 6, "two undisturbed samples are too few");
    }

    #[test]
    fn few_samples_are_not_trusted_for_agreeing() {
        let error = |count| estimate(&samples(&vec![100.0; count])).unwrap().error_ns;
        assert_eq!(error(1), 10.0);
        assert!(error(2) > error(3) && error(3) > 1.0 && error(10) < 0.2);
    }

    #[test]
    fn samples_that_agree_by_chance_are_as_uncertain_as_others() {
        let agreeing = |ns: f64| estimate(&samples(&[ns; 5]));
        let spread = estimate(&samples(&[142.0, 147.0, 150.0, 153.0, 158.0]));
        assert_eq!(decide(&[agreeing(104.0), agreeing(100.0)], 0.02), Some(1));
        assert_eq!(decide(&[agreeing(104.0), agreeing(100.0), spread, spread, spread], 0.02), Some(0));
    }

    #[test]
    fn the_first_wins_within_noise_and_only_then() {
        let at = |ns: f64| estimate(&samples(&[ns; 20]));
        assert_eq!(decide(&[at(101.9), at(100.0)], 0.02), Some(0));
        assert_eq!(decide(&[at(102.5), at(100.0)], 0.02), Some(1));
        assert_eq!(decide(&[None, at(100.0), at(99.0), at(200.0)], 0.02), Some(1));
        assert_eq!(decide(&[None, None], 0.02), None);
    }

    proptest! {
        #[test]
        fn a_choice_never_loses_beyond_noise(all in prop::collection::vec(prop::collection::vec(1.0..1e6_f64, 1..20), 1..8)) {
            let estimates: Vec<Option<Estimate>> = all.iter().map(|times| estimate(&samples(times))).collect();
            let estimates = pooled(&estimates);
            let chosen = decide(&estimates, 0.02).unwrap();
            let fastest = estimates.iter().flatten().min_by(|a, b| a.ns.total_cmp(&b.ns)).unwrap();
            prop_assert!(tied(&estimates[chosen].unwrap(), fastest, 0.02));
            for earlier in &estimates[..chosen] {
                prop_assert!(!tied(&earlier.unwrap(), fastest, 0.02));
            }
        }

        #[test]
        fn an_estimate_lies_among_its_samples(times in prop::collection::vec(1.0..1e9_f64, 1..50)) {
            let estimate = estimate(&samples(&times)).unwrap();
            prop_assert!(times.iter().any(|&ns| ns <= estimate.ns) && times.iter().any(|&ns| ns >= estimate.ns));
            prop_assert!(estimate.error_ns > 0.0 && estimate.error_ns.is_finite());
        }
    }
}
