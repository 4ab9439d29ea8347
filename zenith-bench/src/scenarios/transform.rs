//! Pixels to a sample on one thread: resample a random-resized-crop, normalise, write float32 planes. Decodes nothing.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use zenith_data::format::jpeg::{DecodeOptions, Decoder};
use zenith_data::pixels::PixelBuf;
use zenith_data::sampler::rng::SampleRng;
use zenith_data::transform::{Interpolation, Mode, Op, Plan, Scratch, View};

use super::{Bench, Scenario, float_brightness};
use crate::Failure;
use crate::harness::{Agreement, Contender, Done, Group, Quantity, Race};
use crate::photographs::Photographs;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "transform",
    title: "Transforms",
    about: "Decoded pixels to normalised float32 planes, antialiased: Zenith resamples and writes the planes in one go; \
            the rival is fast_image_resize followed by one loop that normalises.",
    run,
};

/// torchvision's usual statistics of natural pictures.
pub(super) const MEAN: [f64; 3] = [0.485, 0.456, 0.406];
pub(super) const STD: [f64; 3] = [0.229, 0.224, 0.225];

/// Random-resized-crop to `edge`, float32, normalised.
pub(super) fn crop(edge: u32, scale: (f64, f64), interpolation: Interpolation) -> [Op; 3] {
    [
        Op::RandomResizedCrop {
            size: vec![edge],
            scale,
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            interpolation,
            antialias: true,
        },
        Op::ToTensor,
        Op::Normalize { mean: MEAN.to_vec(), std: STD.to_vec() },
    ]
}

/// fast_image_resize, then one pass that normalises into planes.
pub(super) struct ResizeThenNormalize {
    resizer: Resizer,
    options: ResizeOptions,
    resized: Image<'static>,
}

impl ResizeThenNormalize {
    pub(super) fn new(edge: u32, filter: FilterType) -> Self {
        Self {
            resizer: Resizer::new(),
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
            resized: Image::new(edge, edge, PixelType::U8x3),
        }
    }

    /// `source` is RGB of this width and height, of which (left, top, width, height) is used.
    pub(super) fn run(
        &mut self,
        source: (&[u8], u32, u32),
        part: (u32, u32, u32, u32),
        out: &mut [u8],
    ) -> Result<(), Failure> {
        let (pixels, width, height) = source;
        let [left, top, part_width, part_height] = [part.0, part.1, part.2, part.3].map(f64::from);
        let source = ImageRef::new(width, height, pixels, PixelType::U8x3)?;
        let options = self.options.crop(left, top, part_width, part_height);
        self.resizer.resize(&source, &mut self.resized, &options)?;
        normalize(self.resized.buffer(), out);
        Ok(())
    }
}

fn normalize(rgb: &[u8], out: &mut [u8]) {
    let scale: [f32; 3] = std::array::from_fn(|c| (1.0 / (255.0 * STD[c])) as f32);
    let bias: [f32; 3] = std::array::from_fn(|c| (-MEAN[c] / STD[c]) as f32);
    let (floats, _) = out.as_chunks_mut::<4>();
    let (r, rest) = floats.split_at_mut(rgb.len() / 3);
    let (g, b) = rest.split_at_mut(rgb.len() / 3);
    let (rgb, _) = rgb.as_chunks::<3>();
    for (((pixel, r), g), b) in rgb.iter().zip(r).zip(g).zip(b) {
        *r = (f32::from(pixel[0]) * scale[0] + bias[0]).to_ne_bytes();
        *g = (f32::from(pixel[1]) * scale[1] + bias[1]).to_ne_bytes();
        *b = (f32::from(pixel[2]) * scale[2] + bias[2]).to_ne_bytes();
    }
}

/// Decoded regions and what is to become of them.
fn samples(plan: &Plan, photographs: &Photographs) -> Result<Vec<(View, PixelBuf)>, Failure> {
    let mut decoder = Decoder::new();
    let sample = |(n, photograph): (u64, &crate::photographs::Photograph)| {
        let (width, height) = photograph.size;
        let view = plan.view(width, height, &mut SampleRng::new(0, 0, n))?;
        let options = DecodeOptions { region: Some(view.region()), ..DecodeOptions::default() };
        let mut pixels = PixelBuf::new();
        decoder.decode(&photograph.bytes, &options, &mut pixels)?;
        Ok((view, pixels))
    };
    (0..).zip(&photographs.all).map(sample).collect()
}

/// Makes every sample `passes` times by `make`, into one slot.
fn each<'a>(
    samples: &'a [(View, PixelBuf)],
    bytes: usize,
    mut make: impl FnMut(&View, &PixelBuf, &mut [u8]) -> Result<(), Failure> + 'a,
) -> impl FnMut(u64) -> Result<Done, Failure> + 'a {
    let mut slot = vec![0; bytes];
    move |passes| {
        let mut sum = 0;
        for _ in 0..passes {
            for (view, pixels) in samples {
                make(view, pixels, &mut slot)?;
                sum += float_brightness(&slot);
            }
        }
        Ok(Done { units: passes * samples.len() as u64, sum, took: None })
    }
}

fn run(bench: &mut Bench) -> Result<Vec<Group>, Failure> {
    let photographs = bench.photographs()?;
    let edge = bench.sizes.edge;
    let races = [
        ("random-resized-crop, bilinear", (0.08, 1.0), Interpolation::Bilinear, FilterType::Bilinear),
        ("almost the whole picture, bilinear", (0.99, 1.0), Interpolation::Bilinear, FilterType::Bilinear),
        ("random-resized-crop, bicubic", (0.08, 1.0), Interpolation::Bicubic, FilterType::CatmullRom),
    ];
    let mut groups = Vec::new();
    for (title, scale, interpolation, filter) in races {
        let plan = Plan::compile(&crop(edge, scale, interpolation), Mode::Exact)?;
        let samples = samples(&plan, &photographs)?;
        let bytes = plan.output().bytes(edge, edge);
        let ours = |name, mut scratch: Scratch| {
            let plan = &plan;
            let make = move |view: &View, pixels: &PixelBuf, slot: &mut [u8]| {
                Ok(plan.render(view, pixels, &mut scratch, slot)?)
            };
            Contender::ours(name, each(&samples, bytes, make))
        };
        let mut rival = ResizeThenNormalize::new(edge, filter);
        let theirs = move |_: &View, pixels: &PixelBuf, slot: &mut [u8]| {
            let (width, height) = (pixels.width(), pixels.height());
            rival.run((pixels.pixels(), width, height), (0, 0, width, height), slot)
        };
        groups.push(bench.race(Race {
            title: format!("{title}, to {edge} pixels"),
            unit: "pictures",
            quantity: Quantity::Throughput,
            agreement: Agreement::Near(0.01),
            contenders: vec![
                ours("zenith", Scratch::new()),
                ours("zenith, portable code", Scratch::portable()),
                Contender::rival("fast_image_resize, then normalise", each(&samples, bytes, theirs)),
            ],
            absent: Vec::new(),
        })?);
    }
    Ok(groups)
}
