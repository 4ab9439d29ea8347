//! Checks operations one after the other: what each means at its place in the list, and whether it has a native form
//! there. The drawing and the pixels are [`super::plan`]'s matter.

use std::fmt::Write as _;

use super::color::Arithmetic;
use super::emit::Order;
use super::filter::Filter;
use super::ops::{Interpolation, Mode, Op};
use super::plan::{Output, Size, Step};
use super::view::{self, MAX_EDGE};
use crate::DType;

/// What is known about the picture while compiling.
pub(super) struct State {
    arithmetic: Arithmetic,
    pub(super) dtype: DType,
    /// Value of a byte: byte * scale + bias, for each channel.
    pub(super) affine: [(f64, f64); 3],
    scaled: bool,
    normalized: bool,
    pub(super) channels: u8,
    pub(super) size: Option<(u32, u32)>,
    pub(super) stages: usize,
    pub(super) order: Order,
}

impl State {
    /// A decoded picture, before any operation.
    pub(super) const fn new() -> Self {
        Self {
            arithmetic: Arithmetic::Pil,
            dtype: DType::UInt8,
            affine: [(1.0, 0.0); 3],
            scaled: false,
            normalized: false,
            channels: 3,
            size: None,
            stages: 1,
            order: Order::Chw,
        }
    }

    /// A picture of 8 bits that other operations left, before any further one.
    pub(super) const fn behind(tensor: bool, channels: u8) -> Self {
        let arithmetic = if tensor { Arithmetic::Tensor } else { Arithmetic::Pil };
        Self { arithmetic, channels, ..Self::new() }
    }

