//! The vocabulary of transforms: torchvision's operations with torchvision's names and defaults, as they arrive (for
//! instance as JSON from Python), and what can be wrong with them. Nothing here touches a pixel.

use serde::{Deserialize, Serialize};

use crate::DType;

/// One operation, in torchvision's meaning. In JSON an operation is an object such as
/// `{"op": "random_resized_crop", "size": [224]}`.
///
/// Sizes are `[edge]` or `[height, width]`, in pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Op {
    /// `v2.ToImage`, `PILToTensor`: from here on torchvision's tensor kernels give the meaning, before it PIL's.
    ToImage,
    /// `ToTensor`: `ToImage`, then `ToDtype(float32, scale=True)`.
    ToTensor,
    /// Converts the element type; with `scale`, between 0..255 and 0..1 where one side is floating.
    ToDtype {
        /// `uint8`, `float16` or `float32`.
        dtype: DType,
        /// Whether values are scaled to the range of the type.
        #[serde(default)]
        scale: bool,
    },
    /// Resizes to `[height, width]`, or the shorter edge to `[edge]`.
    Resize {
        /// `[edge]` or `[height, width]`.
        size: Vec<u32>,
        /// The filter.
        #[serde(default)]
        interpolation: Interpolation,
        /// With `[edge]`: the longest that the longer edge may become.
        #[serde(default)]
        max_size: Option<u32>,
        /// Whether tensors are filtered when shrunk (pictures always are).
        #[serde(default = "yes")]
        antialias: bool,
    },
    /// Cuts the middle; pads with zeros where the picture is smaller.
    CenterCrop {
        /// `[edge]` or `[height, width]`.
        size: Vec<u32>,
    },
    /// Cuts a random part of fixed size.
    RandomCrop {
        /// `[edge]` or `[height, width]`.
        size: Vec<u32>,
        /// Constant padding beforehand: `[all]`, `[left_right, top_bottom]` or `[left, top, right, bottom]`.
        #[serde(default)]
        padding: Option<Vec<u32>>,
        /// Whether a smaller picture is padded rather than refused.
        #[serde(default)]
        pad_if_needed: bool,
        /// The padding's value for all channels.
        #[serde(default)]
        fill: u8,
    },
    /// Cuts a random part of random area and aspect and resizes it.
    RandomResizedCrop {
        /// `[edge]` or `[height, width]`.
        size: Vec<u32>,
        /// Bounds of the part's area as a fraction of the picture's.
        #[serde(default = "default_scale")]
        scale: (f64, f64),
        /// Bounds of the part's width over height.
        #[serde(default = "default_ratio")]
        ratio: (f64, f64),
        /// The filter.
        #[serde(default)]
        interpolation: Interpolation,
        /// Whether tensors are filtered when shrunk.
        #[serde(default = "yes")]
        antialias: bool,
    },
    /// Mirrors left to right with probability `p`.
    RandomHorizontalFlip {
        /// Probability.
        #[serde(default = "half")]
        p: f64,
    },
    /// Mirrors top to bottom with probability `p`.
    RandomVerticalFlip {
        /// Probability.
        #[serde(default = "half")]
        p: f64,
    },
    /// Changes brightness, contrast, saturation and hue by random factors, in random order.
    ColorJitter {
        /// Bounds of the brightness factor; 1 changes nothing.
        #[serde(default)]
        brightness: Option<(f64, f64)>,
        /// Bounds of the contrast factor; 1 changes nothing.
        #[serde(default)]
        contrast: Option<(f64, f64)>,
        /// Bounds of the saturation factor; 1 changes nothing.
        #[serde(default)]
        saturation: Option<(f64, f64)>,
        /// Bounds of the turn of the hue, within -0.5 to 0.5; 0 changes nothing.
        #[serde(default)]
        hue: Option<(f64, f64)>,
    },
    /// Turns to gray.
    Grayscale {
        /// 1, or 3 for three equal channels.
        #[serde(default = "one")]
        num_output_channels: u8,
    },
    /// Turns to gray with probability `p`, keeping the number of channels.
    RandomGrayscale {
        /// Probability.
        #[serde(default = "tenth")]
        p: f64,
    },
    /// `(value - mean) / std` for each channel; needs a floating type before it.
    Normalize {
        /// One value, or one per channel.
        mean: Vec<f64>,
        /// One value, or one per channel; not 0.
        std: Vec<f64>,
    },
    /// Writes height, width, channel instead of channel, height, width. Not torchvision's: it stands for the memory
    /// order.
    ChannelsLast,
}

