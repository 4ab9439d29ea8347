//! A keyed permutation of `0..len` that is computed, not stored: any position in O(1), no memory, no start-up.
//!
//! It is a Feistel network over the near-square domain `a * b >= len` with cycle walking. The domain exceeds `len`
//! by less than `2 * sqrt(len)`, so a walk is almost never longer than one step.

use super::rng::mix;

const ROUNDS: usize = 6;

/// A pseudo-random bijection of `0..len`.
#[derive(Clone, Debug)]
pub struct Permutation {
    len: u64,
    rows: u64,
    columns: u64,
    keys: [u64; ROUNDS],
}

/// `high` 64 bits of `hash * bound`: a fair map of a hash to `0..bound`.
const fn scale(hash: u64, bound: u64) -> u64 {
    ((hash as u128 * bound as u128) >> 64) as u64
}

/// A round function: two multiplications mix the half with the round's key.
const fn round(half: u64, key: u64) -> u64 {
    let product = (half ^ key) as u128 * 0x9e37_79b9_7f4a_7c15_u128;
    let folded = (product as u64) ^ ((product >> 64) as u64);
    (folded ^ (folded >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl Permutation {
    /// The permutation of `0..len` that belongs to `key`.
    #[must_use]
    pub fn new(len: u64, key: u64) -> Self {
        let rows = len.isqrt().max(1);
        let columns = len.div_ceil(rows).max(1);
        let mut keys = [0; ROUNDS];
        let mut state = key;
        for slot in &mut keys {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *slot = mix(state);
        }
        Self { len, rows, columns, keys }
    }

    /// How many numbers are permuted.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number at `position`.
    ///
    /// # Panics
    /// When `position` is not below `len`.
    #[must_use]
    pub fn at(&self, position: u64) -> u64 {
        assert!(position < self.len, "position {position} of {}", self.len);
        let mut value = position;
        loop {
            value = self.once(value);
            if value < self.len {
                return value;
            }
        }
    }

    fn once(&self, value: u64) -> u64 {
        // Lengths below 2^32 (nearly all) take the division of half the width, which is several times cheaper.
        let (mut left, mut right) = if value <= u64::from(u32::MAX) && self.columns <= u64::from(u32::MAX) {
            let (value, columns) = (value as u32, self.columns as u32);
            (u64::from(value / columns), u64::from(value % columns))
        } else {
            (value / self.columns, value % self.columns)
        };
        for pair in self.keys.chunks_exact(2) {
            left += scale(round(right, pair[0]), self.rows);
            if left >= self.rows {
                left -= self.rows;
            }
            right += scale(round(left, pair[1]), self.columns);
            if right >= self.columns {
                right -= self.columns;
            }
        }
        left * self.columns + right
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_a_bijection(len in 1u64..5_000, key: u64) {
            let permutation = Permutation::new(len, key);
            let mut seen = vec![false; usize::try_from(len).unwrap()];
            for position in 0..len {
                let value = usize::try_from(permutation.at(position)).unwrap();
                prop_assert!(!seen[value]);
                seen[value] = true;
            }
        }
    }

    #[test]
    fn large_domains_stay_in_range() {
        for len in [u64::from(u32::MAX) - 1, u64::from(u32::MAX) + 7, 1 << 40] {
            let permutation = Permutation::new(len, 3);
            for position in (0..len).step_by(usize::try_from(len / 997).unwrap()) {
                assert!(permutation.at(position) < len);
            }
        }
    }

    /// Every value is equally likely at every position, judged by a chi-square bound over many keys.
    #[test]
    fn is_uniform_over_keys() {
        const LEN: u64 = 16;
        const KEYS: u64 = 32_000;
        let mut counts = [[0u32; LEN as usize]; LEN as usize];
        for key in 0..KEYS {
            let permutation = Permutation::new(LEN, mix(key));
            for position in 0..LEN {
                counts[position as usize][permutation.at(position) as usize] += 1;
            }
        }
        let expected = KEYS as f64 / LEN as f64;
        for row in counts {
            let chi: f64 = row.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
            assert!(chi < 45.0, "chi-square {chi} at 15 degrees of freedom");
        }
    }

    /// Neighbours do not stay neighbours: the differences of adjacent values are as spread as chance makes them.
    #[test]
    fn adjacent_positions_are_unrelated() {
        const LEN: u64 = 100_000;
        let permutation = Permutation::new(LEN, 9);
        let mut buckets = [0u32; 20];
        for position in 1..LEN {
            let step = (permutation.at(position) + LEN - permutation.at(position - 1)) % LEN;
            buckets[usize::try_from(step * 20 / LEN).unwrap()] += 1;
        }
        let expected = (LEN - 1) as f64 / 20.0;
        let chi: f64 = buckets.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        assert!(chi < 55.0, "chi-square {chi} at 19 degrees of freedom");
    }
}
