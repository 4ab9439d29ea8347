//! A compiled list of operations and how it is applied: it draws each sample's parameters and leads the pixels from
//! the decoder's buffer to the slot. Which lists are allowed is [`super::compile`]'s matter.

use super::color::{Arithmetic, Change};
use super::compile::{State, describe};
use super::emit::{Canvas, Format, Order};
use super::filter::Filter;
use super::geometry::Cut;
use super::kernels::Kernels;
use super::ops::{Mode, Op, TransformError};
use super::resample::{Picture, Workspace};
use super::view::{self, MAX_EDGE, MAX_STAGES, Stage, View};
use crate::DType;
use crate::pixels::{PixelBuf, Region, give_back_giant};
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
        Self { work: Workspace::new(kernels), pictures: [Vec::new(), Vec::new()] }
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
pub(super) enum Step {
    Resize { size: Size, filter: Filter },
    CenterCrop { height: u32, width: u32 },
    RandomCrop { height: u32, width: u32, padding: [u32; 4], pad_if_needed: bool, fill: u8 },
    RandomResizedCrop { height: u32, width: u32, scale: (f64, f64), ratio: (f64, f64), filter: Filter },
    Flip { horizontal: bool, p: f64 },
    Jitter { arithmetic: Arithmetic, bounds: [Option<(f64, f64)>; 4] },
    Gray { arithmetic: Arithmetic, p: f64 },
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    Both(u32, u32),
    Shorter(u32, Option<u32>),
}

impl Plan {
    /// Checks and compiles `ops`. An empty list means torchvision's `ToImage`: uint8, channel, height, width.
    ///
    /// # Errors
    /// [`TransformError::Op`] names the operation that has a bad parameter or stands at a place where it has no native
    /// meaning.
    pub fn compile(ops: &[Op], mode: Mode) -> Result<Plan, TransformError> {
        Self::compile_from(State::new(), ops, mode)
    }

    /// As [`Self::compile`], for operations behind others that left 8-bit pictures of `channels` (1 or 3) channels;
    /// `tensor` says that they are tensors in torchvision's sense.
    pub(super) fn compile_behind(
        ops: &[Op],
        mode: Mode,
        tensor: bool,
        channels: u8,
    ) -> Result<Plan, TransformError> {
        Self::compile_from(State::behind(tensor, channels), ops, mode)
    }

    fn compile_from(mut state: State, ops: &[Op], mode: Mode) -> Result<Plan, TransformError> {
        let mut steps = Vec::new();
        for (index, op) in ops.iter().enumerate() {
            let step = state.add(op).map_err(|reason| TransformError::Op { index, op: op.name(), reason })?;
            steps.extend(step);
            if state.stages > MAX_STAGES {
                return Err(TransformError::Op {
                    index,
                    op: op.name(),
                    reason: "the list is too long: split it".to_owned(),
                });
            }
        }
        let output =
            Output { dtype: state.dtype, order: state.order, channels: state.channels, size: state.size };
        Ok(Plan {
            steps,
            mode,
            output,
            format: Format::new(output.dtype, output.order, usize::from(output.channels), state.affine),
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
            return Err(TransformError::Slot { expected, got: out.len() });
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
                        Some((width, height)) => {
                            (1, Picture { pixels: current, channels: 3, region: Region::full(width, height) })
                        }
                    };
                    let (width, height) = (pass.canvas.0 as usize, pass.canvas.1 as usize);
                    if i == last {
                        let format = &self.format;
                        work.run(&pass, denom, picture, &mut Canvas { format, width, height, out });
                        pictures.iter_mut().for_each(give_back_giant);
                        break;
                    }
                    next.resize(width * height * 3, 0);
                    let format = &self.between;
                    work.run(&pass, denom, picture, &mut Canvas { format, width, height, out: next });
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
                let cut =
                    Cut { left: view::center(width, w), top: view::center(height, h), width: w, height: h };
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
                let cut = Cut { left: x - i64::from(left), top: y - i64::from(top), width: w, height: h };
                view.cut("RandomCrop", cut, fill)
            }
            Step::RandomResizedCrop { height: h, width: w, scale, ratio, filter } => {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::may_be_kept;

    #[test]
    fn the_pictures_between_the_passes_of_a_giant_are_given_back() {
        let json =
            r#"[{"op": "color_jitter", "brightness": [0.5, 1.5]}, {"op": "resize", "size": [64, 64]}]"#;
        let ops: Vec<Op> = serde_json::from_str(json).unwrap();
        let plan = Plan::compile(&ops, Mode::Exact).unwrap();
        let mut scratch = Scratch::new();
        for edge in [100, 1000] {
            let view = plan.view(edge, edge, &mut SampleRng::new(0, 0, 0)).unwrap();
            let mut source = PixelBuf::new();
            source.reset(edge, edge, 3);
            plan.render(&view, &source, &mut scratch, &mut vec![0; 64 * 64 * 3]).unwrap();
            let kept = scratch.pictures.iter().any(|picture| picture.capacity() > 0);
            assert!(kept, "an ordinary picture's memory stays");
            assert!(scratch.pictures.iter().all(may_be_kept));
        }
    }
}
