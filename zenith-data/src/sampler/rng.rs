//! Randomness as a pure function: the same key gives the same numbers on every machine, thread and run.

/// SplitMix64's finaliser: a bijection of 64 bits in which every input bit moves every output bit.
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A small generator (SplitMix64) keyed by (seed, epoch, sample), so that augmentation does not depend on which
/// worker meets the sample, or when.
#[derive(Clone, Debug)]
pub struct SampleRng {
    state: u64,
}

impl SampleRng {
    /// The generator of one sample in one epoch.
    #[must_use]
    pub const fn new(seed: u64, epoch: u64, sample: u64) -> Self {
        let key = mix(seed ^ 0x5a65_6e69_7468_0001);
        let key = mix(key.wrapping_add(epoch.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        Self { state: mix(key ^ sample.wrapping_mul(0xd1b5_4a32_d192_ed03)) }
    }

    /// The next 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in [low, high).
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform integer in [0, bound), without bias. `bound` must not be 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        loop {
            let wide = (self.next_u64() as u128) * (bound as u128);
            let low = wide as u64;
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }
}

/// The 64 bits of randomness that stage `place` of a chain of transforms may use for a sample, given as (seed, epoch,
/// sample). `part` tells the tensors apart that earlier stages split the sample into; it is 0 where none did.
#[must_use]
pub const fn stage_random((seed, epoch, sample): (u64, u64, u64), place: u64, part: u64) -> u64 {
    let own = mix(part).wrapping_add((place + 1).wrapping_mul(0x9e6c_63d0_676a_9a99));
    mix(SampleRng::new(seed, epoch, sample).state ^ mix(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_independent() {
        let first = |seed, epoch, sample| SampleRng::new(seed, epoch, sample).next_u64();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        assert_ne!(first(1, 2, 3), first(2, 2, 3));
        assert_ne!(first(1, 2, 3), first(1, 3, 3));
        assert_ne!(first(1, 2, 3), first(1, 2, 4));
        assert_ne!(first(1, 2, 3), first(1, 3, 2));
    }

    #[test]
    fn stages_and_parts_draw_for_themselves() {
        let base = stage_random((1, 2, 3), 0, 0);
        assert_eq!(base, stage_random((1, 2, 3), 0, 0));
        let others =
            [((4, 2, 3), 0, 0), ((1, 4, 3), 0, 0), ((1, 2, 4), 0, 0), ((1, 2, 3), 1, 0), ((1, 2, 3), 0, 1)];
        assert!(others.iter().all(|&(key, place, part)| stage_random(key, place, part) != base));
        assert_ne!(base, SampleRng::new(1, 2, 3).next_u64());
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut rng = SampleRng::new(7, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[usize::try_from(rng.below(7)).unwrap()] += 1;
        }
        for count in counts {
            assert!((9_400..10_600).contains(&count), "{counts:?}");
        }
    }
}
