//! Sets of processors in the kernel's notations: lists such as `0-3,8` and masks such as `ff,00000000`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const WORD_BITS: usize = u64::BITS as usize;

/// A set of processor (or node) numbers.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct CpuSet {
    /// Bit `i % 64` of word `i / 64`; the last word is not zero.
    words: Vec<u64>,
}

/// A text that is no list or mask of processors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no list of processors (such as 0-3,8)")]
pub struct ParseCpuSetError {
    text: String,
}

impl CpuSet {
    /// Larger numbers are taken for a mistake, not for a machine: each processor is looked for in the file system, and Linux counts
    /// up to 8,192.
    pub(super) const LIMIT: u32 = 1 << 16;

    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { words: Vec::new() }
    }

    /// Adds `cpu`.
    ///
    /// # Panics
    /// When `cpu` is 65,536 or more.
    pub fn insert(&mut self, cpu: u32) {
        assert!(cpu < Self::LIMIT, "processor {cpu}");
        let (word, bit) = (cpu as usize / WORD_BITS, cpu as usize % WORD_BITS);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << bit;
    }

    /// Whether `cpu` is a member.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        let (word, bit) = (cpu as usize / WORD_BITS, cpu as usize % WORD_BITS);
        self.words.get(word).is_some_and(|bits| bits >> bit & 1 == 1)
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether there are no members.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let limit = u32::try_from(self.words.len() * WORD_BITS).unwrap_or(Self::LIMIT);
        (0..limit).filter(|&cpu| self.contains(cpu))
    }

    /// The smallest member.
    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.iter().next()
    }

    /// Members of both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::from_words(self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect())
    }

    /// Members of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let (long, short) = if self.words.len() >= other.words.len() { (self, other) } else { (other, self) };
        let mut words = long.words.clone();
        for (word, more) in words.iter_mut().zip(&short.words) {
            *word |= more;
        }
        Self::from_words(words)
    }

    /// Members of `self` that `other` lacks.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut words = self.words.clone();
        for (word, less) in words.iter_mut().zip(&other.words) {
            *word &= !less;
        }
        Self::from_words(words)
    }

    /// Whether every member is a member of `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.difference(other).is_empty()
    }

    /// Reads the kernel's mask notation: 32-bit words in hexadecimal, the highest first, separated by commas.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn from_mask(text: &str) -> Result<Self, ParseCpuSetError> {
        let wrong = || ParseCpuSetError { text: text.to_owned() };
        let parts: Vec<&str> = text.trim().split(',').collect();
        if parts.len() * 32 > Self::LIMIT as usize {
            return Err(wrong());
        }
        let mut words = vec![0_u64; parts.len().div_ceil(2)];
        for (index, part) in parts.iter().rev().enumerate() {
            let bits = u32::from_str_radix(part.trim_start_matches("0x"), 16).map_err(|_| wrong())?;
            words[index / 2] |= u64::from(bits) << (32 * (index % 2));
        }
        Ok(Self::from_words(words))
    }

    /// The words of the bit mask, lowest first, as the kernel's affinity calls use them.
    #[must_use]
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// The set whose bit mask has these words, lowest first.
    pub(crate) fn from_words(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words }
    }
}

/// Reads the kernel's list notation. Spaces and line ends around it are ignored; the empty text is the empty set.
impl FromStr for CpuSet {
    type Err = ParseCpuSetError;

    fn from_str(text: &str) -> Result<Self, ParseCpuSetError> {
        let wrong = || ParseCpuSetError { text: text.trim().to_owned() };
        let number =
            |digits: &str| digits.parse::<u32>().ok().filter(|&cpu| cpu < Self::LIMIT).ok_or_else(wrong);
        let mut set = Self::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            match part.split_once('-') {
                None => set.insert(number(part)?),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(wrong());
                    }
                    (first..=last).for_each(|cpu| set.insert(cpu));
                }
            }
        }
        Ok(set)
    }
}

/// Writes the kernel's list notation.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut members = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = members.next() {
            let mut last = first;
            while members.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        let mut set = Self::new();
        set.extend(cpus);
        set
    }
}

impl Extend<u32> for CpuSet {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, cpus: I) {
        cpus.into_iter().for_each(|cpu| self.insert(cpu));
    }
}

/// As a list of numbers.
impl Serialize for CpuSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for CpuSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cpus = Vec::<u32>::deserialize(deserializer)?;
        match cpus.iter().find(|&&cpu| cpu >= Self::LIMIT) {
            Some(cpu) => Err(serde::de::Error::custom(format!("no processor has the number {cpu}"))),
            None => Ok(cpus.into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = BTreeSet<u32>> {
        prop::collection::btree_set(prop_oneof![0_u32..70, 0_u32..5000], 0..40)
    }

    proptest! {
        #[test]
        fn it_is_a_set(a in numbers(), b in numbers()) {
            let (x, y): (CpuSet, CpuSet) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(x.iter().collect::<BTreeSet<_>>(), &a | &a);
            prop_assert_eq!(x.len(), a.len());
            prop_assert_eq!(x.is_empty(), a.is_empty());
            prop_assert_eq!(x.intersection(&y).iter().collect::<BTreeSet<_>>(), &a & &b);
            prop_assert_eq!(x.union(&y).iter().collect::<BTreeSet<_>>(), &a | &b);
            prop_assert_eq!(x.difference(&y).iter().collect::<BTreeSet<_>>(), &a - &b);
            prop_assert_eq!(x.is_subset(&y), a.is_subset(&b));
            prop_assert_eq!(x == y, a == b);
            prop_assert_eq!(x.to_string().parse::<CpuSet>().unwrap(), x);
        }

        #[test]
        fn any_text_is_a_set_or_an_error(text in "[-0-9a-f, x\n]{0,40}") {
            let _ = text.parse::<CpuSet>();
            let _ = CpuSet::from_mask(&text);
        }
    }

    #[test]
    fn kernel_notations_are_read() {
        let set: CpuSet = "0-3,8,130-131\n".parse().unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8, 130, 131]);
        assert_eq!(set.to_string(), "0-3,8,130-131");
        assert_eq!(CpuSet::from_mask("c,00000000,00000000,00000000,0000010f").unwrap(), set);
        assert!("".parse::<CpuSet>().unwrap().is_empty());
        assert!(CpuSet::from_mask("00000000").unwrap().is_empty());
        for bad in ["3-1", "a", "1-", "-1", "0-4294967295", "99999999", "00-381010"] {
            assert!(bad.parse::<CpuSet>().is_err(), "{bad}");
        }
        assert!(CpuSet::from_mask("xyz").is_err());
    }
}
