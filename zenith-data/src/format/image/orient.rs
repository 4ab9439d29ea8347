//! Turning and mirroring pixels as EXIF's orientation asks. Reading the orientation is the probe's part.

use crate::pixels::{PixelBuf, Region};

/// How stored pixels have to be turned for display; EXIF's values 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Orientation(u8);

impl Default for Orientation {
    fn default() -> Self {
        Self::UPRIGHT
    }
}

impl Orientation {
    /// As stored.
    pub const UPRIGHT: Self = Self(1);

    /// EXIF's value 1 to 8; `None` for others.
    #[must_use]
    pub const fn from_exif(value: u8) -> Option<Self> {
        match value {
            1..=8 => Some(Self(value)),
            _ => None,
        }
    }

    /// EXIF's value.
    #[must_use]
    pub const fn exif(self) -> u8 {
        self.0
    }

    /// Whether width and height change places.
    #[must_use]
    pub const fn swaps(self) -> bool {
        self.0 >= 5
    }

    /// Width and height for display of a picture stored as `width` x `height`; and back.
    #[must_use]
    pub const fn size(self, width: u32, height: u32) -> (u32, u32) {
        if self.swaps() { (height, width) } else { (width, height) }
    }

    /// The stored pixel that is displayed at `(x, y)`, in a picture stored as `width` x `height`.
    #[must_use]
    pub const fn stored(self, x: u32, y: u32, width: u32, height: u32) -> (u32, u32) {
        match self.0 {
            2 => (width - 1 - x, y),
            3 => (width - 1 - x, height - 1 - y),
            4 => (x, height - 1 - y),
            5 => (y, x),
            6 => (y, height - 1 - x),
            7 => (width - 1 - y, height - 1 - x),
            8 => (width - 1 - y, x),
            _ => (x, y),
        }
    }

    /// The stored pixels that are displayed in `region`, in a picture stored as `width` x `height`.
    #[must_use]
    pub fn stored_region(self, region: Region, width: u32, height: u32) -> Region {
        let a = self.stored(region.x, region.y, width, height);
        let b = self.stored(region.x + region.width - 1, region.y + region.height - 1, width, height);
        Region {
            x: a.0.min(b.0),
            y: a.1.min(b.1),
            width: a.0.abs_diff(b.0) + 1,
            height: a.1.abs_diff(b.1) + 1,
        }
    }

    /// Writes `stored`, turned for display, into `out`.
    pub fn apply(self, stored: &PixelBuf, out: &mut PixelBuf) {
        let (width, height, channels) = (stored.width(), stored.height(), stored.channels());
        let (out_width, out_height) = self.size(width, height);
        out.reset(out_width, out_height, channels);
        let channels = usize::from(channels);
        let (pixels, stride) = (stored.pixels(), stored.stride());
        let out_stride = out.stride();
        for (y, row) in out.pixels_mut().chunks_exact_mut(out_stride).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                let (from_x, from_y) = self.stored(x as u32, y as u32, width, height);
                let at = from_y as usize * stride + from_x as usize * channels;
                pixel.copy_from_slice(&pixels[at..at + channels]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 x 2 pixels, numbered row by row.
    fn numbered() -> PixelBuf {
        let mut buf = PixelBuf::new();
        buf.reset(3, 2, 1);
        buf.pixels_mut().copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        buf
    }

    #[test]
    fn all_eight() {
        // What PIL.ImageOps.exif_transpose makes of the same pixels.
        let expected: [(u32, u32, [u8; 6]); 8] = [
            (3, 2, [1, 2, 3, 4, 5, 6]),
            (3, 2, [3, 2, 1, 6, 5, 4]),
            (3, 2, [6, 5, 4, 3, 2, 1]),
            (3, 2, [4, 5, 6, 1, 2, 3]),
            (2, 3, [1, 4, 2, 5, 3, 6]),
            (2, 3, [4, 1, 5, 2, 6, 3]),
            (2, 3, [6, 3, 5, 2, 4, 1]),
            (2, 3, [3, 6, 2, 5, 1, 4]),
        ];
        for (value, (width, height, pixels)) in (1..).zip(expected) {
            let mut out = PixelBuf::new();
            Orientation::from_exif(value).unwrap().apply(&numbered(), &mut out);
            assert_eq!((out.width(), out.height()), (width, height), "{value}");
            assert_eq!(out.pixels(), pixels, "{value}");
        }
    }

    #[test]
    fn a_region_of_the_display_is_a_region_of_the_store() {
        for value in 1..=8 {
            let orientation = Orientation::from_exif(value).unwrap();
            let (width, height) = orientation.size(3, 2);
            for (x, y, w, h) in [(0, 0, width, height), (1, 0, 1, 2), (0, 1, 2, 1), (1, 1, 1, 1)] {
                let region = Region { x, y, width: w, height: h };
                let stored = orientation.stored_region(region, 3, 2);
                for dy in 0..h {
                    for dx in 0..w {
                        let (sx, sy) = orientation.stored(x + dx, y + dy, 3, 2);
                        assert!(sx >= stored.x && sx < stored.x + stored.width, "{value} {region:?}");
                        assert!(sy >= stored.y && sy < stored.y + stored.height, "{value} {region:?}");
                    }
                }
                assert_eq!(stored.width * stored.height, w * h);
            }
        }
    }
}