    /// Checks one operation and takes it into account; the reason why not, as a fragment.
    pub(super) fn add(&mut self, op: &Op) -> Result<Option<Step>, String> {
        self.stages += match op {
            Op::ColorJitter { .. } => 5,
            Op::Grayscale { .. } | Op::RandomGrayscale { .. } => 2,
            Op::Resize { .. } => 2,
            Op::RandomResizedCrop { .. } => 3,
            _ => 1,
        };
        match op {
            Op::ToImage => self.arithmetic = Arithmetic::Tensor,
            Op::ToTensor => {
                if self.arithmetic == Arithmetic::Tensor {
                    return Err("it takes a picture, and this already is a tensor: use ToDtype".to_owned());
                }
                self.convert(DType::Float32, true)?;
            }
            Op::ToDtype { dtype, scale } => self.convert(*dtype, *scale)?,
            Op::Resize { size, interpolation, max_size, antialias } => {
                let filter = self.filter(*interpolation, *antialias)?;
                let size = match (self.size_of(size)?, *max_size, size.len()) {
                    (both, None, 2) => Size::Both(both.0, both.1),
                    (_, Some(_), 2) => return Err("max_size needs a size of one edge".to_owned()),
                    (edge, Some(most), _) if most <= edge.0 => {
                        return Err(format!("max_size {most} must be greater than the size {}", edge.0));
                    }
                    (edge, most, _) => Size::Shorter(edge.0, most),
                };
                self.size = match (size, self.size) {
                    (Size::Both(h, w), _) => Some((h, w)),
                    (Size::Shorter(edge, most), Some((h, w))) => {
                        let (w, h) = view::shorter_edge(w, h, edge, most);
                        Some((h, w)).and_then(|(h, w)| Some((h.try_into().ok()?, w.try_into().ok()?)))
                    }
                    _ => None,
                };
                return Ok(Some(Step::Resize { size, filter }));
            }
            Op::CenterCrop { size } => {
                let (height, width) = self.size_of(size)?;
                if self.size.is_none_or(|(h, w)| h < height || w < width) {
                    self.refuse_padding()?;
                }
                self.size = Some((height, width));
                return Ok(Some(Step::CenterCrop { height, width }));
            }
            Op::RandomCrop { size, padding, pad_if_needed, fill } => {
                let (height, width) = self.size_of(size)?;
                let padding = match padding.as_deref() {
                    None => [0; 4],
                    Some(&[all]) => [all; 4],
                    Some(&[x, y]) => [x, y, x, y],
                    Some(&[left, top, right, bottom]) => [left, top, right, bottom],
                    Some(_) => return Err("padding takes 1, 2 or 4 numbers".to_owned()),
                };
                if padding.iter().any(|&edge| edge > MAX_EDGE) {
                    return Err(format!("padding goes up to {MAX_EDGE}"));
                }
                if *pad_if_needed || padding != [0; 4] {
                    self.refuse_padding()?;
                    if *fill != 0 && self.dtype != DType::UInt8 {
                        return Err(
                            "a fill other than 0 must come before the conversion to floats".to_owned()
                        );
                    }
                }
                self.size = Some((height, width));
                return Ok(Some(Step::RandomCrop {
                    height,
                    width,
                    padding,
                    pad_if_needed: *pad_if_needed,
                    fill: *fill,
                }));
            }
            Op::RandomResizedCrop { size, scale, ratio, interpolation, antialias } => {
                let filter = self.filter(*interpolation, *antialias)?;
                let (height, width) = self.size_of(size)?;
                for (name, (low, high)) in [("scale", *scale), ("ratio", *ratio)] {
                    if !(low > 0.0 && low <= high && high.is_finite()) {
                        return Err(format!("{name} ({low}, {high}) must be positive and increasing"));
                    }
                }
                self.size = Some((height, width));
                return Ok(Some(Step::RandomResizedCrop {
                    height,
                    width,
                    scale: *scale,
                    ratio: *ratio,
                    filter,
                }));
            }
            Op::RandomHorizontalFlip { p } | Op::RandomVerticalFlip { p } => {
                return Ok(Some(Step::Flip {
                    horizontal: matches!(op, Op::RandomHorizontalFlip { .. }),
                    p: probability(*p)?,
                }));
            }
            Op::ColorJitter { brightness, contrast, saturation, hue } => {
                self.refuse_floats()?;
                let mut bounds = [*brightness, *contrast, *saturation, *hue];
                let names = ["brightness", "contrast", "saturation", "hue"];
                for (name, bound) in names.into_iter().zip(&bounds) {
                    let (least, most) = if name == "hue" { (-0.5, 0.5) } else { (0.0, f64::MAX) };
                    if let &Some((low, high)) = bound
                        && !(least <= low && low <= high && high <= most)
                    {
                        return Err(format!(
                            "{name} ({low}, {high}) must be increasing, from {least} to {most}"
                        ));
                    }
                }
                if self.channels == 1 {
                    // A gray tensor or picture has neither saturation nor hue.
                    bounds[2] = None;
                    bounds[3] = None;
                }
                return Ok(Some(Step::Jitter { arithmetic: self.arithmetic, bounds }));
            }
            Op::Grayscale { num_output_channels } => {
                self.refuse_floats()?;
                if !matches!(num_output_channels, 1 | 3) {
                    return Err(format!("num_output_channels is 1 or 3, not {num_output_channels}"));
                }
                let was_gray = self.channels == 1;
                self.channels = *num_output_channels;
                return Ok((!was_gray).then_some(Step::Gray { arithmetic: self.arithmetic, p: 1.0 }));
            }
            Op::RandomGrayscale { p } => {
                self.refuse_floats()?;
                return Ok(Some(Step::Gray { arithmetic: self.arithmetic, p: probability(*p)? }));
            }
            Op::Normalize { mean, std } => self.normalize(mean, std)?,
            Op::ChannelsLast => self.order = Order::Hwc,
        }
        Ok(None)
    }

    fn convert(&mut self, dtype: DType, scale: bool) -> Result<(), String> {
        self.arithmetic = Arithmetic::Tensor;
        let floating = |dtype| matches!(dtype, DType::Float16 | DType::Float32);
        match (floating(self.dtype), floating(dtype)) {
            (_, false) if dtype != DType::UInt8 => {
                return Err(format!("{dtype} has no native form; uint8, float16 and float32 have"));
            }
            (false, true) => {
                self.scaled = scale;
                if scale {
                    self.affine = [(1.0 / 255.0, 0.0); 3];
                }
            }
            (true, false) if self.normalized || self.scaled != scale => {
                return Err("back to uint8 only from floats of the same scaling, before Normalize".to_owned());
            }
            (true, false) => self.affine = [(1.0, 0.0); 3],
            _ => {}
        }
        self.dtype = dtype;
        Ok(())
    }

