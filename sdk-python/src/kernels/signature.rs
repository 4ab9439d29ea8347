//! What a call looks like, as a few words: types, shapes, strides and modes, and nothing of the values in arrays. Two calls with the
//! same words get the same implementation. Knows numbers only; `look` fills it.

/// Words that a call may have; one that has more is never remembered.
pub(crate) const LONGEST: usize = 64;

/// The words of one call, on the stack.
pub(crate) struct Signature {
    words: [u64; LONGEST],
    length: usize,
    hash: u64,
    overflowed: bool,
}

/// An odd constant whose bits look random: the golden ratio's.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

impl Signature {
    pub(crate) fn new() -> Self {
        Self { words: [0; LONGEST], length: 0, hash: MIX, overflowed: false }
    }

    #[inline]
    pub(crate) fn push(&mut self, word: u64) {
        let Some(place) = self.words.get_mut(self.length) else {
            self.overflowed = true;
            return;
        };
        *place = word;
        self.length += 1;
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(MIX);
    }

    /// Text as words: its length, then eight bytes each.
    pub(crate) fn push_bytes(&mut self, bytes: &[u8]) {
        self.push(bytes.len() as u64);
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.push(u64::from_le_bytes(word));
        }
    }

    /// The words, or `None` for a call that has too many of them.
    pub(crate) fn words(&self) -> Option<&[u64]> {
        (!self.overflowed).then(|| &self.words[..self.length])
    }

    /// A number that differs for most signatures that differ.
    pub(crate) fn hash(&self) -> u64 {
        self.hash ^ (self.hash >> 29)
    }
}
