//! Compiles a list of operations into a plan and applies it: checks order and ranges once, draws each sample's
//! parameters, and leads the pixels from the decoder's buffer to the slot.

use std::fmt::Write as _;

use super::color::{Arithmetic, Change};
use super::emit::{Canvas, Format, Order};
use super::filter::Filter;
use super::geometry::Cut;
use super::kernels::Kernels;
use super::ops::{Interpolation, Mode, Op, TransformError};
use super::resample::{Picture, Workspace};
use super::view::{self, MAX_EDGE, MAX_STAGES, Stage, View};
use crate::DType;
use crate::pixels::PixelBuf;
use crate::pixels::Region;
use crate::sampler::rng::SampleRng;

/// What a plan makes of each sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Element type.
    pub dtype: DType,
    /// Order of the axes.
    pub order: Order,
    /// 1 or 3.
    pub channels: u8,
    /// Height and width, where they are the same for every sample.
    pub size: Option<(u32, u32)>,
}

impl Output {
    /// Bytes of a sample of `height` by `width` pixels.
    #[must_use]
    pub const fn bytes(&self, height: u32, width: u32) -> usize {
        height as usize * width as usize * self.channels as usize * self.dtype.size()
    }
}

/// The memory that rendering needs; one for each worker, used for any number of plans. It stops growing after the
/// largest sample.
#[derive(Debug)]
pub struct Scratch {
    work: Workspace,
    pictures: [Vec<u8>; 2],
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Scratch {
    /// Empty memory, and the fastest inner loops for this processor.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Kernels::detect())
    }

    /// Empty memory, and the portable inner loops: the same bytes, slower.
    #[must_use]
    pub fn portable() -> Self {
        Self::with(Kernels::Portable)
    }

    fn with(kernels: Kernels) -> Self {
        Self {
            work: Workspace::new(kernels),
            pictures: [Vec::new(), Vec::new()],
        }
    }
}

/// A compiled list of operations. Cheap to share: rendering does not change it.
#[derive(Clone, Debug)]
pub struct Plan {
    steps: Vec<Step>,
    mode: Mode,
    output: Output,
    format: Format,
    between: Format,
    text: String,
}

/// A checked operation that takes part in the drawing.
#[derive(Clone, Debug)]
enum Step {
    Resize {
        size: Size,
        filter: Filter,
    },
    CenterCrop {
        height: u32,
        width: u32,
    },
    RandomCrop {
        height: u32,
        width: u32,
        padding: [u32; 4],
        pad_if_needed: bool,
        fill: u8,
    },
    RandomResizedCrop {
        height: u32,
        width: u32,
        scale: (f64, f64),
        ratio: (f64, f64),
        filter: Filter,
    },
    Flip {
        horizontal: bool,
        p: f64,
    },
    Jitter {
        arithmetic: Arithmetic,
        bounds: [Option<(f64, f64)>; 4],
    },
    Gray {
        arithmetic: Arithmetic,
        p: f64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Both(u32, u32),
    Shorter(u32, Option<u32>),
}

/// What is known about the picture while compiling.
struct State {
    arithmetic: Arithmetic,
    dtype: DType,
    /// Value of a byte: byte * scale + bias, for each channel.
    affine: [(f64, f64); 3],
    scaled: bool,
    normalized: bool,
    channels: u8,
    size: Option<(u32, u32)>,
    stages: usize,
    order: Order,
}

impl Plan {
    /// Checks and compiles `ops`. An empty list means torchvision's `ToImage`: uint8, channel, height, width.
    ///
    /// # Errors
    /// [`TransformError::Op`] names the operation that has a bad parameter or stands at a place where it has no native
    /// meaning.
    pub fn compile(ops: &[Op], mode: Mode) -> Result<Plan, TransformError> {
        let mut state = State {
            arithmetic: Arithmetic::Pil,
            dtype: DType::UInt8,
            affine: [(1.0, 0.0); 3],
            scaled: false,
            normalized: false,
            channels: 3,
            size: None,
            stages: 1,
            order: Order::Chw,
        };
        let mut steps = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let step = state.add(op).map_err(|reason| TransformError::Op {
                index,
                op: op.name(),
                reason,
            })?;
            steps.extend(step);
            if state.stages > MAX_STAGES {
                return Err(TransformError::Op {
                    index,
                    op: op.name(),
                    reason: "the list is too long: split it".to_owned(),
                });
            }
        }
        let output = Output {
            dtype: state.dtype,
            order: state.order,
            channels: state.channels,
            size: state.size,
        };
        Ok(Plan {
            steps,
            mode,
            output,
            format: Format::new(
                output.dtype,
                output.order,
                usize::from(output.channels),
                state.affine,
            ),
            between: Format::bytes(),
            text: describe(ops, mode, output),
        })
    }

