//! One decoder for every kind of picture: opens it once, then decodes a region of it. What the formats have in common
//! lives here (limits, orientation, panics of libraries); what sets them apart does not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::png::PngScratch;
use super::{ImageError, ImageInfo, ImageKind, MAX_PIXELS, Orientation};
use super::{jpeg, png, probe, webp};
use crate::format::jpeg::{Decoder, EntropyIndex, Parsed};
use crate::pixels::{PixelBuf, Region};

/// How pictures are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// Most pixels a picture may have.
    pub max_pixels: u64,
    /// Whether to turn pictures as their EXIF data asks. PIL and torchvision do not.
    pub apply_orientation: bool,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self { max_pixels: MAX_PIXELS, apply_orientation: false }
    }
}

/// What an index of a picture's entropy-coded data has to do with a decode.
#[derive(Debug)]
pub enum Entropy<'i> {
    /// Nothing.
    Plain,
    /// It is believed to be the picture's, and shows where to begin.
    Use(&'i EntropyIndex),
    /// It is made on the way, with this many MCUs between its entry points.
    Make(&'i mut EntropyIndex, u16),
}

/// What became of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexed {
    /// There is none, or what was made is not whole.
    No,
    /// It was used.
    Used,
    /// It was made.
    Made,
    /// It is not this picture's; the pixels were decoded without it.
    Stale,
}

/// A picture whose header has been read.
#[derive(Clone, Debug)]
pub struct Picture<'a> {
    bytes: &'a [u8],
    info: ImageInfo,
    turn: Orientation,
    jpeg: Option<Parsed<'a>>,
}

impl Picture<'_> {
    /// What the header says.
    #[must_use]
    pub const fn info(&self) -> &ImageInfo {
        &self.info
    }

    /// Width and height in pixels, turned if that was asked for; regions are given in these.
    #[must_use]
    pub const fn size(&self) -> (u32, u32) {
        self.turn.size(self.info.width, self.info.height)
    }

    /// Whether it can be decoded at a half, a quarter or an eighth of its size.
    #[must_use]
    pub const fn scales(&self) -> bool {
        matches!(self.info.kind, ImageKind::Jpeg)
    }
}

/// Decodes pictures one after another and keeps its memory between them.
#[derive(Default)]
pub struct ImageDecoder {
    options: ImageOptions,
    jpeg: Decoder,
    png: PngScratch,
    webp: Vec<u8>,
    unturned: PixelBuf,
}

impl ImageDecoder {
    /// A decoder with `options`.
    #[must_use]
    pub fn new(options: ImageOptions) -> Self {
        Self { options, ..Self::default() }
    }

    /// Reads the header of the picture in `bytes`.
    ///
    /// # Errors
    /// When it is no picture of a supported kind, ends or goes wrong in its header, or has too many pixels.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<Picture<'a>, ImageError> {
        let (info, jpeg) = probe::open(bytes)?;
        let (width, height) = (info.width, info.height);
        if u64::from(width) * u64::from(height) > self.options.max_pixels {
            return Err(ImageError::TooLarge { width, height, limit: self.options.max_pixels });
        }
        let turn = match self.options.apply_orientation {
            true => info.orientation,
            false => Orientation::UPRIGHT,
        };
        Ok(Picture { bytes, info, turn, jpeg })
    }

    /// As [`Self::decode`], with the help of an index of the picture's data, or making one on the way; what becomes of
    /// it is the answer. The pixels and the errors are the same.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_with(
        &mut self,
        picture: &Picture<'_>,
        region: Region,
        denom: u8,
        entropy: Entropy<'_>,
        out: &mut PixelBuf,
    ) -> Result<Indexed, ImageError> {
        let mut answer = Indexed::No;
        self.decode_turned(picture, region, denom, (entropy, &mut answer), out)?;
        Ok(answer)
    }

    /// Decodes `region` of a picture into `out`: one channel for gray, three for the rest. `denom` is 1, or 2, 4 or 8
    /// for a picture that [`scales`](Picture::scales); the region is then given in pixels of the picture at that
    /// fraction of its size, rounded up.
    ///
    /// # Errors
    /// When the region is empty or does not lie in the picture, the scale is not to be had, or the data ends or goes
    /// wrong. Data behind the region is not looked at where the format allows it.
    pub fn decode(
        &mut self,
        picture: &Picture<'_>,
        region: Region,
        denom: u8,
        out: &mut PixelBuf,
    ) -> Result<(), ImageError> {
        self.decode_with(picture, region, denom, Entropy::Plain, out).map(|_| ())
    }

    fn decode_turned(
        &mut self,
        picture: &Picture<'_>,
        region: Region,
        denom: u8,
        entropy: (Entropy<'_>, &mut Indexed),
        out: &mut PixelBuf,
    ) -> Result<(), ImageError> {
        if !matches!(denom, 1 | 2 | 4 | 8) || (denom > 1 && !picture.scales()) {
            return Err(ImageError::Scale { kind: picture.info.kind, denom });
        }
        let scaled = |edge: u32| edge.div_ceil(u32::from(denom));
        let (width, height) = picture.size();
        let (width, height) = (scaled(width), scaled(height));
        let inside = |at: u32, length: u32, end: u32| {
            length > 0 && at.checked_add(length).is_some_and(|behind| behind <= end)
        };
        if !inside(region.x, region.width, width) || !inside(region.y, region.height, height) {
            return Err(ImageError::Region { region, width, height });
        }
        if picture.turn == Orientation::UPRIGHT {
            return self.stored(picture, region, denom, entropy, out);
        }
        let (width, height) = picture.turn.size(width, height);
        let stored = picture.turn.stored_region(region, width, height);
        let mut unturned = std::mem::take(&mut self.unturned);
        let result = self.stored(picture, stored, denom, entropy, &mut unturned);
        if result.is_ok() {
            picture.turn.apply(&unturned, out);
        }
        self.unturned = unturned;
        result
    }

    /// Decodes a region as it is stored.
    fn stored(
        &mut self,
        picture: &Picture<'_>,
        region: Region,
        denom: u8,
        (entropy, answer): (Entropy<'_>, &mut Indexed),
        out: &mut PixelBuf,
    ) -> Result<(), ImageError> {
        let kind = picture.info.kind;
        // Libraries that meet bytes nobody has thought of may panic; that costs the sample, not the run.
        catch_unwind(AssertUnwindSafe(|| match &picture.jpeg {
            Some(parsed) => {
                *answer = jpeg::decode(&mut self.jpeg, parsed, (region, denom), entropy, out)?;
                Ok(())
            }
            None if kind == ImageKind::Png => png::decode(picture.bytes, region, &mut self.png, out),
            None => webp::decode(picture.bytes, region, &mut self.webp, out),
        }))
        .unwrap_or_else(|_| {
            Err(ImageError::Corrupt { kind, reason: "the decoder gave up".into(), offset: None })
        })
    }
}
