//! Native operations on tensors that a custom transform has made: pictures of bytes go through a [`Plan`] as a decoder's
//! pictures do, floats through `Normalize` and `ToDtype` channel by channel. Anything else is refused by name.

use half::f16;

use super::TransformError;
use super::custom::{Take, TensorRef, Transform, TransformFault, TransformWorker, Yield};
use super::emit::Order;
use super::ops::{Mode, Op};
use super::plan::{Plan, Scratch};
use crate::DType;
use crate::pixels::{PixelBuf, Region};
use crate::sampler::rng::SampleRng;

/// Why native operations can do nothing with a kind of tensor, whatever the sample.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{op} behind {after} has no native form for {given}: {reason}")]
pub struct Unfit {
    /// torchvision's name of the operation.
    pub op: &'static str,
    /// The custom transform before it.
    pub after: String,
    /// The tensor, as type and shape.
    pub given: String,
    /// What would work.
    pub reason: String,
}

/// Operations in a row, as a transform of one tensor into one.
#[derive(Debug)]
pub struct TensorOps {
    ops: Vec<Op>,
    picture: bool,
    after: String,
    name: String,
}

impl TensorOps {
    /// The operations `ops` behind the custom transform `after`. `picture` says that torchvision would have a picture
    /// there and not yet a tensor.
    #[must_use]
    pub fn new(ops: Vec<Op>, picture: bool, after: String) -> Self {
        let names: Vec<&str> = ops.iter().map(Op::name).collect();
        Self { name: names.join(" > "), ops, picture, after }
    }

    fn unfit(&self, op: &'static str, input: TensorRef<'_>, reason: impl Into<String>) -> Unfit {
        let given = format!("{} {:?}", input.dtype, input.shape);
        Unfit { op, after: self.after.clone(), given, reason: reason.into() }
    }

    /// What becomes of tensors like `input`.
    fn compile(&self, input: TensorRef<'_>) -> Result<Compiled, Unfit> {
        let first = self.ops.first().map_or("ToImage", Op::name);
        match (input.dtype, input.shape) {
            (DType::UInt8, &[a, b, c]) => {
                let (hwc, chw) = (matches!(c, 1 | 3), matches!(a, 1 | 3));
                let (order, channels) = match (self.picture, hwc, chw) {
                    (true, true, _) | (false, true, false) => (Order::Hwc, c),
                    (_, _, true) => (Order::Chw, a),
                    _ => {
                        let reason = "a picture has 1 or 3 channels, as its first or last axis";
                        return Err(self.unfit(first, input, reason));
                    }
                };
                let (height, width) = if order == Order::Hwc { (a, b) } else { (b, c) };
                let tensor = !self.picture || order == Order::Chw;
                let plan = Plan::compile_behind(&self.ops, Mode::Exact, tensor, channels as u8).map_err(
                    |error| match error {
                        TransformError::Op { op, reason, .. } => self.unfit(op, input, reason),
                        other => self.unfit(first, input, other.to_string()),
                    },
                )?;
                let edge = |edge: usize| {
                    u32::try_from(edge)
                        .map_err(|_| self.unfit(first, input, "an edge of a picture is that long"))
                };
                let size = (edge(width)?, edge(height)?);
                Ok(Compiled::Picture { plan: Box::new(plan), order, channels, size })
            }
            (DType::Float32, shape @ &[channels, _, _]) => {
                let mut maps = Vec::new();
                let mut dtype = DType::Float32;
                for op in &self.ops {
                    match op {
                        Op::ToImage => {}
                        Op::ToDtype { dtype: wanted @ (DType::Float32 | DType::Float16), .. } => {
                            dtype = *wanted;
                        }
                        Op::Normalize { .. } if dtype == DType::Float16 => {
                            let reason = "put it before the conversion to float16";
                            return Err(self.unfit(op.name(), input, reason));
                        }
                        Op::Normalize { mean, std } => maps.push(
                            normalization(mean, std, channels)
                                .map_err(|reason| self.unfit(op.name(), input, reason))?,
                        ),
                        other => {
                            let reason = "behind floats, Normalize and ToDtype(float32 or float16) have one; others \
                                          need a uint8 picture";
                            return Err(self.unfit(other.name(), input, reason));
                        }
                    }
                }
                Ok(Compiled::Floats { maps, dtype, shape: shape.to_vec() })
            }
            _ => {
                let reason = "it takes uint8 pictures of 1 or 3 channels, and Normalize and ToDtype take float32 [C, H, W]";
                Err(self.unfit(first, input, reason))
            }
        }
    }
}

/// The mean and standard deviation of each channel.
fn normalization(mean: &[f64], std: &[f64], channels: usize) -> Result<Vec<(f32, f32)>, String> {
    for (name, values) in [("mean", mean), ("std", std)] {
        if values.len() != 1 && values.len() != channels {
            return Err(format!("{name} has {} values, the tensor {channels} channels", values.len()));
        }
    }
    if std.contains(&0.0) {
        return Err("std has a value of 0".into());
    }
    let at = |values: &[f64], channel: usize| values[channel.min(values.len() - 1)] as f32;
    Ok((0..channels).map(|channel| (at(mean, channel), at(std, channel))).collect())
}

