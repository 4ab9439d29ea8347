//! Pictures: which kind a file is, by its content, and the pixels of a region of it. Pixels are those that
//! `PIL.Image.open(...).convert("RGB")` gives, alpha dropped; gray pictures keep one channel. What happens to the
//! pixels afterwards is for [`crate::transform`].

mod decode;
mod jpeg;
mod orient;
mod png;
mod probe;
mod webp;

pub use self::decode::{Entropy, ImageDecoder, ImageOptions, Indexed, Picture};
pub use self::orient::Orientation;
pub use self::probe::{describe, is_picture, probe};

/// Most pixels a picture may have unless said otherwise: where PIL raises its `DecompressionBombError`.
pub const MAX_PIXELS: u64 = 2 * 89_478_485;

/// A kind of picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageKind {
    /// JPEG, of any kind that [`crate::format::jpeg`] reads.
    Jpeg,
    /// PNG, of any depth and color type, interlaced or not.
    Png,
    /// WebP, lossy or lossless; of an animation the first frame.
    WebP,
}

impl ImageKind {
    /// The usual name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ImageKind::Jpeg => "JPEG",
            ImageKind::Png => "PNG",
            ImageKind::WebP => "WebP",
        }
    }
}

impl std::fmt::Display for ImageKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What the beginning of a picture says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// Which kind it is.
    pub kind: ImageKind,
    /// Width in pixels, as stored.
    pub width: u32,
    /// Height in pixels, as stored.
    pub height: u32,
    /// How it is meant to be turned for display.
    pub orientation: Orientation,
}

/// Why a picture cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// There are no bytes at all.
    #[error("the file is empty")]
    Empty,
    /// The bytes are something else than a picture, or a kind that is not supported.
    #[error("found {found}; supported are JPEG, PNG, WebP")]
    Unsupported {
        /// What the bytes are, as far as they say.
        found: &'static str,
    },
    /// The bytes end in the middle of the picture.
    #[error("truncated {kind} data")]
    Truncated {
        /// Which kind the picture is.
        kind: ImageKind,
        /// Where the data ends.
        offset: u64,
    },
    /// The bytes contradict the format.
    #[error("corrupt {kind} data: {reason}")]
    Corrupt {
        /// Which kind the picture is.
        kind: ImageKind,
        /// What is wrong.
        reason: String,
        /// Where, if known.
        offset: Option<u64>,
    },
    /// A legal picture of a sort that is not read.
    #[error("unsupported {kind} data: {what}")]
    Variant {
        /// Which kind the picture is.
        kind: ImageKind,
        /// The sort, by name.
        what: &'static str,
        /// Where it is declared.
        offset: u64,
    },
    /// The picture has more pixels than allowed.
    #[error(
        "a picture of {width} x {height} pixels is over the limit of {limit} pixels (a decompression bomb?)"
    )]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The limit in pixels.
        limit: u64,
    },
    /// A fraction of the size was asked for that the kind does not give.
    #[error("{kind} pictures cannot be decoded at 1/{denom} of their size")]
    Scale {
        /// Which kind the picture is.
        kind: ImageKind,
        /// What was asked for.
        denom: u8,
    },
    /// The region asked for does not lie in the picture.
    #[error("the region {region:?} does not lie in a picture of {width} x {height} pixels")]
    Region {
        /// What was asked for.
        region: crate::pixels::Region,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

impl ImageError {
    /// The byte at which the trouble was found, where known.
    #[must_use]
    pub const fn offset(&self) -> Option<u64> {
        match self {
            ImageError::Empty => Some(0),
            ImageError::Truncated { offset, .. } | ImageError::Variant { offset, .. } => Some(*offset),
            ImageError::Corrupt { offset, .. } => *offset,
            _ => None,
        }
    }

    fn corrupt(kind: ImageKind, reason: impl Into<String>, offset: u64) -> Self {
        ImageError::Corrupt { kind, reason: reason.into(), offset: Some(offset) }
    }
}
