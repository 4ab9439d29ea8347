//! Which axis of a tensor is what, where it is a picture.

use crate::{Error, Result};

/// The order of a picture's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Height, width; one channel.
    Hw,
    /// Height, width, channel: as decoders give pictures.
    Hwc,
    /// Channel, height, width: as models take them.
    Chw,
}

/// The size of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// 1, 3 or 4.
    pub channels: usize,
    /// The order of the axes.
    pub layout: Layout,
}

impl Picture {
    /// Recognises a picture by its shape: two axes are one channel; of three, the last is the channels' if it has 1, 3
    /// or 4 elements, or else the first.
    ///
    /// # Errors
    /// [`Error::INPUT`] if it is neither, or empty.
    pub fn of(shape: &[usize]) -> Result<Self> {
        let picture = match *shape {
            [height, width] => Some(Self { height, width, channels: 1, layout: Layout::Hw }),
            [height, width, channels @ (1 | 3 | 4)] => {
                Some(Self { height, width, channels, layout: Layout::Hwc })
            }
            [channels @ (1 | 3 | 4), height, width] => {
                Some(Self { height, width, channels, layout: Layout::Chw })
            }
            _ => None,
        };
        let text = || format!("a tensor of shape {shape:?} is no picture");
        picture.filter(|p| p.height > 0 && p.width > 0).ok_or_else(|| Error::new(Error::INPUT, text()))
    }

    /// The shape of a picture of this size with the same channels and order of axes. Two axes stay two.
    #[must_use]
    pub fn resized(self, height: usize, width: usize) -> Self {
        Self { height, width, ..self }
    }

    /// Calls `then` with the picture's shape.
    pub fn with_shape<R>(self, then: impl FnOnce(&[usize]) -> R) -> R {
        match self.layout {
            Layout::Hw => then(&[self.height, self.width]),
            Layout::Hwc => then(&[self.height, self.width, self.channels]),
            Layout::Chw => then(&[self.channels, self.height, self.width]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_told_apart() {
        let layout = |shape: &[usize]| Picture::of(shape).map(|p| (p.layout, p.channels)).ok();
        assert_eq!(layout(&[5, 7]), Some((Layout::Hw, 1)));
        assert_eq!(layout(&[5, 7, 3]), Some((Layout::Hwc, 3)));
        assert_eq!(layout(&[3, 5, 7]), Some((Layout::Chw, 3)));
        assert_eq!(layout(&[3, 5, 3]), Some((Layout::Hwc, 3)));
        for shape in [&[][..], &[5], &[5, 7, 2], &[0, 7], &[2, 3, 5, 7]] {
            assert_eq!(layout(shape), None, "{shape:?}");
        }
    }

    #[test]
    fn a_resized_picture_keeps_its_axes() {
        for shape in [&[5, 7][..], &[5, 7, 3], &[3, 5, 7]] {
            let picture = Picture::of(shape).unwrap();
            picture.with_shape(|same| assert_eq!(same, shape));
            let resized = picture.resized(2, 9);
            resized.with_shape(|shape| assert_eq!(Picture::of(shape), Ok(resized)));
        }
    }
}