/// What operations mean for one kind of tensor.
enum Compiled {
    Picture {
        plan: Box<Plan>,
        order: Order,
        channels: usize,
        /// Width and height.
        size: (u32, u32),
    },
    Floats {
        maps: Vec<Vec<(f32, f32)>>,
        dtype: DType,
        shape: Vec<usize>,
    },
}

impl Transform for TensorOps {
    fn name(&self) -> &str {
        &self.name
    }

    fn yields(&self) -> Yield {
        Yield::One
    }

    fn fingerprint(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(format!("{:?} {}", self.ops, self.picture).as_bytes())
    }

    fn worker(&self) -> Result<Box<dyn TransformWorker>, TransformFault> {
        let ops = Self::new(self.ops.clone(), self.picture, self.after.clone());
        Ok(Box::new(TensorWorker {
            ops,
            known: None,
            pixels: PixelBuf::new(),
            scratch: Scratch::new(),
            out: Vec::new(),
        }))
    }
}

struct TensorWorker {
    ops: TensorOps,
    /// The kind of tensor that came last, and what it becomes.
    known: Option<(DType, Vec<usize>, Compiled)>,
    pixels: PixelBuf,
    scratch: Scratch,
    out: Vec<u8>,
}

impl TransformWorker for TensorWorker {
    fn apply(&mut self, input: TensorRef<'_>, random: u64, take: Take<'_>) -> Result<(), TransformFault> {
        let known = match self.known.take() {
            Some(known) if (known.0, &known.1[..]) == (input.dtype, input.shape) => known,
            _ => (input.dtype, input.shape.to_vec(), self.ops.compile(input)?),
        };
        let known = self.known.insert(known);
        match &known.2 {
            Compiled::Picture { plan, order, channels, size } => {
                let mut rng = SampleRng::new(random, 0, 0);
                let view = plan.view(size.0, size.1, &mut rng)?;
                fill_pixels(&mut self.pixels, &view.region(), input.bytes, *order, *channels, *size);
                let (height, width) = view.output_size();
                let output = plan.output();
                self.out.resize(output.bytes(height, width), 0);
                plan.render(&view, &self.pixels, &mut self.scratch, &mut self.out)?;
                let (height, width) = (height as usize, width as usize);
                let shape = match output.order {
                    Order::Chw => [usize::from(output.channels), height, width],
                    Order::Hwc => [height, width, usize::from(output.channels)],
                };
                take(TensorRef { dtype: output.dtype, shape: &shape, bytes: &self.out })
            }
            Compiled::Floats { maps, dtype, shape } => {
                floats(maps, *dtype, shape[0], input.bytes, &mut self.out);
                take(TensorRef { dtype: *dtype, shape, bytes: &self.out })
            }
        }
    }
}

/// The part `region` of a picture, interleaved.
fn fill_pixels(
    pixels: &mut PixelBuf,
    region: &Region,
    bytes: &[u8],
    order: Order,
    channels: usize,
    (width, height): (u32, u32),
) {
    pixels.reset(region.width, region.height, channels as u8);
    let (width, height) = (width as usize, height as usize);
    let (left, top) = (region.x as usize, region.y as usize);
    let row_bytes = pixels.stride();
    for (y, row) in pixels.pixels_mut().chunks_exact_mut(row_bytes).enumerate() {
        let begin = (top + y) * width + left;
        match order {
            Order::Hwc => row.copy_from_slice(&bytes[begin * channels..][..row_bytes]),
            Order::Chw => {
                for channel in 0..channels {
                    let plane = &bytes[channel * width * height + begin..][..row_bytes / channels];
                    for (to, from) in row[channel..].iter_mut().step_by(channels).zip(plane) {
                        *to = *from;
                    }
                }
            }
        }
    }
}

/// Normalises floats channel by channel as torch does, subtraction and division each rounded, and converts them.
fn floats(maps: &[Vec<(f32, f32)>], dtype: DType, channels: usize, bytes: &[u8], out: &mut Vec<u8>) {
    let size = dtype.size();
    let elements = bytes.len() / 4;
    out.resize(elements * size, 0);
    if elements == 0 {
        return;
    }
    let plane = elements / channels;
    let planes = bytes.chunks_exact(plane * 4).zip(out.chunks_exact_mut(plane * size));
    for (channel, (from, to)) in planes.enumerate() {
        let value = |four: &[u8]| {
            let value = f32::from_ne_bytes([four[0], four[1], four[2], four[3]]);
            maps.iter().fold(value, |value, map| (value - map[channel].0) / map[channel].1)
        };
        let values = from.chunks_exact(4).map(value);
        if dtype == DType::Float16 {
            for (to, value) in to.chunks_exact_mut(2).zip(values) {
                to.copy_from_slice(&f16::from_f32(value).to_ne_bytes());
            }
        } else {
            for (to, value) in to.chunks_exact_mut(4).zip(values) {
                to.copy_from_slice(&value.to_ne_bytes());
            }
        }
    }
}