    /// What the plan makes of each sample.
    #[must_use]
    pub const fn output(&self) -> Output {
        self.output
    }

    /// One line that names the operations, the output and the mode.
    #[must_use]
    pub fn describe(&self) -> String {
        self.text.clone()
    }

    /// Draws the parameters for a picture of `width` by `height` pixels: a pure function of its arguments.
    ///
    /// # Errors
    /// [`TransformError::Picture`] if an operation cannot be applied to a picture of this size.
    pub fn view(&self, width: u32, height: u32, rng: &mut SampleRng) -> Result<View, TransformError> {
        let mut view = View::new(width, height);
        if !(1..=MAX_EDGE).contains(&width) || !(1..=MAX_EDGE).contains(&height) {
            return Err(view.error("decoding", format!("edges go from 1 to {MAX_EDGE}")));
        }
        for step in &self.steps {
            step.draw(&mut view, rng)?;
        }
        view.finish();
        if self.mode == Mode::Fast {
            view.choose_scale();
        }
        Ok(view)
    }

    /// Writes the sample to `out` in native byte order. `source` holds exactly [`View::region`], 1 or 3 channels.
    ///
    /// # Errors
    /// [`TransformError::Source`] or [`TransformError::Slot`] if a buffer does not fit the view; nothing is written then.
    pub fn render(
        &self,
        view: &View,
        source: &PixelBuf,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<(), TransformError> {
        let region = view.region();
        if (source.width(), source.height()) != (region.width, region.height)
            || !matches!(source.channels(), 1 | 3)
        {
            return Err(TransformError::Source {
                expected: format!("{}x{} pixels of 1 or 3 channels", region.width, region.height),
                got: format!("{}x{} of {}", source.width(), source.height(), source.channels()),
            });
        }
        let (height, width) = view.output_size();
        let expected = self.output.bytes(height, width);
        if out.len() != expected {
            return Err(TransformError::Slot {
                expected,
                got: out.len(),
            });
        }
        let Scratch { work, pictures } = scratch;
        let [current, next] = pictures;
        let last = view.stages().count() - 1;
        let mut size = None;
        for (i, stage) in view.stages().enumerate() {
            match stage {
                Stage::Color(arithmetic, change) => arithmetic.apply(change, current),
                Stage::Geometry(pass) => {
                    let (denom, picture) = match size {
                        None => (
                            u32::from(view.scale_denom()),
                            Picture {
                                pixels: source.pixels(),
                                channels: usize::from(source.channels()),
                                region,
                            },
                        ),
                        Some((width, height)) => (
                            1,
                            Picture {
                                pixels: current,
                                channels: 3,
                                region: Region::full(width, height),
                            },
                        ),
                    };
                    let (width, height) = (pass.canvas.0 as usize, pass.canvas.1 as usize);
                    if i == last {
                        let format = &self.format;
                        work.run(
                            &pass,
                            denom,
                            picture,
                            &mut Canvas {
                                format,
                                width,
                                height,
                                out,
                            },
                        );
                        break;
                    }
                    next.resize(width * height * 3, 0);
                    let format = &self.between;
                    work.run(
                        &pass,
                        denom,
                        picture,
                        &mut Canvas {
                            format,
                            width,
                            height,
                            out: next,
                        },
                    );
                    std::mem::swap(current, next);
                    size = Some(pass.canvas);
                }
            }
        }
        Ok(())
    }
}

impl Step {
    fn draw(&self, view: &mut View, rng: &mut SampleRng) -> Result<(), TransformError> {
        let (width, height) = view.canvas();
        match *self {
            Step::Resize { size, filter } => {
                let (w, h) = match size {
                    Size::Both(h, w) => (u64::from(w), u64::from(h)),
                    Size::Shorter(edge, most) => view::shorter_edge(width, height, edge, most),
                };
                view.resize("Resize", w, h, filter)
            }
            Step::CenterCrop { height: h, width: w } => {
                let cut = Cut {
                    left: view::center(width, w),
                    top: view::center(height, h),
                    width: w,
                    height: h,
                };
                view.cut("CenterCrop", cut, 0)
            }
            Step::RandomCrop {
                height: h,
                width: w,
                padding: [mut left, mut top, right, bottom],
                pad_if_needed,
                fill,
            } => {
                let mut whole = (width + left + right, height + top + bottom);
                if pad_if_needed && whole.1 < h {
                    top += h - whole.1;
                    whole.1 += 2 * (h - whole.1);
                }
                if pad_if_needed && whole.0 < w {
                    left += w - whole.0;
                    whole.0 += 2 * (w - whole.0);
                }
                if whole.0 < w || whole.1 < h {
                    let reason = format!("the crop of {w}x{h} is larger; pad_if_needed pads it");
                    return Err(view.error("RandomCrop", reason));
                }
                let y = rng.below(u64::from(whole.1 - h) + 1) as i64;
                let x = rng.below(u64::from(whole.0 - w) + 1) as i64;
                let cut = Cut {
                    left: x - i64::from(left),
                    top: y - i64::from(top),
                    width: w,
                    height: h,
                };
                view.cut("RandomCrop", cut, fill)
            }
            Step::RandomResizedCrop {
                height: h,
                width: w,
                scale,
                ratio,
                filter,
            } => {
                let part = view::random_part(width, height, scale, ratio, rng);
                let cut = Cut {
                    left: i64::from(part.x),
                    top: i64::from(part.y),
                    width: part.width,
                    height: part.height,
                };
                view.cut("RandomResizedCrop", cut, 0)?;
                view.resize("RandomResizedCrop", u64::from(w), u64::from(h), filter)
            }
            Step::Flip { horizontal, p } => {
                if rng.unit() < p {
                    view.mirror(horizontal);
                }
                Ok(())
            }
            Step::Jitter { arithmetic, bounds } => {
                let mut order = [0, 1, 2, 3];
                for i in (1..4).rev() {
                    order.swap(i, rng.below(i as u64 + 1) as usize);
                }
                let factors = bounds.map(|b| b.map(|(low, high)| rng.uniform(low, high)));
                for kind in order {
                    if let Some(factor) = factors[kind] {
                        let change = match kind {
                            0 => Change::Brightness(factor),
                            1 => Change::Contrast(factor),
                            2 => Change::Saturation(factor),
                            _ => Change::Hue(factor),
                        };
                        view.color(arithmetic, change);
                    }
                }
                Ok(())
            }
            Step::Gray { arithmetic, p } => {
                if rng.unit() < p {
                    view.color(arithmetic, Change::Gray);
                }
                Ok(())
            }
        }
    }
}

impl State {
    /// Checks one operation and takes it into account; the reason why not, as a fragment.
    fn add(&mut self, op: &Op) -> Result<Option<Step>, String> {
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
                self.to_dtype(DType::Float32, true)?;
            }
            Op::ToDtype { dtype, scale } => self.to_dtype(*dtype, *scale)?,
            Op::Resize {
                size,
                interpolation,
                max_size,
                antialias,
            } => {
                let filter = self.filter(*interpolation, *antialias)?;
                let size = match (self.size_of(size)?, *max_size, size.len()) {
                    (both, None, 2) => Size::Both(both.0, both.1),
                    (_, Some(_), 2) => return Err("max_size needs a size of one edge".to_owned()),
                    (edge, Some(most), _) if most <= edge.0 => {
                        return Err(format!(
                            "max_size {most} must be greater than the size {}",
                            edge.0
                        ));
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
            Op::RandomCrop {
                size,
                padding,
                pad_if_needed,
                fill,
            } => {
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
            Op::RandomResizedCrop {
                size,
                scale,
                ratio,
                interpolation,
                antialias,
            } => {
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
            Op::ColorJitter {
                brightness,
                contrast,
                saturation,
                hue,
            } => {
                self.refuse_floats()?;
                let mut bounds = [*brightness, *contrast, *saturation, *hue];
                let names = ["brightness", "contrast", "saturation", "hue"];
                for (name, bound) in names.into_iter().zip(&bounds) {
                    let (least, most) = if name == "hue" {
                        (-0.5, 0.5)
                    } else {
                        (0.0, f64::MAX)
                    };
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
                return Ok(Some(Step::Jitter {
                    arithmetic: self.arithmetic,
                    bounds,
                }));
            }
            Op::Grayscale { num_output_channels } => {
                self.refuse_floats()?;
                if !matches!(num_output_channels, 1 | 3) {
                    return Err(format!(
                        "num_output_channels is 1 or 3, not {num_output_channels}"
                    ));
                }
                let was_gray = self.channels == 1;
                self.channels = *num_output_channels;
                return Ok((!was_gray).then_some(Step::Gray {
                    arithmetic: self.arithmetic,
                    p: 1.0,
                }));
            }
            Op::RandomGrayscale { p } => {
                self.refuse_floats()?;
                return Ok(Some(Step::Gray {
                    arithmetic: self.arithmetic,
                    p: probability(*p)?,
                }));
            }
            Op::Normalize { mean, std } => self.normalize(mean, std)?,
            Op::ChannelsLast => self.order = Order::Hwc,
        }
        Ok(None)
    }

    fn to_dtype(&mut self, dtype: DType, scale: bool) -> Result<(), String> {
        self.arithmetic = Arithmetic::Tensor;
        let floating = |dtype| matches!(dtype, DType::Float16 | DType::Float32);
        match (floating(self.dtype), floating(dtype)) {
            (_, false) if dtype != DType::UInt8 => {
                return Err(format!(
                    "{dtype} has no native form; uint8, float16 and float32 have"
                ));
            }
            (false, true) => {
                self.scaled = scale;
                if scale {
                    self.affine = [(1.0 / 255.0, 0.0); 3];
                }
            }
            (true, false) if self.normalized || self.scaled != scale => {
                return Err(
                    "back to uint8 only from floats of the same scaling, before Normalize".to_owned(),
                );
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
                return Err(format!(
                    "{name} has {} values, the picture {channels} channels",
                    values.len()
                ));
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
            return Ok(Filter {
                shape,
                antialias: true,
                pillow: true,
            });
        }
        match shape {
            Interpolation::Box | Interpolation::Hamming => {
                return Err(format!(
                    "{} is for pictures, and this is a tensor already",
                    shape.name()
                ));
            }
            Interpolation::Bicubic | Interpolation::Lanczos if self.dtype != DType::UInt8 => {
                return Err(format!(
                    "{} must come before the conversion to floats",
                    shape.name()
                ));
            }
            Interpolation::Bicubic | Interpolation::Lanczos if !antialias => {
                return Err(format!("{} has no native form without antialias", shape.name()));
            }
            _ => {}
        }
        Ok(Filter {
            shape,
            antialias,
            pillow: false,
        })
    }

    fn size_of(&self, size: &[u32]) -> Result<(u32, u32), String> {
        let (height, width) = match *size {
            [edge] => (edge, edge),
            [height, width] => (height, width),
            _ => {
                return Err(format!(
                    "size takes one edge or height and width, not {} numbers",
                    size.len()
                ));
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
    if (0.0..=1.0).contains(&p) {
        Ok(p)
    } else {
        Err(format!("p = {p} is not within 0 to 1"))
    }
}

fn describe(ops: &[Op], mode: Mode, output: Output) -> String {
    let mut text = String::new();
    for op in ops {
        text.push_str(op.name());
        match op {
            Op::Resize {
                size, interpolation, ..
            }
            | Op::RandomResizedCrop {
                size, interpolation, ..
            } => {
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
    let _ = write!(
        text,
        "{} {order}, {} channels, {mode}",
        output.dtype, output.channels
    );
    text
}
