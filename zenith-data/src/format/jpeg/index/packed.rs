//! An index as few bytes, for keeping those of millions of pictures: differences from entry to entry, in as many bytes
//! as they need. Carries no checksum and no version; whoever keeps it sees to both.

use super::EntropyIndex;

impl EntropyIndex {
    /// Puts the index behind `out`.
    pub fn pack(&self, out: &mut Vec<u8>) {
        out.extend(self.identity.to_le_bytes());
        out.push(self.components);
        for value in [self.length, u64::from(self.mcus_x), u64::from(self.mcus_y), u64::from(self.spacing)] {
            put(out, value);
        }
        let count = usize::from(self.components);
        let mut place = 0;
        let mut before = [0i16; 4];
        for (at, (&offset, &bit)) in self.offsets.iter().zip(&self.bits).enumerate() {
            let next = u64::from(offset) * 8 + u64::from(bit);
            put(out, next.wrapping_sub(place));
            place = next;
            let predictors = &self.predictors[at * count..(at + 1) * count];
            for (before, &predictor) in before.iter_mut().zip(predictors) {
                let difference = predictor.wrapping_sub(*before);
                put(out, u64::from(((difference << 1) ^ (difference >> 15)) as u16));
                *before = predictor;
            }
        }
    }

    /// Becomes what [`Self::pack`] has written, in memory it has already. `None` when `bytes` are no whole index; its
    /// contents are then unspecified. Whether it belongs to a certain picture is found out when that is decoded.
    #[must_use]
    pub fn unpack(&mut self, bytes: &[u8]) -> Option<()> {
        let (identity, rest) = bytes.split_first_chunk::<8>()?;
        let (&components, mut rest) = rest.split_first()?;
        self.identity = u64::from_le_bytes(*identity);
        self.components = components;
        self.length = take(&mut rest)?;
        self.mcus_x = u32::try_from(take(&mut rest)?).ok()?;
        self.mcus_y = u32::try_from(take(&mut rest)?).ok()?;
        self.spacing = u16::try_from(take(&mut rest)?).ok()?;
        if self.spacing == 0
            || !matches!(components, 1 | 3 | 4)
            || self.mcus_x == 0
            || self.mcus_x > 8192
            || self.mcus_y > 8192
        {
            return None;
        }
        let count = self.per_row() * self.mcus_y as usize;
        // Every number takes a byte at least: no bytes make this reserve much more than they are.
        if rest.len() < count * (1 + usize::from(components)) {
            return None;
        }
        self.offsets.clear();
        self.bits.clear();
        self.predictors.clear();
        let mut place = 0u64;
        let mut before = [0i16; 4];
        for _ in 0..count {
            place = place.wrapping_add(take(&mut rest)?);
            self.offsets.push(u32::try_from(place / 8).ok()?);
            self.bits.push((place % 8) as u8);
            for before in &mut before[..usize::from(components)] {
                let folded = u16::try_from(take(&mut rest)?).ok()?;
                *before = before.wrapping_add((folded >> 1) as i16 ^ -((folded & 1) as i16));
                self.predictors.push(*before);
            }
        }
        rest.is_empty().then_some(())
    }
}

/// Seven bits a byte, lowest first; the top bit says that more follow.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index() -> impl Strategy<Value = EntropyIndex> {
        (1u32..40, 1u32..20, 1u16..50, prop::sample::select(vec![1u8, 3, 4])).prop_flat_map(
            |(mcus_x, mcus_y, spacing, components)| {
                let count = (mcus_x.div_ceil(u32::from(spacing)) * mcus_y) as usize;
                let values = count * usize::from(components);
                (
                    any::<(u64, u64)>(),
                    prop::collection::vec(any::<u32>(), count),
                    prop::collection::vec(0u8..8, count),
                    prop::collection::vec(any::<i16>(), values),
                )
                    .prop_map(move |((length, identity), offsets, bits, predictors)| {
                        EntropyIndex {
                            length,
                            identity,
                            mcus_x,
                            mcus_y,
                            spacing,
                            components,
                            offsets,
                            bits,
                            predictors,
                        }
                    })
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(index in index(), used in index()) {
            let mut bytes = Vec::new();
            index.pack(&mut bytes);
            let mut back = used;
            prop_assert_eq!(back.unpack(&bytes), Some(()));
            prop_assert_eq!(&back, &index);
            for cut in 0..bytes.len() {
                prop_assert_eq!(back.unpack(&bytes[..cut]), None);
            }
            bytes.push(0);
            prop_assert_eq!(back.unpack(&bytes), None);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut index = EntropyIndex::default();
            if index.unpack(&bytes).is_some() {
                prop_assert!(index.is_whole());
            }
        }
    }
}