const fn yes() -> bool {
    true
}
const fn half() -> f64 {
    0.5
}
const fn tenth() -> f64 {
    0.1
}
const fn one() -> u8 {
    1
}
const fn default_scale() -> (f64, f64) {
    (0.08, 1.0)
}
const fn default_ratio() -> (f64, f64) {
    (3.0 / 4.0, 4.0 / 3.0)
}

impl Op {
    /// torchvision's name of the operation.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Op::ToImage => "ToImage",
            Op::ToTensor => "ToTensor",
            Op::ToDtype { .. } => "ToDtype",
            Op::Resize { .. } => "Resize",
            Op::CenterCrop { .. } => "CenterCrop",
            Op::RandomCrop { .. } => "RandomCrop",
            Op::RandomResizedCrop { .. } => "RandomResizedCrop",
            Op::RandomHorizontalFlip { .. } => "RandomHorizontalFlip",
            Op::RandomVerticalFlip { .. } => "RandomVerticalFlip",
            Op::ColorJitter { .. } => "ColorJitter",
            Op::Grayscale { .. } => "Grayscale",
            Op::RandomGrayscale { .. } => "RandomGrayscale",
            Op::Normalize { .. } => "Normalize",
            Op::ChannelsLast => "ChannelsLast",
        }
    }
}

/// How a resampled pixel is computed from its neighbourhood; names and meanings are torchvision's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// The nearest pixel (PIL's rule for pictures, `floor(x * scale)` for tensors).
    Nearest,
    /// The nearest pixel by its centre.
    NearestExact,
    /// Triangle filter.
    #[default]
    Bilinear,
    /// Cubic filter with a = -0.5.
    Bicubic,
    /// Mean of the area (pictures only).
    Box,
    /// Hamming-windowed filter (pictures only).
    Hamming,
    /// Lanczos filter of radius 3.
    Lanczos,
}

impl Interpolation {
    /// torchvision's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Interpolation::Nearest => "nearest",
            Interpolation::NearestExact => "nearest-exact",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Box => "box",
            Interpolation::Hamming => "hamming",
            Interpolation::Lanczos => "lanczos",
        }
    }
}

/// Whether pixels may differ from torchvision's by more than rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Resampled from all pixels, as torchvision does.
    #[default]
    Exact,
    /// A decoder that can (JPEG) is asked for a picture of half, quarter or eighth size where it will be shrunk by
    /// at least as much anyway.
    Fast,
}

/// Why a transform cannot be compiled or applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The list of operations has no native meaning.
    #[error("transform {index} ({op}): {reason}")]
    Op {
        /// Position in the list, from 0.
        index: usize,
        /// torchvision's name of the operation.
        op: &'static str,
        /// What is wrong and what would work.
        reason: String,
    },
    /// The operation cannot be applied to a picture of this size.
    #[error("{op} cannot be applied to a picture of {width}x{height} pixels: {reason}")]
    Picture {
        /// torchvision's name of the operation.
        op: &'static str,
        /// Width of the picture that reached the operation.
        width: u32,
        /// Height of that picture.
        height: u32,
        /// What is wrong.
        reason: String,
    },
    /// The decoder delivered something else than the view asked for.
    #[error("the view needs {expected}, the decoder delivered {got}")]
    Source {
        /// What was asked for.
        expected: String,
        /// What came.
        got: String,
    },
    /// The slot has another size than the sample.
    #[error("the sample has {expected} bytes, its slot {got}")]
    Slot {
        /// Bytes of the sample.
        expected: usize,
        /// Bytes of the slot.
        got: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_to_the_last_bit() {
        let json = r#"{"op": "normalize", "mean": [0.1], "std": [0.211111111111111211111125]}"#;
        let read: Op = serde_json::from_str(json).unwrap();
        let Op::Normalize { std, .. } = &read else { panic!("{read:?}") };
        assert_eq!(std[..], ["0.211111111111111211111125".parse::<f64>().unwrap()]);
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(serde_json::from_str::<Op>(&written).unwrap(), read);
    }
}