    fn normalize(&mut self, mean: &[f64], std: &[f64]) -> Result<(), String> {
        if self.dtype == DType::UInt8 {
            return Err(
                "it needs floats: put ToTensor, or ToImage and ToDtype(float32, scale=True), before it"
                    .to_owned(),
            );
        }
        let channels = usize::from(self.channels);
        for (name, values) in [("mean", mean), ("std", std)] {
            if values.len() != 1 && values.len() != channels {
                return Err(format!("{name} has {} values, the picture {channels} channels", values.len()));
            }
            if values.iter().any(|value| !value.is_finite()) {
                return Err(format!("{name} has a value that is not finite"));
            }
        }
        if std.contains(&0.0) {
            return Err("std has a value of 0".to_owned());
        }
        for (c, affine) in self.affine.iter_mut().enumerate() {
            let at = |values: &[f64]| values[c.min(values.len() - 1)];
            *affine = (affine.0 / at(std), (affine.1 - at(mean)) / at(std));
        }
        self.normalized = true;
        Ok(())
    }

    fn filter(&self, shape: Interpolation, antialias: bool) -> Result<Filter, String> {
        if self.arithmetic == Arithmetic::Pil {
            return Ok(Filter { shape, antialias: true, pillow: true });
        }
        match shape {
            Interpolation::Box | Interpolation::Hamming => {
                return Err(format!("{} is for pictures, and this is a tensor already", shape.name()));
            }
            Interpolation::Bicubic | Interpolation::Lanczos if self.dtype != DType::UInt8 => {
                return Err(format!("{} must come before the conversion to floats", shape.name()));
            }
            Interpolation::Bicubic | Interpolation::Lanczos if !antialias => {
                return Err(format!("{} has no native form without antialias", shape.name()));
            }
            _ => {}
        }
        Ok(Filter { shape, antialias, pillow: false })
    }

    fn size_of(&self, size: &[u32]) -> Result<(u32, u32), String> {
        let (height, width) = match *size {
            [edge] => (edge, edge),
            [height, width] => (height, width),
            _ => {
                return Err(format!("size takes one edge or height and width, not {} numbers", size.len()));
            }
        };
        if [height, width].iter().any(|edge| !(1..=MAX_EDGE).contains(edge)) {
            return Err(format!("size {height}x{width} is not within 1 to {MAX_EDGE}"));
        }
        Ok((height, width))
    }

    fn refuse_floats(&self) -> Result<(), String> {
        if self.dtype == DType::UInt8 {
            return Ok(());
        }
        Err("it must come before the conversion to floats".to_owned())
    }

    fn refuse_padding(&self) -> Result<(), String> {
        if self.normalized {
            return Err("it may pad, and padding must come before Normalize".to_owned());
        }
        Ok(())
    }
}

fn probability(p: f64) -> Result<f64, String> {
    if (0.0..=1.0).contains(&p) { Ok(p) } else { Err(format!("p = {p} is not within 0 to 1")) }
}

pub(super) fn describe(ops: &[Op], mode: Mode, output: Output) -> String {
    let mut text = String::new();
    for op in ops {
        text.push_str(op.name());
        match op {
            Op::Resize { size, interpolation, .. } | Op::RandomResizedCrop { size, interpolation, .. } => {
                let size: Vec<String> = size.iter().map(u32::to_string).collect();
                let _ = write!(text, "({}, {})", size.join("x"), interpolation.name());
            }
            Op::CenterCrop { size } | Op::RandomCrop { size, .. } => {
                let size: Vec<String> = size.iter().map(u32::to_string).collect();
                let _ = write!(text, "({})", size.join("x"));
            }
            Op::RandomHorizontalFlip { p } | Op::RandomVerticalFlip { p } | Op::RandomGrayscale { p } => {
                let _ = write!(text, "({p})");
            }
            _ => {}
        }
        text.push_str(" > ");
    }
    let order = match output.order {
        Order::Chw => "CHW",
        Order::Hwc => "HWC",
    };
    let mode = match mode {
        Mode::Exact => "exact",
        Mode::Fast => "fast",
    };
    let _ = write!(text, "{} {order}, {} channels, {mode}", output.dtype, output.channels);
    text
}
