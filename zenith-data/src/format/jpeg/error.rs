//! Why a JPEG could not be decoded. Every reason is a fixed text with the byte offset it was found at; nothing here
//! knows which file the bytes came from.

/// Why a JPEG could not be decoded. Offsets are in bytes from the start of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JpegError {
    /// The bytes do not begin with a start-of-image marker.
    #[error("not a jpeg: no start-of-image marker")]
    NotJpeg,
    /// The bytes end before the picture does.
    #[error("jpeg truncated: {reason} at byte {offset}")]
    Truncated {
        /// Where the bytes ran out.
        offset: u64,
        /// What was being read.
        reason: &'static str,
    },
    /// The bytes contradict the format.
    #[error("corrupt jpeg: {reason} at byte {offset}")]
    Corrupt {
        /// Where the contradiction is.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A legal JPEG of a kind this decoder does not read.
    #[error("unsupported jpeg: {what} at byte {offset}")]
    Unsupported {
        /// Where the kind is declared.
        offset: u64,
        /// The kind, by name.
        what: &'static str,
    },
    /// The picture has more pixels than the caller allows.
    #[error("jpeg of {width}x{height} pixels is above the limit of {limit} pixels")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The caller's limit in pixels.
        limit: u64,
    },
    /// The region asked for is empty or reaches outside the (scaled) picture.
    #[error("region of {width}x{height} at ({x}, {y}) is not inside the picture")]
    Region {
        /// Left edge in scaled pixels.
        x: u32,
        /// Top edge in scaled pixels.
        y: u32,
        /// Width in scaled pixels.
        width: u32,
        /// Height in scaled pixels.
        height: u32,
    },
    /// The entropy index is damaged or belongs to other bytes.
    #[error("jpeg entropy index refused: {0}")]
    Index(&'static str),
}

impl JpegError {
    /// The byte at which the trouble was found, where there is one.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            Self::NotJpeg => Some(0),
            Self::Truncated { offset, .. }
            | Self::Corrupt { offset, .. }
            | Self::Unsupported { offset, .. } => Some(*offset),
            Self::TooLarge { .. } | Self::Region { .. } | Self::Index(_) => None,
        }
    }

    pub(super) const fn truncated(offset: usize, reason: &'static str) -> Self {
        Self::Truncated { offset: offset as u64, reason }
    }

    pub(super) const fn corrupt(offset: usize, reason: &'static str) -> Self {
        Self::Corrupt { offset: offset as u64, reason }
    }

    pub(super) const fn unsupported(offset: usize, what: &'static str) -> Self {
        Self::Unsupported { offset: offset as u64, what }
    }
}
