//! A token as it is handed out, once. It has no text form but the one that is asked for by name.

use std::fmt;

use sha2::{Digest, Sha256};

/// What a token begins with, so that it is recognised where it does not belong.
const PREFIX: &str = "zenith_";
const BYTES: usize = 32;

/// A secret.
#[derive(Clone)]
pub struct Secret(String);

/// What a secret is known by.
pub(super) type Hash = [u8; 32];

impl Secret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(super) fn random() -> std::io::Result<Self> {
        let mut bytes = [0; BYTES];
        let mut filled = 0;
        while filled < BYTES {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self(format!("{PREFIX}{}", hex(&bytes))))
    }

    /// The text, to be shown to its owner and to nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a secret is known by. Secrets have 256 random bits, so that nothing slower is needed.
pub(super) fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_hashes_are_read_back() {
        let (one, other) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.reveal().len(), PREFIX.len() + 2 * BYTES);
        let hash = hash(one.reveal());
        assert_eq!(unhex(&hex(&hash)), Some(hash));
        assert_eq!(unhex("ab"), None);
        assert_eq!(unhex(&"g".repeat(64)), None);
    }
}
